"""GET /metrics: what Prometheus reads, of a node or a gateway, its process, its HTTP interface and its stream."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response

from raftbook.gateway.endpoint import Access, endpoint, routes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric
    from starlette.requests import Request

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.query import Query
    from raftbook.gateway.stream import Stream

TEXT: Final = "text/plain"


class ServerFigures(NamedTuple):
    """Of the server before the application: what it holds for its clients, and what it has refused since its start."""

    connections: int = 0
    held_body_bytes: int = 0
    refused_bodies: int = 0

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("raftbook_open_connections", "Clients connected.", value=self.connections)
        yield GaugeMetricFamily(
            "raftbook_held_body_bytes",
            "Bytes of bodies whose request has no answer yet, and of WebSocket messages that are not whole yet.",
            value=self.held_body_bytes,
        )
        yield CounterMetricFamily(
            "raftbook_refused_bodies",
            "Requests and WebSockets that were refused since clients had too many bytes under way.",
            value=self.refused_bodies,
        )


class RequestCounts:
    """How many requests there were, by method, route (such as /v1/book/{symbol}) and status, and how long they took."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._of_route: Counter[str] = Counter()

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """`method` and `route` are of those that exist, so that no client can make the table grow."""
        self._counts[method, route, status] += 1
        self._of_route[route] += 1
        self._seconds[route] += took_s  # type: ignore[assignment]  # A Counter sums whatever adds.

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "raftbook_http_requests", "Requests that were answered.", labels=("method", "route", "status")
        )
        for (method, route, status), count in self._counts.items():
            requests.add_metric((method, route, str(status)), count)
        yield requests
        durations = SummaryMetricFamily(
            "raftbook_http_request_seconds", "Until the answer was sent.", labels=("route",)
        )
        for route, count in self._of_route.items():
            durations.add_metric((route,), count, self._seconds[route])
        yield durations


class MetricsHandlers(Collector):
    """Tells what all `sources` tell, and how the process is."""

    def __init__(self, *sources: Callable[[], Iterable[Metric]]) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @endpoint(
        "GET",
        "/metrics",
        answers={200: str},
        access=Access.READ,
        tag="Cluster",
        media_types=(TEXT,),
        has_log_index=False,
    )
    async def metrics(self, _: Request, __: Query) -> Response:
        """Figures for Prometheus, in its text format."""
        return Response(exposition.generate_latest(self._registry), media_type=f"{TEXT}; version=0.0.4; charset=utf-8")

    def collect(self) -> Iterator[Metric]:
        for source in self._sources:
            yield from source()


def stream_connections(count: int) -> Metric:
    return GaugeMetricFamily("raftbook_feed_connections", "Connections to the stream.", value=count)


def stream_metrics(stream: Stream) -> Iterator[Metric]:
    """Of a node's."""
    figures = stream.figures
    yield stream_connections(stream.connections)
    yield GaugeMetricFamily("raftbook_feed_subscribers", "Subscriptions to feeds.", value=figures.subscriptions)
    for name, documentation, value in (
        ("dropped_subscribers", "Connections cut off since they fell behind.", figures.dropped),
        ("messages_sent", "Messages of feeds to subscribers.", figures.messages_sent),
        ("sent_bytes", "Bytes of feeds to subscribers.", figures.bytes_sent),
    ):
        yield CounterMetricFamily(f"raftbook_feed_{name}", documentation, value=value)
