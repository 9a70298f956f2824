"""How long it takes until all is well again: a dead leader, a restart, a node that was away, a replay."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from cli.bench.catching_up import (
    BEHIND_BY_LOG,
    BEHIND_BY_SNAPSHOT,
    SNAPSHOT,
    catch_up_from_log,
    measure_snapshots,
)
from cli.bench.cluster import EQUAL_STATE_DEADLINE_S, START_DEADLINE_S, all_ready, settled_leader
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale, milliseconds
from cli.bench.restoring import RESTORE
from cli.bench.spread import spread_ms
from cli.bench.under_load import KILLED_UNDER_LOAD, ROLLING_RESTART, measure_under_load
from cli.local_cluster import LocalCluster
from raftbook.node.config import LimitsConfig
from raftbook.node.garbage_collector import tune_garbage_collector
from raftbook.offline import StoredNode

if TYPE_CHECKING:
    from pathlib import Path

LEADER_KILLED: Final = "failover, leader killed"
LEADER_HANGS: Final = "failover, leader hangs"
REPLAY: Final = "replay of a log"
RESTART: Final = "restart of all nodes"
STEPS: Final = (
    KILLED_UNDER_LOAD,
    ROLLING_RESTART,
    LEADER_KILLED,
    LEADER_HANGS,
    BEHIND_BY_LOG,
    REPLAY,
    RESTART,
    SNAPSHOT,
    BEHIND_BY_SNAPSHOT,
    RESTORE,
)

WHOLE_LOG: Final = LimitsConfig(snapshot_entries=1 << 40, log_retain_entries=1 << 40)
"""So that a log holds everything from the first entry on, which makes a restart the slowest that there is."""
REQUEST_DEADLINE_S: Final = 30.0
REPLAY_DEADLINE_S: Final = 900.0


async def measure_recovery(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    with LocalCluster(folder / "whole-log", name="bench", limits=WHOLE_LOG) as cluster:
        cluster.start()
        under_load = await measure_under_load(cluster, scale, announce)
        announce(LEADER_KILLED)
        killed = await _failovers(cluster, scale, _Killed())
        announce(LEADER_HANGS)
        hung = await _failovers(cluster, scale, _Hung())
        behind = await catch_up_from_log(cluster, scale, announce)
        announce(REPLAY)
        index, digest = await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)
        await cluster.terminate()
        replay = await asyncio.to_thread(_replay, cluster.data_folder("n1"), index, digest)
        announce(RESTART)
        restart = await _restart(cluster, index)
        await cluster.terminate()
    snapshots = await measure_snapshots(scale, folder, announce)
    return [*under_load, killed, hung, behind, replay, restart, *snapshots]


class _Killed:
    """The machine lives on: it closes the connections of the dead process, which the others notice at once."""

    name = LEADER_KILLED
    words = "SIGKILL to the leader"

    def strike(self, cluster: LocalCluster, leader: str) -> None:
        cluster.kill(leader)

    def bring_back(self, cluster: LocalCluster, leader: str) -> None:
        cluster.start(leader)


class _Hung:
    """As when the machine or its network is gone: the connections stay, and nothing comes over them."""

    name = LEADER_HANGS
    words = "SIGSTOP to the leader, so that it is silent but its connections stay, as those of a machine without power"

    def strike(self, cluster: LocalCluster, leader: str) -> None:
        cluster.pause(leader)

    def bring_back(self, cluster: LocalCluster, leader: str) -> None:
        cluster.resume(leader)


async def _failovers(cluster: LocalCluster, scale: Scale, fault: _Killed | _Hung) -> Measurement:
    times_s = []
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_DEADLINE_S) as client:
        for repetition in range(scale.repetitions):
            leader = await settled_leader(cluster)
            survivors = [node_id for node_id in cluster.node_ids if node_id != leader]
            url = cluster.url(survivors[repetition % len(survivors)])
            await _enter(client, url)
            struck_at = time.perf_counter()
            fault.strike(cluster, leader)
            await _enter(client, url)
            times_s.append(time.perf_counter() - struck_at)
            fault.bring_back(cluster, leader)
            await cluster.wait_until(_one_leader, deadline_s=START_DEADLINE_S, awaited="the old leader to follow")
    return Measurement(
        fault.name,
        f"{scale.repetitions} times {fault.words}; three nodes that are otherwise idle; from then until an order that "
        "is entered right after it, at a surviving node, is answered as executed",
        {
            **spread_ms(times_s),
            "repetitions": scale.repetitions,
        },
    )


def _one_leader(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
    named = {status["leader"] for status in statuses.values() if status is not None}
    return True if all_ready(statuses) and len(named) == 1 and None not in named else None


async def _enter(client: httpx.AsyncClient, url: str) -> None:
    # The node names an order that has no name.
    order = {
        "symbol": "ACME",
        "account": "bench",
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
    tune_garbage_collector()  # As a node does.
    began_at, cpu_began_at = time.perf_counter(), time.thread_time()
    with StoredNode.open(folder) as node:
        read_s, read_cpu_s = time.perf_counter() - began_at, time.thread_time() - cpu_began_at
        began_at = time.perf_counter()
        replay = node.replay(index, after=0)
        state = replay.finish()
        apply_s = time.perf_counter() - began_at
    cpu_s = time.thread_time() - cpu_began_at
    if state.chain_digest.hex() != digest:
        raise BenchmarkFailedError(f"the log in {folder} replayed gives another digest than the node had")
    return Measurement(
        REPLAY,
        "the write-ahead log of a node that was stopped after order flow in batches, read, checked and run through "
        "the state machine, without a snapshot; ends at the node's own digest",
        {
            "commands_per_s": round(replay.command_count / (read_s + apply_s)),
            "commands_per_cpu_s": round(replay.command_count / cpu_s),
            "read_cpu_us_per_command": round(1e6 * read_cpu_s / replay.command_count, 2),
            "commands": replay.command_count,
            "entries": index,
            "read_ms": milliseconds(read_s),
            "apply_ms": milliseconds(apply_s),
        },
    )


async def _restart(cluster: LocalCluster, index: int) -> Measurement:
    def all_back(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
        return all_ready(statuses) and (
            all(status is not None and status["applied_index"] >= index for status in statuses.values()) or None
        )

    began_at = time.perf_counter()
    cluster.start()
    await cluster.wait_until(all_back, deadline_s=REPLAY_DEADLINE_S, awaited="all nodes to be back")
    return Measurement(
        RESTART,
        "all three started again on the same log, without a snapshot; from starting the processes until every node "
        "has applied it all and serves",
        {"ready_ms": milliseconds(time.perf_counter() - began_at)},
    )
