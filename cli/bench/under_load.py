"""Nodes that are killed, or told to leave, while clients trade at all of them; at the end the logs are asked."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final

from cli.bench.cluster import EQUAL_STATE_DEADLINE_S, START_DEADLINE_S, all_ready, settled_leader
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale, milliseconds
from cli.bench.patient_clients import BATCH_COMMANDS, CLIENTS, PATIENCE_S, WAIT_S, PatientClients
from cli.bench.spread import spread_ms
from cli.demo.ledger import Ledger
from cli.demo.log_check import check_logs, read_log

if TYPE_CHECKING:
    from cli.local_cluster import LocalCluster

KILLED_UNDER_LOAD: Final = "failover under load"
ROLLING_RESTART: Final = "rolling restart under load"
STEPS: Final = (KILLED_UNDER_LOAD, ROLLING_RESTART)

REPETITIONS_A_ROUND: Final = 5
"""Of failovers, for each rolling restart: every restart replays all that was ordered so far."""
LOAD_BATCHES: Final = 10 * CLIENTS
"""So many are answered before each blow, so that all is as under a load that has lasted."""
LOAD: Final = (
    f"three node processes with fsync; {CLIENTS} clients go from node to node, each with one request of "
    f"{BATCH_COMMANDS} orders under way and its next after a short pause"
)


async def measure_under_load(cluster: LocalCluster, scale: Scale, announce: Announce) -> list[Measurement]:
    """On a cluster that has ordered nothing yet and keeps its whole log, which is held against all that was told."""
    rounds = math.ceil(scale.repetitions / REPETITIONS_A_ROUND)
    announce(KILLED_UNDER_LOAD)
    killing = PatientClients(cluster.urls, run=0)
    times_s = await _kill_leaders(cluster, killing, scale.repetitions)
    announce(ROLLING_RESTART)
    restarting = PatientClients(cluster.urls, run=1)
    gaps_s, longest_absence_s = await _restart_in_turn(cluster, restarting, rounds)
    orders, contradictions = await _check_against_logs(cluster, killing, restarting)
    if contradictions:
        raise BenchmarkFailedError(f"the logs do not say what the clients were told: {'; '.join(contradictions)}")
    return [
        Measurement(
            KILLED_UNDER_LOAD,
            f"{LOAD}; {scale.repetitions} times SIGKILL to the leader, which starts again when the others have "
            "recovered; from SIGKILL until the first answer to orders that were sent after it",
            {
                **spread_ms(times_s),
                "repetitions": scale.repetitions,
                "commands_answered": len(killing.ledger.answers),
                "commands_resubmitted": killing.in_doubt,
                "commands_failed": killing.failed,
            },
        ),
        Measurement(
            ROLLING_RESTART,
            f"{LOAD}; {rounds} times every node in turn: SIGTERM, start, wait until it has caught up. "
            f"Failed: no definite answer in {PATIENCE_S:g} s. In doubt: sent to a node, and neither answered there in "
            f"{WAIT_S:g} s nor refused. The logs of all nodes, {orders} orders replayed, bear every answer out",
            {
                "commands_answered": len(restarting.ledger.answers),
                "commands_failed": restarting.failed,
                "commands_in_doubt": restarting.in_doubt,
                "commands_refused_and_sent_elsewhere": restarting.refused,
                "longest_gap_between_answers_ms": milliseconds(max(gaps_s)),
                "longest_absence_of_a_node_ms": milliseconds(longest_absence_s),
                "restarts": len(gaps_s),
            },
        ),
    ]


async def _kill_leaders(cluster: LocalCluster, clients: PatientClients, repetitions: int) -> list[float]:
    times_s = []
    await settled_leader(cluster)
    async with clients.trading():
        for _ in range(repetitions):
            leader = await settled_leader(cluster)
            await clients.more_answers(LOAD_BATCHES)
            killed_at = time.monotonic()
            await asyncio.to_thread(cluster.kill, leader)
            times_s.append(await clients.first_answer_after(killed_at) - killed_at)
            await clients.more_answers(LOAD_BATCHES)
            cluster.start(leader)
            await cluster.wait_until(all_ready, deadline_s=START_DEADLINE_S, awaited="the killed leader to follow")
    return times_s


async def _restart_in_turn(cluster: LocalCluster, clients: PatientClients, rounds: int) -> tuple[list[float], float]:
    """(longest gap between answers around each restart, longest time from SIGTERM until a node was ready again)."""
    gaps_s = []
    longest_absence_s = 0.0
    await settled_leader(cluster)
    async with clients.trading():
        for node_id in cluster.node_ids * rounds:
            await clients.more_answers(LOAD_BATCHES)
            began_at = time.monotonic()
            codes = await cluster.terminate(node_id)
            if codes != {node_id: 0}:
                raise BenchmarkFailedError(f"{node_id} did not leave in order: exit code {codes[node_id]}")
            cluster.start(node_id)
            await cluster.wait_until(all_ready, deadline_s=START_DEADLINE_S, awaited=f"{node_id} to be back")
            ended_at = time.monotonic()
            longest_absence_s = max(longest_absence_s, ended_at - began_at)
            await clients.more_answers(CLIENTS)
            gaps_s.append(clients.longest_gap_s(began_at, ended_at))
    return gaps_s, longest_absence_s


async def _check_against_logs(cluster: LocalCluster, *runs: PatientClients) -> tuple[int, list[str]]:
    """(orders in the logs, what in them contradicts the clients)."""
    index, digest = await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)

    def check() -> tuple[int, list[str]]:
        together = Ledger()
        for clients in runs:
            together.answers += clients.ledger.answers
            together.submitted_orders |= clients.ledger.submitted_orders
        logs = {node_id: read_log(cluster.data_folder(node_id)) for node_id in cluster.node_ids}
        found = check_logs(logs, dict.fromkeys(cluster.node_ids, digest), index, together)
        return found.orders, list(found.problems)

    return await asyncio.to_thread(check)
