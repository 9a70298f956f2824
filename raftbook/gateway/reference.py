"""The interface described: GET /openapi.json, and GET /docs, a page that shows it.

The page is Redoc (MIT, https://github.com/Redocly/redoc), which lies in reference_page/vendor/ with its licences.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from raftbook.errors import ProblemError
from raftbook.gateway.endpoint import Access, Answer, EndpointRoute, endpoint, routes_of
from raftbook.gateway.media_types import JSON
from raftbook.gateway.openapi import Json, openapi_document
from raftbook.gateway.page import answer_with, load_assets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.gateway.query import Query
    from raftbook.node.config import Config

_TAG: Final = "Reference"

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "  # Redoc makes its styles as it goes.
    "worker-src blob:; "  # Its search runs in one.
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ReferenceHandlers:
    """`routes` may still grow until the first request."""

    def __init__(self, routes: Sequence[Route], config: Config) -> None:
        self._routes = routes
        self._config = config
        self._assets = load_assets("reference_page")

    def routes(self) -> list[Route]:
        return [
            *routes_of(self),
            Route("/docs", self.page, methods=["GET"]),
            Route("/docs/{name:path}", self.asset, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """GET /docs."""
        return answer_with(request, self._assets["index.html"], {"Content-Security-Policy": _POLICY})

    async def asset(self, request: Request) -> Response:
        """GET /docs/{name}: one of the page's files."""
        name = request.path_params["name"]
        asset = self._assets.get(name)
        if asset is None:
            raise ProblemError(404, "no_such_asset", f"the page has no file {name[:200]!a}; GET /docs is the page")
        return answer_with(request, asset, {})

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
