"""A picture of a run: latencies by percentile, and throughput, a column for each group that was measured."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final, Literal

from cli.bench.measurement import BenchmarkFailedError
from cli.errors import WrongUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from cli.bench.measurement import Measurement

SUFFIXES: Final = (".png", ".svg")
COLUMNS_PER_ROW: Final = 3
COLUMN_WIDTH_IN: Final = 4.6
LATENCY_HEIGHT_IN: Final = 3.0
BAR_HEIGHT_IN: Final = 0.3
NO_HEIGHT_IN: Final = 0.3
"""Enough for a title."""
DOTS_PER_IN: Final = 150
COLORS: Final = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#7f7f7f",
    "#8c6d31",
)
"""Okabe and Ito's, which people with any colour vision tell apart, and two more; one for each kind of load."""
TEXT: Final = "#333333"
GRID: Final = "#e3e3e3"
ROOM: Final = {"x": 3.0, "y": 1.0}
"""So much further than the longest bar, for its number."""
_NINES: Final = {0.0: "0", 1.0: "90", 2.0: "99", 3.0: "99.9", 4.0: "99.99", 5.0: "99.999"}
_RATES: Final = ("orders_per_s", "commands_per_s")


def check(path: Path) -> None:
    """Before anything is measured: WrongUsageError of a name that is no picture's, BenchmarkFailedError without a
    library that draws.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise WrongUsageError(f"--plot {path} says not what it is to be; end it in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise WrongUsageError(f"there is no folder {path.parent}; --plot takes a file in one that exists")
    _figure_type()


def draw(path: Path, machine: dict[str, Any], measured: Sequence[Measurement]) -> None:
    """Measurements without a rate or without a group are left out."""
    drawn = [one for one in measured if one.group and any(name in one.figures for name in _RATES)]
    groups = [(name, list(alike)) for name, alike in itertools.groupby(drawn, key=lambda one: one.group)]
    if not groups:
        raise BenchmarkFailedError("there is nothing to draw in what was measured")
    kinds = list(dict.fromkeys(one.kind for one in drawn))
    colors = {kind: COLORS[number % len(COLORS)] for number, kind in enumerate(kinds)}
    columns = min(COLUMNS_PER_ROW, len(groups))
    rows = math.ceil(len(groups) / columns)
    most_bars = max(len(alike) for _, alike in groups)
    latency_height_in = LATENCY_HEIGHT_IN if any(one.latencies is not None for one in drawn) else NO_HEIGHT_IN
    heights = [latency_height_in, 0.7 + BAR_HEIGHT_IN * most_bars] * rows
    figure = _figure_type()(
        figsize=(COLUMN_WIDTH_IN * columns, sum(heights) + 1.1), dpi=DOTS_PER_IN, layout="constrained"
    )
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights, sharex=False)
    for number, (name, alike) in enumerate(groups):
        row, column = divmod(number, columns)
        _draw_latencies(axes[2 * row][column], name, alike, colors)
        _draw_rates(axes[2 * row + 1][column], alike, colors, most_bars)
    for number in range(len(groups), rows * columns):
        row, column = divmod(number, columns)
        axes[2 * row][column].set_axis_off()
        axes[2 * row + 1][column].set_axis_off()
    _share_scales([axes[2 * number][column] for number in range(rows) for column in range(columns)], "y")
    _share_scales([axes[2 * number + 1][column] for number in range(rows) for column in range(columns)], "x")
    figure.suptitle("raftbook bench", fontsize=14, fontweight="bold", color=TEXT, x=0.01, ha="left")
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    figure.supxlabel(told, fontsize=7, color="#777777", x=0.01, ha="left")
    figure.savefig(path)


def _draw_latencies(axes: Axes, name: str, alike: Sequence[Measurement], colors: dict[str, str]) -> None:
    axes.set_title(name, loc="left", fontsize=10, fontweight="bold", color=TEXT)
    curves = [(one.kind, one.latencies.curve()) for one in alike if one.latencies is not None and one.latencies.count]
    if not curves:
        axes.set_axis_off()
        axes.set_title(name, loc="left", fontsize=10, fontweight="bold", color=TEXT)
        return
    for kind, curve in curves:
        nines = [-math.log10(1 - share) for share, _ in curve]
        axes.plot(nines, [value_ms for _, value_ms in curve], color=colors[kind], linewidth=1.8, label=kind)
    axes.set_yscale("log")
    axes.set_xticks(list(_NINES), list(_NINES.values()))
    axes.set_xlim(0, 5)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,g}")
    axes.set_xlabel("percentile", fontsize=8, color=TEXT)
    axes.set_ylabel("latency, ms", fontsize=8, color=TEXT)
    _dress(axes, "both")


def _draw_rates(axes: Axes, alike: Sequence[Measurement], colors: dict[str, str], most_bars: int) -> None:
    rate = next(name for name in _RATES if name in alike[0].figures)
    values = [one.figures[rate] for one in alike]
    positions = list(range(len(alike)))
    axes.barh(positions, values, color=[colors[one.kind] for one in alike], height=0.68)
    axes.set_ylim(-0.6, most_bars - 0.4)
    for position, one in zip(positions, alike, strict=True):
        value = one.figures[rate]
        least, most = one.spread.get(rate, (value, value))
        if least != most:
            axes.plot((least, most), (position, position), color=TEXT, linewidth=1.2, marker="|", markersize=5)
        axes.annotate(
            f"{value:,.0f}",
            (max(value, most), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=TEXT,
        )
    axes.set_yticks(positions, [one.kind for one in alike])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"{rate.replace('_per_s', '')} a second (logarithmic)", fontsize=8, color=TEXT)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    _dress(axes, "x")


def _share_scales(several: Sequence[Axes], direction: Literal["x", "y"]) -> None:
    """What is drawn side by side is drawn to one scale."""
    drawn = [axes for axes in several if axes.axison]
    bounds = [getattr(axes, f"get_{direction}lim")() for axes in drawn]
    for axes in drawn:
        getattr(axes, f"set_{direction}lim")(
            min(low for low, _ in bounds), max(high for _, high in bounds) * ROOM[direction]
        )


def _dress(axes: Axes, grid: str) -> None:
    axes.grid(visible=True, axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=TEXT, length=0, which="both")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchmarkFailedError(
            'pictures are drawn by matplotlib, which is not installed; run: pip install "raftbook[bench]"'
        ) from error
    return Figure
