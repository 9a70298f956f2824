"""Every HTTP request gets an id, is counted, and is logged where somebody wants to know of it."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Final

import structlog
from starlette.routing import Route

from raftbook.gateway.caller import key_id_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from raftbook.gateway.metrics import RequestCounts

REQUEST_ID_HEADER: Final = "X-Request-Id"
SLOW_S: Final = 10.0
"""Longer than a client waits that has not asked to wait."""

_HEADER: Final = REQUEST_ID_HEADER.lower().encode()
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,64}")
_NOT_ANSWERED: Final = 499
"""The client was gone first; nginx writes it so."""
_NO_ROUTE: Final = "none"

_log = structlog.get_logger(__name__)
_is_wanted = logging.getLogger(__name__).isEnabledFor


class RequestLog:
    """ASGI middleware, the outermost. `X-Request-Id` of the client is kept where it is one, else it gets a new one.

    Level debug logs every request, info those that took long or failed for the node's own reasons. With debug, what is
    logged while the request is handled carries its id.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._counts = counts
        self._clock = clock
        self._prefix = secrets.token_hex(6)
        """Of this start of the node."""
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = self._clock()
        request_id = _given_id(scope) or f"{self._prefix}-{next(self._numbers)}"
        status = _NOT_ANSWERED

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Starlette's classes for headers would cost more than all the rest here.
                message["headers"] = [*message.get("headers", ()), (_HEADER, request_id.encode())]
            await send(message)

        if _is_wanted(logging.DEBUG):
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self._app(scope, receive, send_with_id)
        else:
            await self._app(scope, receive, send_with_id)
        took_s = self._clock() - began_at
        route = scope.get("route")
        path, methods = (route.path, route.methods or ()) if isinstance(route, Route) else (_NO_ROUTE, ())
        method = scope["method"] if scope["method"] in methods else "other"
        self._counts.answered(method, path, status, took_s)
        is_remarkable = status >= 500 or took_s >= SLOW_S
        if is_remarkable or _is_wanted(logging.DEBUG):
            level = logging.INFO if is_remarkable else logging.DEBUG
            _tell(level, scope, request_id, status, took_s)


def _tell(level: int, scope: Scope, request_id: str, status: int, took_s: float) -> None:
    address = scope.get("client")
    _log.log(
        level,
        "request",
        request_id=request_id,
        method=scope["method"][:16],
        path=scope["path"][:200],
        status=status,
        took_ms=round(1e3 * took_s, 3),
        client=None if address is None else f"{address[0]}:{address[1]}",
        key_id=key_id_in(scope),
    )


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER and _REQUEST_ID.fullmatch(value) is not None:
            return str(value, "ascii")
    return None
