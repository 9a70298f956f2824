"""The gateway's HTTP interface as one application: the paths of a node, as far as they mean something across shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from raftbook.gateway.access import AddressLimit, CountedRequests
from raftbook.gateway.http_api import assemble
from raftbook.gateway.metrics import MetricsHandlers, RequestCounts, ServerFigures, stream_connections
from raftbook.gateway.origins import AllowedOrigins
from raftbook.gateway.request_log import RequestLog
from raftbook.sharding.orders import CommandHandlers
from raftbook.sharding.reads import ReadHandlers
from raftbook.sharding.stream import ShardStream
from raftbook.sharding.submissions import Submissions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.applications import Starlette

    from raftbook.node.config import LimitsConfig
    from raftbook.sharding.shard_map import ShardMap
    from raftbook.sharding.upstream import Upstream


class GatewayCounts:
    """What a gateway counts of its clients, whichever shards it has: one for its whole life."""

    def __init__(self, requests_per_s: int = 0, server: Callable[[], ServerFigures] = ServerFigures) -> None:
        """`requests_per_s` of one address, 0 without limit; `server` tells the figures of what the gateway runs in."""
        self.requests = RequestCounts()
        self.addresses = AddressLimit(requests_per_s)
        self.server = server


def make_shard_app(
    shard_map: ShardMap,
    upstreams: Mapping[str, Upstream],
    limits: LimitsConfig,
    listen_address: str,
    counts: GatewayCounts | None = None,
) -> Starlette:
    """The application of a gateway that listens on `listen_address` (HOST:PORT); `upstreams` has every shard."""
    counts = counts or GatewayCounts()
    submissions = Submissions(shard_map, upstreams)
    stream = ShardStream(shard_map, upstreams, submissions, limits)
    routes = [
        *CommandHandlers(submissions, limits).routes(),
        *ReadHandlers(shard_map, upstreams, submissions).routes(),
        *MetricsHandlers(
            counts.requests.collect,
            lambda: counts.server().collect(),
            lambda: [stream_connections(stream.connections)],
        ).routes(),
        *stream.http_routes(),
    ]
    origins = AllowedOrigins([listen_address], listen_address)
    outside, inside = [Middleware(RequestLog, counts.requests)], [Middleware(CountedRequests, counts.addresses.count)]
    return assemble(routes, stream.websocket_routes(), outside, origins, inside)
