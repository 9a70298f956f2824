"""The command `raftbook bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from cli import options
from cli.errors import WrongUsageError
from cli.output import print_json, print_table, wants_table

if TYPE_CHECKING:
    from cli.bench.cluster import Scenario
    from cli.bench.feed import FeedScale
    from cli.bench.measurement import Announce, Measurement, Scale

app = typer.Typer()

SUBJECTS: Final = ["engine", "cluster", "recovery", "feed", "all"]
OPPONENTS: Final = ["stock"]
DEFAULT_SECONDS: Final = 10.0
DEFAULT_REPETITIONS: Final = 5


class _Plan(NamedTuple):
    """What is to be measured."""

    subject: str
    against: list[str]
    scenarios: list[Scenario]
    scale: Scale
    feed: FeedScale


@app.command()
def bench(
    subject: Annotated[
        Literal["engine", "cluster", "recovery", "feed", "all"],
        typer.Argument(parser=options.one_of(SUBJECTS), metavar="[" + "|".join(SUBJECTS) + "]"),
    ] = "all",
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", parser=options.seconds, metavar="N", help="For each measurement. Default: 10."),
    ] = None,
    repetitions: Annotated[
        int | None,
        typer.Option(
            "--repetitions", parser=options.whole_number(1), metavar="N", help="How many failovers. Default: 5."
        ),
    ] = None,
    backlog: Annotated[
        int | None,
        typer.Option(
            "--backlog",
            parser=options.whole_number(1_000),
            metavar="N",
            help="So many commands a node has missed that catches up, a log holds that is replayed, and rest "
            "in the book that a snapshot is taken of. Default: 100000.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="One second each, two failovers, little to catch up with: to see that it runs."),
    ] = False,
    against: Annotated[
        Literal["stock"] | None,
        typer.Option(
            "--against",
            parser=options.one_of(OPPONENTS),
            metavar="|".join(OPPONENTS),
            help="Measure this with the same payload as well: stock is PySyncObj as it comes.",
        ),
    ] = None,
    adversarial: Annotated[
        bool,
        typer.Option("--adversarial", help="With engine: what somebody would send who wants it to be slow, instead."),
    ] = False,
    doubling: Annotated[
        bool,
        typer.Option(
            "--doubling",
            help="With engine: what each operation costs as the book doubles to a million orders, instead.",
        ),
    ] = False,
    pauses: Annotated[
        bool,
        typer.Option(
            "--pauses",
            help="With engine: how long the garbage collector holds up a node with a million resting orders, and how "
            "long it would as Python comes, instead.",
        ),
    ] = False,
    subscribers: Annotated[
        int | None,
        typer.Option(
            "--subscribers", parser=options.whole_number(1), metavar="N", help="With feed: how many. Default: 1000."
        ),
    ] = None,
    orders_per_s: Annotated[
        int | None,
        typer.Option(
            "--orders-per-second",
            parser=options.whole_number(1),
            metavar="N",
            help="With feed: entered whatever is answered. Default: 2000.",
        ),
    ] = None,
    interval_ms: Annotated[
        int | None,
        typer.Option(
            "--interval-ms",
            parser=options.whole_number(0),
            metavar="N",
            help="With feed: updates are merged over so long, 0 for none. Default: 0, and then 100.",
        ),
    ] = None,
    scenarios: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="WORDS",
            help='With cluster: only those with this in their names, such as "512 outstanding". Repeat it for more.',
        ),
    ] = None,
    rates: Annotated[
        list[int] | None,
        typer.Option(
            "--rate",
            parser=options.whole_number(1),
            metavar="N",
            help="With cluster: so many orders a second on schedule, whatever is answered, instead. Repeat it "
            "for more.",
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir",
            metavar="DIR",
            help="Where the nodes keep their files while it runs. Default: the folder for temporary files; where that "
            "is in memory, name one on a disk.",
        ),
    ] = None,
    output: options.Output = None,
) -> None:
    """Measures this machine: engine, a cluster of three node processes, recovery from failures, subscribers of a node.

    Every figure comes with how it was measured. Nodes and load generators are processes of their own.
    """
    import shutil
    import tempfile

    from cli.bench import machine
    from cli.bench.view import comparison, progress_view, results

    if against is not None and subject not in ("cluster", "all"):
        raise WrongUsageError(f"--against {against} compares clusters; use it with cluster or all")
    for name, wanted in (("--adversarial", adversarial), ("--doubling", doubling), ("--pauses", pauses)):
        if wanted and subject != "engine":
            raise WrongUsageError(f"{name} measures the engine alone; use it with engine")
    for name, value in (
        ("--subscribers", subscribers),
        ("--orders-per-second", orders_per_s),
        ("--interval-ms", interval_ms),
    ):
        if value is not None and subject not in ("feed", "all"):
            raise WrongUsageError(f"{name} is about subscribers; use it with feed or all")
    for name, several in (("--scenario", scenarios), ("--rate", rates)):
        if several and subject not in ("cluster", "all"):
            raise WrongUsageError(f"{name} is about the cluster; use it with cluster or all")
    if interval_ms is not None and interval_ms != 0 and not 50 <= interval_ms <= 10_000:
        raise WrongUsageError("--interval-ms is 0, or 50 to 10000")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise WrongUsageError(f"there is no folder {data_dir}; --data-dir takes one that exists")
    plan = _Plan(
        subject,
        [against] if against else [],
        _scenarios(subject, scenarios or [], rates or []),
        _scale(seconds, repetitions, backlog, quick),
        _feed_scale(subscribers, orders_per_s, interval_ms, quick),
    )
    folder = Path(tempfile.mkdtemp(prefix="raftbook-bench-", dir=data_dir))
    try:
        conditions = machine.describe(folder)
        if adversarial or doubling or pauses:
            measured = _measure_engine_at_sizes(adversarial, doubling, pauses, plan.scale)
        else:
            with progress_view(_count_steps(plan)) as announce:
                measured = _measure(plan, folder, announce)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if wants_table(output):
        print_table((comparison if adversarial or doubling or pauses else results)(conditions, measured))
    else:
        print_json({"machine": conditions, "measurements": [measurement.to_json() for measurement in measured]})


def _scale(seconds: float | None, repetitions: int | None, backlog: int | None, quick: bool) -> Scale:
    from cli.bench import measurement
    from cli.bench.measurement import BACKLOG, QUICK_BACKLOG, QUICK_RESTING_ORDERS, QUICK_S, RESTING_ORDERS, Scale

    measured_s = seconds if seconds is not None else QUICK_S if quick else DEFAULT_SECONDS
    return Scale(
        seconds=measured_s,
        warm_up_s=min(2.0, measured_s / 4),
        repetitions=repetitions if repetitions is not None else 2 if quick else DEFAULT_REPETITIONS,
        resting_orders=QUICK_RESTING_ORDERS if quick else RESTING_ORDERS,
        backlog=backlog if backlog is not None else QUICK_BACKLOG if quick else BACKLOG,
        attack_share=measurement.QUICK_ATTACK_SHARE if quick else 1.0,
        largest_book=measurement.QUICK_LARGEST_BOOK if quick else measurement.LARGEST_BOOK,
    )


def _feed_scale(subscribers: int | None, orders_per_s: int | None, interval_ms: int | None, quick: bool) -> FeedScale:
    from cli.bench.feed import ORDERS_PER_S, QUICK_ORDERS_PER_S, QUICK_SUBSCRIBERS, SUBSCRIBERS, FeedScale

    return FeedScale(
        subscribers or (QUICK_SUBSCRIBERS if quick else SUBSCRIBERS),
        orders_per_s or (QUICK_ORDERS_PER_S if quick else ORDERS_PER_S),
        interval_ms,
    )


def _scenarios(subject: str, words: list[str], rates: list[int]) -> list[Scenario]:
    from cli.bench.cluster import closed_loop_scenarios, open_loop_scenarios, selected

    if subject not in ("cluster", "all"):
        return []
    return selected(open_loop_scenarios(rates) if rates else closed_loop_scenarios(), words)


def _count_steps(plan: _Plan) -> int:
    from cli.bench import engine, recovery, stock

    steps = {
        "engine": len(engine.STEPS),
        "cluster": len(plan.scenarios),
        "recovery": len(recovery.STEPS),
        "feed": len(plan.feed.steps),
    }
    own = sum(steps.values()) if plan.subject == "all" else steps[plan.subject]
    return own + (len(stock.SCENARIOS) if plan.against else 0)


def _measure_engine_at_sizes(adversarial: bool, doubling: bool, pauses: bool, scale: Scale) -> list[Measurement]:
    from cli.bench import adversarial as attacks
    from cli.bench import doubling as books
    from cli.bench import pauses as looks
    from cli.bench.view import progress_view
    from cli.end_signals import run_until_ended

    steps = attacks.count_steps() * adversarial + books.count_steps(scale) * doubling + len(looks.STEPS) * pauses
    measured: list[Measurement] = []
    with progress_view(steps) as announce:
        if adversarial:
            measured += attacks.measure_attacks(scale, announce)
        if doubling:
            measured += books.measure_doubling(scale, announce)
        if pauses:
            measured += run_until_ended(looks.measure_pauses(scale, announce))
    return measured


def _measure(plan: _Plan, folder: Path, announce: Announce) -> list[Measurement]:
    from cli.bench.engine import measure_engine
    from cli.end_signals import run_until_ended

    measured: list[Measurement] = []
    if plan.subject in ("engine", "all"):
        measured += measure_engine(plan.scale, announce)
    if plan.subject != "engine":
        measured += run_until_ended(_measure_clusters(plan, folder, announce))
    return measured


async def _measure_clusters(plan: _Plan, folder: Path, announce: Announce) -> list[Measurement]:
    from cli.bench.cluster import measure_cluster
    from cli.bench.feed import measure_feed
    from cli.bench.recovery import measure_recovery
    from cli.bench.stock import measure_stock

    subject, scale = plan.subject, plan.scale
    measured: list[Measurement] = []
    if subject in ("cluster", "all"):
        measured += await measure_cluster(plan.scenarios, scale, folder / "cluster", announce)
    if "stock" in plan.against:
        measured += await measure_stock(scale, folder, announce)
    if subject in ("recovery", "all"):
        measured += await measure_recovery(scale, folder, announce)
    if subject in ("feed", "all"):
        measured += await measure_feed(scale, plan.feed, folder, announce)
    return measured
