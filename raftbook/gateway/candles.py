"""Handler about candles: trades by intervals of log time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.gateway import problem_codes
from raftbook.gateway.endpoint import Answer, endpoint, routes_of
from raftbook.gateway.market import instrument_of
from raftbook.gateway.query import (
    READ_PARAMETERS,
    Query,
    choice_parameter,
    integer_parameter,
    read_symbol,
    settle_read,
)
from raftbook.json_format import answers as documents
from raftbook.json_format.market import candles_to_json
from raftbook.market_data import CANDLE_INTERVALS, CANDLES_KEPT

if TYPE_CHECKING:
    from starlette.requests import Request

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Service

_INTERVALS: Final = {name: name for name in CANDLE_INTERVALS}
_DEFAULT_INTERVAL: Final = "1m"
_DEFAULT_CANDLES: Final = 500

_INTERVAL: Final = choice_parameter("interval", "Length of a candle.", _INTERVALS, _DEFAULT_INTERVAL)
_LIMIT: Final = integer_parameter(
    "limit", "The latest so many.", minimum=1, maximum=CANDLES_KEPT, default=_DEFAULT_CANDLES
)


class CandleHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @endpoint(
        "GET",
        "/v1/candles/{symbol}",
        query=(_INTERVAL, _LIMIT, *READ_PARAMETERS),
        answers={200: documents.Candles},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_SYMBOL),
        tag="Market",
    )
    async def candles(self, request: Request, query: Query) -> Answer:
        """The latest candles, oldest first; an interval without a trade has none, and the last one may still grow.

        A node counts from its start on, and from the last 1,000 trades before it: where the first candle may lack
        trades, `known_from` says since when all are counted.
        """
        symbol = read_symbol(request.path_params["symbol"])
        interval = query.choice("interval", _INTERVALS, _DEFAULT_INTERVAL)
        limit = query.integer("limit")
        log_index = await settle_read(self._service, query)
        instrument = instrument_of(self._service.state.exchange, symbol)
        candles = self._service.feed.candles(symbol)
        history = candles.history(interval, limit)
        return Answer(candles_to_json(symbol, interval, log_index, history, instrument, candles.known_from), log_index)
