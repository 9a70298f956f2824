"""The first 20,000 commands of a real day through three real nodes, whose leader is killed half-way."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from raftbook.engine.commands import AddInstrument
from raftbook.engine.events import Trade
from raftbook.json_format import command_to_json, dumps, report_to_json
from raftbook.node.config import InstrumentConfig
from raftbook.simulation.recorded_flow import read_recorded_flow
from tests.system.clients import Clients, wait_for
from tests.system.log_checks import replay
from tests.system.raftbook_command import command_of, environment, raftbook
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from raftbook.simulation.recorded_flow import RecordedCommand

FLOW_FILE = "AMZN_flow_5.csv.gz"
BOOK_FILE = "AMZN_2012-06-21_34200000_57600000_orderbook_5.csv.gz"
COMMANDS = 20_000
LEVELS = 5
NO_PRICE = 9_999_999_999
AMZN = InstrumentConfig(symbol="AMZN", price_decimals=4, tick_size="0.0001", lot_size="1")
HOUR_NS = 3600 * 10**9


@pytest.fixture
def flow(order_flow_data: Path) -> list[RecordedCommand]:
    """The commands up to the end of the row that holds the 20,000th."""
    with gzip.open(order_flow_data / FLOW_FILE, "rt", newline="") as lines:
        recorded = read_recorded_flow(lines, symbol="AMZN", account="amzn")
        first = list(itertools.islice(recorded, COMMANDS))
        rest_of_row = itertools.takewhile(lambda command: command.row == first[-1].row, recorded)
        return first + list(rest_of_row)


@pytest.fixture
def expected_book(order_flow_data: Path, flow: list[RecordedCommand]) -> dict[str, list[list[str]]]:
    """The best levels after the last command, as Nasdaq had them."""
    with gzip.open(order_flow_data / BOOK_FILE, "rt") as lines:
        line = next(itertools.islice(lines, flow[-1].row - 1, None))
    values = [int(value) for value in line.split(",")]
    book: dict[str, list[list[str]]] = {"bids": [], "asks": []}
    for place in range(0, len(values), 4):
        for side, (price, size) in (("asks", values[place : place + 2]), ("bids", values[place + 2 : place + 4])):
            if abs(price) != NO_PRICE:
                book[side].append([f"{price // 10_000}.{price % 10_000:04d}", str(size)])
    return book


async def test_the_leader_is_killed_half_way_and_every_book_is_nasdaqs(make_cluster, tmp_path, flow, expected_book):
    cluster = make_cluster(instruments=[AMZN])
    leader = await cluster.start_and_elect()
    follower, _ = cluster.others(leader)

    file, reports_file = tmp_path / "commands.jsonl", tmp_path / "reports.jsonl"
    # The test is of failover, not of lateness: on a busy machine an election may take longer than an order lives.
    not_after = time.time_ns() + HOUR_NS
    sent = [recorded.command._replace(not_after=not_after) for recorded in flow]
    file.write_bytes(b"".join(dumps(command_to_json(command)) + b"\n" for command in sent))

    with submitting(file, reports_file, cluster.url(follower)) as process:
        await wait_for(lambda: line_count(reports_file) >= len(sent) // 2, "half of the reports", 2 * DEADLINE_S)
        cluster.kill(leader)
        assert process.poll() is None, "the leader was to be killed half-way, but the input is through already"
        assert line_count(reports_file) < len(sent)
        await cluster.wait_for_leader_among(*cluster.others(leader))
        cluster.start(leader)
        await wait_for(lambda: process.poll() is not None, "the end of raftbook submit", 2 * DEADLINE_S)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert process.returncode == 0, said
    assert f"{len(sent):,} accepted" in said
    reports = [json.loads(line) for line in reports_file.read_bytes().splitlines()]

    index, digest = await cluster.wait_for_rest()
    verified = raftbook("verify", "--url", cluster.url(follower), "--output", "json", folder=tmp_path)
    assert verified.returncode == 0, verified.stderr
    verification = json.loads(verified.stdout)
    assert verification["agree"]
    assert verification["odd"] == verification["missing"] == []
    async with Clients(cluster) as clients:
        for node_id in cluster.node_ids:
            book = (await clients.read(node_id, "/v1/book/AMZN", depth=str(LEVELS))).json()
            assert {side: book[side] for side in ("bids", "asks")} == expected_book, f"the book of {node_id}"

    assert await cluster.terminate() == {"n1": 0, "n2": 0, "n3": 0}
    for node_id in cluster.node_ids:
        log = replay(node_id, cluster.data_folder(node_id), index)
        assert log.is_whole
        assert (log.state.index, log.state.chain_digest.hex()) == (index, digest)
        log.state.exchange.check()
        executed = [one for one in log.executed if not isinstance(one.command, AddInstrument)]
        assert [one.command for one in executed] == sent, f"{node_id}: each command once, in the order of the file"
        assert reports == [as_reported(one.execution, log) for one in executed]
        assert [makers_of(one.execution) for one in executed] == [
            [] if recorded.expected_maker is None else [recorded.expected_maker] for recorded in flow
        ]


def as_reported(execution, log):
    report = report_to_json(execution.origin, execution.sequence, execution, log.state.exchange.instruments)
    return json.loads(dumps(report))


def makers_of(execution):
    return [event.maker_client_order_id for event in execution.events if isinstance(event, Trade)]


@contextmanager
def submitting(file: Path, reports_file: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """`raftbook submit --file`, which writes its reports to `reports_file`; ended with the context."""
    command = command_of("submit", "--file", str(file), "--url", url, "--output", "json")
    with reports_file.open("wb") as reports:
        process = subprocess.Popen(
            command,
            cwd=file.parent,
            env=environment(),
            stdout=reports,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()
        process.wait()


def line_count(file: Path) -> int:
    return file.read_bytes().count(b"\n")
