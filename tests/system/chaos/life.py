"""One seed, lived through: a cluster of real processes under load, its faults, its healing, and what must hold then.

After the last fault everything heals. Then every node must execute an order within LIVENESS_S, all nodes must come to
rest in the same state, and their logs are held to the clients' records.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import traceback
from typing import TYPE_CHECKING, Final

from tests.system.chaos.chaos import Chaos
from tests.system.chaos.chaos_cluster import ChaosCluster
from tests.system.chaos.observer import Observer
from tests.system.chaos.outcome import Outcome
from tests.system.chaos.watching import watching
from tests.system.clients import POLL_S, Clients, new_order
from tests.system.log_checks import ReplayedLog, check_against_logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.system.chaos.capabilities import Capabilities
    from tests.system.chaos.schedule import Schedule

LIVENESS_S: Final = 20.0
"""From the moment in which everything is whole, and every process started, to an execution at every node.

An election takes a second; the start of processes on a busy machine takes the rest.
"""


async def live(
    schedule: Schedule,
    folder: Path,
    capabilities: Capabilities,
    *,
    node_count: int,
    sabotage: Callable[[ChaosCluster], Awaitable[None]] | None = None,
) -> Outcome:
    """Live through the schedule in `folder`. Whatever goes wrong is in the outcome's `violations`.

    `sabotage` is called when all faults have healed, and does what no cluster survives: to see the checks fail.
    """
    outcome = Outcome(schedule.seed)
    began = time.monotonic()
    cluster = ChaosCluster(folder, node_count=node_count, capabilities=capabilities, witness=schedule.witness)
    with cluster:
        try:
            await _live(schedule, cluster, capabilities, outcome, sabotage)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the seed has found)
            outcome.violations.append("".join(traceback.format_exception(error, limit=-4)))
        for node_id in cluster.node_ids:
            cluster.judge_if_ended(node_id)
        outcome.violations += cluster.violations
        if outcome.violations:
            cluster.keep_disks()
        outcome.ends = cluster.ends
    outcome.duration_s = time.monotonic() - began
    return outcome


async def _live(
    schedule: Schedule,
    cluster: ChaosCluster,
    capabilities: Capabilities,
    outcome: Outcome,
    sabotage: Callable[[ChaosCluster], Awaitable[None]] | None,
) -> None:
    leader = await cluster.start_and_elect()
    async with Clients(cluster, count=len(cluster.node_ids) + 1, seed=schedule.seed) as clients:
        observer = Observer(leader)
        chaos = Chaos(cluster, observer, capabilities, outcome)
        try:
            async with clients.trading():
                await clients.progress()
                began = time.monotonic()
                async with chaos.minding_nodes(), watching(cluster, clients, observer):
                    await chaos.run(schedule)
                    chaos.heal()
                    outcome.liveness_s = await live_again(cluster, clients)
                outcome.longest_gap_s = _longest_gap_s(clients, began, time.monotonic())
                if sabotage is not None:
                    await sabotage(cluster)
        finally:
            outcome.violations += observer.violations
            outcome.observations, outcome.fresh_reads = observer.observations, observer.fresh_reads
        logs = await check_against_logs(cluster, clients)
        _check_log_time(logs)
        outcome.submissions = len(clients.records)


async def live_again(cluster: ChaosCluster, clients: Clients, *, bound_s: float = LIVENESS_S) -> float:
    """Seconds until every node has executed an order entered at it; an assertion fails where that takes too long."""
    began = time.monotonic()

    async def execute_an_order(node_id: str) -> None:
        for number in itertools.count(1):
            order = new_order("probe", f"probe-{node_id}-{number}", "buy", "1.00")
            report = None
            while report is None:
                assert time.monotonic() - began < bound_s, f"{node_id} executes nothing {bound_s:g} s after healing"
                attempt = await clients.enter(node_id, order, wait_s=1.0)
                if attempt.outcome == "definite":
                    report = attempt.report
                else:
                    await asyncio.sleep(POLL_S)
            if report["status"] == "accepted":
                return
            # When log time jumps, with a leader whose clock is ahead, what was entered just before has expired.
            assert report["reason"] == "submission_expired", report

    async with asyncio.TaskGroup() as probes:
        for node_id in cluster.node_ids:
            probes.create_task(execute_an_order(node_id))
    took_s = time.monotonic() - began
    assert took_s < bound_s, f"{took_s:.1f} s from the healing to an execution at every node"
    return took_s


def _longest_gap_s(clients: Clients, began: float, ended: float) -> float:
    answered = (a.answered_at for record in clients.records for a in record.attempts if a.outcome == "definite")
    times = [began, *sorted(at for at in answered if began < at < ended), ended]
    return max(after - before for before, after in itertools.pairwise(times))


def _check_log_time(logs: list[ReplayedLog]) -> None:
    """Whatever the clocks of the leaders did, time in the log never falls."""
    for log in logs:
        times = [execution.timestamp for _, execution in log.executed]
        assert times == sorted(times), f"{log.node_id}: log time falls"
