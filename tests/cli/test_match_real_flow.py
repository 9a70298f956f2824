"""A whole day of real order flow through `raftbook match`, as a user would run it: as a process, over pipes."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def command_of(row, quantities, filled):
    """One row of the flow as a command; `quantities` and `filled` hold each order's, and are kept up to date."""
    identity = {"account": "amzn", "client_order_id": row["id"]}
    quantity = int(row["qty"])
    if row["op"] in ("new", "ioc"):
        quantities[row["id"]] = quantity
        if row["op"] == "ioc":
            filled[row["maker"]] = filled.get(row["maker"], 0) + quantity
        return {
            "op": "new",
            **identity,
            "symbol": "AMZN",
            "side": row["side"],
            "order_type": "limit",
            "time_in_force": "ioc" if row["op"] == "ioc" else "gtc",
            "price": decimal_price(int(row["price"])),
            "quantity": str(quantity),
        }
    if row["op"] == "reduce":
        quantities[row["id"]] -= quantity
        if quantities[row["id"]] > filled.get(row["id"], 0):
            return {"op": "replace", **identity, "quantity": str(quantities[row["id"]])}
    return {"op": "cancel", **identity}


def expected_book(line):
    """(bids, asks) of one line of the book file: pairs of price and quantity as decimal strings, best first."""
    values = [int(value) for value in line.split(",")]
    sides = {"asks": [], "bids": []}
    for level in itertools.batched(values, 4) if sys.version_info >= (3, 12) else zip(*[iter(values)] * 4, strict=True):
        ask_price, ask_size, bid_price, bid_size = level
        for side, price, size in (("asks", ask_price, ask_size), ("bids", bid_price, bid_size)):
            if abs(price) != NO_PRICE:
                sides[side].append([decimal_price(price), str(size)])
    return sides


@pytest.fixture(scope="module")
def flow(order_flow_data):
    with gzip.open(order_flow_data / FLOW_FILE, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def output(flow, tmp_path_factory):
    """The answers of `raftbook match` to the flow, a question for the book after the last command of each row."""
    quantities, filled = {}, {}
    commands = tmp_path_factory.mktemp("match") / "commands.jsonl"
    with commands.open("w") as file:
        for _, rows in itertools.groupby(flow, key=lambda row: row["row"]):
            for row in rows:
                file.write(json.dumps(command_of(row, quantities, filled)) + "\n")
            file.write('{"op":"book","symbol":"AMZN","depth":5}\n')
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
        (row["id"], row["maker"], decimal_price(int(row["price"])), row["qty"]) for row in flow if row["op"] == "ioc"
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
