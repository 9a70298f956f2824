"""Work on the state in a forked child."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path

import pytest

from raftbook.errors import NotReadyError, StorageError
from raftbook.node.forked_child import computed_by_child


def descriptors() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


async def test_it_sees_the_state_as_it_was_and_the_loop_goes_on():
    state = bytearray(b"at the fork")
    reading, writing = os.pipe()

    def compute() -> bytes:
        # Until the parent has changed the state; the end of this pipe that it writes to is its own alone.
        time.sleep(0.1)
        return bytes(state)

    computing = asyncio.create_task(computed_by_child(compute, timeout_s=10))
    await asyncio.sleep(0)
    state[:] = b"changed"
    turns = 0
    while not computing.done():
        turns += 1
        await asyncio.sleep(0.005)
    assert await computing == b"at the fork"
    assert turns > 5
    os.close(reading)
    os.close(writing)


async def test_one_that_takes_too_long_is_ended(monkeypatch):
    forked, fork = [], os.fork

    def remember() -> int:
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", remember)
    with pytest.raises(NotReadyError, match=r"not computed in 0\.1 s"):
        await computed_by_child(lambda: time.sleep(60) or b"", timeout_s=0.1)
    (pid,) = forked
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 (it does not wait)


async def test_one_that_fails_says_why(capfd):
    def fail() -> bytes:
        raise ValueError("no such state")

    with pytest.raises(NotReadyError, match="failed"):
        await computed_by_child(fail, timeout_s=10)
    assert "ValueError: no such state" in capfd.readouterr().err


async def test_no_descriptor_is_left_open(monkeypatch):
    gc.collect()  # What an earlier test left may be closed by it.
    open_before = descriptors()
    assert await computed_by_child(lambda: b"x", timeout_s=10) == b"x"

    def refuse() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(StorageError, match="no more processes"):
        await computed_by_child(lambda: b"x", timeout_s=10)
    assert descriptors() == open_before
