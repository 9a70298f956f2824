"""A snapshot that has come from the leader, on its way to become this member's state.

To verify and decode a large one takes seconds, in which a member that did nothing else would answer nobody, lose its
connections and be missed in a vote. So whoever drives the member calls `prepare` elsewhere, and hands the installation
back with `RaftNode.install`, or with `RaftNode.installation_failed`. Until then the member goes on with the log and the
state that it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotStore


class Installation:
    """`decode` makes of a snapshot's body what `StateReplica.restore` takes."""

    def __init__(self, info: SnapshotInfo, store: SnapshotStore, decode: Callable[[bytes], object]) -> None:
        self.info = info
        self._store = store
        self._decode = decode
        self._state: object = None
        self.is_placed = False
        """It is what was announced, and stands under its name: no other transfer would bring anything else."""

    def prepare(self) -> None:
        """Verify the snapshot, make it durable under its name, and decode it. O(bytes). From any thread, once.

        Raises:
            SnapshotError: it is not what was announced, and has been dropped; or it is, and no state can be made of it.
            StorageError: the disk refuses.
        """
        self._store.place_incoming(self.info)
        self.is_placed = True
        self._state = self._decode(self._store.load(self.info))

    @property
    def state(self) -> object:
        assert self._state is not None, "it has not been prepared"
        return self._state
