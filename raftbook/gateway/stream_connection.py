"""One connection to the stream: what waits to be written to it, and the bound of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftbook.gateway.stream_delivery import Subscription
    from raftbook.gateway.websocket_frames import Encoding
    from raftbook.json_format import Json

FELL_BEHIND: Final = 4008


class FrameSocket(Protocol):
    """A WebSocket to which whole frames are written; node/websocket_protocol.py provides it."""

    on_leave: Callable[[], None] | None
    is_busy: Callable[[], bool] | None
    take_texts: Callable[[Sequence[bytes]], int] | None

    @property
    def is_open(self) -> bool: ...
    @property
    def buffered_bytes(self) -> int: ...
    def write_frames(self, frames: bytes) -> None: ...
    def end(self, code: int, reason: str) -> None: ...
    async def drained(self) -> None: ...


class StreamConnection:
    """`subscriptions` by channel and what it is of."""

    def __init__(self, socket: FrameSocket, encoding: Encoding, max_backlog_bytes: int) -> None:
        self.socket = socket
        self.encoding = encoding
        """That of the client's last frame, for what answers none."""
        self.subscriptions: dict[tuple[str, ...], Subscription] = {}
        self.has_fallen_behind = False
        self._max_backlog_bytes = max_backlog_bytes
        self._allowed_bytes = max_backlog_bytes
        self._has_snapshot_queued = False
        self._queued: list[bytes] = []

    def say(self, message: Json, encoding: Encoding | None = None) -> None:
        """Write one message, behind whatever is queued."""
        self._queued.append((encoding or self.encoding).frame(message))
        self.flush()

    def queue(self, frames: bytes) -> bool:
        """Let frames of the feed wait for `flush`; True where they are the first."""
        self._queued.append(frames)
        return len(self._queued) == 1

    def queue_snapshot(self, frames: bytes) -> bool:
        """As `queue`. A snapshot may be larger than the bound, which then holds for what comes behind it."""
        self._has_snapshot_queued = True
        return self.queue(frames)

    def flush(self) -> None:
        """Write all that is queued at once; where too much waits already, close the connection instead."""
        queued = self._queued
        if not queued:
            return
        self._queued = []
        buffered_bytes = self.socket.buffered_bytes
        if buffered_bytes > self._allowed_bytes:
            self._fall_behind()
            return
        if buffered_bytes <= self._max_backlog_bytes:
            self._allowed_bytes = self._max_backlog_bytes
        frames = queued[0] if len(queued) == 1 else b"".join(queued)
        if self._has_snapshot_queued:
            self._has_snapshot_queued = False
            self._allowed_bytes = buffered_bytes + len(frames) + self._max_backlog_bytes
        self.socket.write_frames(frames)

    def _fall_behind(self) -> None:
        if not self.has_fallen_behind:
            self.has_fallen_behind = True
            self.socket.end(FELL_BEHIND, "more waits for you than subscriber_backlog_bytes; resume, and read faster")
