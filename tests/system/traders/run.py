"""A whole run: real nodes, traders, leaders killed and restarted, and everything held against the nodes' logs."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.system.clients import wait_for
from tests.system.system_cluster import DEADLINE_S
from tests.system.traders.checks import check_against_logs, check_books, check_orders
from tests.system.traders.traders import Trader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.system_cluster import SystemCluster

START_S: Final = 1.0
"""Of undisturbed trading before the first kill and behind the last."""


class Figures(NamedTuple):
    clients: int
    kills: int
    seconds: float
    commands: int
    accepted: int
    rejected: int
    duplicates: int
    """Answers to a copy: the first had been executed, and its answer was lost."""
    executed_commands: int
    """In the log, copies included."""
    reconnections: int
    resumptions: int
    trades: int
    messages: int
    """Of books, to all clients."""
    longest_wait_s: float
    longest_gap_s: float
    """Between two answers, to whomever."""


async def run(
    cluster: SystemCluster,
    *,
    clients: int,
    seconds: float,
    kills: int,
    commands_per_s: float,
    seed: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Figures:
    """AssertionError where anything is lost, doubled, missing from a feed or different from the nodes'."""
    await cluster.start_and_elect()
    urls = list(cluster.urls.values())
    traders = [Trader(number, urls, seed=seed, commands_per_s=commands_per_s / clients) for number in range(clients)]
    stop, finished = asyncio.Event(), asyncio.Event()
    tell(f"{clients} clients trade at three nodes")
    began_at = time.monotonic()
    async with asyncio.timeout(seconds + 4 * DEADLINE_S), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(trader.run(stop, finished)) for trader in traders]
        await _kill_leaders(cluster, traders, kills, seconds, tell)
        await asyncio.sleep(max(0.0, began_at + seconds - time.monotonic()))
        stop.set()
        await wait_for(lambda: _all_answered(traders) or any(map(asyncio.Task.done, running)), "all answers")
        traded_s = time.monotonic() - began_at
        tell("all orders are answered; the books are compared")
        await cluster.wait_for_rest()
        await check_books(cluster, traders)
        await check_orders(cluster, traders)
        finished.set()
    executed_commands, trades = await check_against_logs(cluster, [r for trader in traders for r in trader.records])
    return _figures(traders, kills, traded_s, executed_commands, trades)


def _all_answered(traders: list[Trader]) -> bool:
    return all(record.attempts for trader in traders for record in trader.records)


async def _kill_leaders(
    cluster: SystemCluster, traders: list[Trader], kills: int, seconds: float, tell: Callable[[str], None]
) -> None:
    """Evenly over the time; each killed node is back, and a follower, before the next one goes."""
    pause_s = max(0.0, (seconds - 2 * START_S) / (kills + 1))
    await asyncio.sleep(START_S)
    for _ in range(kills):
        await asyncio.sleep(pause_s)
        await _progress(traders)
        leader = await cluster.wait_for_leader(deadline_s=DEADLINE_S)
        url = cluster.url(leader)
        await wait_for(lambda u=url: any(trader.waits_at(u) for trader in traders), "an order in the leader's hands")
        tell(f"kill -9 {leader}, which leads")
        cluster.kill(leader)
        successor = await cluster.wait_for_leader(deadline_s=DEADLINE_S, other_than=leader)
        tell(f"{successor} leads; {leader} starts again")
        await _progress(traders)
        cluster.start(leader)
        await cluster.wait_for_role(leader, "follower", "leader")
    await _progress(traders)


async def _progress(traders: list[Trader]) -> None:
    """Returns when each client has had an answer to something that it entered from now on."""
    since = time.monotonic()

    def has_progressed(trader: Trader) -> bool:
        for record in reversed(trader.records):
            if record.attempts:
                return record.attempts[0].sent_at >= since
        return False

    await wait_for(lambda: all(map(has_progressed, traders)), "an answer for every client")


def _figures(traders: list[Trader], kills: int, seconds: float, executed_commands: int, trades: int) -> Figures:
    attempts = [record.attempts[0] for trader in traders for record in trader.records]
    reports: list[dict[str, Any]] = [attempt.report for attempt in attempts if attempt.report is not None]
    answered = sorted(attempt.answered_at for attempt in attempts)
    return Figures(
        clients=len(traders),
        kills=kills,
        seconds=round(seconds, 1),
        commands=len(reports),
        accepted=sum(report["status"] == "accepted" for report in reports),
        rejected=sum(report["status"] == "rejected" for report in reports),
        duplicates=sum(bool(report.get("duplicate")) for report in reports),
        executed_commands=executed_commands,
        reconnections=sum(trader.reconnections for trader in traders),
        resumptions=sum(trader.resumptions for trader in traders),
        trades=trades,
        messages=sum(trader.book_messages.updates + trader.book_messages.snapshots for trader in traders),
        longest_wait_s=round(max(attempt.answered_at - attempt.sent_at for attempt in attempts), 2),
        longest_gap_s=round(max(b - a for a, b in itertools.pairwise(answered)), 2),
    )
