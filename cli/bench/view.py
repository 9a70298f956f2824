"""What is seen of a benchmark: its progress, and the figures at the end."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.errors import tell
from cli.output import error_console
from cli.render import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cli.bench.measurement import Measurement


@contextlib.contextmanager
def progress_view(steps: int) -> Iterator[Callable[[str], None]]:
    """Yields what hears of each step: a bar on standard error, lines where that is no terminal."""
    screen = error_console()
    if not screen.is_terminal:
        begun = 0

        def announce(name: str) -> None:
            nonlocal begun
            begun += 1
            tell(f"{begun} of {steps}: {name}")

        yield announce
        return
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=screen, transient=True) as progress:
        task = progress.add_task("starts", total=steps, completed=-1)

        def advance(name: str) -> None:
            progress.update(task, description=name, advance=1)

        yield advance


def results(machine: dict[str, Any], measured: Sequence[Measurement]) -> Group:
    """A row per figure; under them how each was measured, since a figure alone says nothing."""
    table = columns("raftbook bench", "measured", "figure", "value", right=("value",))
    for measurement in measured:
        for position, (figure, value) in enumerate(measurement.figures.items()):
            is_last = position == len(measurement.figures) - 1
            table.add_row("" if position else measurement.name, _spoken(figure), _shown(value), end_section=is_last)
    notes = [f"{measurement.name}: {measurement.how}." for measurement in measured]
    return Group(table, Text("\n".join([_conditions(machine), *notes])))


def comparison(machine: dict[str, Any], measured: Sequence[Measurement]) -> Group:
    """A row per measurement, for those that have the same figures: a table for each kind."""
    tables: list[Table | Text] = []
    for figures, alike in itertools.groupby(measured, key=lambda measurement: tuple(measurement.figures)):
        titles = [_spoken(figure) for figure in figures]
        table = columns("raftbook bench", "measured", *titles, right=titles)
        notes = []
        for measurement in alike:
            table.add_row(measurement.name, *(_shown(value) for value in measurement.figures.values()))
            if measurement.how not in notes:
                notes.append(measurement.how)
        tables += [table, Text("\n".join(f"{note}." for note in notes) + "\n")]
    return Group(*tables, Text(_conditions(machine)))


def _conditions(machine: dict[str, Any]) -> str:
    listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    return f"Measured on: {listed}."


def _spoken(figure: str) -> str:
    """`p50_ms` as "p50, ms", `orders_per_s` as "orders per s"."""
    words = figure.split("_")
    if words[-1] in ("ms", "us", "bytes", "percent") and len(words) > 1:
        return f"{' '.join(words[:-1])}, {words[-1]}"
    return " ".join(words)


def _shown(value: float) -> str:
    return f"{value:,}"
