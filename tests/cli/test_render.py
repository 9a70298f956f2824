"""What people see, made from what programs read."""

from __future__ import annotations

import io
import re

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

    def test_a_book_that_crosses_in_an_auction_has_one_row_for_each_price(self):
        book = {
            "book": "ACME",
            "log_index": 12,
            "bids": [["101.00", "4"], ["100.00", "10"], ["99.00", "1"]],
            "asks": [["98.50", "5"], ["100.00", "2"], ["102.00", "3"]],
            "status": "auction",
            "indication": {"price": "100.00", "quantity": "7", "imbalance_quantity": "7", "imbalance_side": "buy"},
        }
        lines = drawn(render.ladder(book))
        assert lines[0] == "ACME at log index 12, auction: 7 @ 100.00, imbalance 7 buy"
        rows = [[cell.strip() for cell in line.strip("│").split("│")][:3] for line in lines if line.startswith("│")]
        assert rows == [
            ["", "102.00", "3"],
            ["4", "101.00", ""],
            ["10", "100.00", "2"],
            ["1", "99.00", ""],
            ["", "98.50", "5"],
            ["", "crossed by 2.50", ""],
        ]

    def test_a_book_that_does_not_trade_says_so(self):
        lines = drawn(render.ladder({**BOOK, "status": "halted"}))
        assert lines[0] == "ACME at log index 12, halted"
        assert any("spread 1.50" in line for line in lines)
        nothing = {"quantity": "0", "imbalance_quantity": "0"}
        lines = drawn(render.ladder({**BOOK, "status": "auction", "indication": nothing}))
        assert lines[0] == "ACME at log index 12, auction: no price"


ORDER = {
    "order_id": 1,
    "account": "alice",
    "client_order_id": "a1",
    "symbol": "ACME",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "gtc",
    "price": "100.25",
    "quantity": "5",
    "filled_quantity": "2",
    "leaves_quantity": "3",
    "status": "open",
}


