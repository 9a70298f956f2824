"""Handlers about instruments, books and trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from raftbook.errors import ProblemError
from raftbook.gateway.body import JSON, read_body, require_media_type
from raftbook.gateway.query import (
    READ_PARAMETERS,
    SUBMIT_PARAMETERS,
    Query,
    malformed,
    nearest,
    read_symbol,
    settle_read,
)
from raftbook.gateway.responses import json_response
from raftbook.gateway.submissions import submit_one
from raftbook.json_format import (
    book_to_json,
    command_from_fields,
    command_from_json,
    decimal_text,
    fields_from_json,
    instrument_to_json,
    trade_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.engine.events import OrderState
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.instrument import Instrument
    from raftbook.gateway.service import Service

MAX_BOOK_DEPTH: Final = 5_000
"""Price levels a side; also what a request without `depth` gets, so that nothing is cut off unasked."""
MAX_TRADES: Final = 1_000
"""As many as a node keeps per symbol."""
DEFAULT_TRADES: Final = 100


class MarketHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.config.limits

    def routes(self) -> list[Route]:
        return [
            Route("/v1/book/{symbol}", self.book, methods=["GET"]),
            Route("/v1/trades/{symbol}", self.trades, methods=["GET"]),
            Route("/v1/instruments", self.list_instruments, methods=["GET"]),
            Route("/v1/instruments", self.add_instrument, methods=["POST"]),
            Route("/v1/instruments/{symbol}", self.set_status, methods=["PATCH"]),
            Route("/v1/instruments/{symbol}/uncross", self.uncross, methods=["POST"]),
        ]

    async def book(self, request: Request) -> Response:
        """GET /v1/book/{symbol}: level 2 has a pair (price, displayed quantity) per level, level 3 one per order.

        An instrument that does not trade has its `status` in it, and one in auction its `indication`; there the sides
        may cross.
        """
        query = Query(request, "depth", "level", *READ_PARAMETERS)
        symbol = read_symbol(request.path_params["symbol"])
        depth = query.integer("depth", MAX_BOOK_DEPTH, 1, MAX_BOOK_DEPTH)
        level = query.integer("level", 2, 2, 3)
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        instrument = instrument_of(exchange, symbol)
        status, indication = exchange.statuses[symbol], exchange.indication(symbol)
        bids, asks = exchange.depth(symbol, depth if level == 2 else 0)
        document = book_to_json(symbol, log_index, bids, asks, instrument, status, indication)
        if level == 3:
            bid_orders, ask_orders = exchange.level3(symbol, depth)
            document["bids"] = _resting(bid_orders, instrument)
            document["asks"] = _resting(ask_orders, instrument)
        return json_response(document, log_index)

    async def trades(self, request: Request) -> Response:
        """GET /v1/trades/{symbol}: by rising trade id; the latest ones, or those from `from_trade_id` on.

        The state holds the last 1,000 of an instrument; older ones are missing from the answer.
        """
        query = Query(request, "from_trade_id", "limit", *READ_PARAMETERS)
        symbol = read_symbol(request.path_params["symbol"])
        first = query.optional_integer("from_trade_id")
        limit = query.integer("limit", DEFAULT_TRADES, 1, MAX_TRADES)
        log_index = await settle_read(self._service, query)
        state = self._service.state
        instrument = instrument_of(state.exchange, symbol)
        trades = state.recent_trades(symbol, first, limit)
        return json_response([trade_to_json(trade, instrument) for trade in trades], log_index)

    async def list_instruments(self, request: Request) -> Response:
        log_index = await settle_read(self._service, Query(request, *READ_PARAMETERS))
        exchange = self._service.state.exchange
        documents = [
            instrument_to_json(instrument, exchange.statuses[symbol])
            for symbol, instrument in exchange.instruments.items()
        ]
        return json_response(documents, log_index)

    async def add_instrument(self, request: Request) -> Response:
        wait_s = Query(request, *SUBMIT_PARAMETERS).submission_wait_s()
        require_media_type(request, JSON)
        body = await read_body(request, self._limits.max_body_bytes)
        return await submit_one(self._service, command_from_json(body, "add_instrument"), wait_s)

    async def set_status(self, request: Request) -> Response:
        """PATCH /v1/instruments/{symbol} with {"status": …}; nothing else about an instrument ever changes."""
        return await self._change_trading("set_status", request)

    async def uncross(self, request: Request) -> Response:
        """POST /v1/instruments/{symbol}/uncross with {"status": …}, what follows the auction, or {} for trading."""
        return await self._change_trading("uncross", request)

    async def _change_trading(self, op: str, request: Request) -> Response:
        wait_s = Query(request, *SUBMIT_PARAMETERS).submission_wait_s()
        symbol = read_symbol(request.path_params["symbol"])
        require_media_type(request, JSON)
        fields = fields_from_json(await read_body(request, self._limits.max_body_bytes))
        for name in ("symbol", "op"):
            if name in fields:
                malformed(name, "the path names the instrument already; leave this out of the body")
        return await submit_one(self._service, command_from_fields(op, {**fields, "symbol": symbol}), wait_s)


def instrument_of(exchange: Exchange, symbol: str) -> Instrument:
    """The instrument of that symbol; a 404 problem with the near ones where there is none."""
    instrument = exchange.instruments.get(symbol)
    if instrument is not None:
        return instrument
    near = nearest(symbol, exchange.instruments)
    hint = f"did you mean {' or '.join(near)}?" if near else "GET /v1/instruments lists those there are"
    raise ProblemError(404, "unknown_symbol", f"there is no instrument {symbol}; {hint}", members={"near": near})


def _resting(orders: Iterable[OrderState], instrument: Instrument) -> list[dict[str, object]]:
    """Orders as the market may see them: without whose they are, and of an iceberg no more than its tip."""
    return [
        {
            "order_id": order.order_id,
            "price": None if order.price is None else decimal_text(order.price, instrument.price_decimals),
            "quantity": decimal_text(order.visible_quantity, instrument.quantity_decimals),
        }
        for order in orders
    ]
