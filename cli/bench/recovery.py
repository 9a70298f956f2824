"""How long it takes until all is well again: a dead leader, a restart, a replay."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from cli.bench.cluster import EQUAL_STATE_DEADLINE_S, SCENARIOS, START_DEADLINE_S, all_ready, load_plan, settled_leader
from cli.bench.load import run_load
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale, milliseconds, percentile
from cli.demo.log_check import read_log
from cli.local_cluster import LocalCluster
from raftbook.node.config import LimitsConfig
from raftbook.replication.raft_core import REGULAR_COMMAND
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from pathlib import Path

    from cli.demo.log_check import LogEntry

STEPS: Final = ("failover", "replay of a log", "restart of all nodes")
NO_SNAPSHOTS: Final = 1 << 40
"""So that a log holds everything from the first entry on, which makes the restart the slowest that there is."""
REQUEST_DEADLINE_S: Final = 30.0


async def measure_recovery(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    limits = LimitsConfig(snapshot_entries=NO_SNAPSHOTS, log_retain_entries=NO_SNAPSHOTS)
    with LocalCluster(folder / "recovery", name="bench", limits=limits) as cluster:
        cluster.start()
        announce(STEPS[0])
        failover = await _failovers(cluster, scale)
        announce(STEPS[1])
        leader = await settled_leader(cluster)
        await run_load(load_plan(cluster, leader, SCENARIOS[0], scale, 0))
        index, digest = await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)
        await cluster.terminate()
        replay = await asyncio.to_thread(_replay, cluster.data_folder("n1"), index, digest)
        announce(STEPS[2])
        restart = await _restart(cluster, index)
        await cluster.terminate()
    return [failover, replay, restart]


async def _failovers(cluster: LocalCluster, scale: Scale) -> Measurement:
    times_s = []
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_DEADLINE_S) as client:
        for repetition in range(scale.repetitions):
            leader = await settled_leader(cluster)
            survivors = [node_id for node_id in cluster.node_ids if node_id != leader]
            url = cluster.url(survivors[repetition % len(survivors)])
            await _enter(client, url, f"before-{repetition}")
            killed_at = time.perf_counter()
            cluster.kill(leader)
            await _enter(client, url, f"after-{repetition}")
            times_s.append(time.perf_counter() - killed_at)
            cluster.start(leader)
    return Measurement(
        STEPS[0],
        f"{scale.repetitions} times SIGKILL to the leader of three nodes that are otherwise idle; from then until an "
        "order that is entered right after it, at a surviving node, is answered as executed",
        {
            "p50_ms": milliseconds(percentile(times_s, 0.5)),
            "max_ms": milliseconds(max(times_s)),
            "repetitions": scale.repetitions,
        },
    )


async def _enter(client: httpx.AsyncClient, url: str, client_order_id: str) -> None:
    order = {
        "symbol": "ACME",
        "account": "bench",
        "client_order_id": client_order_id,
        "side": "buy",
        "order_type": "limit",
        "time_in_force": "gtc",
        "price": "1.00",
        "quantity": "1",
    }
    try:
        response = await client.post(f"{url}/v1/orders", json=order)
    except httpx.HTTPError as error:
        raise BenchmarkFailedError(f"the surviving node at {url} did not answer: {error!r}") from error
    if response.status_code != httpx.codes.OK:
        raise BenchmarkFailedError(
            f"the surviving node at {url} answered {response.status_code}: {response.text[:300]}"
        )


def _replay(folder: Path, index: int, digest: str) -> Measurement:
    began_at = time.perf_counter()
    entries = read_log(folder)
    read_s = time.perf_counter() - began_at
    began_at = time.perf_counter()
    commands = 0
    state = StateMachine()
    for entry in entries:
        if entry.log_index <= index:
            commands += _apply(state, entry)
    apply_s = time.perf_counter() - began_at
    if state.chain_digest.hex() != digest:
        raise BenchmarkFailedError(f"the log in {folder} replayed gives another digest than the node had")
    return Measurement(
        STEPS[1],
        "the write-ahead log of a node that was stopped after batches at a follower, read, checked and run through "
        "the state machine, without a snapshot; ends at the node's own digest",
        {
            "commands_per_s": round(commands / (read_s + apply_s)),
            "commands": commands,
            "entries": len(entries),
            "read_ms": milliseconds(read_s),
            "apply_ms": milliseconds(apply_s),
        },
    )


def _apply(state: StateMachine, entry: LogEntry) -> int:
    if entry.command[:1] != REGULAR_COMMAND:
        state.advance(entry.log_index)
        return 0
    return len(state.apply(entry.log_index, entry.command[1:]))


async def _restart(cluster: LocalCluster, index: int) -> Measurement:
    def all_back(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
        return all_ready(statuses) and (
            all(status is not None and status["applied_index"] >= index for status in statuses.values()) or None
        )

    began_at = time.perf_counter()
    cluster.start()
    await cluster.wait_until(all_back, deadline_s=START_DEADLINE_S, awaited="all nodes to be back")
    return Measurement(
        STEPS[2],
        "all three started again on the same log, without a snapshot; from starting the processes until every node "
        "has applied it all and serves",
        {"ready_ms": milliseconds(time.perf_counter() - began_at)},
    )
