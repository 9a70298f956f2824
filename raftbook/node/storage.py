"""The only parts of a node that leave its loop: syncing the write-ahead log, and writing snapshots.

One worker thread writes batches, one at a time; whatever waits meanwhile is the next batch, so the disk sets the pace
and batches grow with load. Snapshots are written by a forked child, which has the state as it was at the fork while
the node goes on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotStore
    from raftbook.replication.storage_space import StorageFigures
    from raftbook.replication.write_ahead_log import Batch, WriteAheadLog

_log = get_logger()

_CHILD_DONE: Final = 0
_CHILD_FAILED: Final = 1
_STANDARD_ERROR: Final = 2
_FIRST_INHERITED_DESCRIPTOR: Final = 3


class LogWriter:
    """Drives the write-ahead log's worker side. `on_synced` is called on the loop after each batch.

    The same thread measures the disk with `measure`, behind each batch and whenever it is asked to: a file system that
    hangs must not hold up the loop. `on_measured` is called on the loop with what it found.
    """

    def __init__(
        self,
        wal: WriteAheadLog,
        *,
        measure: Callable[[], StorageFigures],
        on_synced: Callable[[], None],
        on_measured: Callable[[StorageFigures], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._wal = wal
        self._measure = measure
        self._on_synced = on_synced
        self._on_measured = on_measured
        self._on_failure = on_failure
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-writer")
        self._busy = False
        self._compact_to: int | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def kick(self) -> None:
        """Start the next batch, if there is something to write and no other is under way."""
        if self._busy:
            return
        if self._compact_to is not None:
            # First, since under load there is always a batch; it comes once a snapshot, and costs as much as one batch.
            index, self._compact_to = self._compact_to, None
            self._run(lambda: self._wal.compact(index), None)
            return
        batch = self._wal.take_batch()
        if batch is not None:
            self._run(lambda: self._wal.write_batch(batch), batch)
        else:
            self._idle.set()

    def compact(self, index: int) -> None:
        """Remove what a durable snapshot covers, as soon as the batch that is under way is written."""
        self._compact_to = index
        self.kick()

    def measure(self) -> None:
        """Measure now, unless something is under way that does so anyway."""
        if not self._busy:
            self._run(lambda: None, None)

    def _run(self, work: Callable[[], None], batch: Batch | None) -> None:
        def work_and_measure() -> StorageFigures:
            work()
            return self._measure()

        self._busy = True
        self._idle.clear()
        future = asyncio.get_running_loop().run_in_executor(self._thread, work_and_measure)
        future.add_done_callback(lambda done: self._finished(done, batch))

    def _finished(self, done: asyncio.Future[StorageFigures], batch: Batch | None) -> None:
        self._busy = False
        error = done.exception()
        if error is not None:
            self._on_failure(error)
            return
        if batch is not None:
            self._wal.mark_durable(batch)
            self._on_synced()
        self._on_measured(done.result())
        self.kick()

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        self.kick()
        await self._idle.wait()
        self._thread.shutdown()


class SnapshotWriter:
    """Writes snapshots in a forked child. `poll` from the loop tells when one is done."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._child: tuple[int, int, int] | None = None
        self._written: tuple[int, int] | None = None
        """(index, term) of a snapshot that is on disk, and not the store's newest yet."""

    @property
    def is_busy(self) -> bool:
        return self._child is not None or self._written is not None

    def start(self, index: int, term: int, encode: Callable[[], bytes]) -> None:
        """Fork a child that writes `encode()` as the snapshot at `index`. Stalls the loop for the fork alone.

        Raises:
            StorageError: the system has no room for another process.
        """
        assert not self.is_busy
        with warnings.catch_warnings():
            # Python warns of forking with threads. The child takes no lock that another thread could hold: it
            # encodes, writes, and leaves without returning to the interpreter's shutdown.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                child = os.fork()
            except OSError as error:
                raise StorageError(
                    f"no process could be started to write the snapshot of entry {index}: {error}"
                ) from error
        if child == 0:
            self._write_and_exit(index, term, encode)
        self._child = (child, index, term)

    def _write_and_exit(self, index: int, term: int, encode: Callable[[], bytes]) -> None:
        code = _CHILD_FAILED
        try:
            # A child that outlives a killed parent must not keep its sockets: the restarted node needs the ports.
            os.closerange(_FIRST_INHERITED_DESCRIPTOR, os.sysconf("SC_OPEN_MAX"))
            gc.disable()
            self._store.write(index, term, encode())
            code = _CHILD_DONE
        except Exception:  # noqa: BLE001 (whatever it is, standard error is all that is left to tell it)
            os.write(_STANDARD_ERROR, traceback.format_exc().encode(errors="backslashreplace"))
        finally:
            os._exit(code)

    def poll(self, may_adopt: Callable[[int], bool]) -> SnapshotInfo | None:
        """The snapshot that has just become the store's newest, or None.

        That happens once it is written and `may_adopt(index)` allows it.

        Raises:
            StorageError: the child failed.
        """
        if self._child is not None:
            self._collect_child(*self._child)
        if self._written is None or not may_adopt(self._written[0]):
            return None
        written, self._written = self._written, None
        return self._store.adopt(*written)

    def _collect_child(self, child: int, index: int, term: int) -> None:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished == 0:
            return
        self._child = None
        code = os.waitstatus_to_exitcode(status)
        if code != _CHILD_DONE:
            self._store.drop_unfinished(index, term, child)
            raise StorageError(f"the process that wrote the snapshot of entry {index} ended with code {code}")
        self._written = (index, term)

    def stop(self) -> None:
        """End a child that is still writing; its half-written file is removed at the next start."""
        if self._child is not None:
            os.kill(self._child[0], signal.SIGKILL)
            os.waitpid(self._child[0], 0)
            self._child = None

    def abandon(self) -> bool:
        """As `stop`, and the half-written file is removed at once, for the room that it takes; True if there was one.

        Raises:
            StorageError: it could not be removed.
        """
        if self._child is None:
            return False
        child, index, term = self._child
        self.stop()
        self._store.drop_unfinished(index, term, child)
        return True
