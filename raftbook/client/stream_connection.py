"""One WebSocket to one node, and the way to one at any node that serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import cbor2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from raftbook.client.http import LostAnswerError, problem_from, unexpected_answer
from raftbook.client.nodes import another_may_serve, failure_of_all, unreachable
from raftbook.client.reasons import reason_of
from raftbook.errors import InvalidCommandError, ProblemError, RaftbookError, UnreachableError
from raftbook.security.signing import STREAM_TARGET

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from websockets.typing import Data

    from raftbook.client.http import HttpExchange
    from raftbook.client.nodes import Nodes

Encoding: TypeAlias = Literal["json", "cbor"]

FELL_BEHIND: Final = 4008
NOT_AUTHENTICATED: Final = 4001
OPEN_TIMEOUT_S: Final = 3.0
PING_INTERVAL_S: Final = 5.0
"""A node that hangs, or a line that is dead, is noticed after at most twice as long."""
MAX_MESSAGE_BYTES: Final = 64 << 20
"""Far above a book of a million orders."""
CLOSE_TIMEOUT_S: Final = 1.0


class StreamEndedError(RaftbookError):
    """The connection is gone. Not for users: it becomes another connection, or another error."""

    code = "stream_ended"

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class OpenStreams:
    """The connections of one client that nobody has closed. Once it is closed itself, there are no further ones."""

    def __init__(self) -> None:
        self.is_closed = False
        self._connections: set[StreamConnection] = set()

    def add(self, connection: StreamConnection) -> None:
        self._connections.add(connection)

    def discard(self, connection: StreamConnection) -> None:
        self._connections.discard(connection)

    async def aclose(self) -> None:
        self.is_closed = True
        for connection in list(self._connections):
            await connection.close()

    def check_open(self) -> None:
        if self.is_closed:
            raise StreamEndedError("this client is closed")


class StreamConnection:
    """An open WebSocket. What comes in is in the encoding in which it was asked for."""

    def __init__(self, url: str, websocket: ClientConnection, encoding: Encoding, all_open: OpenStreams) -> None:
        self.url = url
        self._all_open = all_open
        all_open.add(self)
        self._websocket = websocket
        self._encoding = encoding

    async def send(self, document: Mapping[str, object]) -> None:
        """Raises StreamEndedError; then it may have arrived all the same."""
        frame = _encoded(document, self._encoding)
        try:
            await self._websocket.send(frame, text=self._encoding == "json")
        except ConnectionClosed as error:
            raise self._ended(error) from error

    async def receive(self) -> dict[str, object]:
        """The next message. Raises StreamEndedError, ProblemError for what no raftbook node would say."""
        try:
            frame = await self._websocket.recv()
        except ConnectionClosed as error:
            raise self._ended(error) from error
        return _decoded(self.url, frame)

    async def close(self) -> None:
        self._all_open.discard(self)
        await self._websocket.close()

    def _ended(self, error: ConnectionClosed) -> StreamEndedError:
        received = error.rcvd
        if received is None:
            return StreamEndedError(f"the connection to {self.url} broke")
        reason = f": {received.reason}" if received.reason else ""
        return StreamEndedError(f"{self.url} closed the connection ({received.code}{reason})", received.code)


class Streams:
    """Opens connections to whichever of `nodes` serves; `learn` makes all of them known."""

    def __init__(
        self,
        http: HttpExchange,
        nodes: Nodes,
        tls: ssl.SSLContext | None,
        encoding: Encoding,
        learn: Callable[[], Awaitable[None]],
        all_open: OpenStreams,
    ) -> None:
        self._all_open = all_open
        self._http = http
        self._nodes = nodes
        self._tls = tls
        self._encoding = encoding
        self._learn = learn

    def move_on(self, failed: str) -> None:
        self._nodes.move_on(failed)

    def check_command(self, document: Mapping[str, object]) -> None:
        """Raises InvalidCommandError for what no frame can say. O(size of the document)."""
        try:
            _encoded(document, self._encoding)
        except (TypeError, ValueError, OverflowError, RecursionError, cbor2.CBOREncodeError) as error:
            detail = f"the command cannot be written as {self._encoding} ({error}); give prices and quantities as text"
            raise InvalidCommandError(detail) from error

    async def open(self) -> StreamConnection:
        """A connection to the first node that takes one, each tried once.

        Raises what happened at all of them; StreamEndedError where the client is closed.
        """
        self._all_open.check_open()
        await self._learn()
        failures: list[RaftbookError] = []
        for url in self._nodes.round():
            try:
                return await self._open_at(url)
            except (UnreachableError, ProblemError) as error:
                if not another_may_serve(error):
                    raise
                failures.append(error)
            self._nodes.move_on(url)
        raise failure_of_all(failures)

    async def _open_at(self, url: str) -> StreamConnection:
        try:
            return await self._shake_hands(url)
        except InvalidStatus as error:
            if error.response.status_code == 401 and self._http.heard(url, error.response.headers):
                # Another node lives there now; what was signed named the one before.
                return await self._open_at(url)
            raise _refusal(url, error) from error
        except LostAnswerError as error:
            raise unreachable({url: str(error)}) from error
        except (OSError, InvalidHandshake, EOFError, ConnectionClosed) as error:
            raise unreachable({url: reason_of(error)}) from error

    async def _shake_hands(self, url: str) -> StreamConnection:
        target = urlsplit(url).path + STREAM_TARGET
        websocket = await connect(
            f"ws{url.removeprefix('http')}{STREAM_TARGET}",
            additional_headers=await self._http.stream_headers(url, target),
            ssl=self._tls if url.startswith("https:") else None,
            compression=None,
            proxy=None,  # A proxy of the environment has no business between a client and its node.
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_INTERVAL_S,
            max_size=MAX_MESSAGE_BYTES,
        )
        if self._all_open.is_closed:  # While the handshake was under way.
            await websocket.close()
        self._all_open.check_open()
        return StreamConnection(url, websocket, self._encoding, self._all_open)


def _refusal(url: str, error: InvalidStatus) -> ProblemError:
    try:
        document = msgspec.json.decode(error.response.body or b"")
    except msgspec.DecodeError:
        document = None
    return problem_from(document) or unexpected_answer(url, error.response.status_code)


def _encoded(document: Mapping[str, object], encoding: Encoding) -> bytes:
    return cbor2.dumps(document) if encoding == "cbor" else msgspec.json.encode(document)


def _decoded(url: str, frame: Data) -> dict[str, object]:
    try:
        document = msgspec.json.decode(frame) if isinstance(frame, str) else cbor2.loads(frame)
    except (msgspec.DecodeError, cbor2.CBORDecodeError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise unexpected_answer(url, 101)
    return cast("dict[str, object]", document)


def problem_of_message(message: Mapping[str, object]) -> ProblemError:
    """The error that a message of the stream tells of: one of `type` error, or the `error` of an answer."""
    code = str(message.get("code", "error"))
    status = message.get("status")
    if not isinstance(status, int):
        status = _STATUS_OF_CODE.get(code, 400)
    problem = problem_from({**message, "code": code, "status": status})
    assert problem is not None, message
    return problem


_STATUS_OF_CODE: Final = {
    "sequence_ahead": 503,
    "not_caught_up": 503,
    "draining": 503,
    "no_quorum": 503,
    "busy": 429,
    "rate_limited": 429,
    "too_many_subscriptions": 429,
    "unauthenticated": 401,
    "signature_invalid": 401,
    "timestamp_outside_window": 401,
    "replayed": 401,
    "key_revoked": 401,
    "forbidden": 403,
    "unknown_symbol": 404,
    "internal_error": 503,
}
"""For errors of subscriptions, which carry no status. Of those with 503 another node may do better."""


async def pause(attempts: int, *, at_least_s: float = 0.0) -> None:
    """Between attempts that failed, longer each time, up to a second, and for as long as a node asked for."""
    await asyncio.sleep(max(at_least_s, min(1.0, 0.02 * 2 ** min(attempts, 6))))
