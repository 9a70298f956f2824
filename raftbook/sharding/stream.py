"""GET /v1/stream of the gateway: subscriptions and order entry, each passed on to the shard that they concern.

A subscription is a feed of raftbook.client, which goes on at another node of the shard where it loses its own. So a
subscriber here sees an unbroken sequence through failovers. Sequences count in each symbol, so `from_sequence` means
here what it means at a node, at this gateway or any other.

Order entry is a session of raftbook.client for each connection and shard that has a command: what one connection enters
for one shard is executed in that order, and answered though nodes die.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import structlog

from raftbook.errors import BusyError, InvalidCommandError, OutcomeUnknownError, ProblemError, RaftbookError
from raftbook.feed import AccountOrders
from raftbook.gateway.query import MAX_WAIT_S, SUBMISSION_WAIT_S
from raftbook.gateway.responses import problem_of
from raftbook.gateway.stream import MAX_MALFORMED_IN_A_ROW, POLICY_VIOLATION
from raftbook.gateway.stream_commands import error_json, internal_error, shown_request_id
from raftbook.gateway.stream_connection import StreamConnection
from raftbook.gateway.stream_handshake import PATH, accepted, http_routes, websocket_routes
from raftbook.gateway.stream_requests import (
    NO_REQUEST_ID,
    PING,
    SUBSCRIBE,
    UNSUBSCRIBE,
    MalformedFrameError,
    read_channel,
    read_request,
    read_subscribe,
)
from raftbook.gateway.websocket_frames import Encoding
from raftbook.json_format import value_of_field
from raftbook.sharding.batches import join
from raftbook.sharding.submissions import as_json
from raftbook.sharding.upstream import problem_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    from raftbook.client import Feed, Report, Session
    from raftbook.gateway.stream_connection import FrameSocket
    from raftbook.gateway.stream_requests import Request, SubscribeRequest
    from raftbook.json_format import Json
    from raftbook.node.config import LimitsConfig
    from raftbook.sharding.batches import Outcome
    from raftbook.sharding.shard_map import OrderName, Routed, ShardMap
    from raftbook.sharding.submissions import Submissions
    from raftbook.sharding.upstream import Upstream

_log = structlog.get_logger()

Place = tuple[str, ...]
"""Of a subscription: its channel, and what it is of."""


class ShardStream:
    """All connections of clients to the gateway's stream."""

    def __init__(
        self, shard_map: ShardMap, upstreams: Mapping[str, Upstream], submissions: Submissions, limits: LimitsConfig
    ) -> None:
        self._map = shard_map
        self._upstreams = upstreams
        self._submissions = submissions
        self._limits = limits
        self.connections = 0

    def http_routes(self) -> list[Route]:
        return http_routes()

    def websocket_routes(self) -> list[WebSocketRoute]:
        return websocket_routes(self.serve)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its handshake to its end."""
        async with accepted(websocket, "gateway") as socket:
            self.connections += 1
            conversation = _Conversation(self._map, self._upstreams, self._submissions, self._limits, socket)
            try:
                while (message := await websocket.receive())["type"] != "websocket.disconnect":
                    await socket.drained()  # Who does not read what was answered is not listened to.
                    text = message.get("text")
                    if text is None:
                        await conversation.take(message["bytes"], Encoding.CBOR)
                    else:
                        await conversation.take(text.encode(), Encoding.JSON)
            finally:
                self.connections -= 1
                await conversation.close()


class _Conversation:
    """One connection's requests, one after the other."""

    def __init__(
        self,
        shard_map: ShardMap,
        upstreams: Mapping[str, Upstream],
        submissions: Submissions,
        limits: LimitsConfig,
        socket: FrameSocket,
    ) -> None:
        self._map = shard_map
        self._upstreams = upstreams
        self._submissions = submissions
        self._socket = socket
        self._max_subscriptions = limits.max_subscriptions_per_connection
        self._max_outstanding = limits.max_outstanding_per_connection
        self._connection = StreamConnection(socket, Encoding.JSON, limits.subscriber_backlog_bytes)
        self._sessions: dict[str, Session] = {}
        self._open = AsyncExitStack()
        self._outstanding = 0
        self._new_orders: dict[OrderName, str] = {}
        """Those without an answer, so that no shard can be asked for them."""
        self._broadcasts: set[asyncio.Task[None]] = set()
        self._feeds: dict[Place, tuple[Feed, asyncio.Task[None]]] = {}
        self._malformed_in_a_row = 0
        socket.is_busy = lambda: self._outstanding > 0
        socket.on_leave = lambda: self._connection.say({"type": "server_shutdown"})

    async def close(self) -> None:
        """Give up the subscriptions; what was entered gets executed, and nobody waits for it any more."""
        self._socket.is_busy = self._socket.on_leave = None
        for feed, task in self._feeds.values():
            task.cancel()
            await feed.aclose()
        self._feeds.clear()
        await self._open.aclose()

    async def take(self, data: bytes, encoding: Encoding) -> None:
        """One frame."""
        self._connection.encoding = encoding
        try:
            request = read_request(data, encoding)
            await self._carry_out(request)
        except MalformedFrameError as error:
            self._malformed_in_a_row += 1
            malformed = InvalidCommandError(str(error), error.field)
            self._refuse(malformed, error.request_id, encoding, is_command=error.is_command)
            if self._malformed_in_a_row == MAX_MALFORMED_IN_A_ROW:
                self._socket.end(POLICY_VIOLATION, f"{MAX_MALFORMED_IN_A_ROW} malformed frames in a row")
        else:
            self._malformed_in_a_row = 0

    async def _carry_out(self, request: Request) -> None:
        try:
            if request.is_command:
                await self._submit(request)
            elif request.op == SUBSCRIBE:
                await self._subscribe(request, read_subscribe(request))
            elif request.op == UNSUBSCRIBE:
                await self._unsubscribe(request)
            elif request.op == PING:
                self._answer(request, {"type": "pong"})
            else:
                raise ProblemError(400, "no_keys", "the gateway requires no keys; go on without `authenticate`")
        except MalformedFrameError:
            raise
        except RaftbookError as error:
            self._refuse(error, request.request_id, request.encoding, is_command=request.is_command)

    # ---------------------------------------------------------------- order entry

    async def _submit(self, request: Request) -> None:
        """Hand the command to its shard; its answer follows. Returns when the next one may be handed over."""
        if self._outstanding >= self._max_outstanding:
            raise BusyError(f"{self._outstanding} commands of this connection have no answer yet; wait for some")
        fields = as_json(dict(request.fields)) if request.encoding is Encoding.CBOR else dict(request.fields)
        wait_s = _wait_s(fields)
        routed = await self._submissions.placed(self._map.route({**fields, "op": request.op}), self._new_orders)
        sessions = [await self._session(shard) for shard in routed.shards]
        answers = [session.send(routed.document, wait_s=wait_s) for session in sessions]
        self._outstanding += 1
        if len(answers) == 1:
            if routed.is_new and routed.order is not None:
                self._new_orders[routed.order] = routed.shards[0]
            answers[0].add_done_callback(partial(self._answered, request, routed))
            return
        task = asyncio.create_task(self._answer_of_all(request, routed, answers), name="answer of all shards")
        self._broadcasts.add(task)
        task.add_done_callback(self._broadcasts.discard)

    async def _session(self, shard: str) -> Session:
        """The one to that shard, opened where there is none, or none any more."""
        session = self._sessions.get(shard)
        if session is None or session.has_ended:
            opening = self._upstreams[shard].client.session(max_outstanding=self._max_outstanding)
            try:
                session = self._sessions[shard] = await self._open.enter_async_context(opening)
            except RaftbookError as error:
                raise problem_from(shard, error) from error
        return session

    def _answered(self, request: Request, routed: Routed, answer: asyncio.Future[Report]) -> None:
        if routed.is_new and routed.order is not None:
            self._new_orders.pop(routed.order, None)
        if not answer.cancelled():
            self._tell(request, routed, [answer.exception() or answer.result()])

    async def _answer_of_all(self, request: Request, routed: Routed, answers: list[asyncio.Future[Report]]) -> None:
        self._tell(request, routed, await asyncio.gather(*answers, return_exceptions=True))

    def _tell(self, request: Request, routed: Routed, results: list[Report | BaseException]) -> None:
        """Answer with what became of the command in each of its shards."""
        self._outstanding -= 1
        outcomes: dict[str, Outcome] = {}
        for shard, result in zip(routed.shards, results, strict=True):
            if isinstance(result, OutcomeUnknownError):
                outcomes[shard] = result
            elif isinstance(result, RaftbookError):
                outcomes[shard] = problem_from(shard, result)
            elif isinstance(result, BaseException):
                _log.error("unexpected error", path=PATH, op=request.op, exc_info=result)
                outcomes[shard] = internal_error()
            else:
                self._upstreams[shard].told(result)
                outcomes[shard] = [result]
        try:
            (report,) = join([routed], outcomes)
            answer: Json = {"report": report}
        except RaftbookError as error:
            answer = {"error": error_json(problem_from(routed.shards[0], error))}
        self._say_soon({"request_id": shown_request_id(request.request_id), **answer}, request.encoding)

    # ---------------------------------------------------------------- subscriptions

    async def _subscribe(self, request: Request, wanted: SubscribeRequest) -> None:
        channel = wanted.channel
        place, symbol = channel.key, channel.symbol
        if symbol is None:
            detail = "symbol: name it: each shard tells of its own orders, and counts its own log"
            raise MalformedFrameError(detail, "symbol", request.request_id)
        upstream = self._upstreams[self._map.shard_of(symbol)]
        if place not in self._feeds and len(self._feeds) >= self._max_subscriptions:
            detail = f"this connection has {self._max_subscriptions} subscriptions; unsubscribe some, or open another"
            raise ProblemError(429, "too_many_subscriptions", detail)
        await self._stop(place)
        if isinstance(channel, AccountOrders):
            feed = upstream.client.own_orders(channel.account, symbol=symbol, from_sequence=wanted.from_sequence)
        else:
            feed = upstream.client.feed(
                cast("Literal['book', 'l3', 'trades']", channel.names()["channel"]),
                symbol,
                from_sequence=wanted.from_sequence,
                interval_ms=round(1000 * wanted.interval_s) or None,
            )
        self._feeds[place] = feed, asyncio.create_task(self._follow(request, place, upstream.name, feed), name="feed")

    async def _follow(self, request: Request, place: Place, shard: str, feed: Feed) -> None:
        try:
            async for message in feed:
                self._say_soon({**message}, request.encoding)
        except RaftbookError as error:
            problem = problem_from(shard, error)
        except Exception:  # noqa: BLE001 (as everywhere: logged whole, and told without the inside)
            _log.exception("unexpected error", path=PATH, op=request.op)
            problem = internal_error()
        else:
            return
        del self._feeds[place]
        self._refuse(problem, request.request_id, request.encoding)

    async def _unsubscribe(self, request: Request) -> None:
        channel = read_channel(request)
        feed = await self._stop(channel.key)
        if feed is None:
            raise ProblemError(409, "not_subscribed", "this connection has no such subscription")
        self._answer(request, {**channel.names(), "type": "unsubscribed", "sequence": feed.position})

    async def _stop(self, place: Place) -> Feed | None:
        """The feed that is there no longer, if there was one."""
        if place not in self._feeds:
            return None
        feed, task = self._feeds.pop(place)
        task.cancel()
        await feed.aclose()
        return feed

    # ---------------------------------------------------------------- answers

    def _say_soon(self, message: Json, encoding: Encoding) -> None:
        """Write it with whatever else comes of what a shard said in this turn of the loop: at one go."""
        if self._connection.queue(encoding.frame(message)):
            asyncio.get_running_loop().call_soon(self._connection.flush)

    def _answer(self, request: Request, answer: Json) -> None:
        if request.request_id is not NO_REQUEST_ID:
            answer = {**answer, "request_id": request.request_id}
        self._connection.say(answer, request.encoding)

    def _refuse(
        self, error: RaftbookError, request_id: object, encoding: Encoding, *, is_command: bool = False
    ) -> None:
        problem = problem_of(error)
        if is_command:
            answer: Json = {"request_id": shown_request_id(request_id), "error": error_json(problem)}
        else:
            answer = {"type": "error", "code": problem.code, "detail": problem.detail, **problem.members}
            if request_id is not NO_REQUEST_ID:
                answer["request_id"] = request_id
        self._connection.say(answer, encoding)


def _wait_s(fields: dict[str, object]) -> float:
    """How long to wait for the execution; `wait` and `wait_s` are taken out of `fields`.

    Who asks for "pending" gets its answer as soon as there is one, at the latest when others do.
    """
    wait, wait_s = value_of_field(fields.pop("wait", None)), value_of_field(fields.pop("wait_s", None))
    if wait not in (None, "committed", "pending"):
        raise InvalidCommandError("wait: write committed or pending", "wait")
    if wait_s in (None, 0):
        return SUBMISSION_WAIT_S
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= MAX_WAIT_S:
        raise InvalidCommandError(f"wait_s: write a number of seconds from 0 to {MAX_WAIT_S:g}", "wait_s")
    return float(wait_s)
