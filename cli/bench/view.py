"""What is seen of a benchmark: its progress, and the figures at the end."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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


class _Table(NamedTuple):
    """`titles` of the figures that are its columns; of those in `with_spread` the least and the greatest are shown."""

    name: str
    titles: dict[str, str]
    with_spread: tuple[str, ...] = ()


_TABLES: Final = (
    _Table(
        "engine",
        {
            "commands_per_s": "commands/s",
            "cpu_us_per_command": "processor,\nus/command",
            "trades_per_command": "trades/\ncommand",
            "refused_percent": "refused, %",
            "speed_to_bare_book": "times bare\nbook's speed",
        },
        ("commands_per_s", "cpu_us_per_command", "speed_to_bare_book"),
    ),
    _Table(
        "orders",
        {
            "orders_per_s": "orders/s",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "p99_9_ms": "p99.9, ms",
            "refused_percent": "refused, %",
        },
        ("orders_per_s", "p50_ms", "p99_ms"),
    ),
    _Table(
        "processor time, us an order, and shares of a processor",
        {
            "leader_cpu_us_per_order": "leader,\nus/order",
            "follower_cpu_us_per_order": "follower,\nus/order",
            "all_nodes_cpu_us_per_order": "all nodes,\nus/order",
            "leader_cpu": "leader,\nshare",
            "follower_cpu": "follower,\nshare",
            "load_generator_cpu": "load,\nshare",
        },
    ),
    _Table(
        "log of the leader",
        {
            "log_bytes_per_order": "bytes/order",
            "fsyncs_per_s": "fsyncs/s",
            "fsync_mean_ms": "ms/fsync",
            "orders_per_entry": "orders/\nentry",
            "entries_per_fsync": "entries/\nfsync",
            "not_taken_percent": "not\ntaken, %",
        },
    ),
)
"""What is told of orders through a cluster."""


def results(machine: dict[str, Any], measured: Sequence[Measurement]) -> Group:
    """A row per figure, and tables where there are groups; under them how each was measured: a figure alone says
    nothing.
    """
    grouped = [measurement for measurement in measured if measurement.group]
    single = [measurement for measurement in measured if not measurement.group]
    shown: list[Table | Text] = [table for layout in _TABLES for table in _grouped_table(layout, grouped)]
    if single:
        shown.append(_single_table(single))
    # A kind of load is the same wherever it enters; of what it is compared with, every kind is alike.
    notes = dict.fromkeys(f"{_noted(one)}: {one.how}." for one in grouped)
    notes |= dict.fromkeys(f"{one.name}: {one.how}." for one in single)
    return Group(*shown, Text("\n".join([_conditions(machine), *notes])))


def _noted(measurement: Measurement) -> str:
    is_opponent = measurement.group.startswith(("stock", "etcd"))
    return measurement.group if is_opponent else measurement.kind


def _single_table(measured: Sequence[Measurement]) -> Table:
    table = columns("raftbook bench", "measured", "figure", "value", right=("value",))
    for measurement in measured:
        for position, (figure, value) in enumerate(measurement.figures.items()):
            is_last = position == len(measurement.figures) - 1
            name = "" if position else measurement.name
            table.add_row(name, _spoken(figure), _with_spread(measurement, figure, value), end_section=is_last)
    return table


def _grouped_table(layout: _Table, measured: Sequence[Measurement]) -> Iterator[Table]:
    """A table with a section per group, of those that have the first of its figures; none where nobody has."""
    wanted = [one for one in measured if next(iter(layout.titles)) in one.figures]
    if not wanted:
        return
    titles = tuple(layout.titles.values())
    table = columns(f"raftbook bench: {layout.name}", "measured", *titles, right=titles)
    for group, alike in itertools.groupby(wanted, key=lambda one: one.group):
        table.add_row(Text(group, style="bold"))
        rows = list(alike)
        for one in rows:
            cells = [_cell(one, figure, with_spread=figure in layout.with_spread) for figure in layout.titles]
            table.add_row(f"  {one.kind}", *cells, end_section=one is rows[-1])
    yield table


def _cell(measurement: Measurement, figure: str, *, with_spread: bool) -> str:
    value = measurement.figures.get(figure)
    if value is None:
        return ""
    told = _short(value)
    if with_spread and figure in measurement.spread:
        least, most = measurement.spread[figure]
        told += f"\n{_short(least)}..{_short(most)}"
    return told


def _short(value: float) -> str:
    """As many digits as a benchmark can be trusted with."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _with_spread(measurement: Measurement, figure: str, value: float) -> str:
    """The value; where it is a median, the least and the greatest under it."""
    if figure not in measurement.spread:
        return _shown(value)
    least, most = measurement.spread[figure]
    return f"{_shown(value)}\n{_shown(least)}..{_shown(most)}" if least != most else _shown(value)


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
