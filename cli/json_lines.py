"""JSON lines from a stream: in batches as they arrive, so that whoever writes one line gets its answer at once."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHUNK_BYTES: Final = 1 << 16
MAX_LINE_BYTES: Final = 1 << 16
"""A longer line is no command (those are far shorter); it is passed over, so that memory stays bounded."""


class ByteStream(Protocol):
    def read1(self, size: int = -1, /) -> bytes: ...


class Line(NamedTuple):
    """`number` counts from 1. `text` is None where the line is longer than MAX_LINE_BYTES."""

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts chunks of bytes, however they arrive, into lines; holds at most one unfinished line."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""
        self._is_overlong = False

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes. O(length of the chunk and of the unfinished line)."""
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        lines = [self._line(text) for text in complete]
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
            self._is_overlong = True
        return lines

    def finish(self) -> list[Line]:
        """The last line, where it lacks its line feed."""
        rest, self._rest = self._rest, b""
        return [self._line(rest)] if rest or self._is_overlong else []

    def _line(self, text: bytes) -> Line:
        self._number += 1
        is_overlong, self._is_overlong = self._is_overlong or len(text) > MAX_LINE_BYTES, False
        return Line(self._number, None if is_overlong else text)


def read_batches(stream: ByteStream) -> Iterator[list[Line]]:
    """Yields the lines that each chunk completes, as soon as it arrives."""
    splitter = LineSplitter()
    while chunk := stream.read1(CHUNK_BYTES):
        yield splitter.feed(chunk)
    yield splitter.finish()


async def read_lines(file_descriptor: int) -> AsyncIterator[Line]:
    """Yields lines as they arrive on a file, pipe or terminal, and lets the loop run while there are none."""
    splitter = LineSplitter()
    while True:
        await _readable(file_descriptor)
        chunk = os.read(file_descriptor, CHUNK_BYTES)
        for line in splitter.feed(chunk) if chunk else splitter.finish():
            yield line
        if not chunk:
            return


async def _readable(file_descriptor: int) -> None:
    """Returns when a read would not wait.

    Without a thread, which would outlive Ctrl-C, and without O_NONBLOCK, which a terminal would pass on to standard
    output.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(file_descriptor, ready.set)
    except PermissionError:
        return  # A regular file, which never makes a reader wait.
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file_descriptor)
