"""`raftbook log …`: what a node's log holds, and the state at any index; offline, on live or copied folders."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from cli import options
from cli.errors import ExitCode, WrongUsageError, tell
from cli.output import error_console, print_json, print_table, wants_table, write_lines
from raftbook.errors import NotHeldError, RaftbookError

if TYPE_CHECKING:
    from raftbook.json_format import Json
    from raftbook.offline import Replay, StoredNode

Step = TypeVar("Step")

app = typer.Typer(
    help="Read a node's log offline: what it holds, and the state at any index. Changes nothing; the node may run.",
    no_args_is_help=True,
)

LINES_AT_ONCE: Final = 256

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="A node's folder, such as data/n1, or one that holds a single node's; live or copied.",
    ),
]


@app.command()
def dump(
    data_dir: DataDir,
    first: Annotated[
        int | None,
        typer.Option("--from", parser=options.whole_number(1), metavar="I", help="The first entry; default: all."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option("--to", parser=options.whole_number(1), metavar="J", help="The last entry, included."),
    ] = None,
    output: options.Output = None,
) -> None:
    """Prints the log's entries: a line each, or with `-o json` a JSON object each, with every command in it.

    Where the log is damaged it prints what stands in front of that, names file and offset, and leaves with 1.
    """
    from raftbook.offline import entry_to_json

    if first is not None and last is not None and first > last:
        raise WrongUsageError(f"--from {first} lies behind --to {last}; give them the other way round")
    with _opened(data_dir) as node:
        # Of a damaged log what is readable is shown, however far it was to go.
        end = node.last_index if node.damage is not None and last is not None and last > node.last_index else last
        count = (node.last_index if end is None else end) - (node.first_index if first is None else first) + 1
        entries = _bar("dumping", node.entries(first, end), count, while_printing=True)
        if wants_table(output):
            from cli.log_view import ENTRY_HEADER, entry_line

            _print_lines(ENTRY_HEADER, (entry_line(entry) for entry in entries))
        else:
            from raftbook.json_format import dumps

            _write_all(dumps(entry_to_json(entry)) for entry in entries)
        _tell_end(node)


@app.command()
def replay(
    data_dir: DataDir,
    to: Annotated[
        int | None,
        typer.Option("--to", parser=options.whole_number(0), metavar="I", help="The state at I; default: the end."),
    ] = None,
    book: Annotated[str | None, typer.Option("--book", metavar="SYMBOL", help="Print that book as well.")] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", parser=options.whole_number(1), metavar="N", help="Its best N levels; default: all."),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Print the events of every entry that is replayed, before the state.")
    ] = False,
    first: Annotated[
        int | None,
        typer.Option(
            "--from",
            parser=options.whole_number(1),
            metavar="I",
            help="With --events: the first entry whose are printed.",
        ),
    ] = None,
    output: options.Output = None,
) -> None:
    """Rebuilds the state at an index from the newest snapshot at or below it and the log, and prints its digests.

    `digest` is the digest chain that nodes tell, and `raftbook verify` compares, at the same index.
    """
    from raftbook.offline import state_to_json

    if first is not None and not events:
        raise WrongUsageError("--from says whose events are printed; add --events, or leave it away")
    if first is not None and to is not None and first > to:
        raise WrongUsageError(f"--from {first} lies behind --to {to}; give them the other way round")
    as_table = wants_table(output)
    with _opened(data_dir) as node:
        begin = None if not events else _lowest(node, to) if first is None else first - 1
        replay = node.replay(to, after=begin)
        if first is not None and first > replay.end_index:
            raise NotHeldError(
                f"there is no entry {first} yet, the log ends with {replay.end_index}; give a lower --from"
            )
        _run(replay, (first or 1) if events else None, as_table=as_table)
        state = state_to_json(replay) | _range_of(node)
        if book is not None:
            state["book"] = _book_of(replay, book, depth)
        if as_table:
            from cli.log_view import state_table
            from cli.render import ladder

            print_table(state_table(state))
            if book is not None:
                print_table(ladder(state["book"]))  # type: ignore[arg-type]  # It has just been made.
        else:
            print_json(state)
        _tell_end(node, replay.end_index)


@app.command()
def status(data_dir: DataDir, output: options.Output = None) -> None:
    """Shows whose folder it is, its term and vote, its segments and snapshots, and what is damaged; reads all of it."""
    from raftbook.offline import node_to_json

    with _opened(data_dir) as node:
        node.verify_snapshots()
        found = node_to_json(node)
        if wants_table(output):
            from cli.log_view import node_tables

            for table in node_tables(found):
                print_table(table)
        else:
            print_json(found)
        _tell_end(node)


@contextmanager
def _opened(data_dir: Path) -> Iterator[StoredNode]:
    """The node in that folder. Leaves with 1, and says why, where something in it is damaged."""
    from raftbook.node.garbage_collector import tune_garbage_collector
    from raftbook.offline import StoredNode

    with _spinning(f"reading the log in {data_dir}"):
        node = StoredNode.open(data_dir)
    tune_garbage_collector()
    with node:
        try:
            yield node
        except RaftbookError as error:
            for problem in node.problems:
                if problem not in str(error):
                    tell(problem)
            raise
        for problem in node.problems:
            tell(problem)
        if node.problems:
            raise typer.Exit(ExitCode.FAILED)


def _lowest(node: StoredNode, to: int | None) -> int | None:
    """Where a replay to there may begin at the earliest."""
    end = node.end_index if to is None else to
    return next((lowest for lowest, highest in node.rebuildable_indexes() if lowest <= end <= highest), None)


def _run(replay: Replay, events_from: int | None, *, as_table: bool) -> None:
    """Executes the entries; prints the events of those from `events_from` on, where that is given."""
    from raftbook.json_format import dumps
    from raftbook.offline import events_to_json

    count = replay.end_index - replay.begin_index
    steps = _bar("replaying", replay, count, while_printing=events_from is not None)
    if events_from is None:
        for _ in steps:
            pass
        return
    found = (
        event
        for entry, executions in steps
        if entry.log_index >= events_from
        for event in events_to_json(executions, replay.state.exchange.instruments)
    )
    if as_table:
        from cli.render import event_line

        _print_lines(None, (event_line(event) for event in found))
    else:
        _write_all(dumps(event) for event in found)


def _book_of(replay: Replay, symbol: str, depth: int | None) -> Json:
    from raftbook.json_format import book_to_json

    exchange = replay.state.exchange
    if symbol not in exchange.instruments:
        known = ", ".join(exchange.instruments) or "none"
        raise NotHeldError(f"there is no instrument {symbol} at index {replay.end_index}; it has {known}")
    bids, asks = exchange.depth(symbol, depth)
    return book_to_json(
        symbol,
        replay.state.index,
        bids,
        asks,
        exchange.instruments[symbol],
        exchange.statuses[symbol],
        exchange.indication(symbol),
    )


def _range_of(node: StoredNode) -> Json:
    cluster, node_id = (None, None) if node.identity is None else node.identity
    return {
        "cluster": cluster,
        "node": node_id,
        "rebuildable": [list(indexes) for indexes in node.rebuildable_indexes()],
        "last_index": node.last_index,
        "known_committed_index": node.known_committed_index,
    }


def _tell_end(node: StoredNode, index: int | None = None) -> None:
    """What a log cannot know: whether what it holds behind the newest snapshot is committed."""
    known = node.known_committed_index
    if (node.last_index if index is None else index) <= known:
        return
    which = f"the entries behind {known}" if known else "its entries"
    tell(
        f"the log ends with entry {node.last_index}; a log alone cannot tell whether {which} are committed: ask a "
        "running node with `raftbook cluster status`"
    )


# ---------------------------------------------------------------- output of any length


def _write_all(lines: Iterable[bytes]) -> None:
    waiting: list[bytes] = []
    for line in lines:
        waiting.append(line)
        if len(waiting) == LINES_AT_ONCE:
            write_lines(waiting)
            waiting.clear()
    write_lines(waiting)


def _print_lines(header: str | None, lines: Iterable[str]) -> None:
    """As they come: a table of a whole log would be held in memory to find the width of its columns."""
    if header is not None:
        print(header)
    for line in lines:
        print(line)


def _bar(what: str, steps: Iterable[Step], total: int, *, while_printing: bool) -> Iterator[Step]:
    """The same steps; with a progress bar on standard error, where that is a terminal, and nothing else goes there."""
    if not sys.stderr.isatty() or (while_printing and sys.stdout.isatty()):
        yield from steps
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console()) as progress:
        yield from progress.track(steps, total=total)


@contextmanager
def _spinning(what: str) -> Iterator[None]:
    """Shows on a terminal that something is under way."""
    if not sys.stderr.isatty():
        yield
        return
    with error_console().status(what):
        yield
