"""GET /v1/stream: one WebSocket for market data, an account's orders, and order entry, in JSON or CBOR.

stream_handshake    how a connection begins
stream_requests     frames in: what a client may say
stream_commands     order entry
stream_delivery     frames out: every message encoded once for all who get it
stream_connection   one connection: what waits to be written, and the bound of it
stream_access       what a connection may do
websocket_frames    JSON and CBOR as frames
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from raftbook.errors import InvalidCommandError, ProblemError, RaftbookError
from raftbook.gateway.responses import problem_of
from raftbook.gateway.stream_access import open_access
from raftbook.gateway.stream_commands import OrderEntry, error_json, internal_error, shown_request_id
from raftbook.gateway.stream_connection import StreamConnection
from raftbook.gateway.stream_delivery import Delivery
from raftbook.gateway.stream_handshake import PATH, accepted, http_routes, websocket_routes
from raftbook.gateway.stream_requests import (
    AUTHENTICATE,
    NO_REQUEST_ID,
    PING,
    SUBSCRIBE,
    MalformedFrameError,
    plain_fields,
    read_channel,
    read_command,
    read_plain_command,
    read_request,
    read_subscribe,
)
from raftbook.gateway.websocket_frames import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    from raftbook.gateway.service import Service
    from raftbook.gateway.stream_access import AccessFor, StreamAccess
    from raftbook.gateway.stream_connection import FrameSocket
    from raftbook.gateway.stream_delivery import FeedFigures
    from raftbook.gateway.stream_requests import CommandRequest, Request
    from raftbook.json_format import Json

_log = structlog.get_logger()

MAX_MALFORMED_IN_A_ROW: Final = 16
POLICY_VIOLATION: Final = 1008
NOT_AUTHENTICATED: Final = 4001
AUTHENTICATION_S: Final = 10.0
"""For a client that has to show a key, and has not done so in its handshake."""


class Stream:
    """All connections of a node to the stream."""

    def __init__(self, service: Service, access_for: AccessFor = open_access) -> None:
        self._service = service
        self._access_for = access_for
        self._delivery = Delivery(lambda: service.feed)
        self.connections = 0
        service.listen_to_feed(self._delivery.changed)

    @property
    def figures(self) -> FeedFigures:
        """For whoever watches the node."""
        return self._delivery.figures

    def http_routes(self) -> list[Route]:
        return http_routes()

    def websocket_routes(self) -> list[WebSocketRoute]:
        return websocket_routes(self.serve)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its handshake to its end."""
        access = self._access_for(websocket)
        async with accepted(websocket, "node") as socket:
            self.connections += 1
            session = _Session(self._service, self._delivery, socket, access)
            try:
                await session.run(websocket)
            finally:
                self.connections -= 1
                await session.close()


