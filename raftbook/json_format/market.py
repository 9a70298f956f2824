"""What a market's subscribers are told, as JSON objects: snapshots, updates and trades of one symbol; candles.

Every sequence number of a symbol is told exactly once, by an `update` of its own or by one that says `first_sequence`
and `sequence`. A book never crosses between two messages: what one log entry did to it is told whole with the entry's
last event, and the numbers before it are bare.

Market data names neither accounts nor client order ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import Side, TradingStatus
from raftbook.json_format.numbers import decimal_text
from raftbook.json_format.views import Json, indication_to_json, instrument_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.engine.events import Trade
    from raftbook.engine.instrument import Instrument
    from raftbook.market_data import Candle, MarketUpdate, OrderChange, SymbolMarket
    from raftbook.market_data.level2_book import Level2Side

BOOK: Final = "book"
LEVEL3: Final = "l3"
TRADES: Final = "trades"
ORDERS: Final = "orders"

_BUY: Final = Side.BUY


def book_snapshot_to_json(market: SymbolMarket) -> Json:
    """Level 2: every price level with what it shows, best first. O(levels)."""
    instrument = market.instrument
    json = _market_head(BOOK, market)
    json["bids"] = _levels(market.level2.bids, instrument)
    json["asks"] = _levels(market.level2.asks, instrument)
    return _with_market_state(json, market)


def level3_snapshot_to_json(market: SymbolMarket) -> Json:
    """Level 3: every order with what it shows, in priority. O(orders)."""
    price_decimals, quantity_decimals = market.instrument.price_decimals, market.instrument.quantity_decimals
    json = _market_head(LEVEL3, market)
    for name, orders in (("bids", market.bids), ("asks", market.asks)):
        json[name] = [
            {
                "order_id": order_id,
                "price": decimal_text(price, price_decimals),
                "quantity": decimal_text(quantity, quantity_decimals),
            }
            for order_id, price, quantity in orders
        ]
    return _with_market_state(json, market)


def trades_snapshot_to_json(market: SymbolMarket, limit: int) -> Json:
    """The latest `limit` trades, oldest first."""
    json: Json = {"channel": TRADES, "type": "snapshot", "symbol": market.symbol, "sequence": market.sequence}
    json["trades"] = [public_trade_to_json(trade, market.instrument) for trade in market.tape.latest(limit)]
    return json


def bare_update_to_json(channel: str, symbol: str, sequence: int) -> Json:
    """An event before the last of its entry: it took place, and what it did is told with the last."""
    return {"channel": channel, "type": "update", "symbol": symbol, "sequence": sequence}


def book_update_to_json(update: MarketUpdate, instrument: Instrument, first_sequence: int | None = None) -> Json:
    """The levels that changed, as they are now; "0" where one is gone. `first_sequence`: several updates in one."""
    json = _update_head(BOOK, update, first_sequence)
    bids: list[list[str]] = []
    asks: list[list[str]] = []
    price_decimals, quantity_decimals = instrument.price_decimals, instrument.quantity_decimals
    for side, price, quantity, _ in update.levels:
        (bids if side is _BUY else asks).append(
            [decimal_text(price, price_decimals), decimal_text(quantity, quantity_decimals)]
        )
    json["bids"] = bids
    json["asks"] = asks
    return _with_changes(json, update, instrument)


def level3_update_to_json(update: MarketUpdate, instrument: Instrument, first_sequence: int | None = None) -> Json:
    """The orders that changed, to be applied in their order, and the trades."""
    json = _update_head(LEVEL3, update, first_sequence)
    json["orders"] = [_order_change(change, instrument) for change in update.orders]
    json["trades"] = [public_trade_to_json(trade, instrument) for trade in update.trades]
    return _with_changes(json, update, instrument)


def trade_update_to_json(trade: Trade, instrument: Instrument, previous_trade_id: int | None) -> Json:
    """Trade ids are of the whole exchange: `previous_trade_id`, the symbol's last before this one, shows a gap."""
    json: Json = {"channel": TRADES, "type": "update", "symbol": trade.symbol} | public_trade_to_json(trade, instrument)
    if previous_trade_id is not None:
        json["previous_trade_id"] = previous_trade_id
    return json


