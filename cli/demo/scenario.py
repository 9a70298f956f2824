"""The whole demonstration: start, trade, kill, quiesce, stop, check."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from cli.demo.failovers import Failover, fail_over
from cli.demo.ledger import Ledger
from cli.demo.log_check import LogCheck, check_logs, read_log
from cli.demo.traders import Trader
from cli.local_cluster import ACME, LocalCluster
from raftbook.client import RaftbookClient
from raftbook.errors import ConfigError
from raftbook.node.config import InstrumentConfig, LimitsConfig
from raftbook.simulation.recorded_flow import read_recorded_flow
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from raftbook.engine.commands import Command

TRADERS_PER_NODE: Final = 2
MINIMUM_FAILOVERS: Final = 2
MAX_COMMANDS: Final = 500_000
"""So many fit with ease into logs that are never cut, which the check at the end needs."""
SNAPSHOT_ENTRIES: Final = 100
"""Often, so that a killed node is back soon; the log before a snapshot is kept all the same."""
KEPT_ENTRIES: Final = 1 << 40
START_DEADLINE_S: Final = 60.0
QUIESCE_DEADLINE_S: Final = 60.0
REFRESH_S: Final = 0.5
BOOK_DEPTH: Final = 5
RECORDED_LIFETIME_NS: Final = 600 * 10**9
"""Recorded commands wait out any failover, since the market's day makes no sense without one of them."""


class Plan(NamedTuple):
    """`data`: recorded order flow to replay instead of a generated one; `seconds` then only bounds it."""

    seconds: float | None
    kill_leader_every_s: float
    seed: int
    data: Path | None
    commands_per_s: float
    """Of all clients together, unless they replay `data`."""


@dataclass
class Progress:
    """What is to be seen while it runs."""

    started_at: float
    ledger: Ledger
    failovers: list[Failover] = field(default_factory=list)
    statuses: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)
    book: dict[str, Any] | None = None
    phase: str = "starting three nodes"
    recent_rate: float = 0.0
    """Commands per second, answered since the last refresh."""

    def enter_phase(self, phase: str) -> None:
        self.phase = phase


class Outcome(NamedTuple):
    seconds: float
    commands: int
    resubmitted: int
    failovers: tuple[Failover, ...]
    longest_gap_s: float
    log_index: int
    digests: dict[str, str]
    check: LogCheck

    @property
    def problems(self) -> list[str]:
        found = list(self.check.problems)
        if len(set(self.digests.values())) != 1:
            found.append(f"the digests at index {self.log_index} differ")
        if len(self.failovers) < MINIMUM_FAILOVERS:
            found.append(f"only {len(self.failovers)} failovers took place")
        return found


async def run_scenario(plan: Plan, folder: Path, show: Callable[[Progress], None]) -> Outcome:
    """Runs the demonstration in `folder`; `show` is called with what is new about twice a second."""
    symbol, instrument = ("ACME", ACME) if plan.data is None else _recorded_instrument(plan.data)
    limits = LimitsConfig(snapshot_entries=SNAPSHOT_ENTRIES, log_retain_entries=KEPT_ENTRIES)
    progress = Progress(time.monotonic(), Ledger())
    with LocalCluster(folder, name="demo", instruments=[instrument], limits=limits) as cluster:
        cluster.start()
        async with _shown(cluster, symbol, progress, show):
            await cluster.wait_for_leader(deadline_s=START_DEADLINE_S)
            await _trade(plan, symbol, cluster, progress)
            progress.phase = "waiting until all nodes stand at one index"
            index, _ = await cluster.wait_for_equal_state(deadline_s=QUIESCE_DEADLINE_S)
        seconds = time.monotonic() - progress.started_at
        digests = await _digests_at(cluster, index)
        await cluster.terminate()
        progress.phase = "replaying the logs"
        show(progress)
        logs = {node_id: read_log(cluster.data_folder(node_id)) for node_id in cluster.node_ids}
    check = check_logs(logs, digests, index, progress.ledger)
    gaps = (progress.ledger.longest_gap_s(failover.killed_at, failover.back_at) for failover in progress.failovers)
    return Outcome(
        seconds=seconds,
        commands=progress.ledger.commands,
        resubmitted=progress.ledger.resubmitted,
        failovers=tuple(progress.failovers),
        longest_gap_s=max(gaps, default=0.0),
        log_index=index,
        digests=digests,
        check=check,
    )


async def _trade(plan: Plan, symbol: str, cluster: LocalCluster, progress: Progress) -> None:
    """Order flow and failovers at the same time, until the time is up or the recorded flow has ended."""
    progress.phase = "trading"
    stop = asyncio.Event()
    async with RaftbookClient(cluster.url("n1")) as client:
        clients = {node_id: client.at(url) for node_id, url in cluster.urls.items()}
        traders = _traders(plan, symbol, clients, progress.ledger)
        trading = asyncio.gather(*(trader.run(stop) for trader in traders))
        killing = asyncio.create_task(_kill_leaders(plan, cluster, traders, progress, trading))
        try:
            await asyncio.wait((trading, killing), return_when=asyncio.FIRST_COMPLETED)
            await killing
            stop.set()
            progress.phase = "waiting for the last answers"
            await trading
        finally:
            for task in (killing, trading):
                task.cancel()
            await asyncio.gather(killing, trading, return_exceptions=True)


