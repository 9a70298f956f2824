"""What a call of `raftbook bench` measures, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.bench import engine, etcd, recovery, shards, stock
from cli.bench.cluster import closed_loop_scenarios, measure_cluster, open_loop_scenarios, selected
from cli.bench.feed import measure_feed
from cli.bench.latencies import require_histograms
from cli.bench.measurement import medians
from cli.bench.recovery import measure_recovery
from cli.end_signals import run_until_ended
from cli.errors import WrongUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cli.bench.cluster import Scenario
    from cli.bench.feed import FeedScale
    from cli.bench.measurement import Announce, Measurement, Scale


class Plan(NamedTuple):
    """`stock` and `etcd` are what of these is measured beside the cluster's `scenarios`, of the same kinds."""

    subject: str
    scale: Scale
    scenarios: Sequence[Scenario]
    stock: Sequence[stock.Scenario]
    etcd: Sequence[etcd.Scenario]
    feed: FeedScale

    def has(self, subject: str) -> bool:
        return self.subject in (subject, "all")

    def count_steps(self) -> int:
        repeated = len(self.scenarios) + len(self.stock) + len(self.etcd) + len(engine.STEPS) * self.has("engine")
        once = len(recovery.STEPS) * self.has("recovery") + len(self.feed.steps) * self.has("feed")
        once += len(shards.STEPS) * self.has("shards")
        return self.scale.runs * repeated + once


def make_plan(
    subject: str, scale: Scale, feed: FeedScale, against: Sequence[str], words: Sequence[str], rates: Sequence[int]
) -> Plan:
    """WrongUsageError where there is nothing to compare; BenchmarkFailedError where something is not installed."""
    if subject not in ("cluster", "all"):
        return Plan(subject, scale, (), (), (), feed)
    if against and rates:
        raise WrongUsageError("--against compares so many orders under way, not so many a second; leave --rate out")
    require_histograms()
    scenarios = selected(open_loop_scenarios(rates) if rates else closed_loop_scenarios(), words)
    kinds = {scenario.kind for scenario in scenarios}
    of_stock = stock.scenarios(kinds) if "stock" in against else []
    of_etcd = etcd.scenarios(kinds) if "etcd" in against else []
    for name, found in (("stock", of_stock), ("etcd", of_etcd)):
        if name in against and not found:
            raise WrongUsageError(
                f"there is nothing of {name} to compare {', '.join(sorted(kinds))} with; leave it out"
            )
    if of_etcd:
        etcd.require_etcd()
    return Plan(subject, scale, scenarios, of_stock, of_etcd, feed)


def measure(plan: Plan, folder: Path, announce: Announce) -> list[Measurement]:
    measured: list[Measurement] = []
    if plan.has("engine"):
        measured += medians([engine.measure_engine(plan.scale, announce) for _ in range(plan.scale.runs)])
    if plan.subject != "engine":
        measured += run_until_ended(measure_clusters(plan, folder, announce))
    return measured


async def measure_clusters(plan: Plan, folder: Path, announce: Announce) -> list[Measurement]:
    """Whatever is compared takes turns, so that the machine's moods meet all of it."""
    scale = plan.scale
    runs = []
    for run in range(scale.runs if plan.has("cluster") else 0):
        measured = await measure_cluster(plan.scenarios, scale, folder / f"cluster-{run}", announce)
        if plan.stock:
            measured += await stock.measure_stock(plan.stock, scale, folder / f"stock-{run}", announce)
        if plan.etcd:
            measured += await etcd.measure_etcd(plan.etcd, scale, folder / f"etcd-{run}", announce)
        runs.append(measured)
    found = medians(runs) if runs else []
    if plan.has("recovery"):
        found += await measure_recovery(scale, folder, announce)
    if plan.has("feed"):
        found += await measure_feed(scale, plan.feed, folder, announce)
    if plan.has("shards"):
        found += await shards.measure_shards(scale, folder, announce)
    return found
