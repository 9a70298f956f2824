"""Who has room on its disk, and what follows from it: pure decisions over what the members say of themselves.

| who is full | what happens |
|---|---|
| a follower | it refuses submissions; the leader sends it heartbeats alone, so it applies no more; the others go on |
| the leader | the same, and it hands over to a voter that has room; until then it proposes nothing |
| so many that the rest is no majority | every node refuses submissions, and no leader proposes anything |

Reads go on everywhere. Who is not connected is not counted: then it is no matter of room that nothing can be ordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import StorageFullError
from raftbook.replication.storage_space import StorageSpace, majority_lacks_room

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIB: Final = 1024 * 1024


class Room:
    """What one member knows about the room of all of them. O(members) a question."""

    def __init__(self, node_id: str, member_count: int, margin_bytes: int) -> None:
        self._node_id = node_id
        self._member_count = member_count
        self._full_peers: set[str] = set()
        self._learners: set[str] = set()
        """Those whose room helps nobody: what they acknowledge does not count."""
        self.own = StorageSpace(margin_bytes)

    def told(self, peer: str, *, storage_full: bool, is_voter: bool) -> None:
        """What a peer reports of itself, which holds until it says otherwise. Before its first report it has room."""
        for peers, belongs in ((self._full_peers, storage_full), (self._learners, not is_voter)):
            if belongs:
                peers.add(peer)
            else:
                peers.discard(peer)

    def peers_with_room(self, connected: Sequence[str]) -> list[str]:
        """Those of `connected` that can take entries."""
        return [peer for peer in connected if peer not in self._full_peers]

    def may_propose(self, connected: Sequence[str]) -> bool:
        """Whether a leader should put anything new into the log. It asks at every step; hardly ever is anyone full."""
        return self.own.has_room and (not self._full_peers or not self._majority_lacks_room(connected, is_voter=True))

    def check(self, connected: Sequence[str], *, is_voter: bool) -> None:
        """`is_voter`: of this member.

        Raises:
            StorageFullError: nothing new should be taken; the message says where room is missing.
        """
        has_alternative = not self._majority_lacks_room(connected, is_voter=is_voter)
        if not self.own.has_room:
            advice = ", or submit to another node" if has_alternative else ""
            raise StorageFullError(f"{self._shortage()}, so it orders nothing new; free some space there{advice}")
        if not has_alternative:
            full = " and ".join(peer for peer in connected if peer in self._full_peers)
            raise StorageFullError(
                f"too little room is left for {full}, so no majority can order anything; free some space there"
            )

    def _majority_lacks_room(self, connected: Sequence[str], *, is_voter: bool) -> bool:
        flags = [peer not in self._full_peers for peer in connected if peer not in self._learners]
        if is_voter:
            flags.append(self.own.has_room)
        return majority_lacks_room(self._member_count, flags)

    def _shortage(self) -> str:
        figures = self.own.figures
        assert figures is not None, "a member is full by its figures"
        margin = f"{self.own.margin_bytes / _MIB:.3g} MiB"
        if figures.free_bytes >= self.own.margin_bytes:
            return f"the disk of {self._node_id} has just been full, and its reserve is not restored yet"
        free = f"{figures.free_bytes / _MIB:.3g} MiB"
        return f"the disk of {self._node_id} has {free} free, less than its margin of {margin} (storage_reserve_bytes)"
