"""Handlers about instruments, books and trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import ProblemError
from raftbook.gateway import problem_codes
from raftbook.gateway.body import read_command, read_fields
from raftbook.gateway.caller import caller_of
from raftbook.gateway.disclosure import trade_json
from raftbook.gateway.endpoint import Access, Answer, Body, endpoint, routes_of
from raftbook.gateway.query import (
    READ_PARAMETERS,
    Query,
    integer_parameter,
    malformed,
    nearest,
    read_symbol,
    settle_read,
)
from raftbook.gateway.submissions import command_endpoint, submit_one
from raftbook.json_format import answers as documents
from raftbook.json_format import (
    book_to_json,
    command_from_fields,
    decimal_text,
    instrument_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.engine.events import OrderState
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.instrument import Instrument
    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Service

MAX_BOOK_DEPTH: Final = 5_000
"""Price levels a side; also what a request without `depth` gets, so that nothing is cut off unasked."""
MAX_TRADES: Final = 1_000
"""As many as a node keeps per symbol."""
DEFAULT_TRADES: Final = 100

_TAG: Final = "Market"
_DEPTH: Final = integer_parameter(
    "depth", "Levels a side, or orders.", minimum=1, maximum=MAX_BOOK_DEPTH, default=MAX_BOOK_DEPTH
)
_LEVEL: Final = integer_parameter("level", "2: price levels; 3: every order.", minimum=2, maximum=3, default=2)
_FROM_TRADE_ID: Final = integer_parameter("from_trade_id", "The first trade; absent: the latest ones.")
_LIMIT: Final = integer_parameter("limit", "At most so many.", minimum=1, maximum=MAX_TRADES, default=DEFAULT_TRADES)


class MarketHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.config.limits

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @endpoint(
        "GET",
        "/v1/book/{symbol}",
        query=(_DEPTH, _LEVEL, *READ_PARAMETERS),
        answers={200: (documents.Book, documents.OrderByOrderBook)},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_SYMBOL),
        tag=_TAG,
    )
    async def book(self, request: Request, query: Query) -> Answer:
        """The order book: level 2 has a pair (price, displayed quantity) per level, level 3 every order.

        An instrument that does not trade has its `status` in it, and one in auction its `indication`; there the sides
        may cross.
        """
        symbol = read_symbol(request.path_params["symbol"])
        depth = query.integer("depth")
        level = query.integer("level")
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
        return Answer(document, log_index)

    @endpoint(
        "GET",
        "/v1/trades/{symbol}",
        query=(_FROM_TRADE_ID, _LIMIT, *READ_PARAMETERS),
        answers={200: list[documents.Trade]},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_SYMBOL),
        tag=_TAG,
    )
    async def trades(self, request: Request, query: Query) -> Answer:
        """Trades by rising trade id: the latest ones, or those from `from_trade_id` on.

        The state holds the last 1,000 of an instrument; older ones are missing from the answer.
        """
        symbol = read_symbol(request.path_params["symbol"])
        first = query.optional_integer("from_trade_id")
        limit = query.integer("limit")
        caller = caller_of(request.scope)
        log_index = await settle_read(self._service, query)
        state = self._service.state
        instrument = instrument_of(state.exchange, symbol)
        trades = state.recent_trades(symbol, first, limit)
        return Answer([trade_json(trade, instrument, caller) for trade in trades], log_index)

    @endpoint(
        "GET",
        "/v1/instruments",
        query=READ_PARAMETERS,
        answers={200: list[documents.Instrument]},
        problems=(problem_codes.READING,),
        tag=_TAG,
    )
    async def list_instruments(self, _: Request, query: Query) -> Answer:
        """All instruments, as they were added."""
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        listed = [
            instrument_to_json(instrument, exchange.statuses[symbol])
            for symbol, instrument in exchange.instruments.items()
        ]
        return Answer(listed, log_index)

    @command_endpoint("POST", "/v1/instruments", Body("add_instrument"), access=Access.ADMIN, tag=_TAG)
    async def add_instrument(self, request: Request, query: Query) -> Answer | Response:
        """Adds an instrument, for good."""
        wait_s = query.submission_wait_s()
        command = await read_command(request, "add_instrument", self._limits)
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)

    @command_endpoint(
        "PATCH", "/v1/instruments/{symbol}", Body("set_status", ("symbol",)), access=Access.ADMIN, tag=_TAG
    )
    async def set_status(self, request: Request, query: Query) -> Answer | Response:
        """Halts, opens or closes an instrument, or begins an auction; nothing else about it ever changes."""
        return await self._change_trading("set_status", request, query)

    @command_endpoint(
        "POST", "/v1/instruments/{symbol}/uncross", Body("uncross", ("symbol",)), access=Access.ADMIN, tag=_TAG
    )
    async def uncross(self, request: Request, query: Query) -> Answer | Response:
        """Ends an auction at its one price; `status` is what follows, `trading` where it is not given."""
        return await self._change_trading("uncross", request, query)

    async def _change_trading(self, op: str, request: Request, query: Query) -> Answer | Response:
        wait_s = query.submission_wait_s()
        symbol = read_symbol(request.path_params["symbol"])
        fields = await read_fields(request, self._limits)
        for name in ("symbol", "op"):
            if name in fields:
                malformed(name, "the path names the instrument already; leave this out of the body")
        command = command_from_fields(op, {**fields, "symbol": symbol})
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)


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
