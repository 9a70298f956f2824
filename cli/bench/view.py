"""What is seen of a benchmark: its progress, and the figures at the end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
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
    conditions = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    notes = [f"{measurement.name}: {measurement.how}." for measurement in measured]
    return Group(table, Text("\n".join([f"Measured on: {conditions}.", *notes])))


def _spoken(figure: str) -> str:
    """`p50_ms` as "p50, ms", `orders_per_s` as "orders per s"."""
    words = figure.split("_")
    if words[-1] in ("ms", "us", "bytes", "percent") and len(words) > 1:
        return f"{' '.join(words[:-1])}, {words[-1]}"
    return " ".join(words)


def _shown(value: float) -> str:
    return f"{value:,}"
