"""Batches taken apart by shard, and put together again."""

from __future__ import annotations

import pytest

from raftbook.errors import BusyError, InvalidCommandError, OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.sharding.batches import join, split
from raftbook.sharding.shard_map import OrderName, Routed


def to(*shards, order=None):
    return Routed({"op": "new"}, shards, order)


def report(number, status="accepted", **fields):
    return {
        "status": status,
        "origin": "n1.1",
        "origin_sequence": number,
        "log_index": number,
        "order": None,
        "events": [number],
        **fields,
    }


def shown(reports):
    return [(told["status"], told["origin"], told["origin_sequence"]) for told in reports]


MIXED = [to("north"), to("south"), InvalidCommandError("no command"), to("north"), to("south")]


def test_a_batch_falls_into_a_part_for_each_shard_in_its_own_order():
    assert split(MIXED) == {"north": [0, 3], "south": [1, 4]}
    assert split([to("north", "south"), to("south")]) == {"north": [0], "south": [0, 1]}
    assert split([InvalidCommandError("x")]) == {}


def test_reports_come_back_in_the_places_of_their_commands():
    joined = join(MIXED, {"north": [report(1), report(2)], "south": [report(8), report(9)]})
    assert shown(joined) == [
        ("accepted", "north:n1.1", 1),
        ("accepted", "south:n1.1", 8),
        ("rejected", None, None),
        ("accepted", "north:n1.1", 2),
        ("accepted", "south:n1.1", 9),
    ]
    assert [told.get("shard") for told in joined] == ["north", "south", None, "north", "south"]
    assert joined[2]["reason"] == "malformed"
    assert joined[2]["detail"] == "no command"


def test_a_pending_report_says_where_to_ask_the_gateway():
    pending = report(7, "pending", log_index=None, next="/v1/submissions/n1.1/7")
    (told,) = join([to("south")], {"south": [pending]})
    assert told["next"] == "/v1/submissions/south:n1.1/7"
    assert told["origin"] == "south:n1.1"


def test_where_one_shard_takes_nothing_its_commands_are_rejected_and_the_others_stand():
    joined = join(MIXED, {"north": [report(1), report(2)], "south": UnreachableError("nobody there")})
    assert [told["status"] for told in joined] == ["accepted", "rejected", "rejected", "accepted", "rejected"]
    assert (joined[4]["reason"], joined[4]["detail"], joined[4]["shard"]) == ("unreachable", "nobody there", "south")


def test_where_the_only_shard_takes_nothing_the_whole_fails_as_at_a_node():
    with pytest.raises(BusyError):
        join([to("north"), to("north")], {"north": BusyError("full")})


def test_what_was_refused_by_the_gateway_is_not_lost_with_the_only_shard():
    joined = join([InvalidCommandError("no command"), to("north")], {"north": BusyError("full")})
    assert [told["reason"] for told in joined] == ["malformed", "busy"]


def test_an_outcome_that_nobody_knows_is_told_with_all_that_is_known():
    unknown = OutcomeUnknownError("lost", positions=[1], reports=[report(8), None])
    elements = [*MIXED[:4], to("south", order=OrderName("alice", "a9"))]
    with pytest.raises(
        OutcomeUnknownError, match=r"1 of 5 command\(s\) have no definite answer \(south: lost\)"
    ) as raised:
        join(elements, {"north": [report(1), report(2)], "south": unknown})
    assert raised.value.positions == (4,)
    assert raised.value.client_order_ids == ("a9",)
    assert [told and told["status"] for told in raised.value.reports] == [
        *("accepted", "accepted", "rejected", "accepted"),
        None,
    ]


def test_what_is_merely_pending_is_no_unknown_outcome():
    unknown = OutcomeUnknownError("slow", positions=[0], reports=[report(8, "pending")])
    assert shown(join([to("south")], {"south": unknown})) == [("pending", "south:n1.1", 8)]


def test_an_answer_that_is_lost_altogether_leaves_all_its_commands_unknown():
    with pytest.raises(OutcomeUnknownError) as raised:
        join([to("north"), to("north")], {"north": OutcomeUnknownError("lost")})
    assert raised.value.positions == (0, 1)


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        (("accepted", "accepted"), "accepted"),
        (("accepted", "rejected"), "rejected"),
        (("pending", "rejected"), "pending"),
        (("accepted", "pending"), "pending"),
    ],
)
def test_a_command_to_all_shards_has_one_report_with_theirs_in_it(statuses, together):
    outcomes = {
        shard: [report(number, status, reason="closed" if status == "rejected" else None)]
        for number, (shard, status) in enumerate(zip(("north", "south"), statuses, strict=True), 1)
    }
    (told,) = join([to("north", "south")], outcomes)
    assert told["status"] == together
    assert (told["origin"], told["log_index"], told["events"]) == (None, None, [1, 2])
    assert told.get("reason") == ("closed" if "rejected" in statuses else None)
    assert [part["origin"] for part in told["shards"]] == ["north:n1.1", "south:n1.1"]


def test_a_command_to_all_shards_of_which_one_took_nothing_is_rejected_with_what_the_other_did():
    gone = ProblemError(503, "shard_unreachable", "nobody there")
    (told,) = join([to("north", "south")], {"north": [report(1)], "south": gone})
    assert (told["status"], told["reason"]) == ("rejected", "shard_unreachable")
    assert [part["status"] for part in told["shards"]] == ["accepted", "rejected"]


def test_a_command_to_all_shards_is_unknown_where_one_of_them_is():
    with pytest.raises(OutcomeUnknownError):
        join([to("north", "south")], {"north": [report(1)], "south": OutcomeUnknownError("lost")})
