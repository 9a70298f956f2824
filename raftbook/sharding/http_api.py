"""The gateway's HTTP interface as one application: the paths of a node, as far as they mean something across shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from raftbook.gateway.http_api import assemble
from raftbook.gateway.metrics import RequestCounts
from raftbook.gateway.origins import AllowedOrigins
from raftbook.gateway.request_log import RequestLog
from raftbook.sharding.orders import CommandHandlers
from raftbook.sharding.reads import ReadHandlers
from raftbook.sharding.stream import ShardStream
from raftbook.sharding.submissions import Submissions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.applications import Starlette

    from raftbook.node.config import LimitsConfig
    from raftbook.sharding.shard_map import ShardMap
    from raftbook.sharding.upstream import Upstream


def make_shard_app(
    shard_map: ShardMap, upstreams: Mapping[str, Upstream], limits: LimitsConfig, listen_address: str
) -> Starlette:
    """The application of a gateway that listens on `listen_address` (HOST:PORT); `upstreams` has every shard."""
    submissions = Submissions(shard_map, upstreams)
    stream = ShardStream(shard_map, upstreams, submissions, limits)
    routes = [
        *CommandHandlers(submissions, limits).routes(),
        *ReadHandlers(shard_map, upstreams, submissions).routes(),
        *stream.http_routes(),
    ]
    origins = AllowedOrigins([listen_address], listen_address)
    return assemble(routes, stream.websocket_routes(), [Middleware(RequestLog, RequestCounts())], origins)
