"""All markets at a glance: one line for each instrument, and how much the exchange has done altogether."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct, UnsetType

from raftbook.gateway import problem_codes
from raftbook.gateway.endpoint import Answer, endpoint, routes_of
from raftbook.gateway.query import READ_PARAMETERS, Query, settle_read
from raftbook.json_format import decimal_text
from raftbook.json_format.answers import DecimalText, Index, Level
from raftbook.json_format.schema_types import StatusWord, Symbol, Time

if TYPE_CHECKING:
    from starlette.requests import Request

    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order_book import PriceLevel
    from raftbook.feed import Feed
    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Service
    from raftbook.json_format import Json
    from raftbook.market_data import Candle

_DAY: Final = "1d"


class Day(Struct, kw_only=True, forbid_unknown_fields=True):
    """The trades of one day (UTC, by log time). `notional` by `volume` is their average price, exactly."""

    start: Time
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    volume: DecimalText
    notional: DecimalText
    trade_count: Index


class Ticker(Struct, kw_only=True, forbid_unknown_fields=True):
    """One market: its best prices, its last trade's, and how many orders rest in how many levels.

    `sequence` is the number of its latest event. `day` tells of the last day on which it traded.
    """

    symbol: Symbol
    status: StatusWord
    sequence: Index
    best_bid: Level | UnsetType = UNSET
    best_ask: Level | UnsetType = UNSET
    last_price: DecimalText | UnsetType = UNSET
    bid_levels: Index
    ask_levels: Index
    resting_orders: Index
    day: Day | UnsetType = UNSET


class Tickers(Struct, kw_only=True, forbid_unknown_fields=True):
    """`timestamp` is log time. The totals are of the replicated state: on all nodes the same at one log index.

    They count, from the exchange's beginning, submissions executed (accepted or not), orders accepted, and trades.
    """

    log_index: Index
    timestamp: Time
    submissions_executed: Index
    orders_accepted: Index
    trades_executed: Index
    tickers: list[Ticker]


class TickerHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @endpoint(
        "GET",
        "/v1/tickers",
        query=READ_PARAMETERS,
        answers={200: Tickers},
        problems=(problem_codes.READING,),
        tag="Market",
    )
    async def tickers(self, _: Request, query: Query) -> Answer:
        """All markets at a glance, as the instruments were added. O(instruments + origins)."""
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        feed = self._service.feed
        document: Json = {
            "log_index": log_index,
            "timestamp": exchange.time,
            "submissions_executed": sum(exchange.watermarks.values()),
            "orders_accepted": exchange.registry.last_order_id,
            "trades_executed": exchange.journal.last_trade_id,
            "tickers": [_ticker(feed, symbol) for symbol in feed],
        }
        return Answer(document, log_index)


def _ticker(feed: Feed, symbol: str) -> Json:
    """From the exchange's book: whoever polls tickers has no market folded for it."""
    book = feed.exchange.books[symbol]
    instrument = book.instrument
    json: Json = {"symbol": symbol, "status": book.status.label, "sequence": book.sequence}
    for name, level in (("best_bid", book.bids.best), ("best_ask", book.asks.best)):
        if level is not None:
            json[name] = _level(level, instrument)
    if book.last_price is not None:
        json["last_price"] = decimal_text(book.last_price, instrument.price_decimals)
    json |= {
        "bid_levels": len(book.bids.levels),
        "ask_levels": len(book.asks.levels),
        "resting_orders": feed.resting_order_count(symbol),
    }
    days = feed.candles(symbol).history(_DAY, 1)
    return {**json, "day": _day(days[0], instrument)} if days else json


def _level(level: PriceLevel, instrument: Instrument) -> list[str]:
    return [
        decimal_text(level.price, instrument.price_decimals),
        decimal_text(level.quantity, instrument.quantity_decimals),
    ]


def _day(candle: Candle, instrument: Instrument) -> Json:
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals
    return {
        "start": candle.start,
        "open": decimal_text(candle.open, prices),
        "high": decimal_text(candle.high, prices),
        "low": decimal_text(candle.low, prices),
        "close": decimal_text(candle.close, prices),
        "volume": decimal_text(candle.volume, quantities),
        "notional": decimal_text(candle.notional, prices + quantities),
        "trade_count": candle.trade_count,
    }
