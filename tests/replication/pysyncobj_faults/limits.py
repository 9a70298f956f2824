"""Limits of a process, and a flood of connections that lets it reach one."""

from __future__ import annotations

import os
import resource
import select
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """A write beyond that size fails with EFBIG, for any file of this process: what a full disk does with ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leave_descriptors(count: int) -> None:
    """This process may open so many files more, and no others."""
    used = len(list(Path("/proc/self/fd").iterdir()))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, hard))


class Flood(NamedTuple):
    """A process that holds connections and says nothing. It ends with `end`, or with the process that started it."""

    process_id: int
    lifeline: int

    def end(self) -> None:
        os.close(self.lifeline)
        os.waitpid(self.process_id, 0)


def start_flood(port: int, *, count: int = 60, turn: int | None = None) -> Flood:
    """Connect to a port of this machine `count` times, or until it is refused. To be called before there are threads.

    With `turn`, each connection waits for a byte of that descriptor: a listener with a short queue would drop what does
    not fit in, to be repeated a second later.
    """
    end_of_parent, lifeline = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        os.close(lifeline)
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100,) * 2)
        connections = []
        with suppress(OSError):
            for _ in range(count):
                if turn is not None:
                    _wait_for_turn(turn, end_of_parent)
                connections.append(socket.create_connection(("127.0.0.1", port)))
        os.read(end_of_parent, 1)
        os._exit(0)
    os.close(end_of_parent)
    return Flood(process_id, lifeline)


def _wait_for_turn(turn: int, end_of_parent: int) -> None:
    readable, _, _ = select.select([turn, end_of_parent], [], [])
    if end_of_parent in readable:
        os._exit(0)
    os.read(turn, 1)