class TestOrders:
    def test_columns_that_no_order_needs_are_left_out(self):
        table = "\n".join(drawn(render.orders_table([ORDER])))
        for header in ("stop price", "display", "expires"):
            assert header not in table

    def test_a_stop_an_iceberg_and_a_time_have_their_columns(self):
        stop = {**ORDER, "order_type": "stop", "stop_price": "99.50", "status": "untriggered"}
        iceberg = {**ORDER, "display_quantity": "2", "visible_quantity": "1"}
        expiring = {**ORDER, "time_in_force": "gtd", "expire_time": 1_796_054_400_000_000_000}
        del stop["price"]
        lines = drawn(render.orders_table([stop, iceberg, expiring]))
        headers, *rows = [
            [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line[:1] in ("│", "┃")
        ]
        cells = [dict(zip(headers, row, strict=True)) for row in rows]
        assert [row["stop price"] for row in cells] == ["99.50", "", ""]
        assert [row["price"] for row in cells] == ["", "100.25", "100.25"]
        assert [row["status"] for row in cells] == ["untriggered", "open", "open"]
        assert [row["display"] for row in cells] == ["", "2", ""]
        assert [row["expires (UTC)"] for row in cells] == ["", "", "2026-11-30 16:00:00.000000"]


INSTRUMENT = {
    "symbol": "ACME",
    "price_decimals": 2,
    "quantity_decimals": 0,
    "tick_size": "0.01",
    "lot_size": "1",
    "status": "trading",
}


class TestInstruments:
    def test_limits_have_columns_where_an_instrument_has_them(self):
        assert "band" not in "\n".join(drawn(render.instruments_table([INSTRUMENT])))
        limits = {
            "min_quantity": "2",
            "max_quantity": "1000",
            "min_notional": "50.00",
            "price_band": "5.25",
            "market_protection": "2.50",
            "max_open_orders": 200,
            "self_trade_prevention": "cancel_oldest",
        }
        lines = drawn(render.instruments_table([INSTRUMENT, {**INSTRUMENT, **limits, "status": "auction"}]))
        (row,) = (line for line in lines if "auction" in line)
        assert all(str(value) in row for value in limits.values())


def test_a_trade_of_an_auction_is_marked_among_the_trades():
    trade = {
        "trade_id": 7,
        "price": "100.25",
        "quantity": "2",
        "maker_order_id": 1,
        "taker_order_id": 2,
        "taker_side": "buy",
        "log_index": 12,
        "timestamp": 0,
    }
    lines = drawn(render.trades_table("ACME", [trade, {**trade, "trade_id": 8, "auction": True}]))
    assert ["auction" in line for line in lines if "100.25" in line] == [False, True]


class TestEventLine:
    def test_a_trade(self):
        trade = {"event": "trade", "symbol": "ACME", "log_index": 12, "price": "100.25", "quantity": "2"}
        maker = {"maker_client_order_id": "b1", "maker_account": "bob"}
        taker = {"taker_client_order_id": "a1", "taker_account": "alice", "taker_side": "buy"}
        line = render.event_line(trade | maker | taker)
        assert line == "#12 trade ACME 2 @ 100.25, maker b1 of bob, taker a1 of alice (buy)"

        assert render.event_line(trade | maker | taker | {"auction": True}) == f"{line}, in the auction"
        # Whose key is not for the other side's account learns its order id alone.
        line = render.event_line(trade | taker | {"maker_order_id": 7, "taker_order_id": 8})
        assert line == "#12 trade ACME 2 @ 100.25, maker order 7, taker a1 of alice (buy)"

    def test_an_api_key(self):
        key = {"key_id": "key00001", "name": "desk", "role": "trade", "accounts": ["alice"], "log_index": 12}
        assert render.event_line({"event": "key_created", **key}) == "#12 key created key00001 trade desk"
        refused = {
            **key,
            "event": "key_rejected",
            "status": "rejected",
            "reason": "key_exists",
            "detail": "make another",
        }
        assert render.event_line(refused) == "#12 key rejected key00001 trade desk (key_exists: make another)"

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (
                {"event": "indicative_changed", "price": "100.25", "quantity": "5", "imbalance_quantity": "2"}
                | {"imbalance_side": "buy"},
                "#12 indicative changed ACME 5 @ 100.25, imbalance 2 buy",
            ),
            (
                {"event": "indicative_changed", "quantity": "0", "imbalance_quantity": "0"},
                "#12 indicative changed ACME no price",
            ),
            (
                {"event": "auction_uncrossed", "price": "100.25", "quantity": "5", "imbalance_quantity": "0"},
                "#12 auction uncrossed ACME 5 @ 100.25",
            ),
            (
                {"event": "status_changed", "tick_size": "0.01", "status": "auction", "reason": "volatility"},
                "#12 status changed ACME auction (volatility)",
            ),
            (
                {"event": "status_rejected", "requested_status": "trading", "status": "rejected"}
                | {"reason": "not_in_auction"},
                "#12 status rejected ACME to trading (not_in_auction)",
            ),
            (
                ORDER
                | {"event": "order_accepted", "order_type": "stop", "price": None, "stop_price": "99.50"}
                | {"status": "untriggered"},
                "#12 order accepted ACME a1 buy 5 @ market stop 99.50 leaves 3 untriggered",
            ),
            (
                ORDER | {"event": "order_triggered", "order_type": "stop_limit", "stop_price": "99.50"},
                "#12 order triggered ACME a1 buy 5 @ 100.25 stop 99.50 leaves 3 open",
            ),
            (
                ORDER
                | {"event": "order_restated", "display_quantity": "2", "visible_quantity": "1"}
                | {"reason": "iceberg_refresh"},
                "#12 order restated ACME a1 buy 5 @ 100.25 displays 2 leaves 3 open (iceberg_refresh)",
            ),
            (
                ORDER
                | {"event": "order_canceled", "status": "canceled", "reason": "self_trade"}
                | {"prevented_by_order_id": 9},
                "#12 order canceled ACME a1 buy 5 @ 100.25 leaves 3 (self_trade: prevented by order 9)",
            ),
            (
                ORDER | {"event": "order_canceled", "status": "expired", "reason": "expired"},
                "#12 order canceled ACME a1 buy 5 @ 100.25 leaves 3 expired (expired)",
            ),
        ],
    )
    def test_what_happens_beside_a_trade(self, event, line):
        assert render.event_line({"symbol": "ACME", "log_index": 12, **event}) == line

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

    def test_one_that_a_key_may_not_submit_says_why(self):
        """It has no place in the log, and so no events that would tell."""
        refused = {"status": "rejected", "reason": "forbidden", "detail": "this key is for bob", "order": None}
        (line,) = render.report_lines(
            {**refused, "origin": None, "origin_sequence": None, "log_index": None, "events": []}
        )
        assert line.plain == "rejected: forbidden: this key is for bob"

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
