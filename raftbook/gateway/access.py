"""Who gets in: every request is counted, and every route is guarded by the role that it needs.

    request ──▶ address may ask? ──▶ route ──▶ whose is it? ──▶ key may ask? ──▶ role? ──▶ handler: which accounts?

What has no route is counted for its address alone: nobody looks at a key that nothing needs.

Where a node takes a request, there it is judged; what is in the log was allowed. So the nodes of a cluster trust each
other, which is what their certificates are for. A key is looked up in the replicated state each time: it is good as
soon as this node has applied its creation, and refused as soon as it has applied its revocation.
"""

from __future__ import annotations

import ipaddress
import time
import weakref
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from raftbook.engine.types import Role
from raftbook.errors import ProblemError
from raftbook.gateway.body import read_body
from raftbook.gateway.caller import Caller
from raftbook.gateway.endpoint import Access, EndpointRoute
from raftbook.gateway.responses import problem_response
from raftbook.gateway.stream_keys import KeyedStreamAccess
from raftbook.security.authentication import Authenticator, claim_of, token_of, unauthenticated
from raftbook.security.rate_limits import RateLimiter
from raftbook.security.signing import NODE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from raftbook.engine.api_keys import ApiKeys, KeyRecord
    from raftbook.gateway.service import Service

OPEN_PATHS: Final = ("/", "/assets/{name:path}", "/docs", "/docs/{name:path}", "/v1/stream")
"""Routes without a declaration that need no key: the page, the documentation, and the way to a WebSocket."""

_ROLES: Final = {Access.OPEN: None, Access.READ: Role.READ, Access.TRADE: Role.TRADE, Access.ADMIN: Role.ADMIN}
"""What an endpoint declares -> the role that it needs."""


