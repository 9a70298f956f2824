"""A snapshot on its way from the leader to a follower whose entries are no longer held.

The leader sends chunks of a snapshot file, a window of them ahead of what the follower has confirmed; the follower
writes them to a file of its own and answers with the number of bytes that it holds, which is also where a transfer
goes on after a lost connection. Nothing is taken for a snapshot before its length and digest are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from raftbook.errors import NotHeldError
from raftbook.replication.messages import SnapshotChunk, SnapshotReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotReceiver, SnapshotStore

CHUNK_BYTES: Final = 256 * 1024
WINDOW_BYTES: Final = 8 * CHUNK_BYTES
REPEAT_AFTER_S: Final = 5.0
"""What was sent and not confirmed is sent again: longer than a window takes on any link that is of use."""


@dataclass(slots=True)
class _Outgoing:
    info: SnapshotInfo
    moved_at: float
    """When it began, or was last confirmed or sent again."""
    sent_bytes: int = 0
    confirmed_bytes: int = 0


class SnapshotSender:
    """The leader's side: at most one transfer to each follower."""

    def __init__(self, store: SnapshotStore, send: Callable[[str, SnapshotChunk], bool]) -> None:
        self._store = store
        self._send = send
        self._outgoing: dict[str, _Outgoing] = {}

    def offer(self, peer: str, term: int, now: float) -> None:
        """Send the newest snapshot to `peer`, or go on with the one that is under way; to be called now and then."""
        transfer = self._outgoing.get(peer)
        if transfer is None:
            self._begin(peer, now)
        elif transfer.sent_bytes > transfer.confirmed_bytes and now - transfer.moved_at >= REPEAT_AFTER_S:
            # A follower without room on its disk does not answer.
            transfer.sent_bytes, transfer.moved_at = transfer.confirmed_bytes, now
        self._pump(peer, term, now)

    def _begin(self, peer: str, now: float) -> None:
        info = self._store.latest()
        assert info is not None, "the log was compacted, so there is a snapshot"
        self._outgoing[peer] = _Outgoing(info, now)

    def acknowledged(self, peer: str, match_index: int) -> None:
        """The log of `peer` is on its disk up to `match_index`: a transfer is over when that covers the snapshot."""
        transfer = self._outgoing.get(peer)
        if transfer is not None and transfer.info.index <= match_index:
            del self._outgoing[peer]

    def index_sent_to(self, peer: str) -> int:
        """Of the snapshot that is on its way to `peer`; 0 where none is."""
        transfer = self._outgoing.get(peer)
        return 0 if transfer is None else transfer.info.index

    def forget(self, peer: str) -> None:
        self._outgoing.pop(peer, None)

    def forget_all(self) -> None:
        self._outgoing.clear()

    def answered(self, peer: str, reply: SnapshotReply, term: int, now: float) -> None:
        transfer = self._outgoing.get(peer)
        if transfer is None or reply.index != transfer.info.index:
            return
        if reply.received_bytes < transfer.confirmed_bytes:
            transfer.sent_bytes = reply.received_bytes
        transfer.confirmed_bytes, transfer.moved_at = reply.received_bytes, now
        transfer.sent_bytes = max(transfer.sent_bytes, reply.received_bytes)
        self._pump(peer, term, now)

    def _pump(self, peer: str, term: int, now: float) -> None:
        try:
            self._send_window(peer, term)
        except NotHeldError:
            # Newer snapshots have replaced this one: a slow transfer begins anew.
            self._begin(peer, now)
            self._send_window(peer, term)

    def _send_window(self, peer: str, term: int) -> None:
        transfer = self._outgoing[peer]
        info = transfer.info
        while transfer.sent_bytes < info.size_bytes and transfer.sent_bytes - transfer.confirmed_bytes < WINDOW_BYTES:
            data = self._store.read_chunk(info, transfer.sent_bytes, CHUNK_BYTES)
            chunk = SnapshotChunk(term, info.index, info.term, info.size_bytes, info.digest, transfer.sent_bytes, data)
            if not self._send(peer, chunk):
                return
            transfer.sent_bytes += len(data)


class SnapshotCollector:
    """The follower's side: chunks in, a whole snapshot out, which is not verified yet."""

    def __init__(self, receiver: SnapshotReceiver) -> None:
        self._receiver = receiver
        self._current: tuple[int, int, bytes] | None = None

    def add(self, chunk: SnapshotChunk) -> tuple[int, SnapshotInfo | None]:
        """Take a chunk in; returns the bytes held so far, and the snapshot when it is whole.

        Raises:
            SnapshotError: no snapshot can have such a chunk.
        """
        key = (chunk.index, chunk.snapshot_term, chunk.digest)
        if self._current != key:
            self._current = None
            self._receiver.begin(chunk.index, chunk.snapshot_term, chunk.size_bytes, chunk.digest)
            self._current = key
        received_bytes = self._receiver.add(chunk.offset, chunk.data)
        if received_bytes < chunk.size_bytes:
            return received_bytes, None
        self._current = None
        return received_bytes, self._receiver.finish()

    def abort(self) -> None:
        if self._current is not None:
            self._receiver.abort()
            self._current = None
