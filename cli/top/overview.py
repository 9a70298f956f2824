"""What `raftbook top` shows, from what a node answers: its view of the cluster, all markets, and rates. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cli.rates import Rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raftbook.client import Cluster, ClusterNode, Ticker, Tickers
    from raftbook.json_format import Json

ORDERS: Final = "orders"
TRADES: Final = "trades"
SUBMISSIONS: Final = "submissions"
TOTALS: Final[Mapping[str, str]] = {
    ORDERS: "orders_accepted",
    TRADES: "trades_executed",
    SUBMISSIONS: "submissions_executed",
}
"""Rate -> the total that it is the growth of."""


class Market(NamedTuple):
    """One instrument, and what happened to it per second of late."""

    ticker: Ticker
    trades_per_s: float
    events_per_s: float


class Overview(NamedTuple):
    """`url` is the address of the node that told all this, `node_id` its id. `disagreeing` are nodes whose digests
    differ at one log index, which no two ever should.
    """

    url: str
    node_id: str
    cluster: Cluster
    tickers: Tickers
    markets: tuple[Market, ...]
    per_s: Mapping[str, float]
    history: Mapping[str, Sequence[float]]
    disagreeing: tuple[str, ...]

    @property
    def reachable(self) -> int:
        return sum(node["reachable"] for node in self.cluster["nodes"])

    def to_json(self) -> Json:
        return {
            "url": self.url,
            "node": self.node_id,
            "cluster": self.cluster,
            "disagreeing": list(self.disagreeing),
            "log_index": self.tickers["log_index"],
            "timestamp": self.tickers["timestamp"],
            "totals": {name: self.tickers[total] for name, total in TOTALS.items()},  # type: ignore[literal-required]
            "per_s": {name: round(value, 1) for name, value in self.per_s.items()},
            "markets": [
                {
                    **market.ticker,
                    "trades_per_s": round(market.trades_per_s, 1),
                    "events_per_s": round(market.events_per_s, 1),
                }
                for market in self.markets
            ],
        }


class Overviews:
    """Makes an overview of each pair of answers, with the rates that the ones before lead to.

    The counters are of the replicated state, so they go on where another node answers.
    """

    def __init__(self) -> None:
        self._totals = {name: Rate() for name in TOTALS}
        self._trades: dict[str, Rate] = {}
        self._events: dict[str, Rate] = {}

    def of(self, url: str, cluster: Cluster, tickers: Tickers, at_s: float) -> Overview:
        """`at_s` is when the answers came, on a clock that never steps."""
        for name, total in TOTALS.items():
            self._totals[name].read(tickers[total], at_s)  # type: ignore[literal-required]
        return Overview(
            url,
            _id_of(url, cluster),
            cluster,
            tickers,
            tuple(self._market(ticker, at_s) for ticker in tickers["tickers"]),
            {name: rate.per_s for name, rate in self._totals.items()},
            {name: tuple(rate.history) for name, rate in self._totals.items()},
            disagreeing(cluster["nodes"]),
        )

    def _market(self, ticker: Ticker, at_s: float) -> Market:
        symbol = ticker["symbol"]
        trades, events = self._trades.setdefault(symbol, Rate()), self._events.setdefault(symbol, Rate())
        trades.read(ticker["day"]["trade_count"] if "day" in ticker else 0, at_s)
        events.read(ticker["sequence"], at_s)
        return Market(ticker, trades.per_s, events.per_s)


def _id_of(url: str, cluster: Cluster) -> str:
    address = url.partition("://")[2]
    return next((node["id"] for node in cluster["nodes"] if node["api_address"] == address), address)


def disagreeing(nodes: Sequence[ClusterNode]) -> tuple[str, ...]:
    """The nodes that told another digest than some other node at the same log index."""
    digests: dict[int, set[str]] = {}
    for node in nodes:
        if (index := node.get("digest_index")) is not None and node["digest"] is not None:
            digests.setdefault(index, set()).add(node["digest"])
    return tuple(node["id"] for node in nodes if len(digests.get(node.get("digest_index") or 0, ())) > 1)
