"""What people see, made from what programs read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli import render
from raftbook.verification import NodeDigests, judge


def drawn(renderable):
    """The lines of a table or text, without colours, on a wide terminal."""
    output = io.StringIO()
    Console(file=output, width=200, no_color=True).print(renderable)
    return [line.strip() for line in output.getvalue().splitlines()]


BOOK = {
    "book": "ACME",
    "log_index": 12,
    "bids": [["99.50", "5"], ["99.00", "10"]],
    "asks": [["101.00", "3"], ["102.25", "1"]],
}


class TestLadder:
    def test_has_asks_above_bids_with_the_best_prices_in_the_middle(self):
        lines = drawn(render.ladder(BOOK))
        prices = [price for line in lines for price in ("102.25", "101.00", "99.50", "99.00") if f" {price} " in line]
        assert prices == ["102.25", "101.00", "99.50", "99.00"]
        assert lines[0] == "ACME at log index 12"
        assert any("spread 1.50" in line for line in lines)

    def test_bars_are_in_proportion_to_the_largest_quantity(self):
        bars = {line.split("│")[2].strip(): line.count("█") for line in drawn(render.ladder(BOOK)) if "█" in line}
        assert bars == {"102.25": 2, "101.00": 6, "99.50": 10, "99.00": 20}

    @pytest.mark.parametrize(
        ("bids", "asks", "words"),
        [([], [], "empty"), (BOOK["bids"], [], "no asks"), ([], BOOK["asks"], "no bids")],
    )
    def test_says_what_is_missing(self, bids, asks, words):
        assert any(words in line for line in drawn(render.ladder({**BOOK, "bids": bids, "asks": asks})))


class TestEventLine:
    def test_a_trade(self):
        trade = {"event": "trade", "symbol": "ACME", "log_index": 12, "price": "100.25", "quantity": "2"}
        maker = {"maker_client_order_id": "b1", "maker_account": "bob"}
        taker = {"taker_client_order_id": "a1", "taker_account": "alice", "taker_side": "buy"}
        line = render.event_line(trade | maker | taker)
        assert line == "#12 trade ACME 2 @ 100.25, maker b1 of bob, taker a1 of alice (buy)"

    def test_a_refusal_without_a_place_in_the_log(self):
        refusal = {"event": "command_rejected", "reason": "malformed", "detail": "no JSON", "line": 7}
        assert render.event_line(refusal) == "command rejected (malformed: no JSON) on line 7"

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            ({"event": "order_rejected", "status": "rejected", "reason": "fok"}, "order rejected (fok)"),
            (
                {"event": "order_rejected", "status": "rejected", "reason": "fok", "duplicate": True},
                "order rejected (fok) (duplicate: refused before)",
            ),
            (
                {"event": "order_accepted", "status": "filled", "duplicate": True},
                "order accepted filled (duplicate: this is how it stands now)",
            ),
            ({"event": "order_accepted", "order_type": "market", "quantity": "4"}, "order accepted 4 @ market"),
            ({"event": "replace_rejected", "quantity": "4"}, "replace rejected 4"),
            ({"event": "replace_rejected", "price": "99.5"}, "replace rejected @ 99.5"),
        ],
    )
    def test_says_what_there_is_to_say_and_nothing_twice(self, event, line):
        assert render.event_line(event) == line


class TestReport:
    def test_a_refused_line_of_a_file_is_told_with_its_reason(self):
        report = {"status": "rejected", "reason": "malformed", "detail": "no JSON", "line": 3, "events": []}
        assert render.report_line(report) == "rejected  command rejected (malformed: no JSON) on line 3"

    def test_a_pending_one_says_where_to_ask_again(self):
        report = {"status": "pending", "origin": "n1.1", "origin_sequence": 4, "next": "/v1/submissions/n1.1/4"}
        (_, where) = render.report_lines({**report, "log_index": None, "order": None, "events": []})
        assert where.plain.strip() == "ask again at /v1/submissions/n1.1/4"


def test_a_node_that_was_not_compared_is_told_in_a_few_words():
    nodes = (NodeDigests("n1", "http://n1", 7, "ab"), NodeDigests("n2", "http://n2", problem="it is gone; start it"))
    lines = drawn(render.verification_table(judge(7, nodes)))
    assert lines[0] == "not compared, at log index 7"
    assert "alone" in next(line for line in lines if "n1" in line)
    row = next(line for line in lines if "n2" in line)
    assert "it is gone" in row
    assert "start it" not in row


def test_a_time_is_shown_in_utc_without_loss():
    assert render.utc_time(1_340_285_400_000_001_999) == "2012-06-21 13:30:00.000001"


def test_a_cluster_without_a_quorum_says_so_and_shows_what_is_not_known_as_empty():
    unknown = dict.fromkeys(("role", "term", "commit_index", "applied_index", "digest", "lag"))
    cluster = {
        "name": "local-3",
        "leader": None,
        "quorum": False,
        "nodes": [{"id": "n2", "api_address": "127.0.0.1:8102", "reachable": False, **unknown}],
    }
    lines = drawn(render.cluster_table(cluster))
    assert lines[0] == "local-3: NO QUORUM"
    (row,) = (line for line in lines if "n2" in line)
    assert "no" in row
    assert "None" not in row
