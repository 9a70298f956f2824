"""What halts a node, and what does not."""

from __future__ import annotations

import asyncio
import errno

import pytest

from raftbook.errors import StorageError
from raftbook.node import runner


@pytest.fixture
def halted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    errors: list[BaseException] = []
    monkeypatch.setattr(runner, "halt", errors.append)
    return errors


async def test_an_exception_in_a_callback_halts_the_node(halted):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(runner._halt_on_unhandled)
    for error in (ZeroDivisionError(), AssertionError(), StorageError("disk"), OSError(errno.EIO, "disk")):

        def fail(error: BaseException = error) -> None:
            raise error

        loop.call_soon(fail)
        await asyncio.sleep(0)
        assert halted.pop() is error


async def test_a_listener_that_is_out_of_descriptors_does_not(halted):
    context = {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, ""), "socket": 1}
    runner._halt_on_unhandled(asyncio.get_running_loop(), context)
    assert halted == []
