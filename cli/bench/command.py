"""The command `raftbook bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from cli import options
from cli.errors import WrongUsageError
from cli.output import print_json, print_table, wants_table

if TYPE_CHECKING:
    from cli.bench.feed import FeedScale
    from cli.bench.measurement import Measurement, Scale

app = typer.Typer()

SUBJECTS: Final = ["engine", "cluster", "recovery", "feed", "shards", "all"]
OPPONENTS: Final = ["stock", "etcd"]
DEFAULT_SECONDS: Final = 10.0
DEFAULT_REPETITIONS: Final = 5


@app.command()
def bench(
    subject: Annotated[
        Literal["engine", "cluster", "recovery", "feed", "shards", "all"],
        typer.Argument(parser=options.one_of(SUBJECTS), metavar="[" + "|".join(SUBJECTS) + "]"),
    ] = "all",
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", parser=options.seconds, metavar="N", help="For each measurement. Default: 10."),
    ] = None,
    repetitions: Annotated[
        int | None,
        typer.Option(
            "--repetitions",
            parser=options.whole_number(1),
            metavar="N",
            help="How many failovers (default: 5), and of engine and cluster how many runs, told as their medians "
            "(default: 1).",
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
        list[str] | None,
        typer.Option(
            "--against",
            parser=options.one_of(OPPONENTS),
            metavar="|".join(OPPONENTS),
            help="With cluster: measure this with the same payload as well. stock is PySyncObj as it comes, etcd what "
            "etcd-server is installed. Repeat it for both.",
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
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="With engine or cluster: draw latencies and throughput into this file, .png or .svg.",
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
    """Measures this machine: engine, a cluster of three node processes, recovery, subscribers of a node, and shards.

    Every figure comes with how it was measured. Nodes and load generators are processes of their own.
    """
    import shutil
    import tempfile

    from cli.bench import machine
    from cli.bench import plot as picture
    from cli.bench.run import make_plan, measure
    from cli.bench.view import comparison, progress_view, results

    if against and subject not in ("cluster", "all"):
        raise WrongUsageError(f"--against {against[0]} compares clusters; use it with cluster or all")
    if plot is not None:
        if subject not in ("engine", "cluster", "all") or adversarial or doubling or pauses:
            raise WrongUsageError("--plot draws engine and cluster; use it with one of them, or with all")
        picture.check(plot)
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
    scale = _scale(seconds, repetitions, backlog, quick)
    feed = _feed_scale(subscribers, orders_per_s, interval_ms, quick)
    plan = make_plan(subject, scale, feed, against or [], scenarios or [], rates or [])
    folder = Path(tempfile.mkdtemp(prefix="raftbook-bench-", dir=data_dir))
    try:
        conditions = machine.describe(folder)
        if adversarial or doubling or pauses:
            measured = _measure_engine_at_sizes(adversarial, doubling, pauses, scale)
        else:
            with progress_view(plan.count_steps()) as announce:
                measured = measure(plan, folder, announce)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if plot is not None:
        picture.draw(plot, conditions, measured)
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
        runs=repetitions or 1,
    )


def _feed_scale(subscribers: int | None, orders_per_s: int | None, interval_ms: int | None, quick: bool) -> FeedScale:
    from cli.bench.feed import ORDERS_PER_S, QUICK_ORDERS_PER_S, QUICK_SUBSCRIBERS, SUBSCRIBERS, FeedScale

    return FeedScale(
        subscribers or (QUICK_SUBSCRIBERS if quick else SUBSCRIBERS),
        orders_per_s or (QUICK_ORDERS_PER_S if quick else ORDERS_PER_S),
        interval_ms,
    )


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
