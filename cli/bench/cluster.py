"""Orders through three node processes with fsync, over WebSocket and HTTP, as clients enter them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from cli.bench import flow
from cli.bench.latencies import Latencies
from cli.bench.load import LoadPlan, LoadResult, run_load
from cli.bench.measurement import Announce, Measurement, Scale, milliseconds
from cli.bench.node_probe import ProbedNode
from cli.errors import WrongUsageError
from cli.local_cluster import LocalCluster
from raftbook.node.config import InstrumentConfig, LimitsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONNECTIONS: Final = 12
"""Of HTTP. Enough to keep the leader busy, and a multiple of the number of nodes."""
STREAMS: Final = 9
"""WebSockets: as many at each node where orders enter at all."""
OPEN_LOOP_BACKLOG_S: Final = 20
START_DEADLINE_S: Final = 60.0
EQUAL_STATE_DEADLINE_S: Final = 60.0


class Scenario(NamedTuple):
    """`entered_at`: a follower, the leader or all nodes. With `outstanding` or `rate` single orders over WebSocket."""

    kind: str
    entered_at: str
    connections: int
    batch_commands: int = 1
    outstanding: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind} at {self.entered_at}"

    @property
    def orders_under_way(self) -> int | None:
        """None in open loop, where they are as many as they come to be."""
        if self.rate is not None:
            return None
        return self.outstanding or self.connections * self.batch_commands


PLACES: Final = ("the leader", "a follower", "all nodes")


def closed_loop_scenarios() -> list[Scenario]:
    scenarios = [Scenario("one at a time over HTTP", "the leader", 1)]
    for place in PLACES:
        scenarios += [
            Scenario("one at a time", place, 1, outstanding=1),
            Scenario("64 outstanding", place, STREAMS, outstanding=64),
            Scenario("512 outstanding", place, STREAMS, outstanding=512),
            Scenario("batches of 10", place, CONNECTIONS, 10),
            Scenario("batches of 100", place, CONNECTIONS, 100),
            Scenario("batches of 1,000", place, CONNECTIONS // 2, 1_000),
        ]
    return scenarios


def open_loop_scenarios(rates: Sequence[float]) -> list[Scenario]:
    return [Scenario(f"{rate:,g} orders/s", place, STREAMS, rate=rate) for place in PLACES for rate in rates]


def selected(scenarios: Sequence[Scenario], words: Sequence[str]) -> list[Scenario]:
    """Those whose names hold any of the words; all without words. WrongUsageError where a word is in no name."""
    for word in words:
        if not any(word.lower() in scenario.name.lower() for scenario in scenarios):
            names = "; ".join(scenario.name for scenario in scenarios)
            raise WrongUsageError(f"--scenario {word} is in no name of: {names}")
    return [one for one in scenarios if not words or any(word.lower() in one.name.lower() for word in words)]


async def measure_cluster(
    scenarios: Sequence[Scenario], scale: Scale, folder: Path, announce: Announce
) -> list[Measurement]:
    """All scenarios, one after the other, on one cluster, whose nodes agree at the end. Each has a book of its own."""
    measured = []
    with LocalCluster(
        folder, name="bench", instruments=[_instrument(run) for run in range(len(scenarios))], limits=_limits(scenarios)
    ) as cluster:
        cluster.start()
        for run, scenario in enumerate(scenarios):
            announce(scenario.name)
            leader = await settled_leader(cluster)
            result = await run_load(load_plan(cluster, leader, scenario, scale, run))
            latencies = Latencies.of(result.request_times_s)
            told = figures(result, latencies, leader)
            place = scenario.entered_at
            measured.append(Measurement(scenario.name, _how(scenario), told, f"at {place}", scenario.kind, latencies))
        await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)
        await cluster.terminate()
    return measured


def _instrument(run: int) -> InstrumentConfig:
    return InstrumentConfig(symbol=f"BENCH{run}", price_decimals=2, tick_size="0.01", lot_size="1")


def _limits(scenarios: Sequence[Scenario]) -> LimitsConfig:
    """As they are by default; in open loop a connection may have as many under way as come to be in some seconds."""
    own = LimitsConfig()
    highest = max((scenario.rate or 0 for scenario in scenarios), default=0)
    most = max(own.max_outstanding_per_connection, math.ceil(OPEN_LOOP_BACKLOG_S * highest / STREAMS))
    return msgspec.structs.replace(own, max_outstanding_per_connection=most)


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
        nodes=tuple(
            ProbedNode(
                node_id,
                cluster.process_id(node_id),
                cluster.config.node(node_id).api_address,
                str(cluster.data_folder(node_id)),
            )
            for node_id in cluster.node_ids
        ),
        symbol=_instrument(run).symbol,
        outstanding=scenario.outstanding,
        rate=scenario.rate,
        round_commands=flow.round_commands(
            scale.warm_up_s + scale.seconds, scenario.connections, scenario.batch_commands
        ),
    )


def figures(result: LoadResult, latencies: Latencies, leader: str) -> dict[str, float]:
    """`leader_cpu` and the like are shares of one processor. What is said of a follower is of the busier one."""
    usage = result.nodes[leader]
    counters = usage.counters
    leader_cpu_s, all_cpu_s = usage.cpu_s, sum(node.cpu_s for node in result.nodes.values())
    follower_cpu_s = max(node.cpu_s for node_id, node in result.nodes.items() if node_id != leader)
    commands = max(1, result.commands)
    return {
        "orders_per_s": round(result.commands / result.elapsed_s),
        **latencies.figures(),
        "refused_percent": round(100 * result.refused / commands, 1),
        "not_taken_percent": round(100 * result.busy / max(1, result.busy + result.commands), 1),
        "leader_cpu_us_per_order": round(1e6 * leader_cpu_s / commands, 1),
        "follower_cpu_us_per_order": round(1e6 * follower_cpu_s / commands, 1),
        "all_nodes_cpu_us_per_order": round(1e6 * all_cpu_s / commands, 1),
        "leader_cpu": round(leader_cpu_s / result.elapsed_s, 2),
        "follower_cpu": round(follower_cpu_s / result.elapsed_s, 2),
        "load_generator_cpu": round(result.own_cpu_s / result.elapsed_s, 2),
        "log_bytes_per_order": round(usage.log_bytes / commands),
        "fsyncs_per_s": round(counters.syncs / counters.at_s),
        "fsync_mean_ms": milliseconds(counters.sync_s / max(1, counters.syncs)),
        "orders_per_entry": round(counters.submissions / max(1, counters.entries), 1),
        "entries_per_fsync": round(counters.entries / max(1, counters.syncs), 2),
    }


def _how(scenario: Scenario) -> str:
    """The same for all places at which orders may enter."""
    nodes = "three node processes on loopback, durability fsync, an order answered once it is executed"
    connections = "one connection" if scenario.connections == 1 else f"{scenario.connections} connections"
    if scenario.rate is not None:
        return (
            f"{nodes}; {scenario.rate:,g} single orders a second over {connections} of WebSocket, sent on schedule "
            "whatever is answered; each takes from the moment it was due"
        )
    if scenario.outstanding is not None:
        under_way = "one order" if scenario.outstanding == 1 else f"{scenario.outstanding} single orders"
        return f"{nodes}; {under_way} under way over {connections} of WebSocket, the next sent when one is answered"
    if scenario.batch_commands == 1:
        return (
            f"{nodes}; one connection, the next request when the last is answered: POST, PATCH and DELETE /v1/orders "
            "as the flow has it"
        )
    return (
        f"{nodes}; {connections}, each with one POST /v1/commands of {scenario.batch_commands:,} JSON commands under "
        "way; times are those of whole requests"
    )
