"""What leaves a node's loop, in virtual time: writing the log, writing snapshots, and preparing those of peers.

Production has a thread, a forked child and another thread for it (`LogWriter`, `SnapshotWriter`, `SnapshotInstaller`);
here the same work is done in one go, some milliseconds after it was begun.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from raftbook.errors import SnapshotError, StorageError, StorageFullError
from raftbook.replication.storage_space import keep_reserve
from raftbook.simulation.disk import PowerLossError

if TYPE_CHECKING:
    import random

    from raftbook.member.member import Member
    from raftbook.member.storage_folder import StorageFolder
    from raftbook.replication.installation import Installation
    from raftbook.replication.write_ahead_log import Batch
    from raftbook.simulation.cluster import ClusterSettings
    from raftbook.simulation.node import SimulatedNode


class SimulatedWriters:
    """Those of one process of `node`."""

    def __init__(
        self,
        node: SimulatedNode,
        member: Member,
        folder: StorageFolder,
        settings: ClusterSettings,
        random_source: random.Random,
    ) -> None:
        self._node = node
        self._member = member
        self._folder = folder
        self._settings = settings
        self._random = random_source
        self._batch: Batch | None = None
        self._is_writing = False
        self._compact_to: int | None = None
        self._snapshot_under_way: tuple[int, int] | None = None
        self._snapshot_is_written = False
        self._installing: Installation | None = None

    # The log.

    def kick(self) -> None:
        """Begin to write what waits, if nothing else is being written."""
        if self._is_writing:
            return
        self._batch = self._folder.wal.take_batch()
        if self._batch is not None or self._compact_to is not None:
            self._is_writing = True
            self._node.later(self._random.uniform(*self._node.sync_s), self.finish)

    def finish(self) -> None:
        """Write what was begun, unless the disk stalls."""
        if self._node.is_disk_stalled or not self._is_writing:
            return
        self._is_writing = False
        if self._batch is not None:
            batch, self._batch = self._batch, None
            self._folder.wal.write_batch(batch)
            self._folder.wal.mark_durable(batch)
            self.measure()
            self._member.synced()
            self._node.checks.node_moved(self._node)
        elif self._compact_to is not None:
            index, self._compact_to = self._compact_to, None
            self._folder.wal.compact(index)
        self.kick()
        self._node.schedule_step()

    def compact(self, index: int) -> None:
        self._compact_to = index
        self.kick()

    def measure(self) -> None:
        """How much room there is."""
        figures = keep_reserve(self._folder.disk, self._settings.storage_margin_bytes)
        if self._member.measured(figures):
            self._node.note(f"has {'no room' if self._member.storage_full else 'room'}: {figures}")

    def break_off(self) -> None:
        """The process dies: often in the middle of a batch, which is then written in part."""
        disk = self._node.disk
        if self._is_writing and self._batch is not None and self._random.random() < 0.7:
            disk.fail_after = self._random.randrange(4)
            with contextlib.suppress(PowerLossError, StorageError):
                self._folder.wal.write_batch(self._batch)

    # Snapshots of this node.

    def mind_snapshots(self) -> None:
        if self._snapshot_under_way is not None:
            self._adopt_snapshot()
        elif self._member.snapshot_due() is not None:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """The state of now, written a little later."""
        point = self._member.snapshot_point()
        if self._snapshot_under_way is not None or point is None:
            return
        body = self._member.encode_state()
        self._snapshot_under_way = point
        self._snapshot_is_written = False
        self._node.later(self._random.uniform(0.01, 0.2), lambda: self._write_snapshot(*point, body))

    def _write_snapshot(self, index: int, term: int, body: bytes) -> None:
        if not self._member.has_room_for_snapshots:
            self._snapshot_under_way = None
            return
        try:
            self._folder.snapshots.write(index, term, body)
        except StorageError as error:
            # The child failed; the node goes on and tries again, as long as its own writes succeed.
            self._node.note(f"could not write a snapshot: {error.code}")
            self._folder.snapshots.drop_unfinished(index, term, os.getpid())
            self._snapshot_under_way = None
            return
        self._snapshot_is_written = True
        self._adopt_snapshot()

    def _adopt_snapshot(self) -> None:
        assert self._snapshot_under_way is not None
        index, term = self._snapshot_under_way
        if self._snapshot_is_written and self._member.may_adopt(index):
            self._snapshot_under_way = None
            self._folder.snapshots.adopt(index, term)
            self.compact(self._member.snapshot_written(index))

    # Snapshots of peers.

    def mind_installation(self) -> None:
        installation = self._member.installation
        if installation is not None and installation is not self._installing:
            self._installing = installation
            longest_s = self._settings.longest_installation_s
            if longest_s == 0:
                self._install(installation)
            else:
                self._node.later(self._random.uniform(0.0, longest_s), lambda: self._install(installation))

    def _install(self, installation: Installation) -> None:
        try:
            installation.prepare()
        except (SnapshotError, StorageFullError) as error:
            if installation.is_placed:
                raise
            self._node.note(f"could not install a snapshot: {error.code}")
            self._member.installation_failed(installation, lacks_room=isinstance(error, StorageFullError))
        else:
            self._member.install(installation)
            self._folder.snapshots.remove(self._folder.snapshots.superseded())
        self._node.checks.node_moved(self._node)
        self._node.schedule_step()
