"""What the client decides without any network: which node, what may be sent again, what follows what."""

from __future__ import annotations

import pytest

from raftbook.client.continuity import Continuity, Verdict
from raftbook.client.delivery import LIFETIME_S, Delivery, may_be_repeated, with_not_after
from raftbook.client.nodes import Nodes, another_may_serve, failure_of_all, may_have_been_taken
from raftbook.errors import ProblemError, UnreachableError

NEW = {"op": "new", "client_order_id": "a1"}
CANCEL = {"op": "cancel", "client_order_id": "a1"}
REPLACE = {"op": "replace", "client_order_id": "a1", "not_after": 77}


def report(status, number=1):
    return {"status": status, "origin": "n1.1", "origin_sequence": number, "order": None, "events": []}


class TestNodes:
    def test_the_client_stays_where_it_is_until_that_node_fails(self):
        nodes = Nodes(["a", "b"])
        nodes.learn(["b", "c"])
        assert (nodes.current, nodes.round()) == ("a", ["a", "b", "c"])

        nodes.move_on("a")
        nodes.move_on("a")  # A second conversation with it ends later.

        assert (nodes.current, nodes.round()) == ("b", ["b", "c", "a"])

    def test_from_the_last_it_goes_to_the_first(self):
        nodes = Nodes(["a", "b"])
        nodes.move_on("a")
        nodes.move_on("b")
        assert nodes.current == "a"

    @pytest.mark.parametrize(
        ("status", "elsewhere", "taken"), [(503, True, False), (507, True, False), (500, False, True)]
    )
    def test_what_an_answer_says_of_the_node(self, status, elsewhere, taken):
        problem = ProblemError(status, "some_code", "detail")
        assert (another_may_serve(problem), may_have_been_taken(problem)) == (elsewhere, taken)

    def test_commands_whose_reports_are_no_longer_held_were_taken(self):
        assert may_have_been_taken(ProblemError(404, "not_held", "detail"))
        assert not may_have_been_taken(ProblemError(404, "unknown_symbol", "detail"))

    def test_what_a_node_said_is_told_rather_than_that_others_were_silent(self):
        draining = ProblemError(503, "draining", "it leaves")
        silent = [
            UnreachableError("a is silent", {"a": "refused"}),
            UnreachableError("b is silent", {"b": "no answer"}),
        ]
        assert failure_of_all([silent[0], draining, silent[1]]) is draining
        assert failure_of_all(silent[:1]) is silent[0]
        of_both = failure_of_all(silent)
        assert of_both.reasons == {"a": "refused", "b": "no answer"}
        assert str(of_both).startswith("no node answers at a (refused), b (no answer); start one with")


class TestDelivery:
    def test_all_copies_of_a_command_carry_one_time_and_its_own_where_it_has_one(self):
        assert with_not_after(NEW, 10) == {**NEW, "not_after": 10 + int(LIFETIME_S * 1e9)}
        assert with_not_after(REPLACE, 10) is REPLACE

    @pytest.mark.parametrize("op", ["replace", "cancel_all", "set_status", "uncross", "create_key", None])
    def test_what_could_undo_what_came_after_it_is_not_repeated(self, op):
        assert not may_be_repeated({"op": op, "client_order_id": "a1"})

    @pytest.mark.parametrize("op", ["new", "cancel", "add_instrument", "tick"])
    def test_what_is_the_same_twice_as_once_is(self, op):
        assert may_be_repeated({"op": op, "client_order_id": "a1"})

    def test_an_order_without_a_name_would_be_two_orders(self):
        assert not may_be_repeated({"op": "new"})

    def test_what_is_definite_is_not_sent_again(self):
        delivery = Delivery([NEW, CANCEL, NEW])
        delivery.answered([0, 1, 2], [report("accepted"), report("pending", 2), report("rejected", 3)])
        assert (delivery.undecided, delivery.to_send, delivery.is_in_doubt) == ([1], [1], True)

        delivery.answered([1], [report("accepted", 9)])

        assert [one["origin_sequence"] for one in delivery.reports()] == [1, 9, 3]
        assert not delivery.is_in_doubt

    def test_behind_what_may_be_under_way_and_is_not_repeated_nothing_is_sent(self):
        delivery = Delivery([NEW, REPLACE, NEW])
        assert delivery.to_send == [0, 1, 2], "nothing was sent yet"

        delivery.lost([0, 1, 2])

        assert delivery.to_send == [0]
        delivery.answered([0], [report("accepted")])
        assert delivery.to_send == []
        error = delivery.outcome_unknown("n1 died")
        assert error.positions == (1, 2)
        assert error.reports == (report("accepted"), None, None)
        assert "look at what they were to change" in str(error)
        assert "passed 77 (ns)" in str(error)

    def test_a_pending_command_that_is_not_repeated_is_followed_to_its_end(self):
        delivery = Delivery([REPLACE])
        delivery.answered([0], [report("pending")])
        assert delivery.to_send == []
        assert delivery.to_follow(with_repeatable=False) == [report("pending")]

        delivery.followed(report("pending"))
        delivery.followed(report("accepted", 2))
        assert delivery.undecided == [0], "that was another submission"
        delivery.followed(report("accepted"))

        assert delivery.reports() == [report("accepted")]

    def test_of_what_nobody_can_tell_the_repeatable_is_sent_again(self):
        delivery = Delivery([NEW, REPLACE])
        delivery.answered([0, 1], [report("pending"), report("pending", 2)])
        assert len(delivery.to_follow(with_repeatable=True)) == 2
        assert delivery.to_follow(with_repeatable=False) == [report("pending", 2)]

        delivery.lost_sight()

        assert delivery.to_follow(with_repeatable=True) == [report("pending", 2)]
        assert delivery.to_send == [0]


