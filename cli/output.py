"""Where output goes and in which form: tables for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


def wants_table(output: OutputFormat | None) -> bool:
    """Without `--output`, a table on a terminal and JSON otherwise."""
    if output is None:
        return sys.stdout.isatty()
    return output is OutputFormat.TABLE


def print_json(value: object) -> None:
    """One JSON value on one line."""
    from raftbook.json_format import dumps

    write_lines([dumps(value)])


def write_lines(lines: Iterable[bytes]) -> None:
    """Writes the lines at once, each with its line feed."""
    rest = memoryview(b"".join(line + b"\n" for line in lines))
    while rest:
        # An unbuffered standard output (PYTHONUNBUFFERED) may take less than all.
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.flush()


def print_table(renderable: RenderableType) -> None:
    console().print(renderable)


def console() -> Console:
    """A console on standard output. In a pipe it does not wrap: a table is as wide as its content."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 240, highlight=False)


def error_console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)
