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