def message(kind, sequence, **fields):
    return {"type": kind, "sequence": sequence, **fields}


class TestContinuity:
    @pytest.mark.parametrize("channel", ["book", "l3"])
    def test_every_number_of_a_book_comes_once(self, channel):
        seen = Continuity(channel)
        assert seen.judge(message("update", 3)) is Verdict.KNOWN, "before the snapshot nothing counts"
        assert seen.judge(message("snapshot", 7)) is Verdict.NEXT
        assert seen.judge(message("update", 7)) is Verdict.KNOWN
        assert seen.judge(message("update", 8)) is Verdict.NEXT
        assert seen.judge(message("update", 10)) is Verdict.GAP
        assert seen.position == 8, "what does not follow was not seen"
        assert seen.judge(message("update", 12, first_sequence=9)) is Verdict.NEXT
        assert seen.judge(message("update", 15, first_sequence=14)) is Verdict.GAP
        assert seen.judge(message("update", 15, first_sequence=11)) is Verdict.GAP

    def test_each_trade_names_the_one_before_it(self):
        seen = Continuity("trades")
        seen.judge(message("snapshot", 7, trades=[{"trade_id": 4}]))
        assert seen.judge(message("update", 20, trade_id=9, previous_trade_id=4)) is Verdict.NEXT
        assert seen.judge(message("update", 21, trade_id=12, previous_trade_id=11)) is Verdict.GAP
        assert seen.judge(message("update", 21, trade_id=12, previous_trade_id=9)) is Verdict.NEXT

    def test_the_first_trade_of_a_symbol_has_none_before_it(self):
        seen = Continuity("trades")
        seen.judge(message("snapshot", 0, trades=[]))
        assert seen.judge(message("update", 2, trade_id=5)) is Verdict.NEXT
        assert seen.judge(message("update", 4, trade_id=6)) is Verdict.GAP

    def test_entries_that_do_not_concern_an_account_are_left_out(self):
        seen = Continuity("orders")
        seen.judge(message("snapshot", 7, orders=[]))
        assert seen.judge(message("update", 20)) is Verdict.NEXT
        assert seen.judge(message("update", 20)) is Verdict.KNOWN

    def test_a_feed_that_goes_on_needs_no_snapshot_until_it_starts_again(self):
        seen = Continuity("book", from_sequence=5)
        assert seen.judge(message("update", 6)) is Verdict.NEXT
        seen.start_again()
        assert seen.position is None
        assert seen.judge(message("update", 7)) is Verdict.KNOWN
        assert seen.judge(message("snapshot", 3)) is Verdict.NEXT

    def test_a_message_without_its_number_is_no_node_s(self):
        with pytest.raises(ProblemError, match="no sequence"):
            Continuity("book").judge({"type": "snapshot", "sequence": "7"})
