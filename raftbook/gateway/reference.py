"""The interface described: GET /openapi.json, and GET /docs, a page that shows it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from raftbook.gateway.endpoint import Access, Answer, EndpointRoute, endpoint, routes_of
from raftbook.gateway.media_types import JSON
from raftbook.gateway.openapi import Json, openapi_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from raftbook.gateway.query import Query
    from raftbook.node.config import Config

_TAG: Final = "Reference"


class ReferenceHandlers:
    """`routes` may still grow until the first request."""

    def __init__(self, routes: Sequence[Route], config: Config) -> None:
        self._routes = routes
        self._config = config

    def routes(self) -> list[Route]:
        return [*routes_of(self)]

    @endpoint(
        "GET",
        "/openapi.json",
        answers={200: dict},
        access=Access.OPEN,
        tag=_TAG,
        media_types=(JSON,),
        has_log_index=False,
    )
    async def openapi(self, _: Request, __: Query) -> Answer:
        """The whole interface as OpenAPI 3.1: this document."""
        return Answer(self._document, None)

    @cached_property
    def _document(self) -> Json:
        described = [route for route in self._routes if isinstance(route, EndpointRoute)]
        return openapi_document(described, self._config.limits, requires_keys=self._config.security.require_keys)
