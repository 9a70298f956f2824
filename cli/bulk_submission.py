"""`raftbook submit --file`: many commands in order over one connection, their reports as lines in the same order."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.access import Access, talk
from cli.errors import ExitCode, WrongUsageError, tell
from cli.json_lines import MAX_LINE_BYTES, Line, read_lines
from cli.output import OutputFormat, error_console, print_json, wants_table
from cli.submission import new_client_order_id
from raftbook.engine.commands import CancelOrder, NewOrder
from raftbook.errors import InvalidCommandError, RaftbookError
from raftbook.json_format import command_from_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from raftbook.client import RaftbookClient
    from raftbook.engine.commands import Command

    Report = Mapping[str, Any]

STDIN: Final = "-"


def submit_file(file: str, *, access: Access, output: OutputFormat | None) -> None:
    """Submits the commands in `file` ("-" is standard input); leaves with 1 where one was refused.

    Raises OutcomeUnknownError, or what else broke the connection, after the reports that came before.
    """
    with opened(file) as descriptor:
        bulk = BulkSubmission(descriptor, _writer(output))
        try:
            with _progress(file) as advance:
                talk(access, lambda client: bulk.run(client, advance))
        except RaftbookError:
            tell(bulk.how_to_go_on(file))
            raise
        finally:
            if bulk.counts:
                tell(bulk.summary())
    if bulk.counts["accepted"] < bulk.counts.total():
        raise typer.Exit(ExitCode.FAILED)


class BulkSubmission:
    """The way of the lines through the client's pipeline; a line that is no command is answered here, in its place."""

    def __init__(self, file_descriptor: int, write: Callable[[Report], None]) -> None:
        self.counts: Counter[str] = Counter()
        """Reports by status."""
        self._file_descriptor = file_descriptor
        self._write = write
        self._unanswered: deque[int | Report] = deque()
        """In the order of the lines: the number of one that was handed on, or the report of one that is refused."""
        self._not_repeatable: set[int] = set()
        """Of the lines handed on and not answered, those that would be executed again if they were sent again."""
        self._started_at = time.monotonic()

    async def run(self, client: RaftbookClient, advance: Callable[[int], None]) -> None:
        """Until the input ends; `advance` hears how many reports have come since it heard last."""
        async for _, report in client.pipeline(self._commands()):
            self._answer_refused()
            answered = self._unanswered.popleft()
            if isinstance(answered, int):
                self._not_repeatable.discard(answered)
            self._answer(report)
            advance(1)
        self._answer_refused()

    def summary(self) -> str:
        total = self.counts.total()
        elapsed_s = time.monotonic() - self._started_at
        outcomes = ", ".join(f"{count:,} {status}" for status, count in sorted(self.counts.items()))
        return f"{total:,} commands in {elapsed_s:.1f} s ({total / elapsed_s:,.0f}/s): {outcomes}"

    def how_to_go_on(self, file: str) -> str:
        """From which line to submit again after a failure."""
        number = next((entry for entry in self._unanswered if isinstance(entry, int)), self.counts.total() + 1)
        source = "the input" if file == STDIN else file
        if number == 1:
            advice = f"no line of {source} is answered, begin again with line 1"
        else:
            advice = f"lines 1 to {number - 1} of {source} are answered, go on with line {number}"
        doubtful = [entry for entry in self._unanswered if entry in self._not_repeatable]
        if doubtful:
            advice += (
                f"; but look at `raftbook orders` first: {len(doubtful)} of the lines behind, the first of them line "
                f"{doubtful[0]}, may have been executed and would be again, since they are orders without a "
                "client_order_id, or neither new nor cancel"
            )
        return advice

    async def _commands(self) -> AsyncIterator[Command]:
        async for line in read_lines(self._file_descriptor):
            is_named = True

            def name_it() -> str:
                nonlocal is_named
                is_named = False
                return new_client_order_id()

            try:
                command = command_of(line, name_it)
            except InvalidCommandError as error:
                self._unanswered.append(refusal(line, error))
                if len(self._unanswered) == 1:
                    self._answer_refused()  # Nothing else is under way that would bring it out.
            else:
                self._unanswered.append(line.number)
                if not is_named or not isinstance(command, NewOrder | CancelOrder):
                    self._not_repeatable.add(line.number)
                yield command

    def _answer_refused(self) -> None:
        """Answers the refused lines that nothing stands before any more."""
        while self._unanswered and not isinstance(entry := self._unanswered[0], int):
            self._unanswered.popleft()
            self._answer(entry)

    def _answer(self, report: Report) -> None:
        self.counts[report["status"]] += 1
        self._write(report)


def command_of(line: Line, name_it: Callable[[], str] = new_client_order_id) -> Command:
    """`name_it` gives a new order without a client order id one."""
    if line.text is None:
        raise InvalidCommandError(f"the line is longer than {MAX_LINE_BYTES} bytes; write one command a line")
    return command_from_json(line.text, generate_client_order_id=name_it)


def refusal(line: Line, error: InvalidCommandError) -> Report:
    """The report of a line that is no command, in the form in which a node would give it."""
    return {
        "status": "rejected",
        "reason": error.code,
        "detail": str(error),
        "field": error.field,
        "line": line.number,
        "origin": None,
        "origin_sequence": None,
        "log_index": None,
        "order": None,
        "events": [],
    }


@contextlib.contextmanager
def opened(file: str) -> Iterator[int]:
    if file == STDIN:
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise WrongUsageError(
            f"cannot read {file} ({error.strerror}); name a file of JSON lines, or - for stdin"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _writer(output: OutputFormat | None) -> Callable[[Report], None]:
    if wants_table(output):
        from cli.render import report_line

        return lambda report: print(report_line(report), flush=True)
    return print_json


@contextlib.contextmanager
def _progress(file: str) -> Iterator[Callable[[int], None]]:
    """A progress bar with the rate on standard error, where that is a terminal; yields what moves it on."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    columns = (
        TextColumn("submitting"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=error_console()) as progress:
        task = progress.add_task("submit", total=_line_count(file))
        yield lambda count: progress.advance(task, count)


class RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


def _line_count(file: str) -> int | None:
    """The number of lines of a regular file; None where it can be read but once."""
    if file == STDIN or not Path(file).is_file():
        return None
    with Path(file).open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
