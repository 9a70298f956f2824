"""Orders through three node processes with fsync, over HTTP, as clients enter them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cli.bench.load import LoadPlan, LoadResult, run_load
from cli.bench.measurement import BATCH_COMMANDS, Announce, Measurement, Scale, milliseconds, percentile
from cli.local_cluster import LocalCluster

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS: Final = 12
"""Enough to keep the leader busy, and a multiple of the number of nodes."""
START_DEADLINE_S: Final = 60.0
EQUAL_STATE_DEADLINE_S: Final = 60.0


class Scenario(NamedTuple):
    name: str
    entered_at: str
    connections: int
    batch_commands: int


SCENARIOS: Final = (
    Scenario("batches at a follower", "a follower", CONNECTIONS, BATCH_COMMANDS),
    Scenario("batches at the leader", "the leader", CONNECTIONS, BATCH_COMMANDS),
    Scenario("batches at all nodes", "all nodes", CONNECTIONS, BATCH_COMMANDS),
    Scenario("one at a time at a follower", "a follower", 1, 1),
    Scenario("one at a time at the leader", "the leader", 1, 1),
)


async def measure_cluster(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    """All scenarios, one after the other, on one cluster, whose nodes agree at the end."""
    measured = []
    with LocalCluster(folder / "cluster", name="bench") as cluster:
        cluster.start()
        for run, scenario in enumerate(SCENARIOS):
            announce(scenario.name)
            leader = await settled_leader(cluster)
            result = await run_load(load_plan(cluster, leader, scenario, scale, run))
            measured.append(Measurement(scenario.name, _how(scenario), figures(result, leader)))
        await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)
        await cluster.terminate()
    return measured


async def settled_leader(cluster: LocalCluster) -> str:
    """The leader, once all nodes are there and have caught up."""
    await cluster.wait_until(all_ready, deadline_s=START_DEADLINE_S, awaited="all nodes to be ready")
    return await cluster.wait_for_leader(deadline_s=START_DEADLINE_S)


def all_ready(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
    """A condition for `LocalCluster.wait_until`."""
    return all(status is not None and status["ready"] for status in statuses.values()) or None


def load_plan(cluster: LocalCluster, leader: str, scenario: Scenario, scale: Scale, run: int) -> LoadPlan:
    followers = [node_id for node_id in cluster.node_ids if node_id != leader]
    chosen = {"a follower": followers[:1], "the leader": [leader], "all nodes": cluster.node_ids}[scenario.entered_at]
    return LoadPlan(
        addresses=tuple(cluster.config.node(node_id).api_address for node_id in chosen),
        connections=scenario.connections,
        batch_commands=scenario.batch_commands,
        seconds=scale.seconds,
        warm_up_s=scale.warm_up_s,
        run=run,
        node_process_ids={node_id: cluster.process_id(node_id) for node_id in cluster.node_ids},
    )


def figures(result: LoadResult, leader: str) -> dict[str, float]:
    """`leader_cpu` and the like are shares of one processor; `node_cpu_us_per_order` is the mean over all nodes."""
    followers_cpu_s = [cpu_s for node_id, cpu_s in result.node_cpu_s.items() if node_id != leader]
    node_cpu_s = sum(result.node_cpu_s.values()) / len(result.node_cpu_s)
    return {
        "orders_per_s": round(result.commands / result.elapsed_s),
        "p50_ms": milliseconds(percentile(result.request_times_s, 0.5)),
        "p99_ms": milliseconds(percentile(result.request_times_s, 0.99)),
        "refused_percent": round(100 * result.refused / result.commands, 1),
        "node_cpu_us_per_order": round(1e6 * node_cpu_s / result.commands, 1),
        "leader_cpu": round(result.node_cpu_s[leader] / result.elapsed_s, 2),
        "follower_cpu": round(max(followers_cpu_s) / result.elapsed_s, 2),
        "load_generator_cpu": round(result.own_cpu_s / result.elapsed_s, 2),
    }


def _how(scenario: Scenario) -> str:
    nodes = "three node processes on loopback, durability fsync, an order answered once it is executed"
    if scenario.batch_commands == 1:
        return (
            f"{nodes}; one connection to {scenario.entered_at}, the next request when the last is answered: POST, "
            "PATCH and DELETE /v1/orders as the flow has it"
        )
    return (
        f"{nodes}; {scenario.connections} connections to {scenario.entered_at}, each with one POST /v1/commands of "
        f"{scenario.batch_commands} JSON commands under way; p50 and p99 are those of whole requests"
    )
