"""A node's snapshots: when one is begun, finished, given up, and taken over from the leader; storage.py does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import SnapshotError, StorageError, StorageFullError
from raftbook.node.stall_meter import milliseconds
from raftbook.node.storage import SnapshotInstaller, SnapshotWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.member.member import Member
    from raftbook.node.stall_meter import StallMeter
    from raftbook.node.storage import LogWriter
    from raftbook.replication.installation import Installation
    from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotStore

_log = get_logger()

RETRY_S: Final = 10.0
"""After a snapshot that failed."""


class NodeSnapshots:
    """All methods belong to the node's loop. `run` calls an action there, and halts the node if that raises."""

    def __init__(
        self,
        member: Member,
        store: SnapshotStore,
        log_writer: LogWriter,
        *,
        stalls: StallMeter,
        clock: Callable[[], float],
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        self.writer = SnapshotWriter(store)
        self._member = member
        self._store = store
        self._log_writer = log_writer
        self._stalls = stalls
        self._clock = clock
        self._run = run
        self._installer = SnapshotInstaller()
        self._stopped = False
        self._not_before = float("-inf")
        self._written: SnapshotInfo | None = None
        """It is in place, and not told yet."""

    def review(self) -> None:
        """Fork one off when the log behind the last one has grown long; compact the log when it is written.

        Raises:
            StateDivergedError: the state contradicts itself.
        """
        try:
            self._finish()
            self._start()
        except StorageError as error:
            _log.error("snapshot failed; the next one is tried soon", error=str(error), retry_s=RETRY_S)
            self._not_before = self._clock() + RETRY_S

    def _finish(self) -> None:
        info = self.writer.poll(self._member.may_adopt)
        if info is not None:
            self._log_writer.compact(self._member.snapshot_written(info.index))
            self._remove_superseded()
            self._written = info

    def _start(self) -> None:
        due = self._member.snapshot_due()
        if due is not None and not self.writer.is_busy and self._clock() >= self._not_before:
            self._stalls.take_recent_s()
            self.writer.start(*due, self._member.encode_state)

    def tell(self) -> None:
        """One that has been written, a turn of the timer later, so that the longest stall is that of the whole."""
        info, self._written = self._written, None
        if info is not None:
            _log.info(
                "snapshot written",
                index=info.index,
                size_bytes=info.size_bytes,
                fork_cpu_ms=milliseconds(self.writer.fork_cpu_s),
                took_s=round(self.writer.took_s, 3),
                longest_stall_ms=milliseconds(self._stalls.take_recent_s()),
            )

    def give_up_if_room_is_needed(self) -> None:
        if not self._member.has_room_for_snapshots and self.writer.abandon():
            _log.warning("the snapshot that was being written is given up, since the log needs its room")

    def install_if_due(self) -> None:
        """Begin to prepare one that has come from the leader."""
        if self._member.installation is not None:
            self._installer.start(self._member.installation, self._prepared)

    def _prepared(self, installation: Installation, failure: Exception | None) -> None:
        if not self._stopped:
            self._run(lambda: self._install(installation, failure))

    def _install(self, installation: Installation, failure: Exception | None) -> None:
        """Raises whatever `failure` halts the node: all but what another transfer can put right."""
        index = installation.info.index
        if failure is None:
            self._member.install(installation)
            self._remove_superseded()
            _log.info("snapshot installed", index=index, size_bytes=installation.info.size_bytes)
        elif isinstance(failure, SnapshotError | StorageFullError) and not installation.is_placed:
            self._member.installation_failed(installation, lacks_room=isinstance(failure, StorageFullError))
            _log.error("a snapshot from a peer is given up; it has to be sent again", index=index, error=str(failure))
        else:
            raise failure

    def _remove_superseded(self) -> None:
        superseded = self._store.superseded()
        self._log_writer.remove(lambda: self._store.remove(superseded))

    def stop(self) -> None:
        """End a child that is still writing; nothing is installed any more."""
        self._stopped = True
        self.writer.stop()
