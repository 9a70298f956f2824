"""Endpoints of a node, answered by a gateway: path, parameters, answers and problems are as the node declares them."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from raftbook.gateway.endpoint import Answer, EndpointRoute, declarations_of
from raftbook.gateway.query import Parameter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.gateway.query import Query

SHARD: Final = Parameter("shard", {"type": "string"}, "The shard, where no symbol says which.")


def as_on_nodes(
    original: Callable[..., Any],
    handler: Callable[[Request, Query], Awaitable[Answer | Response]],
    query: tuple[Parameter, ...] = (),
) -> list[EndpointRoute]:
    """The routes that are declared above a node's handler, for `handler`; `query` comes on top."""

    @wraps(original)
    async def answer(request: Request, given: Query) -> Answer | Response:
        return await handler(request, given)

    routes = []
    for declared in declarations_of(original):
        names = [parameter.name for parameter in declared.query]
        added = [parameter for parameter in query if parameter.name not in names]
        routes.append(EndpointRoute(declared._replace(query=(*declared.query, *added)), answer))
    return routes
