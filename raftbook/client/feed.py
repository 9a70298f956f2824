"""A feed that survives its node: it resumes at another one where it stood, with nothing missing and nothing twice.

async for message in client.feed("book", "ACME"):
    ...
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from raftbook.client.continuity import Continuity, Verdict
from raftbook.client.nodes import another_may_serve, asked_pause_s, may_serve_later
from raftbook.client.stream_connection import FELL_BEHIND, StreamEndedError, pause, problem_of_message
from raftbook.errors import ProblemError, RaftbookError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from raftbook.client.documents import FeedMessage
    from raftbook.client.stream_connection import StreamConnection, Streams

RECONNECT_TIMEOUT_S: Final = 60.0
"""For how long a feed that was connected looks for a node that goes on with it."""
STEADY_S: Final = 10.0
"""A connection that lived so long was a good one, though a quiet market said nothing on it: longer than a node waits
before it answers that it has not applied what a feed is to go on behind."""


class Feed:
    """An asynchronous iterator over one channel's messages; close it with `aclose` or as a context manager.

    The first message is a snapshot, unless `from_sequence` was given and is still held; a snapshot may come later too
    (no node held what followed, or one was restored from a peer), and replaces what came before. Between snapshots
    every update follows the one before it: this checks it, and starts again from a snapshot where it is not so.

    Raises:
        UnreachableError: no node answers, at the beginning; later, none for `reconnect_timeout_s`.
        ProblemError: there is no such symbol, or the key does not allow it.
    """

    url: str | None
    """Of the node that feeds it; None while there is none."""
    problem: str | None
    """Why there is none."""

    def __init__(
        self,
        streams: Streams,
        subscription: Mapping[str, object],
        *,
        from_sequence: int | None = None,
        reconnect_timeout_s: float = RECONNECT_TIMEOUT_S,
    ) -> None:
        self.url = self.problem = None
        self.resumptions = 0
        """How often it went on at another node, or on another connection."""
        self._streams = streams
        self._subscription = subscription
        self._continuity = Continuity(str(subscription["channel"]), from_sequence)
        self._patience_s = reconnect_timeout_s
        self._connection: StreamConnection | None = None
        self._was_connected = False
        self._is_closed = False
        self._losses = 0
        """In a row, without a message or STEADY_S in between."""
        self._lost_at = 0.0
        self._subscribed_at: float | None = None
        """On the connection that is open now, or was open last."""
        self._asked_pause_s = 0.0
        """How long a node wants to be left alone."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    @property
    def position(self) -> int | None:
        """The sequence of the last message: `from_sequence` of a feed that goes on behind it."""
        return self._continuity.position

    async def aclose(self) -> None:
        """Ends the iteration."""
        self._is_closed = True
        await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection, self.url = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def __anext__(self) -> FeedMessage:
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            connection = self._connection or await self._connect()
            if connection is None:
                continue
            try:
                message = await connection.receive()
                if message.get("type") == "error":
                    raise problem_of_message(message)
                if message.get("type") == "server_shutdown":
                    await self._lose(f"{connection.url} shuts down", connection.url)
                    continue
                if "channel" not in message:
                    continue
                verdict = self._continuity.judge(message)
                if verdict is Verdict.GAP:
                    self.start_again()
                    await self._subscribe(connection)
            except StreamEndedError as ended:
                await self._lose(str(ended), None if ended.close_code == FELL_BEHIND else connection.url)
                continue
            except ProblemError as problem:
                if not may_serve_later(problem):
                    await self.aclose()
                    raise
                self._asked_pause_s = asked_pause_s(problem, at_most_s=self._patience_s)
                await self._lose(str(problem), connection.url if another_may_serve(problem) else None)
                continue
            self._losses = 0
            if verdict is Verdict.NEXT:
                return cast("FeedMessage", message)

    def start_again(self) -> None:
        """What came is of no use to whoever keeps it; what comes next is a snapshot.

        Where that is noticed outside, `resubscribe` says so to the node.
        """
        self._continuity.start_again()

    async def resubscribe(self) -> None:
        """Asks for a snapshot, on the same connection where there is one."""
        self.start_again()
        if self._connection is not None:
            try:
                await self._subscribe(self._connection)
            except StreamEndedError as ended:
                await self._lose(str(ended), self._connection.url)

    async def _connect(self) -> StreamConnection | None:
        """A connection on which it is subscribed, behind what was seen; None where the feed was closed meanwhile."""
        attempts = self._losses
        while not self._is_closed:
            if attempts:
                asked_s, self._asked_pause_s = self._asked_pause_s, 0.0
                await pause(attempts, at_least_s=asked_s)
            attempts += 1
            try:
                connection = await self._streams.open()
            except StreamEndedError:
                self._is_closed = True  # The client is.
                break
            except (UnreachableError, ProblemError) as error:
                if not self._was_connected or not may_serve_later(error):
                    raise
                self._asked_pause_s = asked_pause_s(error, at_most_s=self._patience_s)
                self._check_patience(error)
                continue
            if self._is_closed:  # While the connection was made.
                await connection.close()  # type: ignore[unreachable]  # mypy does not see what happens meanwhile.
                break
            self._connection = connection
            try:
                await self._subscribe(connection)
            except StreamEndedError as ended:
                await self._disconnect()
                self._streams.move_on(connection.url)
                self._check_patience(UnreachableError(str(ended), {connection.url: str(ended)}))
                continue
            self.resumptions += self._was_connected
            self._was_connected = True
            self.url, self.problem = connection.url, None
            self._subscribed_at = asyncio.get_running_loop().time()
            return connection
        return None

    async def _subscribe(self, connection: StreamConnection) -> None:
        request: dict[str, object] = {"op": "subscribe", **self._subscription}
        if self._continuity.position is not None:
            request["from_sequence"] = self._continuity.position
        await connection.send(request)

    async def _lose(self, reason: str, failed: str | None) -> None:
        """The connection is of no use any more; `failed` is the node to turn away from."""
        await self._disconnect()
        self.problem = reason
        if failed is not None:
            self._streams.move_on(failed)
        now = asyncio.get_running_loop().time()
        if self._subscribed_at is not None and now - self._subscribed_at > STEADY_S:
            self._losses = 0
        if not self._losses:
            self._lost_at = now
        self._losses += 1
        if self._losses > 1:
            self._check_patience(UnreachableError(reason))

    def _check_patience(self, error: RaftbookError) -> None:
        self.problem = str(error)
        if asyncio.get_running_loop().time() - self._lost_at > self._patience_s:
            raise error
