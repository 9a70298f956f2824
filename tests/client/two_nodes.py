"""Two addresses of one node, the first of which can be cut off: what a client sees when the node that it uses dies.

Both lead to the same state, as two nodes of a cluster do that have applied the same entries.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from raftbook.gateway import make_app
from tests.support.direct_service import DirectService, make_config
from tests.support.server import free_listener, serve, url_of
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 20.0
"""For whatever must happen in the end."""


class TwoNodes(NamedTuple):
    """`service` is behind both; `link` leads to the first: `link.cut(refuse=True)` is its death."""

    service: DirectService
    first: str
    second: str
    link: TcpProxy

    @property
    def urls(self) -> tuple[str, str]:
        return self.first, self.second

    def kill_first(self) -> None:
        self.link.cut(refuse=True)


@asynccontextmanager
async def two_nodes(**limits: int) -> AsyncIterator[TwoNodes]:
    listeners = free_listener(), free_listener()
    with TcpProxy(0, listeners[0].getsockname()[1]) as link:
        first, second = f"http://127.0.0.1:{link.listen_port}", url_of(listeners[1])
        service = DirectService(make_config(first.removeprefix("http://"), second.removeprefix("http://"), **limits))
        app = make_app(service)
        async with serve(app, listeners[0]), serve(app, listeners[1]):
            yield TwoNodes(service, first, second, link)
