"""WebSocket connections of a node: uvicorn's protocol, with a way past it for what goes to thousands of subscribers.

The application finds this object in its scope, under `extensions`, as FRAMES_EXTENSION. It writes whole frames to it:
those of a server are not masked, so the same bytes do for all subscribers, and nothing is copied or encoded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request

FRAMES_EXTENSION: Final = "raftbook.frames"

MAX_FRAME_BYTES: Final = 64 << 10
"""Of a client; a larger one closes the connection (1009)."""
PING_INTERVAL_S: Final = 20.0
PONG_TIMEOUT_S: Final = 20.0
CLOSE_TIMEOUT_S: Final = 10.0
"""For the client to take what it was sent and the close frame; then the connection is cut."""
LEAVING_CLOSE_TIMEOUT_S: Final = 1.0
"""As long, when the node leaves: it does not wait for who does not read."""
GOING_AWAY: Final = 1001

UVICORN_SETTINGS: Final[dict[str, Any]] = {
    "ws_max_size": MAX_FRAME_BYTES,
    "ws_ping_interval": PING_INTERVAL_S,
    "ws_ping_timeout": PONG_TIMEOUT_S,
    "ws_per_message_deflate": False,
}
"""What goes with `ws=NodeWebSocketProtocol` into uvicorn's Config."""


class NodeWebSocketProtocol(WebSocketsSansIOProtocol):
    """A FrameSocket of the gateway (see gateway/stream_connection.py)."""

    is_leaving = False
    on_closed: Callable[[], None] | None = None
    """Set by the server: the connection is gone."""
    on_leave: Callable[[], None] | None = None
    """Set by the application: tell the client that the node leaves."""
    is_busy: Callable[[], bool] | None = None
    """Set by the application: answers are due on this connection."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application's task has been made, and runs later.
            extensions = cast("dict[str, object]", self.scope["extensions"])
            extensions[FRAMES_EXTENSION] = self

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            # Cycles among what is old are never found (see garbage_collector.py), so none is left behind.
            cast("dict[str, object]", self.scope["extensions"]).clear()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()  # A generator of its own, which is suspended and holds it.
        if self.on_closed is not None:
            self.on_closed()

    # What the application uses.

    @property
    def is_open(self) -> bool:
        return self.handshake_complete and not (self.close_sent or self.disconnected or self.transport.is_closing())

    @property
    def buffered_bytes(self) -> int:
        """What the system has not taken yet."""
        return self.transport.get_write_buffer_size()

    def write_frames(self, frames: bytes) -> None:
        """Whole frames, one or many. A connection that is closing or closed takes none."""
        if self.is_open:
            self.transport.write(frames)

    async def drained(self) -> None:
        """Returns when little is buffered, or the connection is gone."""
        await self.writable.wait()

    def end(self, code: int, reason: str) -> None:
        """Send the close frame behind all that was written, and cut the connection when that takes too long."""
        if not self.is_open:
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # Whoever waits until the client has read something need not wait any more.
        self.writable.set()
        if self.read_paused:
            # The client's own close frame is to be read.
            self.read_paused = False
            self.transport.resume_reading()
        timeout_s = LEAVING_CLOSE_TIMEOUT_S if self.is_leaving else CLOSE_TIMEOUT_S
        self.close_timer = self.loop.call_later(timeout_s, self.transport.abort)

    # What the server asks when it leaves.

    def leave(self) -> None:
        self.is_leaving = True
        if self.on_leave is not None:
            self.on_leave()

    def close_if_quiet(self) -> None:
        if not self.is_leaving:
            # It came while the server was leaving already.
            self.leave()
        if self.is_open and (self.is_busy is None or not self.is_busy()):
            self.end(GOING_AWAY, "the node shuts down")

    def shutdown(self) -> None:
        """The server has waited long enough."""
        if self.close_sent:
            self.transport.abort()
        else:
            super().shutdown()
