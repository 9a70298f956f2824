"""A node's files, opened: what the last process left is the beginning of this one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from raftbook.replication.disk import FileDisk
from raftbook.replication.journal import Journal
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from pathlib import Path

    from raftbook.replication.disk import Disk, Durability


class StorageFolder:
    """The write-ahead log, the snapshots and the state that they give, for one node.

    `origin` names this start of the node. It is taken from the clock, so that it differs from that of any earlier
    start, also when the folder was emptied in between: a repeated origin would have its submissions passed over.
    """

    def __init__(self, disk: Disk, cluster: str, node_id: str, start_ns: int) -> None:
        """Open the folder behind `disk`, which the caller has locked.

        Raises:
            DataFolderError: it belongs to another node or cluster.
            DamagedLogError, SnapshotError: what was once durable is wrong; the message names the way out.
        """
        self._disk = disk
        self.start = start_ns
        self.origin = f"{node_id}.{start_ns:x}"
        identity = Identity(cluster, node_id)
        self.wal, recovered = WriteAheadLog.open(disk, identity)
        self.snapshots = SnapshotStore(disk, identity)
        self.is_voter = recovered.voter
        info = self.snapshots.latest(recovered.base_index)
        self.journal = Journal(self.wal, recovered)
        if info is None:
            self.state = StateMachine()
            return
        self.state = StateMachine.from_snapshot(self.snapshots.load(info))
        assert self.state.index == info.index
        if self.journal.term_at(info.index) != info.term:
            # A crash came between an installed snapshot and the log's record of it.
            self.journal.reset(info.index, info.term)

    @classmethod
    def open(cls, folder: Path, cluster: str, node_id: str, durability: Durability) -> StorageFolder:
        """Create or open the real folder, and keep other processes out of it. Raises as the constructor does."""
        disk = FileDisk(folder, durability)
        disk.lock()
        return cls(disk, cluster, node_id, time.time_ns())

    def close(self) -> None:
        self._disk.close()
