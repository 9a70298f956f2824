"""A gateway to shards, whose map may change while it runs: the application is made anew, and what has begun goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog import get_logger

from raftbook.errors import ConfigError
from raftbook.sharding.http_api import make_shard_app
from raftbook.sharding.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from raftbook.node.config import LimitsConfig
    from raftbook.sharding.http_api import GatewayCounts
    from raftbook.sharding.shard_map import Shard, ShardMap

_log = get_logger()


class ShardGateway:
    """An ASGI application. A request, or a connection to the stream, keeps the map with which it began.

    `connect` makes the way to a shard.
    """

    def __init__(
        self,
        shard_map: ShardMap,
        limits: LimitsConfig,
        listen_address: str,
        counts: GatewayCounts,
        connect: Callable[[Shard], Upstream] = Upstream,
    ) -> None:
        self._limits = limits
        self._listen_address = listen_address
        self._counts = counts
        self._connect = connect
        self._upstreams: dict[Shard, Upstream] = {}
        """Those to all shards that there ever were: who began with one that has gone may still use it."""
        self._map = shard_map
        self._app = self._application(shard_map)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def take(self, shard_map: ShardMap) -> None:
        """Serve this map from now on. ConfigError, and nothing has changed, where a symbol would move."""
        for shard in self._map.shards:
            for symbol in shard.symbols:
                place = next((other.name for other in shard_map.shards if symbol in other.symbols), shard.name)
                if place != shard.name:
                    raise ConfigError(
                        f"{symbol} cannot move from {shard.name} to {place}, since its orders are in the log where it "
                        "began; put it back"
                    )
        self._app = self._application(shard_map)
        self._map = shard_map

    def _application(self, shard_map: ShardMap) -> Starlette:
        """CertificateError where a shard's CA cannot be read."""
        upstreams = {}
        for shard in shard_map.shards:
            # Symbols are the map's affair: the way to a shard is another one only where its nodes are others.
            way = shard._replace(symbols=())
            if way not in self._upstreams:
                self._upstreams[way] = self._connect(way)
            upstreams[shard.name] = self._upstreams[way]
        return make_shard_app(shard_map, upstreams, self._limits, self._listen_address, self._counts)

    async def aclose(self) -> None:
        for upstream in self._upstreams.values():
            await upstream.aclose()
