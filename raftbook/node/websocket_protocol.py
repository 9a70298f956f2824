"""WebSocket connections of a node: uvicorn's protocol, with a way past it for what goes to thousands of subscribers.

The application finds this object in its scope, under `extensions`, as FRAMES_EXTENSION. It writes whole frames to it:
those of a server are not masked, so the same bytes do for all subscribers, and nothing is copied or encoded here.

What a client can do with frames that the application never sees is bounded here:

| bound | at the bound |
|---|---|
| SLICE_BYTES of what came, in one turn of the loop | the rest waits for the next turn, and nothing more is read |
| MAX_CONTROL_FRAMES_PER_S: pings, pongs, fragments | closed (1008) |
| MAX_FRAGMENTS of a message | closed (1009) |
| the share of `max_held_body_bytes`, of what is no whole message yet | closed (1013) |
| MAX_PONG_BACKLOG_BYTES that wait to be written when a ping comes | cut |
| `write_timeout_s`, in which a client takes nothing | cut |
| whatever makes the library raise | cut, and logged |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from structlog import get_logger
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from raftbook.node.client_frames import frame_bytes, read_plain_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from uvicorn._types import ASGIReceiveEvent
    from websockets.frames import Frame
    from websockets.http11 import Request

    from raftbook.node.body_budget import BodyShare

_log = get_logger()

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
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
TRY_AGAIN_LATER: Final = 1013

SLICE_BYTES: Final = 8 << 10
"""The smallest frames are of six bytes, and cost the loop some 15 ms by then."""
MAX_CONTROL_FRAMES_PER_S: Final = 200
MAX_FRAGMENTS: Final = 256
MAX_PONG_BACKLOG_BYTES: Final = 1 << 20

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
    take_texts: Callable[[Sequence[bytes]], int] | None = None
    """Set by the application: takes so many of these text messages at once; what follows waits for its turn."""
    write_timeout_s = 30.0
    """Set by the server."""
    unfinished: BodyShare | None = None
    """Set by the server: what the connection may hold of messages that are not whole yet; None without a bound."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._untaken = b""
        """What came, and waits for a turn of the loop."""
        self._rest_of_frame_bytes = 0
        """Of a frame whose beginning the library has."""
        self._beginning_of_header = b""
        self._unfinished_bytes = 0
        """What was taken of `unfinished` for the beginnings of messages."""
        self._control_frames = 0
        self._control_frames_since = 0.0
        self._unwritten_bytes = 0
        self._unwritten_since = 0.0

    async def receive(self) -> ASGIReceiveEvent:
        """As uvicorn's, but that what came already is taken before more is read."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self._read_on()
        return message

    def _read_on(self) -> None:
        self.read_paused = False
        if self._untaken:
            self.loop.call_soon(self._take_on)
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._untaken:
            self._untaken += data
        elif self.handshake_initiated:
            self._take(data)
        else:
            # The header, which the server has bounded.
            self._take_slice(data)
        self._count_unfinished()

    def _take(self, data: bytes) -> None:
        self._take_slice(data[:SLICE_BYTES])
        self._untaken = b"" if self.disconnected or self.transport.is_closing() else data[SLICE_BYTES:]
        if self._untaken:
            self.transport.pause_reading()
            if not self.read_paused:
                self.loop.call_soon(self._take_on)

    def _take_on(self) -> None:
        data, self._untaken = self._untaken, b""
        if not data or self.disconnected or self.transport.is_closing():
            return
        self._take(data)
        self._count_unfinished()
        if not (self._untaken or self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def _take_slice(self, data: bytes) -> None:
        """No bytes of a client may raise what reaches the loop, where the node would halt."""
        try:
            if self.handshake_initiated:
                self._take_frames(data)
            else:
                # The header by itself: what follows it comes by `data_received`.
                super().data_received(data)
        except Exception as error:  # noqa: BLE001 (a fault of the library ends this connection and no other)
            _log.warning("websocket cut", client=self.client, error=f"{type(error).__name__}: {error}")
            self.transport.abort()

    def _count_unfinished(self) -> None:
        """Ends the connection where all connections together hold too much of what is no message yet."""
        unfinished_bytes = len(self.conn.reader.buffer) + sum(map(len, self.frames)) + len(self._untaken)
        more_bytes = unfinished_bytes - self._unfinished_bytes
        if self.unfinished is None or more_bytes == 0:
            return
        if more_bytes < 0:
            self.unfinished.release(-more_bytes)
        elif self.unfinished.take(more_bytes) is not None:
            self.end(TRY_AGAIN_LATER, "too many bytes of unfinished messages are under way; come again later")
            self.transport.close()
            return
        self._unfinished_bytes = unfinished_bytes

    def _take_frames(self, data: bytes) -> None:
        """The application takes plain text frames at once, where it can; all others go to the library, one by one.

        For a queue, a task and a parser between would be most of what an order costs here.
        """
        at = min(self._rest_of_frame_bytes, len(data))
        if at:
            self._rest_of_frame_bytes -= at
            super().data_received(data[:at])
        if self._beginning_of_header:
            data, self._beginning_of_header = self._beginning_of_header + data, b""
        while at < len(data) and not self.transport.is_closing():
            if self._may_take_at_once:
                assert self.take_texts is not None
                plain = read_plain_frames(data, at)
                if plain.payloads and (taken := self.take_texts(plain.payloads)):
                    at = plain.ends[taken - 1]
                    continue
            size = frame_bytes(data, at)
            if size is None:
                self._beginning_of_header = data[at:]
                return
            frame = data[at : at + size]
            self._rest_of_frame_bytes = size - len(frame)
            at += len(frame)
            super().data_received(frame)

    @property
    def _may_take_at_once(self) -> bool:
        """Nothing waits before what comes now, not even the beginning of its message."""
        return (
            self.take_texts is not None
            and self.queue.empty()
            and not self.frames
            and self.writable.is_set()
            and self.is_open
        )

    def handle_text(self, event: Frame) -> None:
        """As uvicorn's, but that what came in pieces may be taken at once as well: others are on its heels."""
        if (
            event.fin
            and self._may_take_at_once
            and self.take_texts is not None
            and (payload := bytes(event.data)).isascii()
            and self.take_texts([payload])
        ):
            return
        super().handle_text(event)

    def handle_ping(self) -> None:
        if self.buffered_bytes > MAX_PONG_BACKLOG_BYTES:
            self.transport.abort()
            return
        super().handle_ping()
        self._count_control_frame()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._count_control_frame()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self.frames = []
            self.end(MESSAGE_TOO_BIG, f"a message of more than {MAX_FRAGMENTS} fragments")
        self._count_control_frame()

    def _count_control_frame(self) -> None:
        now_s = self.loop.time()
        if now_s - self._control_frames_since >= 1:
            self._control_frames, self._control_frames_since = 0, now_s
        self._control_frames += 1
        if self._control_frames > MAX_CONTROL_FRAMES_PER_S:
            self.end(POLICY_VIOLATION, f"more than {MAX_CONTROL_FRAMES_PER_S} control frames or fragments a second")

    def close_if_overdue(self) -> None:
        """To be asked every so often: cuts the connection where the client has taken nothing for its time."""
        unwritten_bytes, now_s = self.buffered_bytes, self.loop.time()
        if not unwritten_bytes or unwritten_bytes != self._unwritten_bytes:
            self._unwritten_bytes, self._unwritten_since = unwritten_bytes, now_s
        elif now_s - self._unwritten_since >= self.write_timeout_s:
            self.transport.abort()

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
        if self.unfinished is not None:
            self.unfinished.release_all()
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
            self._read_on()
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
        # Who reads no answers is waited for no longer.
        has_asked = self.writable.is_set() and (self._untaken or not self.queue.empty())
        if self.is_open and not has_asked and (self.is_busy is None or not self.is_busy()):
            self.end(GOING_AWAY, "the node shuts down")

    def shutdown(self) -> None:
        """The server has waited long enough."""
        if self.close_sent or not self.handshake_complete:
            self.transport.abort()
        else:
            self.end(GOING_AWAY, "the node shuts down")
            self.transport.close()
