"""Two shards, each a node without Raft, and a gateway in front of both, in one process and without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import pytest

from raftbook.client import RaftbookClient
from raftbook.gateway import make_app
from raftbook.node.config import LimitsConfig
from raftbook.sharding.http_api import make_shard_app
from raftbook.sharding.shard_map import Shard, ShardMap
from raftbook.sharding.upstream import Upstream
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME

if TYPE_CHECKING:
    from collections.abc import Iterable

SYMBOLS: Final = {"north": ("ACME", "AJAX"), "south": ("BETA",)}


class Link(httpx.ASGITransport):
    """The way to a shard's node, which can be cut."""

    is_cut = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            raise httpx.ConnectError("cut", request=request)
        return await super().handle_async_request(request)


class Market(NamedTuple):
    """`services` are the shards' nodes, `links` what leads to each, by name; `gateway` leads to the gateway."""

    services: dict[str, DirectService]
    links: dict[str, Link]
    gateway: httpx.ASGITransport
    http: httpx.AsyncClient


async def add_instruments(http: httpx.AsyncClient, symbols: Iterable[str] = ("ACME", "AJAX", "BETA")) -> None:
    for symbol in symbols:
        added = await http.post("/v1/instruments", json={**ACME, "symbol": symbol})
        assert added.status_code == 200, added.text


@pytest.fixture
async def market():
    services = {name: DirectService(make_config(f"{name}:1")) for name in SYMBOLS}
    links = {name: Link(make_app(service)) for name, service in services.items()}
    shards = [Shard(name, (f"http://{name}:1",), symbols) for name, symbols in SYMBOLS.items()]
    upstreams = {shard.name: Upstream(shard, transport=links[shard.name]) for shard in shards}
    app = make_shard_app(ShardMap("test", shards), upstreams, LimitsConfig(), "127.0.0.1:8100")
    gateway = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=gateway, base_url="http://localhost") as http:
        await add_instruments(http)
        yield Market(services, links, gateway, http)
    for upstream in upstreams.values():
        await upstream.aclose()


@pytest.fixture
async def client(market):
    """One that takes the gateway for a node."""
    async with RaftbookClient("http://localhost", transport=market.gateway) as client:
        yield client