async def _kill_leaders(
    plan: Plan,
    cluster: LocalCluster,
    traders: list[Trader],
    progress: Progress,
    trading: asyncio.Future[Any],
) -> None:
    """Kills the leader every so often; returns when the run is to end, never before the least number of failovers."""
    is_recorded = plan.data is not None
    began_at = time.monotonic()
    end = began_at + plan.seconds if plan.seconds is not None else float("inf")
    every_s = plan.kill_leader_every_s
    if plan.seconds is not None:
        every_s = min(every_s, plan.seconds / (MINIMUM_FAILOVERS + 1))

    async def leave(node_id: str) -> None:
        # A recorded day goes through one client in order. A replace that is submitted twice would cost an order its
        # place, so that client goes before its node does; generated flow is hit as it comes.
        if is_recorded:
            await asyncio.gather(*(trader.leave(node_id) for trader in traders))

    def go_home(node_id: str) -> None:
        for trader in traders:
            if trader.home == node_id and not is_recorded:
                trader.go_home()

    while True:
        is_enough = len(progress.failovers) >= MINIMUM_FAILOVERS
        next_kill = began_at + (len(progress.failovers) + 1) * every_s
        if is_enough and (trading.done() or max(next_kill, time.monotonic()) >= end):
            break
        await asyncio.wait((trading,), timeout=max(0.0, next_kill - time.monotonic()))
        if trading.done() and (trading.exception() is not None or is_enough):
            break
        failover = await fail_over(cluster, before_kill=leave, after_return=go_home, tell=progress.enter_phase)
        progress.failovers.append(failover)
        progress.enter_phase("trading")
    await asyncio.wait((trading,), timeout=max(0.0, end - time.monotonic()) if end != float("inf") else None)


def _traders(plan: Plan, symbol: str, clients: Mapping[str, RaftbookClient], ledger: Ledger) -> list[Trader]:
    if plan.data is not None:
        # At the second node, so that it is a follower as likely as not.
        return [Trader("n2", clients, _recorded_commands(plan.data, symbol), ledger, float("inf"))]
    homes = [node_id for node_id in clients for _ in range(TRADERS_PER_NODE)]
    assert plan.seconds is not None
    rate = min(plan.commands_per_s, MAX_COMMANDS / plan.seconds) / len(homes)
    return [
        Trader(
            home,
            clients,
            OrderFlow(
                plan.seed + number,
                (symbol,),
                [f"trader-{number}-{name}" for name in ("a", "b", "c", "d")],
                client_order_id_prefix=f"{number}-",
            ),
            ledger,
            rate,
        )
        for number, home in enumerate(homes)
    ]


def _recorded_instrument(data: Path) -> tuple[str, InstrumentConfig]:
    """The file is named after its symbol: AMZN_flow_5.csv.gz."""
    if not data.is_file():
        raise ConfigError(f"there is no file {data}; --data takes recorded order flow such as AMZN_flow_5.csv.gz")
    symbol = data.name.split("_")[0].split(".")[0]
    return symbol, InstrumentConfig(symbol=symbol, price_decimals=4, tick_size="0.0001", lot_size="1")


def _recorded_commands(data: Path, symbol: str) -> Iterator[Command]:
    with gzip.open(data, "rt", newline="") if data.suffix == ".gz" else data.open(newline="") as lines:
        for recorded in read_recorded_flow(lines, symbol=symbol, account="recorded"):
            yield recorded.command._replace(not_after=time.time_ns() + RECORDED_LIFETIME_NS)


async def _digests_at(cluster: LocalCluster, index: int) -> dict[str, str]:
    async with RaftbookClient(cluster.url("n1")) as client:
        digests = {}
        for node_id, url in cluster.urls.items():
            node = await client.at(url).node(digest_at=index)
            digests[node_id] = str(node["digest_at"]["digest"])
        return digests


@contextlib.asynccontextmanager
async def _shown(cluster: LocalCluster, symbol: str, progress: Progress, show: Callable[[Progress], None]) -> Any:
    """While the body runs, looks at the nodes now and then, and shows."""
    watching = asyncio.create_task(_watch(cluster, symbol, progress, show))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(cluster: LocalCluster, symbol: str, progress: Progress, show: Callable[[Progress], None]) -> None:
    answered, at = 0, time.monotonic()
    async with httpx.AsyncClient(trust_env=False) as http:
        for round_number in itertools.count():
            progress.statuses = await cluster.statuses(http)
            alive = [node_id for node_id, status in progress.statuses.items() if status is not None]
            if alive:
                url = f"{cluster.url(alive[round_number % len(alive)])}/v1/book/{symbol}"
                with contextlib.suppress(
                    httpx.HTTPError
                ):  # It may have been killed since; the next round asks another.
                    response = await http.get(url, params={"depth": BOOK_DEPTH}, timeout=1.0)
                    progress.book = response.json() if response.is_success else progress.book
            now = time.monotonic()
            total = progress.ledger.outcomes.total()
            progress.recent_rate = (total - answered) / max(now - at, 1e-3)
            answered, at = total, now
            show(progress)
            await asyncio.sleep(REFRESH_S)
