"""The Starlette application: its routes, and what becomes of errors.

A handler raises; here, at one place, a raise becomes an answer: an operating failure its problem, a fault of the
program a 500 that tells nothing of the inside, and a line in the log that tells all.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from raftbook.errors import ProblemError, RaftbookError
from raftbook.gateway.access import AccessControl, CountedRequests, NodeHeader
from raftbook.gateway.candles import CandleHandlers
from raftbook.gateway.cluster import ClusterHandlers
from raftbook.gateway.keys import KeyHandlers
from raftbook.gateway.market import MarketHandlers
from raftbook.gateway.metrics import MetricsHandlers, RequestCounts, ServerFigures, stream_metrics
from raftbook.gateway.orders import OrderHandlers
from raftbook.gateway.origins import AllowedOrigins, OnlyOwnPages
from raftbook.gateway.page import PageHandlers
from raftbook.gateway.reference import ReferenceHandlers
from raftbook.gateway.request_log import RequestLog
from raftbook.gateway.responses import problem_of, problem_response
from raftbook.gateway.stream import Stream
from raftbook.gateway.tickers import TickerHandlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.routing import Route, WebSocketRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from raftbook.gateway.service import Service

_log = structlog.get_logger()


def make_app(service: Service, *, server: Callable[[], ServerFigures] = ServerFigures) -> Starlette:
    """The node's HTTP interface as an ASGI application; it runs in the loop of `service`.

    `server` tells the figures of the server that it is served by.
    """
    config = service.config
    api_addresses = [node.api_address for node in config.nodes]
    origins = AllowedOrigins(api_addresses, config.node(service.status().node_id).api_address)
    access = AccessControl(service)
    stream = Stream(service, access.stream_access)
    requests = RequestCounts()
    routes: list[Route] = [
        *OrderHandlers(service).routes(),
        *MarketHandlers(service).routes(),
        *CandleHandlers(service).routes(),
        *TickerHandlers(service).routes(),
        *KeyHandlers(service).routes(),
        *ClusterHandlers(service).routes(),
        *MetricsHandlers(
            service.collect_metrics, requests.collect, lambda: server().collect(), lambda: stream_metrics(stream)
        ).routes(),
        *stream.http_routes(),
        *PageHandlers(api_addresses).routes(),
    ]
    routes += ReferenceHandlers(routes, config).routes()
    access.guard(routes)
    outside = [Middleware(RequestLog, requests), Middleware(NodeHeader, service.origin)]
    inside = [Middleware(CountedRequests, access.count)]
    app = assemble(routes, stream.websocket_routes(), outside, origins, inside)
    app.state.stream = stream
    return app


def assemble(
    routes: Sequence[Route],
    websocket_routes: Sequence[WebSocketRoute],
    outside: Sequence[Middleware],
    origins: AllowedOrigins,
    inside: Sequence[Middleware] = (),
) -> Starlette:
    """An application in which whatever is raised becomes an answer.

    `outside` stands around all that it does; `inside` before its routes, behind the refusal of foreign pages.
    """

    async def no_such_endpoint(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _routing_problem(routes, request.method, request.url.path)

    app = Starlette(
        routes=[*routes, *websocket_routes],
        middleware=[*outside, Middleware(_UnexpectedErrors), Middleware(OnlyOwnPages, origins), *inside],
        exception_handlers={
            RaftbookError: _answer_failure,
            HTTPException: no_such_endpoint,
            ClientDisconnect: _answer_nobody,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _answer_failure(_: Request, error: Exception) -> Response:
    assert isinstance(error, RaftbookError)
    return problem_response(problem_of(error))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client went away before its request was complete, so nothing was done and nobody reads this."""
    return Response(status_code=400)


def _routing_problem(routes: Sequence[Route], method: str, path: str) -> Response:
    """404 where no route has that path, 405 where some do with other methods; either way what there is instead.

    OPTIONS asks for just that.
    """
    methods = {name for route in routes if route.path_regex.match(path) for name in route.methods or ()}
    if methods:
        allowed = sorted({*methods, "OPTIONS"})
        headers = {"Allow": ", ".join(allowed)}
        if method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        detail = f"{path[:200]} takes {', '.join(allowed)}, not {method}"
        problem = ProblemError(405, "method_not_allowed", detail, members={"allowed": allowed})
        return problem_response(problem, headers)
    paths = list(dict.fromkeys(route.path for route in routes))
    near = difflib.get_close_matches(path[:200], paths, n=4, cutoff=0.5)
    detail = f"there is no endpoint {path[:200]}; " + (
        f"near: {', '.join(near)}" if near else f"endpoints: {', '.join(paths)}"
    )
    return problem_response(ProblemError(404, "no_such_endpoint", detail, members={"near": near}))


class _UnexpectedErrors:
    """ASGI middleware: what nobody foresaw is logged whole, and answered with a 500 problem that shows none of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            _log.exception("unexpected error", method=scope.get("method"), path=scope.get("path"))
            if started:
                raise
            detail = "the node met a fault of its own; its log has the particulars"
            response = problem_response(ProblemError(500, "internal_error", detail))
            await response(scope, receive, send)
