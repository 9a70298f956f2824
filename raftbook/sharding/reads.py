"""HTTP: what is only read. What is of one symbol its shard answers; lists are put together of all shards' answers.

A read of one symbol is the node's own answer, as declared there; `Raftbook-Shard` names the shard whose log
`Raftbook-Log-Index` counts in. Log indexes of two shards have nothing to do with each other, so an answer put together
of several has none, and `at_least` goes with none.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, cast

from raftbook.engine.types import MAX_INTEGER
from raftbook.errors import NotHeldError, ProblemError, RaftbookError
from raftbook.gateway.candles import CandleHandlers
from raftbook.gateway.cluster import ClusterHandlers
from raftbook.gateway.endpoint import Access, Answer, endpoint, routes_of
from raftbook.gateway.market import MarketHandlers
from raftbook.gateway.orders import NEXT_HEADER, OrderHandlers
from raftbook.gateway.query import (
    SYMBOL,
    Query,
    malformed,
    read_identifier,
    read_integer,
    read_symbol,
)
from raftbook.gateway.tickers import TickerHandlers
from raftbook.sharding.batches import qualified
from raftbook.sharding.routes import SHARD, as_on_nodes
from raftbook.sharding.shard_map import OrderName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.query import Parameter
    from raftbook.json_format import Json
    from raftbook.sharding.shard_map import ShardMap
    from raftbook.sharding.submissions import Submissions
    from raftbook.sharding.upstream import Upstream

SHARD_HEADER: Final = "Raftbook-Shard"
_TAG: Final = "Shards"
_ORIGIN: Final = re.compile(r"([a-z0-9-]{1,24}):([A-Za-z0-9._:\-]{1,64})", re.ASCII)
_CURSOR: Final = re.compile(r"([a-z0-9-]{1,24}):([0-9]{1,19})", re.ASCII)
_ADDED_UP: Final = ("submissions_executed", "orders_accepted", "trades_executed")


class ReadHandlers:
    def __init__(self, shard_map: ShardMap, upstreams: Mapping[str, Upstream], submissions: Submissions) -> None:
        self._map = shard_map
        self._upstreams = upstreams
        self._submissions = submissions

    def routes(self) -> list[EndpointRoute]:
        of_nodes: list[tuple[Callable[..., Any], Callable[[Request, Query], Any], tuple[Parameter, ...]]] = [
            (MarketHandlers.book, self._of_symbol, ()),
            (MarketHandlers.trades, self._of_symbol, ()),
            (CandleHandlers.candles, self._of_symbol, ()),
            (MarketHandlers.list_instruments, self._instruments, ()),
            (TickerHandlers.tickers, self._tickers, ()),
            (OrderHandlers.list_orders, self._orders, (SHARD,)),
            (OrderHandlers.get_order, self._order, (SYMBOL, SHARD)),
            (OrderHandlers.submission, self._submission, ()),
            (ClusterHandlers.alive, self._alive, ()),
        ]
        return [
            *(route for original, handler, query in of_nodes for route in as_on_nodes(original, handler, query)),
            *routes_of(self),
        ]

    # ---------------------------------------------------------------- of one shard

    async def _of_symbol(self, request: Request, query: Query) -> Answer:
        shard = self._map.shard_of(read_symbol(request.path_params["symbol"]))
        return await self._read(shard, request.url.path, query, dict(request.query_params))

    async def _read(self, shard: str, path: str, query: Query, parameters: Mapping[str, str]) -> Answer:
        answer = await self._upstreams[shard].read(path, _without_shard(parameters), wait_s=_wait_s(query))
        headers = {SHARD_HEADER: shard}
        if (following := answer.headers.get(NEXT_HEADER)) is not None:
            headers[NEXT_HEADER] = f"{shard}:{following}"
        return Answer(answer.document, answer.log_index or None, headers=headers)

    async def _order(self, request: Request, query: Query) -> Answer:
        path = request.path_params
        shard = self.named_shard(request, query)
        if "order_id" in path:
            read_integer("order_id", path["order_id"], 1, MAX_INTEGER)
            if shard is None:
                malformed("symbol", "order ids count in each shard by itself; add `symbol` or `shard`")
        else:
            order = OrderName(
                read_identifier("account", path["account"]), read_identifier("client_order_id", path["client_order_id"])
            )
            shard = shard or await self._submissions.shard_with(order)
        parameters = {name: value for name, value in request.query_params.items() if name != "symbol"}
        answer = await self._read(shard, request.url.path, query, parameters)
        return answer._replace(document={**cast("Json", answer.document), "shard": shard})

    def named_shard(self, request: Request, query: Query) -> str | None:
        """The shard that `symbol` or `shard` in the query names; None where neither is there."""
        symbol, name = query.symbol(), request.query_params.get("shard")
        if symbol is not None and name is not None:
            malformed("shard", "goes without symbol; leave one of the two out")
        if symbol is not None:
            return self._map.shard_of(symbol)
        return None if name is None else self._map.checked_name(name)

    async def _submission(self, request: Request, query: Query) -> Answer:
        match = _ORIGIN.fullmatch(request.path_params["origin"])
        if match is None or match[1] not in self._upstreams:
            raise NotHeldError("origins have their shard in front here (shard-1:n1.3); write it as the report has it")
        shard, origin = match.groups()
        sequence = read_integer("sequence", request.path_params["sequence"], 1, MAX_INTEGER)
        path = f"/v1/submissions/{origin}/{sequence}"
        wait_s = query.seconds("wait_s")
        answer = await self._upstreams[shard].read(path, dict(request.query_params), wait_s=wait_s)
        found = answer.document
        reports = [
            qualified(shard, report) for report in cast("list[Json]", found if isinstance(found, list) else [found])
        ]
        for report in reports:
            self._upstreams[shard].told(report)
        status = 202 if any(report["status"] == "pending" for report in reports) else 200
        return Answer(reports if isinstance(found, list) else reports[0], answer.log_index or None, status)

    # ---------------------------------------------------------------- of all shards

    async def _orders(self, request: Request, query: Query) -> Answer:
        """Shard after shard, in each by rising order id; the cursor names the shard as well."""
        parameters = dict(request.query_params)
        shard = self.named_shard(request, query)
        cursor = parameters.pop("from_order_id", None)
        first, order_id = _read_cursor(cursor, shard)
        if first is not None:
            self._map.checked_name(first)
        if shard is None:
            _check_of_all(query)
        left = query.integer("limit")
        orders: list[Json] = []
        headers: dict[str, str] = {}
        remaining = [shard] if shard is not None else list(self._map.names)
        if first is not None:
            remaining = remaining[remaining.index(first) :]
        for name in remaining:
            if not left:
                headers[NEXT_HEADER] = f"{name}:0"
                break
            asked = {**parameters, "limit": str(left), "from_order_id": order_id if name == first else "0"}
            answer = await self._read(name, "/v1/orders", query, asked)
            found = cast("list[Json]", answer.document)
            orders += [{**order, "shard": name} for order in found]
            left -= len(found)
            if NEXT_HEADER in answer.headers:
                headers[NEXT_HEADER] = answer.headers[NEXT_HEADER]
                break
        return Answer(orders, None, headers=headers)

    async def _instruments(self, request: Request, query: Query) -> Answer:
        found = await self._of_all("/v1/instruments", request, query)
        merged = [
            {**instrument, "shard": shard}
            for shard, instruments in found.items()
            for instrument in cast("list[Json]", instruments)
            if self._map.has_symbol(shard, str(instrument["symbol"]))
        ]
        return Answer(merged, None)

    async def _tickers(self, request: Request, query: Query) -> Answer:
        """The totals are sums; the time is the latest of the shards' log times."""
        found = cast("dict[str, Json]", await self._of_all("/v1/tickers", request, query))
        document: Json = {
            "log_index": None,
            "timestamp": max(cast("int", tickers["timestamp"]) for tickers in found.values()),
        }
        document |= {name: sum(cast("int", tickers[name]) for tickers in found.values()) for name in _ADDED_UP}
        document["log_indexes"] = {shard: tickers["log_index"] for shard, tickers in found.items()}
        document["tickers"] = [
            {**ticker, "shard": shard}
            for shard, tickers in found.items()
            for ticker in cast("list[Json]", tickers["tickers"])
            if self._map.has_symbol(shard, str(ticker["symbol"]))
        ]
        return Answer(document, None)

    async def _of_all(self, path: str, request: Request, query: Query) -> dict[str, object]:
        """Each shard's answer. Raises ProblemError where one gives none: a part would look like the whole."""
        _check_of_all(query)
        answers = await asyncio.gather(
            *(self._read(shard, path, query, request.query_params) for shard in self._map.names)
        )
        return {shard: answer.document for shard, answer in zip(self._map.names, answers, strict=True)}

    # ---------------------------------------------------------------- of the gateway

    @endpoint(
        "GET",
        "/v1/cluster",
        answers={200: dict},
        tag=_TAG,
        has_log_index=False,
    )
    async def cluster(self, _: Request, __: Query) -> Answer:
        """Every shard: its symbols, and its cluster as one of its nodes sees it, or why none answers.

        `nodes` is empty, so that a client which looks for other nodes of the same cluster finds none: it stays here.
        """
        found = await asyncio.gather(
            *(self._upstreams[shard].read("/v1/cluster") for shard in self._map.names), return_exceptions=True
        )
        shards: list[Json] = []
        for shard, answer in zip(self._map.shards, found, strict=True):
            told: Json = {"shard": shard.name, "symbols": shard.symbols}
            if isinstance(answer, RaftbookError):
                told |= {"cluster": None, "problem": str(answer)}
            elif isinstance(answer, BaseException):
                raise answer
            else:
                told["cluster"] = answer.document
            shards.append(told)
        quorum = all(
            isinstance(cluster := told["cluster"], dict) and cluster["quorum"] and cluster["leader"] for told in shards
        )
        document: Json = {"name": self._map.name, "leader": None, "quorum": quorum, "nodes": [], "shards": shards}
        return Answer(document, None)

    async def _alive(self, _: Request, __: Query) -> Answer:
        return Answer({"status": "alive"}, None)

    @endpoint(
        "GET",
        "/readyz",
        answers={200: dict},
        problems=({503: ("shards_not_ready",)},),
        access=Access.OPEN,
        tag=_TAG,
        has_log_index=False,
    )
    async def ready(self, _: Request, __: Query) -> Answer:
        """Every shard has a node that is ready. Where one has none, the others are served all the same."""
        found = await asyncio.gather(
            *(self._upstreams[shard].read("/readyz") for shard in self._map.names), return_exceptions=True
        )
        missing = [
            shard for shard, answer in zip(self._map.names, found, strict=True) if isinstance(answer, RaftbookError)
        ]
        for answer in found:
            if isinstance(answer, BaseException) and not isinstance(answer, RaftbookError):
                raise answer
        if missing:
            detail = f"no node of {', '.join(missing)} is ready; GET /v1/cluster says why. The other shards are served"
            raise ProblemError(503, "shards_not_ready", detail, members={"shards": missing}, retry_after_s=1.0)
        return Answer({"status": "ready", "shards": self._map.names}, None)


def _wait_s(query: Query) -> float:
    """How long a node may let such a read wait for its own state."""
    return query.seconds("wait_s") if "at_least" in query or "consistency" in query else 0.0


def _without_shard(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name != "shard"}


def _check_of_all(query: Query) -> None:
    if "at_least" in query:
        malformed("at_least", "log indexes count in each shard by itself; ask for one symbol, or leave it out")


def _read_cursor(cursor: str | None, shard: str | None) -> tuple[str | None, str]:
    """(shard, order id) to go on from: `shard-1:17`, or the id alone where the shard is named anyway."""
    if cursor is None:
        return None, "0"
    if shard is not None and ":" not in cursor:
        return shard, str(read_integer("from_order_id", cursor, 0, MAX_INTEGER))
    match = _CURSOR.fullmatch(cursor)
    if match is None or shard not in (None, match[1]):
        malformed("from_order_id", f"write it as {NEXT_HEADER} of the answer before has it, such as shard-1:17")
    return match[1], match[2]
