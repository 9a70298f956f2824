"""Which web pages may call a node: those that the nodes of its own cluster serve, and no others.

A browser lets any page on the Internet send requests to any address, 127.0.0.1 included, and holds back the answer
alone unless the server allows the page's origin (CORS, https://fetch.spec.whatwg.org); WebSockets it does not hold back
at all. So a page from elsewhere is not just left unanswered: what it asks for is refused before anything is done.
Programs that are no browsers send no Origin, and are not concerned.

Of requests to its own origin a browser says no Origin where they only read. A stranger's name that leads to 127.0.0.1
makes any page such an origin (DNS rebinding), so a node on loopback answers no request that was sent to a name that is
not its own: the Host of a request is what the browser took the node for, and no page can write it. Over TLS the name
must stand in the node's certificate, so that a stranger's leads nowhere.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from raftbook.errors import ProblemError
from raftbook.gateway.responses import problem_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_PAGE_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Scheme of a request -> that of the pages which may send it."""
_CLEAR_SCHEMES: Final = frozenset({"http", "ws"})
"""Those of requests whose Host nothing vouches for; over TLS the certificate names it, and the browser checked that."""
_READING_METHODS: Final = frozenset({"GET", "HEAD"})

ALLOWED_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Raftbook-Key, Raftbook-Timestamp, Raftbook-Nonce, Raftbook-Signature"
)
EXPOSED_HEADERS: Final = "Raftbook-Log-Index, Raftbook-Node, Raftbook-Next-Order-Id, Retry-After, Location"
PREFLIGHT_MAX_AGE_S: Final = 600


class AllowedOrigins:
    """The origins of a cluster's pages. `api_addresses` are HOST:PORT as the configuration has them.

    A node on loopback is also known by the other names of loopback. An origin that names the very host of the request
    is the node's own page under another name (a proxy, a tunnel), but not for a node on loopback unless that name is
    one of loopback: a stranger's name that leads to 127.0.0.1 is how pages get around the rule (DNS rebinding).
    """

    def __init__(self, api_addresses: Sequence[str], own_address: str) -> None:
        self._origins = frozenset(
            f"{scheme}://{name}"
            for address in api_addresses
            for name in _names_of(address)
            for scheme in ("http", "https")
        )
        self._on_loopback = _is_loopback(_host_of(own_address))
        self._hosts = frozenset(_host_of(address) for address in api_addresses)

    def is_known_host(self, host: str) -> bool:
        """Whether this node may be addressed as `host` (HOST or HOST:PORT, of any port: tunnels have their own)."""
        name = _host_of(host)
        return not self._on_loopback or _is_loopback(name) or (name is not None and name in self._hosts)

    def allows(self, origin: str, scheme: str, host: str) -> bool:
        """Whether a page of `origin` may call; `scheme` (http, https) and `host` (HOST:PORT) are the request's own."""
        if not origin.startswith(f"{scheme}://"):
            return False
        if origin in self._origins:
            return True
        name = _host_of(host)
        is_own_page = origin == f"{scheme}://{host}" and name is not None
        return is_own_page and (not self._on_loopback or _is_loopback(name))


class OnlyOwnPages:
    """ASGI middleware: answers preflights, marks answers as readable for the cluster's pages, refuses others.

    Others may read nothing (the browser holds it back) and do nothing: a WebSocket, and whatever is no GET, gets 403.
    So does whatever was sent to a name that is not this node's. HTTP/1.0 has no Host, and no browser speaks that.
    """

    def __init__(self, app: ASGIApp, origins: AllowedOrigins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else Headers()
        host: str | None = headers.get("host")
        if host is not None and scope["scheme"] in _CLEAR_SCHEMES and not self._origins.is_known_host(host):
            await _refuse_host(host)(scope, receive, send)
            return
        origin: str | None = headers.get("origin")
        if origin is None:
            await self._app(scope, receive, send)
            return
        scheme = _PAGE_SCHEMES[scope["scheme"]]
        if not self._origins.allows(origin, scheme, host or ""):
            if scope["type"] == "http" and scope["method"] in _READING_METHODS:
                await self._app(scope, receive, send)
            else:
                await _refuse(origin)(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(origin)(scope, receive, send)
        else:

            async def send_readable(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answer = MutableHeaders(scope=message)
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
                    answer.add_vary_header("Origin")
                await send(message)

            await self._app(scope, receive, send_readable)


def _preflight(origin: str) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
            "Vary": "Origin",
        },
    )


def _refuse(origin: str) -> Response:
    detail = (
        f"a page of {origin[:100]!a} may not call this node, only those that the nodes of its cluster serve; open the "
        "page of a node at the api_address that the configuration has"
    )
    return problem_response(ProblemError(403, "foreign_origin", detail))


def _refuse_host(host: str) -> Response:
    detail = (
        f"this node is on loopback and is not called {host[:100]!a}; address it as localhost, 127.0.0.1, [::1], or as "
        "the api_address that the configuration has"
    )
    return problem_response(ProblemError(403, "foreign_host", detail))


def _names_of(address: str) -> list[str]:
    """HOST:PORT, and for one on loopback the same port under each name of loopback."""
    _, _, port = address.rpartition(":")
    return [address, *(f"{name}:{port}" for name in _LOOPBACK_HOSTS)] if _is_loopback(_host_of(address)) else [address]


def _host_of(address: str) -> str | None:
    """The host in HOST or HOST:PORT, None where it is neither."""
    try:
        return urlsplit(f"//{address}").hostname
    except ValueError:
        return None


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