class _Session:
    """One connection's requests, one after the other."""

    def __init__(self, service: Service, delivery: Delivery, socket: FrameSocket, access: StreamAccess) -> None:
        limits = service.config.limits
        self._delivery = delivery
        self._access = access
        self._socket = socket
        self._max_subscriptions = limits.max_subscriptions_per_connection
        self._connection = StreamConnection(socket, Encoding.JSON, limits.subscriber_backlog_bytes)
        self._order_entry = OrderEntry(service, access, self._connection, limits.max_outstanding_per_connection)
        self._malformed_in_a_row = 0
        self._is_taking = False
        socket.take_texts = self.take_at_once
        socket.is_busy = lambda: self._order_entry.outstanding > 0
        access.end = lambda reason: socket.end(NOT_AUTHENTICATED, reason)
        socket.on_leave = lambda: self._connection.say({"type": "server_shutdown"})

    async def run(self, websocket: WebSocket) -> None:
        """Returns when the connection has ended."""
        deadline = None
        if not self._access.is_authenticated:
            deadline = asyncio.get_running_loop().call_later(
                AUTHENTICATION_S, self._end_unless_authenticated, "show a key with `authenticate`"
            )
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                self._is_taking = True
                # Who does not read what was answered is not listened to.
                await self._socket.drained()
                text = message.get("text")
                data, encoding = (message["bytes"], Encoding.CBOR) if text is None else (text.encode(), Encoding.JSON)
                await self._take(data, encoding)
                self._is_taking = False
        finally:
            if deadline is not None:
                deadline.cancel()

    def _end_unless_authenticated(self, reason: str) -> None:
        if not self._access.is_authenticated:
            self._socket.end(NOT_AUTHENTICATED, reason)

    async def close(self) -> None:
        """Give up the subscriptions, and the wait for answers."""
        connection = self._connection
        for subscription in connection.subscriptions.values():
            self._delivery.unsubscribe(subscription)
        connection.subscriptions.clear()
        if connection.has_fallen_behind:
            self._delivery.figures.dropped += 1
        # Whoever holds the socket holds the session no longer.
        self._socket.take_texts = self._socket.is_busy = self._socket.on_leave = self._access.end = None
        self._order_entry.close()

    def take_at_once(self, messages: Sequence[bytes]) -> int:
        """Enter the orders that text messages are, up to the first for which something is to be waited for, or that is
        something else; how many they are.
        """
        if self._is_taking or not self._access.is_authenticated:
            return 0
        room = self._order_entry.room
        requests: list[CommandRequest] = []
        for data in messages[:room]:
            request = read_plain_command(data)
            if request is None:
                break
            requests.append(request)
        if requests:
            self._connection.encoding = Encoding.JSON
            self._malformed_in_a_row = 0
            for request in requests:
                try:
                    self._enter(request)
                except RaftbookError as error:
                    self._refuse(error, request.request_id, request.encoding, is_command=True)
                except Exception:  # noqa: BLE001 (as in _carry_out)
                    _log.exception("unexpected error", path=PATH, op="plain")
                    self._refuse(internal_error(), request.request_id, request.encoding, is_command=True)
        return len(requests)

    async def _take(self, data: bytes, encoding: Encoding) -> None:
        self._connection.encoding = encoding
        try:
            await self._carry_out(read_request(data, encoding))
        except MalformedFrameError as error:
            self._malformed_in_a_row += 1
            malformed = InvalidCommandError(str(error), error.field)
            self._refuse(malformed, error.request_id, encoding, is_command=error.is_command)
            if self._malformed_in_a_row == MAX_MALFORMED_IN_A_ROW:
                self._socket.end(POLICY_VIOLATION, f"{MAX_MALFORMED_IN_A_ROW} malformed frames in a row")
        else:
            self._malformed_in_a_row = 0

    def _enter(self, request: CommandRequest) -> None:
        # Behind all waiting, in which a key may have been revoked.
        self._access.check_submit(request.command)
        self._order_entry.submit(request)

    async def _carry_out(self, request: Request) -> None:
        try:
            if request.op == AUTHENTICATE:
                answer = self._access.authenticate(plain_fields(request))
                self._answer(request, {"type": "authenticated", **answer})
            elif request.op == PING:
                self._answer(request, {"type": "pong"})
            elif not self._access.is_authenticated:
                self._refuse(_no_key(), request.request_id, request.encoding, is_command=request.is_command)
            elif request.is_command:
                submission = read_command(request)
                await self._order_entry.ready(submission.wait_s)
                self._enter(submission)
            elif request.op == SUBSCRIBE:
                self._subscribe(request)
            else:
                self._unsubscribe(request)
        except MalformedFrameError:
            raise
        except RaftbookError as error:
            self._refuse(error, request.request_id, request.encoding, is_command=request.is_command)
        except Exception:  # noqa: BLE001 (as in HTTP: logged whole, and told without the inside)
            _log.exception("unexpected error", path=PATH, op=request.op)
            self._refuse(internal_error(), request.request_id, request.encoding, is_command=request.is_command)

    def _subscribe(self, request: Request) -> None:
        wanted = read_subscribe(request)
        channel, connection = wanted.channel, self._connection
        names = channel.names()
        symbol, account = names.get("symbol"), names.get("account")
        self._access.check_read(
            str(names["channel"]),
            symbol if isinstance(symbol, str) else None,
            account if isinstance(account, str) else None,
        )
        place = channel.key[:2]
        replaced = connection.subscriptions.get(place)
        if replaced is None and len(connection.subscriptions) >= self._max_subscriptions:
            raise ProblemError(
                429,
                "too_many_subscriptions",
                f"this connection has {self._max_subscriptions} subscriptions; unsubscribe some, or open another one",
            )
        if replaced is not None:
            self._delivery.unsubscribe(replaced)
            del connection.subscriptions[place]

        def fail(problem: ProblemError) -> None:
            self._delivery.unsubscribe(connection.subscriptions.pop(place))
            self._refuse(problem, request.request_id, request.encoding)

        connection.subscriptions[place] = self._delivery.subscribe(
            connection, channel, request.encoding, wanted.from_sequence, wanted.interval_s, fail
        )

    def _unsubscribe(self, request: Request) -> None:
        channel = read_channel(request)
        subscription = self._connection.subscriptions.pop(channel.key[:2], None)
        if subscription is None:
            raise ProblemError(409, "not_subscribed", "this connection has no such subscription")
        self._delivery.unsubscribe(subscription)
        self._answer(request, {**channel.names(), "type": "unsubscribed", "sequence": subscription.position})

    def _answer(self, request: Request, answer: Json) -> None:
        if request.request_id is not NO_REQUEST_ID:
            answer = {**answer, "request_id": request.request_id}
        self._connection.say(answer, request.encoding)

    def _refuse(
        self, error: RaftbookError, request_id: object, encoding: Encoding, *, is_command: bool = False
    ) -> None:
        if is_command:
            answer: Json = {"request_id": shown_request_id(request_id), "error": error_json(error)}
        else:
            problem = problem_of(error)
            answer = {"type": "error", "code": problem.code, "detail": problem.detail, **problem.members}
            if request_id is not NO_REQUEST_ID:
                answer["request_id"] = request_id
        self._connection.say(answer, encoding)


def _no_key() -> ProblemError:
    return ProblemError(401, "unauthenticated", "show a key with `authenticate` before anything else")
