"""How the command line ends: its exit codes, and one sentence on standard error that says what to do next.

Every failure comes up to `RaftbookGroup`, the root of all commands, and is told there; a command only raises.
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from raftbook.errors import InvalidCommandError, OutcomeUnknownError, ProblemError, RaftbookError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHOLE_SENTENCE: Final = 1_000
"""Characters of a command's first sentence in the list of commands: more than any has."""
BROKEN_PIPE_EXIT_CODE: Final = 141
"""What a shell reports for a program that SIGPIPE ended: the reader of our output went away."""


class ExitCode(IntEnum):
    """Scripts rely on these."""

    DONE = 0
    FAILED = 1
    """Refused or failed."""
    WRONG_USAGE = 2
    OUTCOME_UNKNOWN = 3
    """Resubmit with the same client order id."""


class WrongUsageError(RaftbookError):
    """Options that contradict each other, or say what no command can be made of."""

    code = "wrong_usage"


def exit_code_of(error: RaftbookError) -> ExitCode:
    if isinstance(error, WrongUsageError | InvalidCommandError):
        return ExitCode.WRONG_USAGE
    if isinstance(error, OutcomeUnknownError):
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.FAILED


def sentence_of(error: RaftbookError) -> str:
    """What happened and what to do next, in the words of whoever sits at a command line. Pure."""
    if isinstance(error, UnreachableError) and any(";" in reason for reason in error.reasons.values()):
        # Somebody is there: what helps is what the reason says, and not another node.
        return "cannot talk to " + ", ".join(f"{url} ({_innermost(reason)})" for url, reason in error.reasons.items())
    if isinstance(error, ProblemError) and error.code in _NEXT_COMMANDS:
        return f"{error}; {_NEXT_COMMANDS[error.code]}"
    return str(error).replace("GET /v1/instruments lists", "`raftbook instruments` lists")


def _innermost(reason: str) -> str:
    """`… did not answer (why)`, which names the node again, as `why`."""
    _, did_not_answer, why = reason.partition(" did not answer (")
    return why.removesuffix(")") if did_not_answer else reason


_NEXT_COMMANDS: Final[Mapping[str, str]] = {
    "no_quorum": "`raftbook cluster status` names the missing ones, and how to start them",
    "unauthenticated": "an admin makes one with `raftbook account create NAME --role read`",
    "unknown_order": "`raftbook orders --account ACCOUNT` lists those there are",
}
"""Code of a problem -> the command that helps, where the problem itself names none."""


def tell(sentence: str) -> None:
    """Writes one line to standard error."""
    print(f"raftbook: {sentence}", file=sys.stderr, flush=True)


class RaftbookGroup(TyperGroup):
    """The root of all commands: turns what they raise into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; raises typer.Exit where it fails."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except RaftbookError as error:
            tell(sentence_of(error))
            raise typer.Exit(exit_code_of(error)) from error
        except BrokenPipeError as error:
            _silence(sys.stdout)
            raise typer.Exit(BROKEN_PIPE_EXIT_CODE) from error
        return result

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Plain help: the commands under their headings, each with its whole first sentence."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None) or "Commands"
                panels.setdefault(panel, []).append((name, command.get_short_help_str(WHOLE_SENTENCE)))
        width = max((len(name) for rows in panels.values() for name, _ in rows), default=0)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), sentence) for name, sentence in rows])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Reads `args` and invokes; leaves with an exit code unless `standalone_mode` is off."""
        try:
            exit_code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            exit_code = _tell_usage_error(error)
        except typer.Abort:
            exit_code = ExitCode.FAILED
        if standalone_mode:
            sys.exit(exit_code if isinstance(exit_code, int) else ExitCode.DONE)
        return exit_code


def _tell_usage_error(error: typer.TyperException) -> int:
    """A wrong option or argument: what is wrong, what is allowed, and where the help is."""
    context = getattr(error, "ctx", None)
    message = error.format_message().strip().rstrip(".")
    if not message:
        # No command was named; the help has been shown.
        return error.exit_code
    command = context.command_path if context is not None else "raftbook"
    tell(f"{message[0].lower()}{message[1:]} (see '{command} --help')")
    return error.exit_code


def _silence(stream: Any) -> None:
    """Points a stream whose reader has gone at the null device, so that the interpreter's own flush is quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
