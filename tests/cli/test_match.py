"""`raftbook match`: an answer to each line, whatever it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.json_lines import CHUNK_BYTES, MAX_LINE_BYTES, Line, read_batches
from cli.main import app
from cli.matcher import Matcher

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ACME = "ACME,price_decimals=2,quantity_decimals=0,tick_size=0.01,lot_size=1"


def order(client_order_id, side, price, quantity, **further):
    return {
        "op": "new",
        "symbol": "ACME",
        "account": "alice",
        "client_order_id": client_order_id,
        "side": side,
        "order_type": "limit",
        "time_in_force": "gtc",
        "price": price,
        "quantity": quantity,
        **further,
    }


def match(*lines, arguments=("--instrument", ACME)):
    """What `raftbook match` answers to these lines; a line is a command, or text or bytes as they are."""
    encoded = [
        line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
        for line in lines
    ]
    result = CliRunner().invoke(app, ["match", *arguments], input=b"".join(line + b"\n" for line in encoded))
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def kinds(events):
    return [event.get("event", "book") for event in events]


class TestOrders:
    def test_two_orders_that_cross_trade_at_the_resting_order_s_price(self):
        events = match(order("a1", "sell", "100.25", "5"), order("b1", "buy", "100.30", "2", account="bob"))
        assert kinds(events) == ["instrument_added", "order_accepted", "order_accepted", "trade"]
        trade = events[-1]
        assert (trade["price"], trade["quantity"], trade["log_index"]) == ("100.25", "2", 3)
        assert (trade["maker_client_order_id"], trade["maker_account"]) == ("a1", "alice")
        assert (trade["taker_client_order_id"], trade["taker_account"], trade["taker_side"]) == ("b1", "bob", "buy")

    def test_numbers_may_be_strings_or_json_numbers(self):
        events = match(order("a1", "sell", 100.25, 5))
        assert (events[-1]["price"], events[-1]["quantity"]) == ("100.25", "5")

    def test_every_command_is_an_entry_of_its_own(self):
        events = match(order("a1", "sell", "1", "5"), {"op": "tick"}, {"op": "cancel_all", "account": "alice"})
        assert list(dict.fromkeys(event["log_index"] for event in events)) == [1, 2, 3, 4]

    def test_a_missing_account_and_client_order_id_have_defaults_that_name_the_line(self):
        anonymous = order("unused", "buy", "1", "1")
        del anonymous["account"], anonymous["client_order_id"]
        accepted = match({"op": "tick"}, anonymous)[-1]
        assert (accepted["account"], accepted["client_order_id"]) == ("default", "line-2")
        canceled = match({"op": "tick"}, anonymous, {"op": "cancel", "client_order_id": "line-2"})[-1]
        assert canceled["event"] == "order_canceled"

    def test_a_refused_order_is_answered_with_its_reason(self):
        assert match(order("a1", "buy", "1.001", "1"))[-1]["reason"] == "price_too_precise"
        assert match(order("a1", "buy", "1", "1", symbol="NONE"))[-1]["reason"] == "unknown_symbol"


def told(events, *fields):
    """Of each event its kind and those of `fields` that it has."""
    return [(event.get("event", "book"), *(event[field] for field in fields if field in event)) for event in events]


class TestStops:
    def test_wait_for_the_last_trade_and_then_run_as_they_were_entered(self):
        events = match(
            order("s1", "buy", None, "3", order_type="stop", stop_price="101", account="carol"),
            order("s2", "buy", "102", "3", order_type="stop_limit", stop_price="100.50", account="carol"),
            order("a1", "sell", "101", "2"),
            order("a2", "sell", "102", "2"),
            order("b1", "buy", "101", "1", account="bob"),
        )[1:]
        assert told(events[:2], "client_order_id", "status", "stop_price", "price") == [
            ("order_accepted", "s1", "untriggered", "101.00"),
            ("order_accepted", "s2", "untriggered", "100.50", "102.00"),
        ]
        # The trade at 101 elects both: s2's stop price is further away from it.
        assert told(events[4:], "client_order_id", "taker_client_order_id", "price", "quantity", "reason") == [
            ("order_accepted", "b1", "101.00", "1"),
            ("trade", "b1", "101.00", "1"),
            ("order_triggered", "s2", "102.00", "3"),
            ("trade", "s2", "101.00", "1"),
            ("trade", "s2", "102.00", "2"),
            ("order_triggered", "s1", "3"),
            ("order_canceled", "s1", "3", "no_liquidity"),
        ]

    def test_without_a_stop_price_there_is_none(self):
        refused = match(order("s1", "buy", None, "3", order_type="stop"))[-1]
        assert (refused["event"], refused["reason"]) == ("order_rejected", "invalid_order")


class TestIcebergs:
    def test_show_a_tip_and_refresh_it_behind_the_others_at_their_price(self):
        events = match(
            order("a1", "sell", "100", "7", display_quantity="3"),
            order("a2", "sell", "100", "1"),
            {"op": "book", "symbol": "ACME"},
            order("b1", "buy", "100", "5", account="bob"),
            {"op": "book", "symbol": "ACME"},
        )[1:]
        assert events[2]["asks"] == [["100.00", "4"]]
        assert told(
            events[3:-1], "maker_client_order_id", "client_order_id", "quantity", "visible_quantity", "reason"
        ) == [
            ("order_accepted", "b1", "5"),
            ("trade", "a1", "3"),
            ("order_restated", "a1", "7", "3", "iceberg_refresh"),
            ("trade", "a2", "1"),
            ("trade", "a1", "1"),
        ]
        assert events[-1]["asks"] == [["100.00", "2"]]

    def test_of_too_many_tips_are_refused(self):
        assert match(order("a1", "sell", "100", "101", display_quantity="1"))[-1]["reason"] == (
            "display_quantity_too_small"
        )


class TestExpiry:
    DAY_NS = 24 * 60 * 60 * 10**9

    def test_an_order_expires_before_the_command_that_carries_its_time(self):
        events = match(
            order("a1", "sell", "100", "5", time_in_force="gtd", expire_time=1_000),
            order("a2", "sell", "100", "5", account="dave", time_in_force="day"),
            order("s1", "sell", None, "5", order_type="stop", time_in_force=None, stop_price="90", expire_time=500),
            {**order("b1", "buy", "100", "9", account="bob"), "timestamp": 1_000},
            {"op": "tick", "timestamp": self.DAY_NS - 1},
            {"op": "tick", "timestamp": self.DAY_NS},
        )[1:]
        assert told(events[3:], "client_order_id", "status", "reason", "maker_client_order_id", "quantity") == [
            ("order_canceled", "s1", "expired", "expired", "5"),
            ("order_canceled", "a1", "expired", "expired", "5"),
            ("order_accepted", "b1", "open", "9"),
            ("trade", "a2", "5"),
            ("ticked",),
            ("ticked",),
        ]
        assert [event["log_index"] for event in events[3:6]] == [5, 5, 5]
        assert (events[1]["expire_time"], events[0]["expire_time"]) == (self.DAY_NS, 1_000)

    def test_a_day_order_expires_at_midnight(self):
        events = match(
            {**order("a1", "sell", "100", "5", time_in_force="day"), "timestamp": 3 * self.DAY_NS - 1},
            {"op": "tick", "timestamp": 3 * self.DAY_NS},
        )[1:]
        assert told(events, "status", "reason", "timestamp") == [
            ("order_accepted", "open", 3 * self.DAY_NS - 1),
            ("order_canceled", "expired", "expired", 3 * self.DAY_NS),
            ("ticked", 3 * self.DAY_NS),
        ]

    def test_an_order_that_comes_too_late_is_refused(self):
        late = {**order("a1", "sell", "100", "5", time_in_force="gtd", expire_time=1_000), "timestamp": 1_000}
        assert match(late)[-1]["reason"] == "expired"


class TestAuctions:
    GATHERED = (
        {"op": "set_status", "symbol": "ACME", "status": "auction"},
        order("a1", "buy", "101", "5"),
        order("b1", "sell", "99", "3", account="bob"),
        order("b2", "sell", "100.50", "4", account="bob"),
    )

    def test_orders_gather_and_every_change_is_indicated(self):
        events = match(*self.GATHERED, {"op": "book", "symbol": "ACME"})[1:]
        assert told(events[:-1], "status", "price", "quantity", "imbalance_quantity", "imbalance_side") == [
            ("status_changed", "auction"),
            ("order_accepted", "open", "101.00", "5"),
            ("order_accepted", "open", "99.00", "3"),
            ("indicative_changed", "100.00", "3", "2", "buy"),
            ("order_accepted", "open", "100.50", "4"),
            ("indicative_changed", "100.75", "5", "2", "sell"),
        ]
        assert events[-1] == {
            "book": "ACME",
            "log_index": 5,
            "bids": [["101.00", "5"]],
            "asks": [["99.00", "3"], ["100.50", "4"]],
            "status": "auction",
            "indication": {
                "price": "100.75",
                "quantity": "5",
                "imbalance_quantity": "2",
                "imbalance_side": "sell",
            },
        }

    @pytest.mark.parametrize(
        ("command", "status"),
        [
            ({"op": "uncross", "symbol": "ACME"}, "trading"),
            ({"op": "uncross", "symbol": "ACME", "status": "closed"}, "closed"),
            ({"op": "set_status", "symbol": "ACME", "status": "trading"}, "trading"),
        ],
    )
    def test_an_uncross_trades_all_of_it_at_one_price(self, command, status):
        *_, first, second, uncrossed, changed = match(*self.GATHERED, command)
        trades = [(trade["price"], trade["quantity"], trade["auction"]) for trade in (first, second)]
        assert trades == [("100.75", "3", True), ("100.75", "2", True)]
        assert (first["maker_client_order_id"], first["taker_client_order_id"]) == ("a1", "b1")
        assert told([uncrossed], "price", "quantity", "imbalance_quantity", "imbalance_side") == [
            ("auction_uncrossed", "100.75", "5", "2", "sell")
        ]
        assert told([changed], "status") == [("status_changed", status)]

    def test_an_uncross_of_what_is_in_no_auction_is_refused(self):
        refused = match({"op": "uncross", "symbol": "ACME"})[-1]
        assert (refused["status"], refused["reason"]) == ("rejected", "not_in_auction")
        refused = match({"op": "uncross", "symbol": "ACME", "status": "halted"})[-1]
        assert (refused["event"], refused["field"]) == ("command_rejected", "status")

    def test_a_trade_outside_the_band_starts_one(self):
        events = match(
            order("a1", "sell", "100", "1"),
            order("b1", "buy", "100", "1", account="bob"),
            order("a2", "sell", "104.90", "1"),
            order("b2", "buy", "96", "1", account="bob"),
            order("a3", "sell", "96", "1"),
            order("b3", "buy", None, "1", account="bob", order_type="market", time_in_force="ioc"),
            {"op": "book", "symbol": "ACME"},
            arguments=("--instrument", f"{ACME},price_band=5"),
        )
        assert events[0]["price_band"] == "5.00"
        assert told(events[-4:-1], "status", "reason") == [
            ("order_accepted", "open"),
            ("status_changed", "auction", "volatility"),
            ("order_canceled", "canceled", "volatility"),
        ]
        assert events[-1]["status"] == "auction"

    def test_a_table_shows_it_as_a_ladder_of_prices(self):
        lines = "".join(json.dumps(command) + "\n" for command in self.GATHERED)
        arguments = ["match", "--instrument", ACME, "--book", "--output", "table"]
        shown = CliRunner().invoke(app, arguments, input=lines).stdout
        assert "#5 indicative changed ACME 5 @ 100.75, imbalance 2 sell" in shown
        assert "ACME at log index 5, auction: 5 @ 100.75, imbalance 2 sell" in " ".join(shown.split())
        assert "crossed by 2.00" in shown


class TestLimits:
    def test_an_instrument_s_limits_refuse_orders(self):
        arguments = ("--instrument", f"{ACME},min_quantity=2,max_open_orders=1,self_trade_prevention=cancel_oldest")
        events = match(
            order("a1", "buy", "100", "1"),
            order("a2", "buy", "100", "2"),
            order("a3", "buy", "99", "2"),
            order("a4", "sell", "100", "2", time_in_force="ioc"),
            arguments=arguments,
        )
        assert told(events, "client_order_id", "reason", "prevented_by_order_id") == [
            ("instrument_added",),
            ("order_rejected", "a1", "quantity_too_small"),
            ("order_accepted", "a2"),
            ("order_rejected", "a3", "too_many_open_orders"),
            ("order_accepted", "a4"),
            ("order_canceled", "a2", "self_trade", 2),
            ("order_canceled", "a4", "ioc"),
        ]

    def test_limits_of_a_percentage_that_is_too_fine_are_refused(self):
        refused = match(arguments=("--instrument", f"{ACME},price_band=0.125"))[-1]
        assert (refused["event"], refused["reason"]) == ("instrument_rejected", "invalid_instrument")


class TestTime:
    def test_stands_still_without_a_timestamp(self):
        events = match({"op": "tick", "timestamp": 500}, order("a1", "buy", "1", "1"), {"op": "tick", "timestamp": 700})
        assert [event["timestamp"] for event in events[1:]] == [500, 500, 700]

    def test_never_goes_back(self):
        assert match({"op": "tick", "timestamp": 500}, {"op": "tick", "timestamp": 400})[-1]["timestamp"] == 500

    @pytest.mark.parametrize("timestamp", [-1, 1.5, "5", True, [], 2**63, 10**400])
    def test_that_is_no_nanoseconds_is_refused_and_stops_nothing(self, timestamp):
        events = match({"op": "tick", "timestamp": timestamp}, {"op": "tick"})
        assert kinds(events) == ["instrument_added", "command_rejected", "ticked"]
        assert events[1]["field"] == "timestamp"


class TestBook:
    def test_op_book_answers_with_the_book_and_takes_no_place_in_the_log(self):
        events = match(
            order("a1", "buy", "99.50", "5"),
            order("a2", "buy", "99", "7"),
            order("a3", "sell", "101", "3"),
            {"op": "book", "symbol": "ACME"},
            {"op": "book", "symbol": "ACME", "depth": 1},
            {"op": "tick"},
        )
        full = {"book": "ACME", "log_index": 4, "bids": [["99.50", "5"], ["99.00", "7"]], "asks": [["101.00", "3"]]}
        assert events[-3:-1] == [full, {**full, "bids": [["99.50", "5"]]}]
        assert events[-1]["log_index"] == 5

    def test_option_book_prints_the_final_book_last(self):
        events = match(order("a1", "buy", "99.50", "5"), arguments=("--instrument", ACME, "--book"))
        assert events[-1] == {"book": "ACME", "log_index": 2, "bids": [["99.50", "5"]], "asks": []}

    def test_a_book_of_no_instrument_is_refused(self):
        refused = match({"op": "book", "symbol": "ACNE"})[-1]
        assert (refused["event"], refused["reason"], refused["line"]) == ("command_rejected", "unknown_symbol", 1)
        assert "ACNE" in refused["detail"]

    @pytest.mark.parametrize("depth", [0, -1, 1.5, "5", True])
    def test_a_depth_that_is_none_is_refused(self, depth):
        refused = match({"op": "book", "symbol": "ACME", "depth": depth})[-1]
        assert (refused["event"], refused["reason"], refused["field"]) == ("command_rejected", "malformed", "depth")


class TestLinesThatAreNoCommand:
    @pytest.mark.parametrize(
        "line",
        [
            "",
            "   ",
            "no JSON",
            '{"op":"new"',
            "[]",
            "null",
            "17",
            '"new"',
            "{}",
            '{"op":7}',
            '{"op":"buy"}',
            '{"op":"new"}',
            '{"op":"cancel","account":"alice"}',
            '{"op":"tick","colour":"red"}',
            json.dumps(order("a1", "long", "1", "1")),
            json.dumps(order("a1", "buy", "1", "NaN")),
            json.dumps(order("a1", "buy", {}, "1")),
            json.dumps(order("a b", "buy", "1", "1")),
            '{"op":"new","quantity":1e400}',
            '{"op":"new","quantity":' + "9" * 5000 + "}",
            b'{"op":"tick\xff"}',
            b"\x00",
            "[" * 100_000,
            "x" * (MAX_LINE_BYTES + 1),
        ],
        ids=lambda line: repr(line)[:40],
    )
    def test_is_answered_and_stops_nothing(self, line):
        events = match(line, {"op": "tick"})
        assert kinds(events) == ["instrument_added", "command_rejected", "ticked"]
        refused = events[1]
        assert (refused["reason"], refused["line"]) == ("malformed", 1)
        assert refused["detail"]
        assert events[2]["log_index"] == 2, "it takes no place in the log"

    @given(st.lists(st.binary(max_size=200).map(lambda line: line.replace(b"\n", b" ")), max_size=20))
    def test_any_bytes_are_answered_line_by_line(self, lines):
        matcher = Matcher()
        for number, line in enumerate(lines, start=1):
            assert matcher.answer(Line(number, line))
        matcher.exchange.check()

    def test_a_wrong_instrument_spec_is_wrong_usage(self):
        result = CliRunner().invoke(
            app, ["match", "--instrument", "ACME,price_decimals=2,quantity_decimals=0,tick_size=x"], input=""
        )
        assert result.exit_code == 2
        assert "tick_size" in result.stderr
        assert result.stdout == ""


class TestLineReader:
    class Stream:
        def __init__(self, chunks):
            self.chunks = list(chunks)

        def read1(self, size=-1):
            return self.chunks.pop(0) if self.chunks else b""

    @given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.data())
    def test_lines_are_the_same_however_the_bytes_arrive(self, lines, data):
        text = b"\n".join(lines)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
        chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        read = [line for batch in read_batches(self.Stream(filter(None, chunks))) for line in batch]
        expected = text.split(b"\n")
        assert read == [Line(n, line) for n, line in enumerate(expected if expected[-1] else expected[:-1], start=1)]

    def test_a_line_that_is_too_long_is_passed_over_in_bounded_memory(self):
        chunks = [b"a\n", *[b"x" * CHUNK_BYTES] * (MAX_LINE_BYTES // CHUNK_BYTES + 2), b"x\nb\n"]
        read = [line for batch in read_batches(self.Stream(chunks)) for line in batch]
        assert read == [Line(1, b"a"), Line(2, None), Line(3, b"b")]


class TestAsAProcess:
    COMMAND = (sys.executable, "-m", "cli", "match", "--instrument", ACME)

    def test_each_line_is_answered_as_soon_as_it_is_written(self):
        with subprocess.Popen(self.COMMAND, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for quantity in ("1", "2"):
                process.stdin.write(json.dumps(order(f"a{quantity}", "buy", "1", quantity)).encode() + b"\n")
                process.stdin.flush()
                while (event := json.loads(process.stdout.readline()))["event"] == "instrument_added":
                    pass
                assert event["quantity"] == quantity
            process.stdin.close()
            assert process.wait(timeout=30) == 0

    def test_a_reader_that_goes_away_ends_it_quietly(self, tmp_path):
        commands = tmp_path / "commands.jsonl"
        commands.write_text('{"op":"tick"}\n' * 100_000)
        with (
            commands.open() as file,
            subprocess.Popen(
                self.COMMAND, cwd=PROJECT_ROOT, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
        ):
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == 141