class AccessControl:
    """Of one node, since its start. Belongs to the node's loop."""

    def __init__(
        self,
        service: Service,
        *,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config = service.config
        self._service = service
        self._wall_clock_ns = wall_clock_ns
        self._clock = clock
        self._keys_required = config.security.require_keys
        self._max_body_bytes = config.limits.max_body_bytes
        self._authenticator = Authenticator(service.origin, self._key_of)
        self._of_addresses = AddressLimit(config.address_requests_per_s, clock)
        self._of_keys = RateLimiter(config.key_requests_per_s)
        self._streams: weakref.WeakSet[KeyedStreamAccess] = weakref.WeakSet()
        self._known: tuple[ApiKeys, int] | None = None
        if self._keys_required:
            service.listen_to_feed(self._end_streams_of_revoked_keys)

    @property
    def _keys(self) -> ApiKeys:
        return self._service.state.exchange.api_keys

    def _key_of(self, key_id: str) -> KeyRecord | None:
        """As the state has it now; a snapshot may put another object in its place."""
        return self._keys.records.get(key_id)

    def count(self, scope: Scope) -> None:
        """As AddressLimit's."""
        self._of_addresses.count(scope)

    def guard(self, routes: Iterable[Route]) -> None:
        """Put itself before each route. An AssertionError is a route of which nobody has said who may use it."""
        for route in routes:
            route.app = self._guarded(route.app, role_of(route))

    def _guarded(self, app: ASGIApp, role: Role | None) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            address = address_of(scope)
            if self._keys_required and role is not None:
                record, receive = await self._authenticate(scope, receive)
                caller = self._caller(record, address)
                caller.check_role(role)
            else:
                caller = self._caller(None, address)
            caller.keep_in(scope)
            await app(scope, receive, send)

        return guarded

    def _caller(self, record: KeyRecord | None, address: str) -> Caller:
        """Takes the request that is under way from the limit of its key."""
        if record is None:
            return Caller(None, lambda count: self._of_addresses.charge(address, count))
        take(self._of_keys, record.key_id, f"key {record.key_id}", self._clock())

        def count_requests(count: int) -> None:
            self._of_addresses.charge(address, count)
            self._of_keys.charge(record.key_id, self._clock(), count)

        return Caller(record, count_requests, lambda: self._authenticator.current(record))

    async def _authenticate(self, scope: Scope, receive: Receive) -> tuple[KeyRecord, Receive]:
        """The key of the request, and its body for whoever comes next. 401 problems.

        Of a request that cannot be good the body is not read.
        """
        headers = Headers(scope=scope)
        token = token_of(headers)
        if token is not None:
            return self._authenticator.check_token(token), receive
        claim = claim_of(headers)
        if claim is None:
            raise no_key()
        now = self._wall_clock_ns()
        record = self._authenticator.check_claim(claim, now)
        body = await read_body(Request(scope, receive), self._max_body_bytes)
        self._authenticator.check_signature(
            claim, record, method=scope["method"], target=target_of(scope), body=body, now=now
        )
        # Between the two the key may have been revoked: the body takes as long as the client likes.
        return self._authenticator.current(record), _replayed(body, receive)

    # Streams.

    def stream_access(self, websocket: WebSocket) -> KeyedStreamAccess:
        """What a connection may do; a key that its handshake shows is taken. ProblemError refuses the handshake."""
        scope = websocket.scope
        address = address_of(scope)

        def admit(record: KeyRecord | None) -> Caller:
            self._of_addresses.take(address)
            return self._caller(record, address)

        access = KeyedStreamAccess(self._authenticator, self._keys_required, admit, self._wall_clock_ns)
        access.authenticate_handshake(websocket.headers, target_of(scope))
        self._streams.add(access)
        return access

    def _end_streams_of_revoked_keys(self) -> None:
        """At the end of a turn in which something was applied."""
        known = (self._keys, self._keys.changes)
        if known == self._known:
            return
        self._known = known
        for access in list(self._streams):
            access.end_if_revoked()


def no_key() -> ProblemError:
    return unauthenticated(
        "unauthenticated",
        "this node requires a key: send a read key as `Authorization: Bearer rb_read_…`, or sign the request with a "
        "trade or admin key (RAFTBOOK_API_KEY or `--api-key @FILE` on the command line)",
    )


def role_of(route: Route) -> Role | None:
    """The role that a route needs, None for one that is open."""
    if isinstance(route, EndpointRoute):
        return _ROLES[route.declared.access]
    assert route.path in OPEN_PATHS, f"{route.path}: say who may use it, with @endpoint(…, access=…)"
    return None


def target_of(scope: Scope) -> str:
    """path?query as the request has it, which is what was signed."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (raw_path + b"?" + query if query else raw_path).decode("latin-1")


def address_of(scope: Scope) -> str:
    """For whom requests are counted: the client's IPv4 address, or the network of its IPv6 one, which is one site's."""
    client = scope.get("client")
    if client is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None and not address.is_loopback:
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives the body that was read already, and then what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class AddressLimit:
    """How often each address may ask; 0 requests a second limit nobody."""

    def __init__(self, requests_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limiter = RateLimiter(requests_per_s)
        self._clock = clock

    def count(self, scope: Scope) -> None:
        """Takes a request, or a handshake, from the limit of its address. ProblemError (429): there is none left."""
        self.take(address_of(scope))

    def take(self, address: str) -> None:
        take(self._limiter, address, f"address {address}", self._clock())

    def charge(self, address: str, count: int) -> None:
        self._limiter.charge(address, self._clock(), count)


def take(limiter: RateLimiter, name: str, who: str, now_s: float) -> None:
    """One request of `who`; a 429 problem where there is none left."""
    wait_s = limiter.take(name, now_s)
    if wait_s > 0:
        raise ProblemError(
            429,
            "rate_limited",
            f"{who} asks more than {limiter.rate_per_s} times a second; nothing was taken, wait a moment, send "
            "commands by the hundred (POST /v1/commands), or have [limits] raised",
            retry_after_s=wait_s,
        )


class CountedRequests:
    """ASGI middleware: whatever asks is counted, also for what does not exist; `count` is AddressLimit's."""

    def __init__(self, app: ASGIApp, count: Callable[[Scope], None]) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        try:
            self._count(scope)
        except ProblemError as problem:
            answer = problem_response(problem)
        await answer(scope, receive, send)


class NodeHeader:
    """ASGI middleware: every answer says which node it is from, and which start of it; that is what a client signs."""

    def __init__(self, app: ASGIApp, incarnation: str) -> None:
        self._app = app
        self._incarnation = incarnation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                MutableHeaders(scope=message)[NODE_HEADER] = self._incarnation
            await send(message)

        await self._app(scope, receive, send_named)
