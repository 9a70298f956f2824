"""The gateway in front of a whole node, and in front of one whose majority and room a test can take away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from raftbook.gateway import make_app
from tests.support.direct_service import DirectService, make_config
from tests.support.keyed_venue import ADMIN, ALICE, BOB, Venue, config_with_keys, venue_of
from tests.support.openapi_check import OpenApiCheck
from tests.support.sample_orders import ACME, sell
from tests.support.single_node import single_node
from tests.support.stream_client import StreamClient, open_stream
from tests.support.stream_market import StreamMarket, open_stream_market

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from raftbook.node.service import NodeService


_checks: list[OpenApiCheck] = []


async def _openapi_check(client: httpx.AsyncClient) -> OpenApiCheck:
    """One for all tests, since all nodes describe the same interface."""
    if not _checks:
        _checks.append(OpenApiCheck((await client.get("/openapi.json")).json()))
    return _checks[0]


@asynccontextmanager
async def open_market(service: NodeService | DirectService) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway to `service`; the market ACME is open. Every answer must be as OpenAPI says."""
    transport = httpx.ASGITransport(make_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        client.event_hooks = {"response": [(await _openapi_check(client)).check]}
        response = await client.post("/v1/instruments", json=ACME)
        assert response.status_code == 200, response.text
        yield client


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[NodeService]:
    async with single_node(tmp_path, max_body_bytes=65_536, max_commands_per_request=100, reports_kept=100) as service:
        yield service


@pytest.fixture
async def http(service: NodeService) -> AsyncIterator[httpx.AsyncClient]:
    async with open_market(service) as client:
        yield client


@pytest.fixture
async def fragile_service() -> DirectService:
    """A node that can be told to lose its majority, or to be busy."""
    return DirectService(make_config())


@pytest.fixture
async def fragile_http(fragile_service: DirectService) -> AsyncIterator[httpx.AsyncClient]:
    async with open_market(fragile_service) as client:
        yield client


@pytest.fixture
async def venue() -> Venue:
    """A node that requires keys."""
    return await venue_of(config_with_keys())


@pytest.fixture
async def alice(venue: Venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(ALICE) as client:
        yield client


@pytest.fixture
async def bob(venue: Venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(BOB) as client:
        yield client


@pytest.fixture
async def admin(venue: Venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(ADMIN) as client:
        yield client


@pytest.fixture
async def bobs_order(bob: httpx.AsyncClient) -> dict[str, Any]:
    report = (await bob.post("/v1/orders", json=sell())).json()
    assert report["status"] == "accepted"
    return report


@pytest.fixture
async def market() -> AsyncIterator[StreamMarket]:
    """A node with an open market, behind a real socket."""
    async with open_stream_market() as market:
        yield market


@pytest.fixture
async def client(market: StreamMarket) -> AsyncIterator[StreamClient]:
    async with open_stream(market.url) as client:
        yield client
