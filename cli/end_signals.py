"""An end that leaves nothing behind: SIGTERM and SIGHUP stop long work as Ctrl-C does, and its processes with it."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

END_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def run_until_ended(work: Coroutine[object, object, Result]) -> Result:
    """The result of `work`; where a signal comes first, `work` is cancelled and the process leaves with 128 + number.

    An exception raised by a signal handler could come between the start of a process and the note that it was
    started. A cancellation comes where `work` waits.
    """
    return asyncio.run(_cancelled_by_signals(work))


async def _cancelled_by_signals(work: Coroutine[object, object, Result]) -> Result:
    task = asyncio.current_task()
    assert task is not None
    ended_by: list[int] = []

    def end(number: int) -> None:
        ended_by.append(number)
        task.cancel()

    for end_signal in END_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(end_signal, end, end_signal)
    try:
        return await work
    except asyncio.CancelledError:
        if ended_by:
            sys.exit(128 + ended_by[0])
        raise
