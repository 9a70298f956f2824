"""One HTTP connection of a node: uvicorn's protocol, with an end to everything that a client could draw out for ever.

| bound | at the bound |
|---|---|
| `header_timeout_s`, until the header of a request is whole | 408 where some of it came, and the end |
| `body_timeout_s`, from there until its body is whole | 408 where no answer has begun, and the end |
| `max_header_bytes`, of a header and of the trailers | 431, and the end |
| `keep_alive_timeout_s`, between requests | the end |
| MAX_PIPELINED requests that wait for their turn | the end, behind the answers to those before |
| the share of `max_held_body_bytes`, of bodies without an answer | 429 where no answer has begun, and the end |
| `write_timeout_s`, in which a client takes nothing of its answer | the connection is cut |

What is no HTTP gets a 400, and the end. A connection that has become a WebSocket is none of this module's any more.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from structlog import get_logger
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raftbook.errors import ProblemError
from raftbook.gateway.responses import problem_response
from raftbook.node.websocket_protocol import NodeWebSocketProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import uvicorn
    from uvicorn.server import ServerState

    from raftbook.node.body_budget import BodyShare
    from raftbook.node.config import LimitsConfig

_log = get_logger()

QUIET_S: Final = 0.5
"""A connection on which nothing has happened for so long may be closed without a last answer."""


_FIELD_OVERHEAD_BYTES: Final = len(": \r\n")


LINGER_S: Final = 1.0
"""For a client to stop sending and read its last answer."""

MAX_PIPELINED: Final = 64
"""Requests that a client sends ahead of their answers; what was asked before the one too many is answered."""


class Expected(Enum):
    """What is to come from the client next."""

    REQUEST = "request"
    HEADER = "the rest of a header"
    BODY = "the rest of a body"


class _LeaveParserError(Exception):
    """Out of one of the parser's callbacks, which makes no sense of exceptions."""


def last_answer(problem: ProblemError) -> bytes:
    """A whole answer, to a client whose connection ends with it."""
    response = problem_response(problem)
    fields = [name + b": " + value for name, value in response.raw_headers]
    status_line = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()
    return b"\r\n".join([status_line, *fields, b"connection: close", b"", bytes(response.body)])


