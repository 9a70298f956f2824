"""A whole day of real order flow through `raftbook match`, as a user would run it: as a process, over pipes."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raftbook.json_format import command_to_json, dumps
from raftbook.simulation.recorded_flow import read_recorded_flow

PROJECT_ROOT = Path(__file__).resolve().parents[2]
FLOW_FILE = "AMZN_flow_5.csv.gz"
BOOK_FILE = "AMZN_2012-06-21_34200000_57600000_orderbook_5.csv.gz"
SPEC = "AMZN,price_decimals=4,quantity_decimals=0,tick_size=0.0001,lot_size=1"

COMMANDS = 176_918
TRADES = 8_974
BOOK_LINES = 155_935
NO_PRICE = 9_999_999_999


def decimal_price(ten_thousandths):
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"


def expected_book(line):
    """(bids, asks) of one line of the book file: pairs of price and quantity as decimal strings, best first."""
    values = [int(value) for value in line.split(",")]
    sides = {"asks": [], "bids": []}
    for first in range(0, len(values), 4):
        ask_price, ask_size, bid_price, bid_size = values[first : first + 4]
        for side, price, size in (("asks", ask_price, ask_size), ("bids", bid_price, bid_size)):
            if abs(price) != NO_PRICE:
                sides[side].append([decimal_price(price), str(size)])
    return sides


@pytest.fixture(scope="module")
def flow(order_flow_data):
    with gzip.open(order_flow_data / FLOW_FILE, "rt", newline="") as file:
        return list(read_recorded_flow(file, symbol="AMZN", account="amzn"))


@pytest.fixture(scope="module")
def output(flow, tmp_path_factory):
    """The answers of `raftbook match` to the flow, with a question for the book after the last command of each row."""
    commands = tmp_path_factory.mktemp("match") / "commands.jsonl"
    by_row = {row: list(recorded) for row, recorded in itertools.groupby(flow, key=lambda recorded: recorded.row)}
    with commands.open("wb") as file:
        for row in range(1, BOOK_LINES + 1):
            for recorded in by_row.get(row, ()):
                file.write(dumps(command_to_json(recorded.command)) + b"\n")
            file.write(b'{"op":"book","symbol":"AMZN","depth":5}\n')
    with commands.open() as file:
        finished = subprocess.run(
            [sys.executable, "-m", "cli", "match", "--instrument", SPEC, "--book"],
            cwd=PROJECT_ROOT,
            stdin=file,
            capture_output=True,
            timeout=120,
            check=False,
        )
    assert finished.returncode == 0, finished.stderr.decode()
    assert finished.stderr == b""
    return [json.loads(line) for line in finished.stdout.splitlines()]


@pytest.fixture(scope="module")
def events(output):
    return [value for value in output if "event" in value]


def test_the_whole_day_is_in_the_file(flow):
    assert len(flow) == COMMANDS


def test_no_command_is_refused(events):
    assert [event for event in events if event["event"].endswith("_rejected")] == []


def test_each_command_is_an_entry_of_the_log_after_the_one_that_adds_the_instrument(events):
    assert list(dict.fromkeys(event["log_index"] for event in events)) == list(range(1, COMMANDS + 2))


def test_the_symbol_s_sequence_has_no_gap(events):
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))


def test_every_ioc_trades_once_with_the_maker_named_for_its_whole_quantity(flow, events):
    expected = [
        (order.client_order_id, maker, decimal_price(order.price.mantissa), str(order.quantity.mantissa))
        for _, order, maker in flow
        if maker is not None
    ]
    trades = [
        (event["taker_client_order_id"], event["maker_client_order_id"], event["price"], event["quantity"])
        for event in events
        if event["event"] == "trade"
    ]
    assert len(trades) == TRADES
    assert trades == expected


def test_every_book_line_is_equal(order_flow_data, output):
    books = [value for value in output if "book" in value]
    with gzip.open(order_flow_data / BOOK_FILE, "rt") as file:
        expected = [expected_book(line) for line in file]
    assert len(expected) == BOOK_LINES
    assert len(books) == BOOK_LINES + 1, "one answer for each row, and the final book"
    differing = [
        (number, book, line)
        for number, (book, line) in enumerate(zip(books, expected, strict=False), start=1)
        if book["bids"] != line["bids"] or book["asks"] != line["asks"]
    ]
    assert differing == []


def test_the_final_book_is_the_last_line_and_holds_every_level(output, events):
    final = output[-1]
    assert final["book"] == "AMZN"
    assert final["log_index"] == events[-1]["log_index"]
    assert final["bids"][:5] == output[-2]["bids"]
    assert final["asks"][:5] == output[-2]["asks"]
