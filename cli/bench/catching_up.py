"""A node that was away while much was ordered, and a node that takes a snapshot of a large book."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from cli.bench.cluster import CONNECTIONS, START_DEADLINE_S, settled_leader
from cli.bench.load import LoadPlan, run_load
from cli.bench.measurement import (
    BATCH_COMMANDS,
    Announce,
    BenchmarkFailedError,
    Measurement,
    Scale,
)
from cli.bench.patient_clients import BATCH_COMMANDS as BATCH_COMMANDS_OF_CLIENTS
from cli.bench.patient_clients import PatientClients
from cli.bench.restoring import measure_restore
from cli.bench.spread import spread_ms
from cli.local_cluster import LocalCluster
from raftbook.node.config import LimitsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BEHIND_BY_LOG: Final = "catching up from the log"
SNAPSHOT: Final = "snapshot of a large book"
BEHIND_BY_SNAPSHOT: Final = "catching up by snapshot"

FILL_S: Final = 1800.0
CATCH_UP_DEADLINE_S: Final = 900.0
WARM_UP_BATCHES: Final = 60
SNAPSHOT_SHARE: Final = 500
"""Of the backlog: the number of entries behind which a snapshot is due, so that one comes soon after the filling."""
LEAST_SNAPSHOT_ENTRIES: Final = 50
FILLING_RUN: Final = 900
"""Keeps the names of its orders apart from those of other runs on the same cluster."""


class Return(NamedTuple):
    """How a node came back, and how the clients of the others fared before that and meanwhile."""

    seconds: float
    before_s: Sequence[float]
    before_span_s: float
    meanwhile_s: Sequence[float]
    statuses: dict[str, dict[str, Any]]


async def catch_up_from_log(cluster: LocalCluster, scale: Scale, announce: Announce) -> Measurement:
    """On a cluster that keeps its whole log."""
    announce(BEHIND_BY_LOG)
    leader = await settled_leader(cluster)
    absent = next(node_id for node_id in cluster.node_ids if node_id != leader)
    await cluster.terminate(absent)
    await fill(cluster, leader, scale.backlog, is_resting=False)
    back = await _come_back(cluster, absent, scale, run=FILLING_RUN + 1)
    return Measurement(
        BEHIND_BY_LOG,
        f"a follower is told to stop, {scale.backlog:,} commands of order flow go through the other two, it is started "
        "again; from then until it has applied what was committed a moment ago, by the leader's log, while clients "
        "trade at the other two",
        {"commands_behind": scale.backlog, **_figures(back, absent, BATCH_COMMANDS_OF_CLIENTS)},
    )


async def measure_snapshots(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    entries = max(LEAST_SNAPSHOT_ENTRIES, scale.backlog // SNAPSHOT_SHARE)
    limits = LimitsConfig(snapshot_entries=entries, log_retain_entries=entries // 4)
    with LocalCluster(folder / "snapshots", name="bench", limits=limits) as cluster:
        cluster.start()
        announce(SNAPSHOT)
        leader = await settled_leader(cluster)
        absent = next(node_id for node_id in cluster.node_ids if node_id != leader)
        await cluster.terminate(absent)
        await fill(cluster, leader, scale.backlog, is_resting=True)
        snapshot = await _snapshot(cluster, leader, absent, scale)
        announce(BEHIND_BY_SNAPSHOT)
        seen_bytes = {node_id: cluster.log_path(node_id).stat().st_size for node_id in cluster.node_ids}
        back = await _come_back(cluster, absent, scale, run=FILLING_RUN + 2)
        lost = sum(
            event["event"] == "peer_disconnected"
            for node_id in cluster.node_ids
            for event in log_events(cluster.log_path(node_id), seen_bytes[node_id])
        )
        await cluster.terminate()
        restore = await measure_restore(cluster, absent, scale, announce)
    if back.statuses[absent]["base_index"] <= 0:
        raise BenchmarkFailedError(f"{absent} caught up from the log, though a snapshot was to be measured")
    return [
        snapshot,
        Measurement(
            BEHIND_BY_SNAPSHOT,
            f"a follower is told to stop, {scale.backlog:,} orders are entered that rest, the log it needs is "
            "compacted, it is started again; from then until it has applied what was committed a moment ago, by a "
            "snapshot from the leader, while clients trade at the other two. Connections lost: between any two nodes",
            {
                "commands_behind": scale.backlog,
                **_figures(back, absent, BATCH_COMMANDS_OF_CLIENTS),
                "connections_lost": lost,
            },
        ),
        restore,
    ]


async def fill(cluster: LocalCluster, leader: str, commands: int, *, is_resting: bool) -> None:
    """So many commands, through the leader, as fast as they go."""
    result = await run_load(
        LoadPlan(
            addresses=(cluster.config.node(leader).api_address,),
            connections=CONNECTIONS,
            batch_commands=BATCH_COMMANDS,
            seconds=FILL_S,
            warm_up_s=0.0,
            run=FILLING_RUN,
            most_commands=commands,
            is_resting=is_resting,
        )
    )
    if is_resting and result.refused:
        raise BenchmarkFailedError(f"{result.refused} orders were refused that were to rest")


async def _snapshot(cluster: LocalCluster, leader: str, absent: str, scale: Scale) -> Measurement:
    """Waits until both running nodes have written one with all those orders in it, under the load of clients."""
    running = [node_id for node_id in cluster.node_ids if node_id != absent]
    statuses = await _statuses(cluster, running)
    filled_index = max(status["applied_index"] for status in statuses.values())
    clients = PatientClients({node_id: cluster.url(node_id) for node_id in running}, run=FILLING_RUN)
    written: dict[str, dict[str, Any]] = {}
    began_at = time.monotonic()
    async with clients.trading():
        while len(written) < len(running):
            if time.monotonic() - began_at > CATCH_UP_DEADLINE_S:
                raise BenchmarkFailedError(f"no snapshot was written in {CATCH_UP_DEADLINE_S:g} s")
            await clients.more_answers(1)
            for node_id in running:
                for event in log_events(cluster.log_path(node_id)):
                    if event["event"] == "snapshot written" and event["index"] >= filled_index:
                        written.setdefault(node_id, event)
    (follower,) = (node_id for node_id in running if node_id != leader)
    batch_times_s = clients.times_s(began_at, time.monotonic())
    return Measurement(
        SNAPSHOT,
        f"{scale.backlog:,} resting orders, two node processes that write a snapshot of them while clients trade. "
        "Stall: for so long the node's loop did nothing at all, from before the fork until the log is compacted, as "
        "the node itself says (`snapshot written` in its log); what other processes take of the processors is in it. "
        "Fork: what the longest took of the processor, which is all that a snapshot takes of the loop",
        {
            "leader_longest_stall_ms": written[leader]["longest_stall_ms"],
            "follower_longest_stall_ms": written[follower]["longest_stall_ms"],
            "fork_cpu_ms": max(event["fork_cpu_ms"] for event in written.values()),
            "child_took_s": max(event["took_s"] for event in written.values()),
            "size_bytes": written[leader]["size_bytes"],
            **spread_ms(batch_times_s, "clients_"),
        },
    )


async def _come_back(cluster: LocalCluster, absent: str, scale: Scale, *, run: int) -> Return:
    """Clients trade at the others for a while; then the node starts, until it is ready."""
    others = [node_id for node_id in cluster.node_ids if node_id != absent]
    clients = PatientClients({node_id: cluster.url(node_id) for node_id in others}, run=run)

    def is_back(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
        status = statuses[absent]
        return (status is not None and status["ready"]) or None

    async with clients.trading():
        await clients.more_answers(WARM_UP_BATCHES)
        began_at = time.monotonic()
        while time.monotonic() < began_at + scale.seconds:
            await clients.more_answers(1)
        started_at = time.monotonic()
        cluster.start(absent)
        await cluster.wait_until(is_back, deadline_s=CATCH_UP_DEADLINE_S, awaited=f"{absent} to catch up")
        ended_at = time.monotonic()
    if clients.failed:
        raise BenchmarkFailedError(f"{clients.failed} orders had no answer while {absent} caught up")
    return Return(
        ended_at - started_at,
        clients.times_s(began_at, started_at),
        started_at - began_at,
        clients.times_s(started_at, ended_at),
        await _statuses(cluster, cluster.node_ids),
    )


def _figures(back: Return, absent: str, batch_commands: int) -> dict[str, float]:
    others = [status for node_id, status in back.statuses.items() if node_id != absent]
    return {
        "caught_up_s": round(back.seconds, 3),
        "its_longest_stall_ms": back.statuses[absent]["longest_stall_ms"],
        "others_longest_stall_ms": max(status["longest_stall_ms"] for status in others),
        "others_orders_per_s_before": round(batch_commands * len(back.before_s) / back.before_span_s),
        "others_orders_per_s_meanwhile": round(batch_commands * len(back.meanwhile_s) / back.seconds),
        **spread_ms(back.before_s, "others_before_"),
        **spread_ms(back.meanwhile_s, "others_meanwhile_"),
    }


async def _statuses(cluster: LocalCluster, node_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False, timeout=START_DEADLINE_S) as client:
        return {node_id: (await client.get(f"{cluster.url(node_id)}/v1/node")).json() for node_id in node_ids}


def log_events(path: Path, offset: int = 0) -> list[dict[str, Any]]:
    """What a node has logged since its log was `offset` bytes long; lines that are no events are passed over."""
    with path.open("rb") as file:
        file.seek(offset)
        return [json.loads(line) for line in file if line.startswith(b"{") and line.endswith(b"}\n")]
