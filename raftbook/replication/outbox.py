"""What waits for the disk before it may be said.

Acknowledgements, votes and requests for votes are promises: a member that forgets one with its power has lied. So each
waits until the write-ahead log is durable up to where it stood when the message was made.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raftbook.replication.messages import AppendReply

if TYPE_CHECKING:
    from raftbook.replication.messages import Message, PeerTransport
    from raftbook.replication.write_ahead_log import WriteAheadLog


class Outbox:
    """Messages that wait for the disk, released in the order in which they were made."""

    def __init__(self, wal: WriteAheadLog, transport: PeerTransport) -> None:
        self._wal = wal
        self._transport = transport
        self._held: deque[tuple[int, str, Message]] = deque()

    def send(self, peer: str, message: Message) -> None:
        """Send `message` as soon as all that the write-ahead log holds now is on disk."""
        position = self._wal.position
        if self._wal.durable_position >= position:
            self._transport.send(peer, message)
            return
        if self._held:
            # Heartbeats go on while a disk stalls: their acknowledgements must not pile up.
            held_position, held_peer, held = self._held[-1]
            if (held_position, held_peer) == (position, peer) and _says_no_less(message, held):
                self._held.pop()
        self._held.append((position, peer, message))

    def release(self) -> None:
        """Send what the disk has caught up with; of several acknowledgements to one peer only the furthest."""
        due: list[tuple[str, Message]] = []
        furthest: dict[tuple[str, int], int] = {}
        while self._held and self._held[0][0] <= self._wal.durable_position:
            _position, peer, message = self._held.popleft()
            due.append((peer, message))
            if isinstance(message, AppendReply) and message.success:
                key = (peer, message.term)
                furthest[key] = max(message.match_index, furthest.get(key, 0))
        for peer, message in due:
            if isinstance(message, AppendReply) and message.success:
                # The last need not say most: a heartbeat may fit at an earlier index than the entries before it.
                if furthest.get((peer, message.term)) != message.match_index:
                    continue
                del furthest[peer, message.term]
            self._transport.send(peer, message)

    def forget(self, peer: str) -> None:
        self._held = deque(held for held in self._held if held[1] != peer)


def _says_no_less(message: Message, held: Message) -> bool:
    """Whether `message` is an acknowledgement that makes the one before it needless."""
    return (
        isinstance(message, AppendReply)
        and isinstance(held, AppendReply)
        and message.success
        and held.success
        and (message.term, message.is_voter) == (held.term, held.is_voter)
        and message.match_index >= held.match_index
    )
