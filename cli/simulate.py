"""The command `raftbook simulate`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import options
from cli.errors import WrongUsageError, tell
from cli.output import error_console, print_json, print_table, wants_table

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Group
    from rich.table import Table

    from raftbook.simulation.campaign import Summary
    from raftbook.simulation.remedies import Finding

app = typer.Typer()

DEFAULT_SEEDS: Final = 20
LINE_EVERY_LIVES: Final = 50
MAX_NODES: Final = 9
TABLE_BEGINS: Final = "<!-- remedies -->\n"
TABLE_ENDS: Final = "<!-- end of remedies -->\n"


@app.command()
def simulate(
    seed: Annotated[
        int | None,
        typer.Option("--seed", parser=options.whole_number(1), metavar="N", help="This life, or the first of --seeds."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            parser=options.whole_number(1),
            metavar="COUNT",
            help=f"How many lives. Default: 1 with --seed, else {DEFAULT_SEEDS}.",
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", parser=options.whole_number(1), metavar="N", help="Default: 1, 3 or 5, by the seed."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            parser=options.whole_number(1),
            metavar="N",
            help="Faults and other turns of a life. Default: 150.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", parser=options.whole_number(1), metavar="N", help="Processes. Default: one a core."),
    ] = None,
    story: Annotated[bool, typer.Option("--story", help="Tell all that happens in one life, line by line.")] = False,
    remedies: Annotated[
        bool,
        typer.Option("--remedies", help="Switch each remedy off and find the seed that shows its fault."),
    ] = False,
    without: Annotated[
        str | None,
        typer.Option(
            "--without", metavar="REMEDY", help="Switch one remedy of --remedies off, to see what it prevents."
        ),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            "--write", metavar="FILE", help="Put the table of --remedies into this file, between its markers."
        ),
    ] = None,
    output: options.Output = None,
) -> None:
    """The deterministic simulator: whole clusters in virtual time, faults drawn from a seed, every promise checked.

    Engine, intake, Raft, log and snapshots are those of production; network, disks, clocks and processes are simulated.
    One seed is one life, the same every time. Exit code 1 if any broke a promise.
    """
    from raftbook.simulation.life import DEFAULT_STEPS

    if nodes is not None and nodes > MAX_NODES:
        raise WrongUsageError(f"--nodes takes 1 to {MAX_NODES}")
    if story and (seed is None or seeds not in (None, 1)):
        raise WrongUsageError("--story tells one life; name it with --seed")
    steps = steps if steps is not None else DEFAULT_STEPS
    if write is not None and not remedies:
        raise WrongUsageError("--write goes with --remedies")
    jobs = jobs if jobs is not None else os.cpu_count() or 1
    if remedies:
        raise typer.Exit(_find_faults(jobs, write, output))
    with _switched_off(without):
        if story:
            assert seed is not None
            raise typer.Exit(_tell_story(seed, steps, nodes))
        first = seed if seed is not None else 1
        count = seeds if seeds is not None else 1 if seed is not None else DEFAULT_SEEDS
        # Other processes would have the remedy.
        raise typer.Exit(_run(first, count, nodes, steps, jobs if without is None else 1, output))


@contextmanager
def _switched_off(name: str | None) -> Iterator[None]:
    from raftbook.simulation import remedies

    if name is None:
        yield
        return
    remedy = next((remedy for remedy in remedies.REMEDIES if remedy.name == name), None)
    if remedy is None:
        names = "; ".join(remedy.name for remedy in remedies.REMEDIES)
        raise WrongUsageError(f"there is no remedy '{name}'; --without takes one of: {names}")
    with remedies.without(remedy):
        yield


def _run(first: int, count: int, nodes: int | None, steps: int, jobs: int, output: options.Output) -> int:
    from raftbook.simulation.campaign import Violation, run_campaign

    with _progress(count) as advance:

        def on_life(outcome: object) -> None:
            if isinstance(outcome, Violation):
                tell(f"seed {outcome.seed} broke a promise: {outcome.summary}; repeat it with {again(outcome.seed)}")
            advance()

        def again(seed: int) -> str:
            size = "" if nodes is None else f" --nodes {nodes}"
            return f"`raftbook simulate --seed {seed} --steps {steps}{size} --story`"

        summary = run_campaign(
            range(first, first + count), steps=steps, member_count=nodes, processes=min(jobs, count), on_life=on_life
        )
    if wants_table(output):
        print_table(_table(summary, first, steps))
    else:
        print_json(_document(summary, first, steps))
    return 1 if summary.violations else 0


def _document(summary: Summary, first: int, steps: int) -> dict[str, Any]:
    return {
        "first_seed": first,
        "lives": summary.lives,
        "steps": steps,
        "virtual_hours": round(summary.virtual_s / 3600, 3),
        "submissions": summary.attempts,
        "answered": summary.answered,
        "executed": summary.executed,
        "entries": summary.entries,
        "terms": summary.terms,
        "messages": summary.messages,
        "checks": summary.checks,
        "longest_recovery_s": round(max(summary.recoveries_s, default=0.0), 3),
        "longest_convergence_s": round(max(summary.convergences_s, default=0.0), 3),
        "faults": _by_name(summary.faults),
        "crash_points": _by_name(summary.crash_points),
        "halts": _by_name(summary.halts),
        "disk_operations": _by_name(summary.disk_operations),
        "events": _by_name(summary.events),
        "violations": [violation._asdict() for violation in summary.violations],
    }


def _by_name(counter: Counter[str]) -> dict[str, int]:
    return {name: counter[name] for name in sorted(counter)}


def _table(summary: Summary, first: int, steps: int) -> Group:
    from rich.console import Group
    from rich.text import Text

    from cli.render import columns

    document = _document(summary, first, steps)
    table = columns("raftbook simulate", "what", "how often", right=("how often",))
    for name in ("lives", "virtual_hours", "submissions", "answered", "executed", "entries", "terms", "messages"):
        table.add_row(name.replace("_", " "), f"{document[name]:,}")
    table.add_row("checks while it happened", f"{document['checks']:,}", end_section=True)
    prefixes = {
        "events": "event: ",
        "faults": "",
        "crash_points": "killed just before: ",
        "halts": "halted or refused: ",
    }
    for title, prefix in prefixes.items():
        for name, times in document[title].items():
            table.add_row(prefix + name, f"{times:,}")
        table.add_section()
    table.add_row("violations", f"{len(summary.violations):,}")
    note = (
        f"Seeds {first} to {first + summary.lives - 1}, {steps} steps each. When all had healed, orders were executed "
        f"again within {document['longest_recovery_s']:.1f} s, and all nodes stood at the same within "
        f"{document['longest_convergence_s']:.1f} s."
    )
    return Group(table, Text(note))


def _tell_story(seed: int, steps: int, nodes: int | None) -> int:
    from raftbook.simulation.life import live

    told: list[str] = []
    try:
        outcome = live(seed, steps=steps, member_count=nodes, story=told)
    except AssertionError as error:
        print("\n".join(told))
        tell(f"seed {seed} broke a promise: {type(error).__name__}: {error}")
        return 1
    print("\n".join(told))
    tell(f"seed {seed}: {outcome.executed} commands executed, trace {outcome.trace_digest}")
    return 0


def _find_faults(jobs: int, write: str | None, output: options.Output) -> int:
    from raftbook.simulation.remedies import MAX_SEEDS, REMEDIES, as_markdown, find_all

    before, after = ("", "") if write is None else _around_the_table(Path(write))
    found = 0

    def on_finding(finding: Finding) -> None:
        nonlocal found
        found += 1
        seed = f"seed {finding.seed}" if finding.seed is not None else f"none of {finding.tried} seeds shows it"
        tell(f"{found} of {len(REMEDIES)}: without “{finding.remedy.name}”: {seed}")

    findings = find_all(jobs, on_finding)
    if write is not None:
        Path(write).write_text(before + as_markdown(findings) + after)
    if wants_table(output):
        print_table(_table_of_remedies(findings))
    else:
        print_json(
            [
                {"remedy": f.remedy.name, "source": f.remedy.source, "seed": f.seed, "tried": f.tried, "shows": f.words}
                for f in findings
            ]
        )
    missing = [finding.remedy.name for finding in findings if finding.seed is None]
    if missing:
        tell(f"no seed up to {MAX_SEEDS} shows what is missing without: {', '.join(missing)}")
    return 1 if missing else 0


def _table_of_remedies(findings: Sequence[Finding]) -> Table:
    from cli.render import columns

    table = columns("raftbook simulate --remedies", "without", "against", "seed", "it shows", right=("seed",))
    for finding in findings:
        seed = "none" if finding.seed is None else str(finding.seed)
        table.add_row(finding.remedy.name, finding.remedy.source, seed, finding.words)
    return table


def _around_the_table(path: Path) -> tuple[str, str]:
    try:
        text = path.read_text()
    except OSError as error:
        raise WrongUsageError(f"cannot read {path}: {error.strerror}; --write takes a file with a table") from error
    before, begin, rest = text.partition(TABLE_BEGINS)
    _, end, after = rest.partition(TABLE_ENDS)
    if not begin or not end:
        raise WrongUsageError(f"{path} has no lines {TABLE_BEGINS.strip()} and {TABLE_ENDS.strip()} for the table")
    return before + begin, end + after


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """Yields what hears of each life: a bar on standard error, a line now and then where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = error_console()
    if not screen.is_terminal:
        done = 0

        def line() -> None:
            nonlocal done
            done += 1
            if done % LINE_EVERY_LIVES == 0:
                tell(f"{done} of {count} lives")

        yield line
        return
    columns = (TextColumn("lives"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("lives", total=count)
        yield lambda: progress.update(task, advance=1)
