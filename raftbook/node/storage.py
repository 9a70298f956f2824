"""The only parts of a node that leave its loop: syncing the write-ahead log, writing snapshots and decoding them.

One worker thread writes batches, one at a time; whatever waits meanwhile is the next batch, so the disk sets the pace
and batches grow with load. Snapshots are written by a forked child, which has the state as it was at the fork while
the node goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from enum import Enum
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import StateDivergedError, StorageError
from raftbook.node.forked_child import CHILD_DIVERGED, CHILD_DONE, fork_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.installation import Installation
    from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotStore
    from raftbook.replication.storage_space import DiskWatch, StorageFigures
    from raftbook.replication.write_ahead_log import Batch, WriteAheadLog

_log = get_logger()

_STOP_S: Final = 1.0
_STOP_INTERVAL_S: Final = 0.002

SNAPSHOT_TIME_LIMIT_S: Final = 600.0
"""About a hundred times what a million resting orders take."""


class LogWriter:
    """Drives the write-ahead log's worker side in a thread of its own. All methods belong to the loop.

    `on_synced` is called there as soon as a batch is on disk, and `on_written` before it, with the seconds that writing
    and syncing took. An order waits for all that stands between `kick` and `on_synced`, so there is little: one queue
    on the way to the thread, one callback on the way back, and the thread does what else there is to do behind it.

    The same thread measures the disk, behind what it wrote where that is due and whenever it is asked to: a file system
    that hangs must not hold up the loop. `on_measured` is called on the loop with what it found.
    """

    def __init__(
        self,
        wal: WriteAheadLog,
        *,
        watch: DiskWatch,
        on_synced: Callable[[], None],
        on_measured: Callable[[StorageFigures], None],
        on_written: Callable[[float], None] = lambda _: None,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._wal = wal
        self._watch = watch
        self._on_synced = on_synced
        self._on_measured = on_measured
        self._on_written = on_written
        self._on_failure = on_failure
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._busy = False
        self._removals: list[Callable[[], None]] = []
        self._idle: asyncio.Future[None] | None = None
        """Set by `close`, which waits for it."""

    def kick(self) -> None:
        """Start the next batch, if there is something to write and no other is under way."""
        if self._busy:
            return
        if self._removals:
            # First, since under load there is always a batch; it comes once a snapshot, and costs as much as one batch.
            self._hand_over(partial(self._do, self._removals.pop(0)))
            return
        batch = self._wal.take_batch()
        if batch is not None:
            self._hand_over(partial(self._write, batch))
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def compact(self, index: int) -> None:
        """Remove what a durable snapshot covers, as soon as the batch that is under way is written."""
        self.remove(lambda: self._wal.compact(index))

    def remove(self, removal: Callable[[], None]) -> None:
        """Call `removal` in the thread, then: to remove a large file can take a while."""
        self._removals.append(removal)
        self.kick()

    def measure(self) -> None:
        """Measure now or, where something is under way, behind it."""
        if self._busy:
            self._watch.is_due = True
        else:
            self._hand_over(partial(self._do, lambda: None))

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        self._idle = asyncio.get_running_loop().create_future()
        self.kick()
        await self._idle
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()

    def _hand_over(self, work: Callable[[], None]) -> None:
        self._busy = True
        self._work.put(work)
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            # A daemon: a process that ends without `close` has nothing more to promise.
            self._thread = threading.Thread(target=self._serve, name="log-writer", daemon=True)
            self._thread.start()

    def _written(self, batch: Batch, took_s: float) -> None:
        self._busy = False
        self._wal.mark_durable(batch)
        self._on_written(took_s)
        self._on_synced()
        self.kick()

    def _done(self, figures: StorageFigures) -> None:
        self._busy = False
        self._on_measured(figures)
        self.kick()

    # In the thread.

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (whatever it is, the loop is told and halts the node)
                self._tell(self._on_failure, error)

    def _write(self, batch: Batch) -> None:
        began_at = time.perf_counter()
        # Behind the callback the loop may hand over the next batch, which waits in the queue until this one is done.
        self._wal.write_batch(batch, lambda: self._tell(self._written, batch, time.perf_counter() - began_at))
        figures = self._watch.written(self._wal.size_bytes)
        if figures is not None:
            self._tell(self._on_measured, figures)

    def _do(self, work: Callable[[], None]) -> None:
        work()
        self._tell(self._done, self._watch.measure())

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        # Where the loop is closed nobody wants to know.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


@dataclass(slots=True)
class _Child:
    """`ended_for` says why it was told to end, where it was."""

    process_id: int
    index: int
    term: int
    started_at: float
    ended_for: _End | None = None


class _End(Enum):
    TIME = "time"
    ROOM = "room"


class SnapshotInstaller:
    """Prepares a snapshot that came from a peer in a thread of its own: it takes seconds, and the log goes on."""

    def __init__(self) -> None:
        self._installation: Installation | None = None

    def start(self, installation: Installation, on_done: Callable[[Installation, Exception | None], None]) -> None:
        """Prepare `installation`, if that was not begun. `on_done` is called on the loop, with what went wrong."""
        if installation is self._installation:
            return
        self._installation = installation
        loop = asyncio.get_running_loop()

        def prepare() -> None:
            failure = None
            try:
                installation.prepare()
            except Exception as error:  # noqa: BLE001 (the loop is told, whatever it is)
                failure = error
            # Where the node has left meanwhile nobody wants to know.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(on_done, installation, failure)

        # A daemon, since a node that leaves does not wait for it.
        threading.Thread(target=prepare, name="snapshot-installer", daemon=True).start()


class SnapshotWriter:
    """Writes snapshots in a forked child. `poll` from the loop tells when one is done; nothing here waits for a child.

    One that takes longer than `time_limit_s` is ended, since no other can begin before. `clock` gives seconds.
    """

    def __init__(
        self,
        store: SnapshotStore,
        *,
        time_limit_s: float = SNAPSHOT_TIME_LIMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._child: _Child | None = None
        self._written: tuple[int, int] | None = None
        """(index, term) of a snapshot that is on disk, and not the store's newest yet."""
        self.fork_cpu_s = 0.0
        """Of the processor, on the loop, for the last fork: it grows with the memory that there is to share."""
        self.took_s = 0.0
        """How long the last child took that wrote one; as exactly as `poll` is called often."""

    @property
    def is_busy(self) -> bool:
        return self._child is not None or self._written is not None

    def start(self, index: int, term: int, encode: Callable[[], bytes]) -> None:
        """Fork a child that writes `encode()` as the snapshot at `index`. Stalls the loop for the fork alone.

        Raises:
            StorageError: the system has no room for another process.
        """
        assert not self.is_busy
        started_at, cpu_began_at = self._clock(), time.thread_time()
        try:
            process_id = fork_child(lambda: self._write(index, term, encode))
        except StorageError as error:
            raise StorageError(f"the snapshot of entry {index} was not begun: {error}") from error
        self.fork_cpu_s = time.thread_time() - cpu_began_at
        self._child = _Child(process_id, index, term, started_at)

    def _write(self, index: int, term: int, encode: Callable[[], bytes]) -> None:
        self._store.write(index, term, encode())

    def poll(self, may_adopt: Callable[[int], bool]) -> SnapshotInfo | None:
        """The snapshot that has just become the store's newest, or None.

        That happens once it is written and `may_adopt(index)` allows it. Older ones stay on disk (`superseded`).

        Raises:
            StorageError: the child failed, or took too long.
            StateDivergedError: it found the state to contradict itself.
        """
        if self._child is not None:
            self._look_after(self._child)
        if self._written is None or not may_adopt(self._written[0]):
            return None
        written, self._written = self._written, None
        return self._store.accept(*written)

    def _look_after(self, child: _Child) -> None:
        finished, status = os.waitpid(child.process_id, os.WNOHANG)
        if finished == 0:
            if child.ended_for is None and self._clock() - child.started_at > self._time_limit_s:
                self._end(child, _End.TIME)
            return
        self._child = None
        code = os.waitstatus_to_exitcode(status)
        if code == CHILD_DONE:
            # Also of one that was told to end too late: what it wrote is whole.
            self.took_s = self._clock() - child.started_at
            self._written = (child.index, child.term)
            return
        self._store.drop_unfinished(child.index, child.term, child.process_id)
        if code == CHILD_DIVERGED:
            raise StateDivergedError(
                f"the state at log index {child.index} contradicts itself, as the line before says; bring this node "
                "back from its peers with `raftbook node rebuild`"
            )
        if child.ended_for is _End.TIME:
            raise StorageError(
                f"the snapshot of entry {child.index} was not written in {self._time_limit_s:g} s, so its process was "
                "ended; look whether the disk hangs or the machine is overloaded"
            )
        if child.ended_for is None:
            raise StorageError(f"the process that wrote the snapshot of entry {child.index} ended with code {code}")

    def _end(self, child: _Child, reason: _End) -> None:
        # Its end is not waited for: to free its memory takes a while, and one that hangs in the disk never ends.
        child.ended_for = reason
        os.kill(child.process_id, signal.SIGKILL)

    def abandon(self) -> bool:
        """End a child that is still writing, for the room that its file takes; True where there was one to end.

        The file goes when the child is gone, at a later `poll`.
        """
        if self._child is None or self._child.ended_for is not None:
            return False
        self._end(self._child, _End.ROOM)
        return True

    def stop(self) -> None:
        """End a child that is still writing; its half-written file is removed at the next start."""
        child, self._child = self._child, None
        if child is None:
            return
        os.kill(child.process_id, signal.SIGKILL)
        deadline = time.monotonic() + _STOP_S
        while os.waitpid(child.process_id, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(_STOP_INTERVAL_S)
