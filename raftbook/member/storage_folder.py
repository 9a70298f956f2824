"""A node's files, opened: what the last process left is the beginning of this one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.errors import SnapshotError, StateDivergedError
from raftbook.replication.disk import FileDisk
from raftbook.replication.journal import Journal
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.write_ahead_log import SEGMENT_SIZE_BYTES, Identity, WriteAheadLog
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from raftbook.member.digest_comparison import Difference
    from raftbook.replication.disk import Disk, Durability

EVIDENCE_NAME: Final = "state-diverged.json"
"""Stands in the folder of a node whose state differed from the majority's: it must not start from its files again."""

EVIDENCE_STATE_NAME: Final = "state-diverged.state"
"""The state as the node had it in memory then, encoded as in a snapshot."""


class StorageFolder:
    """The write-ahead log, the snapshots and the state that they give, for one node.

    `origin` names this start of the node. It is taken from the clock, so that it differs from that of any earlier
    start, also when the folder was emptied in between: a repeated origin would have its submissions passed over.
    """

    def __init__(
        self, disk: Disk, cluster: str, node_id: str, start_ns: int, *, segment_size_bytes: int = SEGMENT_SIZE_BYTES
    ) -> None:
        """Open the folder behind `disk`, which the caller has locked.

        Raises:
            DataFolderError: it belongs to another node or cluster.
            DamagedLogError, SnapshotError: what was once durable is wrong; the message names the way out.
            StateDivergedError: the node halted since its state was not the majority's, and was not rebuilt.
        """
        self.disk = disk
        if EVIDENCE_NAME in disk.names():
            raise StateDivergedError(
                f"this node halted because its state differed from its peers' ({disk.path(EVIDENCE_NAME)} has the "
                f"evidence); bring it back from them with `raftbook node rebuild --config FILE --id {node_id}`"
            )
        self.start = start_ns
        self.origin = f"{node_id}.{start_ns:x}"
        identity = Identity(cluster, node_id)
        self.wal, recovered = WriteAheadLog.open(disk, identity, segment_size_bytes=segment_size_bytes)
        self.snapshots = SnapshotStore(disk, identity)
        self.is_voter = recovered.voter
        info = self.snapshots.latest(recovered.base_index)
        self.journal = Journal(self.wal, recovered)
        if info is None:
            self.state = StateMachine()
            return
        body = self.snapshots.load(info)
        try:
            self.state = StateMachine.from_snapshot(body)
        except SnapshotError as error:
            raise SnapshotError(
                f"the snapshot of entry {info.index} in {disk.path('')} does not load: {error}; rebuild this node from "
                f"its peers with `raftbook node rebuild --config FILE --id {node_id}`"
            ) from error
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

    def keep_evidence(self, message: str, differences: Sequence[Difference], state: StateMachine) -> None:
        """Write down that and how the state differs from the peers'. From then on the folder opens no more.

        StorageError: the disk refuses. O(size of the state).
        """
        evidence = {
            "message": message,
            "log_index": state.index,
            "digest": state.chain_digest.hex(),
            "differences": [difference._asdict() for difference in differences],
        }
        for name, data in (
            (EVIDENCE_STATE_NAME, state.to_snapshot()),
            (EVIDENCE_NAME, msgspec.json.format(msgspec.json.encode(evidence)) + b"\n"),
        ):
            if name in self.disk.names():
                # Of an attempt that was cut short.
                self.disk.remove(name)
            self.disk.create(name, may_use_reserve=True)
            self.disk.append(name, data, may_use_reserve=True)
            self.disk.sync(name)
        self.disk.sync_directory()

    def close(self) -> None:
        self.disk.close()