class NodeHttpProtocol(HttpToolsProtocol):
    """`bodies` is what the connection may hold of all connections' bodies.

    `on_closed` is called once, when the connection is gone; as a WebSocket, if it has become one.
    """

    is_leaving = False
    is_made = False

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        *,
        limits: LimitsConfig,
        bodies: BodyShare,
        on_closed: Callable[[], None],
    ) -> None:
        super().__init__(config, server_state, app_state={})
        self._limits = limits
        self._bodies = bodies
        self._body_bytes: deque[int] = deque()
        """Of each request that has no answer yet, the oldest first."""
        self._on_closed = on_closed
        self._expected = Expected.REQUEST
        self._expected_since = self.active_at = self.loop.time()
        self._header_bytes = 0
        """Of the fields that the parser has told of."""
        self._untold_bytes = 0
        """What came since the parser told of anything: the beginning of a field, or what is none."""
        self._is_told = False
        self._unwritten_bytes = 0
        self._unwritten_since = 0.0
        self._refusal: ProblemError | None = None
        self._is_over = False

    # What asyncio tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.is_made = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._release_bodies()
        self._on_closed()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self.active_at = self.loop.time()
        self._is_told = False
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 (no bytes of a client may raise what reaches the loop and halts the node)
            _log.warning("connection cut", client=self.client, error=f"{type(error).__name__}: {error}")
            self._is_over = True
            self.transport.abort()
            return
        # A field that is not whole is bounded as well, as soon as a read brings nothing else.
        self._untold_bytes = 0 if self._is_told else self._untold_bytes + len(data)
        if self._untold_bytes > self._limits.max_header_bytes and not self._is_over:
            self._end(self._header_too_large())

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # As uvicorn does for a connection that is lost, but not for one that it hands over: the two name each other,
        # and where garbage is looked for as rarely as in a node, such a cycle is not found.
        self.parser = None  # type: ignore[assignment]
        websocket = self.transport.get_protocol()
        assert isinstance(websocket, NodeWebSocketProtocol)
        websocket.on_closed = self._on_closed
        # The share is the stream's now; what was asked before and has no answer yet, if anything, counts no more.
        self._release_bodies()
        websocket.unfinished = self._bodies
        websocket.write_timeout_s = self._limits.write_timeout_s
        if not websocket.handshake_initiated and not self.transport.is_closing():
            # One parser took the header, the other one did not: it has too many fields, or one that is too long.
            detail = "no WebSocket opens with this header: send fewer and shorter fields, and no body"
            self.transport.write(last_answer(ProblemError(400, "malformed_request", detail)))
            self.transport.close()

    # What the parser tells.

    def on_message_begin(self) -> None:
        self._expect(Expected.HEADER)
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + _FIELD_OVERHEAD_BYTES)
        if self._expected is Expected.HEADER:  # Trailers are nobody's here.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = ProblemError(429, "busy", f"more than {MAX_PIPELINED} requests ahead of their answers")
            raise _LeaveParserError
        super().on_headers_complete()
        self._body_bytes.append(0)
        self._expect(Expected.BODY)
        self._header_bytes = 0
        if self.is_leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._is_told = True
        if self._body_bytes:  # Else it has its answer, and the rest of it is passed over.
            fault = self._bodies.take(len(body))
            if fault is not None:
                self._refusal = ProblemError(429, "busy", fault, retry_after_s=1.0)
                raise _LeaveParserError
            self._body_bytes[-1] += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect(Expected.REQUEST)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.active_at = self.loop.time()
        if self._expected is not Expected.BODY:
            self._expected_since = self.active_at
        if self._body_bytes:
            self._bodies.release(self._body_bytes.popleft())
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has met an end: what came is no HTTP, or one of the callbacks above has refused it."""
        detail = f"{msg.removesuffix('.').lower()}: nothing was taken, and the connection is closed"
        self._end(self._refusal or ProblemError(400, "malformed_request", detail))

    # What the server asks.

    def leave(self) -> None:
        """The next answer is the last on this connection, and says so (`connection: close`)."""
        self.is_leaving = True
        if self._is_answering:
            self.cycle.keep_alive = False

    def close_if_quiet(self) -> None:
        if not self._is_answering and self.loop.time() - self.active_at >= QUIET_S:
            self.transport.close()

    def close_if_overdue(self) -> None:
        """To be asked every so often: ends the connection where the client has had its time."""
        now_s = self.loop.time()
        unwritten_bytes = self.transport.get_write_buffer_size()
        if not unwritten_bytes or unwritten_bytes != self._unwritten_bytes:
            self._unwritten_bytes, self._unwritten_since = unwritten_bytes, now_s
        elif now_s - self._unwritten_since >= self._limits.write_timeout_s:
            self.transport.abort()
            return
        if self._is_over or self.transport.is_closing():
            return
        if self._is_waiting_for_us:
            self._expected_since = max(self._expected_since, now_s)
        elif now_s - self._expected_since >= self._allowed_s:
            self._end(None if self._expected is Expected.REQUEST else self._timed_out())

    # How.

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_waiting_for_us(self) -> bool:
        """Whether the client can do nothing: it waits for an answer, or for us to read."""
        if self._expected is Expected.BODY:
            return bool(self.pipeline) or self.flow.read_paused
        return self._is_answering

    @property
    def _allowed_s(self) -> float:
        if self._expected is Expected.BODY:
            return self._limits.body_timeout_s
        is_first = self.cycle is None
        return (
            self._limits.header_timeout_s
            if is_first or self._expected is Expected.HEADER
            else self._limits.keep_alive_timeout_s
        )

    def _expect(self, expected: Expected) -> None:
        self._expected = expected
        self._expected_since = self.active_at
        self._is_told = True

    def _count_header(self, size_bytes: int) -> None:
        self._is_told = True
        self._header_bytes += size_bytes
        if self._header_bytes > self._limits.max_header_bytes:
            self._refusal = self._header_too_large()
            raise _LeaveParserError

    def _header_too_large(self) -> ProblemError:
        limit = self._limits.max_header_bytes
        return ProblemError(431, "header_too_large", f"the header of the request is larger than {limit} bytes")

    def _timed_out(self) -> ProblemError:
        detail = f"{self._expected.value} did not come within {self._allowed_s:g} s; nothing was taken, send it again"
        return ProblemError(408, "request_timeout", detail)

    def _release_bodies(self) -> None:
        self._body_bytes.clear()
        self._bodies.release_all()

    def _end(self, problem: ProblemError | None) -> None:
        """Take nothing more, and close the connection: with `problem` as the answer, or behind the one under way."""
        self._is_over = True
        if self._expected is not Expected.BODY:
            if self._is_answering:
                self.cycle.keep_alive = False
                return
        elif self.pipeline or self.cycle.response_started:
            problem = None
        self._release_bodies()
        if self._is_answering:
            # As when the connection is lost: whoever works on the answer finds out, and nothing more is written.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if problem is None:
            self.transport.close()
            return
        self.transport.write(last_answer(problem))
        if not self.transport.can_write_eof():
            self.transport.close()  # The end of TLS has a handshake of its own.
            return
        # A client that is still sending would lose the answer to the reset that a close now would be (RFC 9112 §9.6).
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
