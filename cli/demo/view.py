"""What is seen of the demonstration: a live picture, lines where there is no terminal, and the closing table."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.errors import tell
from cli.output import error_console
from cli.render import STATUS_STYLES, columns, count, ladder, short_digest, shown, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.demo.scenario import Outcome, Progress

LINE_INTERVAL_S: Final = 2.0


@contextlib.contextmanager
def progress_view() -> Iterator[Callable[[Progress], None]]:
    """Yields what shows progress on standard error: a live picture on a terminal, a line now and then elsewhere."""
    screen = error_console()
    if not screen.is_terminal:
        yield _line_writer()
        return
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(picture(progress), refresh=True)


def _line_writer() -> Callable[[Progress], None]:
    last_at = 0.0
    last_phase = ""

    def show(progress: Progress) -> None:
        nonlocal last_at, last_phase
        now = time.monotonic()
        if now - last_at >= LINE_INTERVAL_S or progress.phase != last_phase:
            last_at, last_phase = now, progress.phase
            tell(progress_line(progress, now))

    return show


def progress_line(progress: Progress, now: float) -> str:
    statuses = [status for status in progress.statuses.values() if status is not None]
    leaders = {f"{status['leader']} term {status['term']}" for status in statuses if status["role"] == "leader"}
    index = max((status["applied_index"] for status in statuses), default=0)
    return (
        f"{now - progress.started_at:5.1f} s  {progress.phase}; leader {', '.join(sorted(leaders)) or 'none'}, "
        f"index {count(index)}, {count(progress.ledger.outcomes.total())} commands answered, "
        f"{progress.recent_rate:,.0f}/s, {len(progress.failovers)} failovers"
    )


def picture(progress: Progress) -> Group:
    """The run at a glance: counts, nodes, top of the book."""
    ledger = progress.ledger
    elapsed_s = time.monotonic() - progress.started_at
    headline = Text.assemble(
        (f"{elapsed_s:5.1f} s  {progress.phase}", "bold"),
        f"   {progress.recent_rate:,.0f} commands/s   {count(ledger.outcomes.total())} answered, "
        f"{count(ledger.trades)} trades, {len(progress.failovers)} failovers",
    )
    parts: list[Any] = [headline, _nodes_table(progress)]
    if progress.book is not None:
        parts.append(ladder(progress.book))
    return Group(*parts)


def _nodes_table(progress: Progress) -> Table:
    figures = ("term", "commit index", "applied index", "intake items")
    table = columns(None, "node", "role", *figures, "digest", right=figures)
    for node_id, status in progress.statuses.items():
        if status is None:
            table.add_row(node_id, Text("down", style="bold red"), *("" for _ in figures), "")
            continue
        table.add_row(
            node_id,
            styled(status["role"], STATUS_STYLES),
            *(shown(status[figure.replace(" ", "_")]) for figure in figures),
            short_digest(status["digest"]),
        )
    return table


def closing_table(outcome: Outcome) -> Table:
    check = outcome.check
    rows = {
        "orders": count(check.orders),
        "trades": count(check.trades),
        "commands": f"{count(outcome.commands)} in {outcome.seconds:.1f} s",
        "refused": count(check.refused),
        "resubmitted": count(outcome.resubmitted),
        "failovers": f"{len(outcome.failovers)}: {', '.join(f'{old} to {new}' for old, new, *_ in outcome.failovers)}",
        "longest gap": f"{outcome.longest_gap_s:.2f} s between two commits around a kill",
        "lost": count(check.lost),
        "duplicated": count(check.duplicated),
        **{f"digest {node}": f"{digest} at {outcome.log_index}" for node, digest in outcome.digests.items()},
    }
    table = columns("all holds" if not outcome.problems else "IT DOES NOT HOLD", "figure", "value")
    for name, value in rows.items():
        wrong = name in ("lost", "duplicated") and value != "0"
        table.add_row(name, Text(value, style="bold red" if wrong else ""))
    return table


def closing_json(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    return {
        "ok": not outcome.problems,
        "orders": check.orders,
        "trades": check.trades,
        "commands": outcome.commands,
        "refused": check.refused,
        "resubmitted": outcome.resubmitted,
        "failovers": len(outcome.failovers),
        "longest_gap_s": round(outcome.longest_gap_s, 3),
        "lost": check.lost,
        "duplicated": check.duplicated,
        "index": outcome.log_index,
        "digests": outcome.digests,
        "elapsed_s": round(outcome.seconds, 1),
        "problems": outcome.problems,
    }
