"""A node that requires keys, and clients of it with keys of every kind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from raftbook.engine.commands import AddInstrument
from raftbook.engine.types import Number, Role
from raftbook.gateway import make_app
from raftbook.node.config import SecurityConfig
from raftbook.security.signing import STREAM_TARGET
from tests.support.api_keys import KeyAuth, creation_of, headers_for, key_of
from tests.support.direct_service import DirectService, make_config
from tests.support.openapi_check import OpenApiCheck
from tests.support.server import serve
from tests.support.stream_client import open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

    from raftbook.security.signing import ApiKey
    from tests.support.stream_client import StreamClient


ADMIN = key_of(Role.ADMIN, "admin001")
OTHER_ADMIN = key_of(Role.ADMIN, "admin002")
ALICE = key_of(Role.TRADE, "alice001")
BOB = key_of(Role.TRADE, "bob00001")
BOTH = key_of(Role.TRADE, "both0001")
READER = key_of(Role.READ, "reader01")
ALICES_READER = key_of(Role.READ, "reader02")
KEYS = (
    creation_of(ADMIN, "*"),
    creation_of(OTHER_ADMIN, "*"),
    creation_of(ALICE, "alice"),
    creation_of(BOB, "bob"),
    creation_of(BOTH, "alice", "bob"),
    creation_of(READER),
    creation_of(ALICES_READER, "alice"),
)
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))

BOBS_ORDER = {"account": "bob", "client_order_id": "b1"}
"""Of the fixture `bobs_order`."""

_checks: list[OpenApiCheck] = []
"""One for all tests, since all nodes describe the same interface."""


@dataclass
class Venue:
    """A node that requires keys, and clients of it."""

    service: DirectService
    app: Starlette
    transport: httpx.ASGITransport
    node: str

    @asynccontextmanager
    async def client(self, key: ApiKey | None) -> AsyncIterator[httpx.AsyncClient]:
        """Every answer must be as OpenAPI says."""
        async with self.unchecked_client(key) as client:
            if not _checks:
                _checks.append(OpenApiCheck((await client.get("/openapi.json")).json()))
            client.event_hooks = {"response": [_checks[0].check]}
            yield client

    def unchecked_client(self, key: ApiKey | None) -> httpx.AsyncClient:
        auth = None if key is None else KeyAuth(key, self.node)
        return httpx.AsyncClient(transport=self.transport, base_url="http://localhost", auth=auth)

    async def submit(self, *commands) -> None:
        """What the log holds already."""
        for report in await self.service.submit(commands, wait_s=1):
            assert report.execution.accepted


def config_with_keys(**limits):
    return msgspec.structs.replace(make_config(**limits), security=SecurityConfig(require_keys=True))


async def venue_of(config) -> Venue:
    service = DirectService(config)
    app = make_app(service)
    venue = Venue(service, app, httpx.ASGITransport(app), service.origin)
    await venue.submit(ACME, *KEYS)
    return venue


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in response.headers) == (status == 401)


@asynccontextmanager
async def stream_of(venue, key: ApiKey | None) -> AsyncIterator[StreamClient]:
    """A connection whose handshake shows the key."""
    request = httpx.Request("GET", f"http://localhost{STREAM_TARGET}")
    headers = {} if key is None else headers_for(key, venue.node, request)
    async with serve(venue.app) as url, open_stream(url, additional_headers=headers) as stream:
        yield stream
