"""Long work on the state as it is now, beside a node that goes on: a forked child has it as it was at the fork."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Final, NoReturn

from raftbook.errors import NotReadyError, StateDivergedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD_DONE: Final = 0
CHILD_FAILED: Final = 1
CHILD_DIVERGED: Final = 2
"""It found the state to be wrong (StateDivergedError)."""

_STANDARD_ERROR: Final = 2
_KEPT_DESCRIPTOR: Final = 3
_NICENESS: Final = 10
_END_INTERVAL_S: Final = 0.01


def fork_child(work: Callable[[], None], *, keep: int | None = None) -> int:
    """The id of a process that does `work`, and ends with a `CHILD_…` code. Stalls for the fork alone.

    It has no open descriptor but the standard ones and, as number 3, `keep`. The caller has to wait for its end.

    Raises:
        StorageError: the system has no room for another process.
    """
    with warnings.catch_warnings():
        # Python warns of forking with threads. The child takes no lock that another thread could hold: it computes,
        # writes, and leaves without returning to the interpreter's shutdown.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            process_id = os.fork()
        except OSError as error:
            raise StorageError(
                f"no process could be started: {error}; raise the limit of processes (ulimit -u)"
            ) from error
    if process_id == 0:
        _work_and_exit(work, keep)
    return process_id


def _work_and_exit(work: Callable[[], None], keep: int | None) -> NoReturn:
    code = CHILD_FAILED
    try:
        # A look at every object would copy every page of the memory that it shares with the node.
        gc.disable()
        # Where processors are scarce, the nodes have them first.
        os.nice(_NICENESS)
        # A child that outlives a killed parent must not keep its sockets: the restarted node needs the ports.
        first_closed = _KEPT_DESCRIPTOR
        if keep is not None:
            os.dup2(keep, _KEPT_DESCRIPTOR)
            first_closed += 1
        os.closerange(first_closed, os.sysconf("SC_OPEN_MAX"))
        work()
        code = CHILD_DONE
    except StateDivergedError as error:
        code = CHILD_DIVERGED
        os.write(_STANDARD_ERROR, f"{error}\n".encode(errors="backslashreplace"))
    except Exception:  # noqa: BLE001 (whatever it is, standard error is all that is left to tell it)
        os.write(_STANDARD_ERROR, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        os._exit(code)


async def computed_by_child(compute: Callable[[], bytes], *, timeout_s: float) -> bytes:
    """What `compute` makes of the state as it is now, on the running loop. At most a few thousand bytes.

    Raises:
        NotReadyError: it took longer than `timeout_s`, or the child failed.
        StorageError: as in `fork_child`.
    """
    reading, writing = os.pipe()
    try:
        try:
            process_id = fork_child(lambda: _write(compute()), keep=writing)
        finally:
            os.close(writing)
        try:
            return await _read(reading, timeout_s)
        finally:
            # Of no use any more; until its end is taken note of, its id is nobody else's.
            os.kill(process_id, signal.SIGKILL)
            while not _has_ended(process_id):  # noqa: ASYNC110 (a process tells nobody)
                await asyncio.sleep(_END_INTERVAL_S)
    finally:
        os.close(reading)


def _has_ended(process_id: int) -> bool:
    return os.waitpid(process_id, os.WNOHANG)[0] != 0


def _write(data: bytes) -> None:
    os.write(_KEPT_DESCRIPTOR, data)


async def _read(descriptor: int, timeout_s: float) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(timeout_s):
            await readable.wait()
    except TimeoutError:
        raise NotReadyError(f"not computed in {timeout_s:g} s; the state is large, or the machine overloaded") from None
    finally:
        loop.remove_reader(descriptor)
    data = os.read(descriptor, 65_536)
    if not data:
        raise NotReadyError("the process that was to compute it failed; the node's log says why")
    return data
