"""The gateway in front of a node that matches for real and has no Raft; see tests/support/direct_service.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from raftbook.gateway import make_app
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def service() -> DirectService:
    return DirectService(make_config(max_body_bytes=65_536, max_commands_per_request=100))


@pytest.fixture
async def http(service: DirectService) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway; the market ACME is open."""
    transport = httpx.ASGITransport(make_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        response = await client.post("/v1/instruments", json=ACME)
        assert response.status_code == 200, response.text
        yield client