def public_trade_to_json(trade: Trade, instrument: Instrument) -> Json:
    """A trade as everybody may see it."""
    return {
        "sequence": trade.sequence,
        "log_index": trade.log_index,
        "timestamp": trade.timestamp,
        **_trade_terms(trade, instrument),
    }


def candles_to_json(
    symbol: str, interval: str, log_index: int, candles: Sequence[Candle], instrument: Instrument, known_from: int
) -> Json:
    """Candles, oldest first. `known_from` stands in it where the first of them may lack trades from before it."""
    json: Json = {"symbol": symbol, "interval": interval, "log_index": log_index}
    if candles and candles[0].start < known_from:
        json["known_from"] = known_from
    price_decimals = instrument.price_decimals
    json["candles"] = [
        {
            "start": candle.start,
            "open": decimal_text(candle.open, price_decimals),
            "high": decimal_text(candle.high, price_decimals),
            "low": decimal_text(candle.low, price_decimals),
            "close": decimal_text(candle.close, price_decimals),
            "volume": decimal_text(candle.volume, instrument.quantity_decimals),
            "trade_count": candle.trade_count,
        }
        for candle in candles
    ]
    return json


def _market_head(channel: str, market: SymbolMarket) -> Json:
    return {
        "channel": channel,
        "type": "snapshot",
        "symbol": market.symbol,
        "sequence": market.sequence,
        "log_index": market.log_index,
        "timestamp": market.timestamp,
        "status": market.status.label,
    }


def _with_market_state(json: Json, market: SymbolMarket) -> Json:
    if market.last_price is not None:
        json["last_price"] = decimal_text(market.last_price, market.instrument.price_decimals)
    if market.status is TradingStatus.AUCTION:
        json["indication"] = indication_to_json(market.indication, market.instrument)
    return json


def _update_head(channel: str, update: MarketUpdate, first_sequence: int | None) -> Json:
    json: Json = {"channel": channel, "type": "update", "symbol": update.symbol}
    if first_sequence is not None:
        json["first_sequence"] = first_sequence
    json["sequence"] = update.sequence
    json["log_index"] = update.log_index
    json["timestamp"] = update.timestamp
    return json


def _with_changes(json: Json, update: MarketUpdate, instrument: Instrument) -> Json:
    if update.instrument is not None:
        json["instrument"] = instrument_to_json(update.instrument, update.status or TradingStatus.TRADING)
    if update.status is not None:
        json["status"] = update.status.label
    if update.indication is not None:
        json["indication"] = indication_to_json(update.indication, instrument)
    if update.trades:
        json["last_price"] = decimal_text(update.trades[-1].price, instrument.price_decimals)
    return json


def _levels(levels: Level2Side, instrument: Instrument) -> list[list[str]]:
    price_decimals, quantity_decimals = instrument.price_decimals, instrument.quantity_decimals
    return [[decimal_text(level[0], price_decimals), decimal_text(level[1], quantity_decimals)] for level in levels]


def _order_change(change: OrderChange, instrument: Instrument) -> Json:
    return {
        "order_id": change.order_id,
        "side": change.side.label,
        "price": decimal_text(change.price, instrument.price_decimals),
        "quantity": decimal_text(change.quantity, instrument.quantity_decimals),
        "to_back": change.to_back,
    }


def _trade_terms(trade: Trade, instrument: Instrument) -> Json:
    json: Json = {
        "trade_id": trade.trade_id,
        "price": decimal_text(trade.price, instrument.price_decimals),
        "quantity": decimal_text(trade.quantity, instrument.quantity_decimals),
        "taker_side": trade.taker_side.label,
        "maker_order_id": trade.maker_order_id,
        "taker_order_id": trade.taker_order_id,
    }
    if trade.auction:
        json["auction"] = True
    return json
