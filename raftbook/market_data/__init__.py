"""Market data: what a market looks like, folded from the engine's events. Pure: no clock, I/O or randomness.

    executions ──▶ MarketData ──▶ SymbolFold ──▶ MarketUpdate ──▶ SymbolMarket, in a node and in a client
                                  OrderFold:     without what      Level3Book ──▶ Level2Book ──▶ TopOfBook
                                  what is hidden  is hidden        TradeTape, Candles, status, auction

`MarketData` folds all symbols of an exchange, entry by entry, for programs that replay a log. A node folds one symbol
at a time, from a `SymbolBase` of its book on and where somebody listens (raftbook/feed), and sends the updates on. A
client starts a `SymbolMarket` from a node's snapshot of it and applies the updates that follow. All end up with the
same book, since what they keep went through the same updates.

    values.py                what updates and books are made of
    order_fold.py            what events do to orders; knows what is hidden, and nobody else does
    symbol_fold.py           one symbol: events to updates
    symbol_base.py           one symbol's book as the exchange has it, to fold from
    market_data.py           one exchange: all symbols; from an exchange, from a snapshot
    symbol_market.py         one symbol as the market sees it
    level3_book.py, level2_book.py, trade_tape.py, candles.py      its parts
    plain_values.py          reading snapshots

Prices and quantities are integers in the instrument's units, times are log time in nanoseconds.

    >>> from raftbook.engine import AddInstrument, Entry, Exchange, NewOrder, Number, OrderType, Run, Side, TimeInForce
    >>> from raftbook.market_data import MarketData
    >>> one = Number(1, decimals=0)
    >>> acme = AddInstrument("ACME", price_decimals=0, quantity_decimals=0, tick_size=one, lot_size=one)
    >>> bid = NewOrder("ACME", "a", "a1", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(9, 0), Number(5, 0))
    >>> exchange, market_data = Exchange(), MarketData()
    >>> [update] = market_data.apply(exchange.apply(1, Entry(timestamp=0, runs=(Run("n1", 1, (acme, bid)),))))
    >>> update.first_sequence, update.sequence, update.top
    (1, 2, TopOfBook(bid=PriceLevel(price=9, quantity=5, order_count=1), ask=None))
    >>> list(market_data["ACME"].bids)
    [RestingOrder(order_id=1, price=9, quantity=5)]
"""

from __future__ import annotations

from raftbook.engine.events import NO_INDICATION, Indication
from raftbook.market_data.candles import CANDLE_INTERVALS, Candle, Candles
from raftbook.market_data.level2_book import Level2Book
from raftbook.market_data.level3_book import Level3Book
from raftbook.market_data.market_data import CANDLES_KEPT, TRADES_KEPT, MarketData
from raftbook.market_data.symbol_market import SymbolMarket
from raftbook.market_data.trade_tape import TradeTape
from raftbook.market_data.values import (
    EMPTY_TOP,
    NO_UNPRICED_INTEREST,
    LevelChange,
    MarketUpdate,
    OrderChange,
    PriceLevel,
    RestingOrder,
    TopOfBook,
    UnpricedInterest,
)

__all__ = [
    "CANDLES_KEPT",
    "CANDLE_INTERVALS",
    "EMPTY_TOP",
    "NO_INDICATION",
    "NO_UNPRICED_INTEREST",
    "TRADES_KEPT",
    "Candle",
    "Candles",
    "Indication",
    "Level2Book",
    "Level3Book",
    "LevelChange",
    "MarketData",
    "MarketUpdate",
    "OrderChange",
    "PriceLevel",
    "RestingOrder",
    "SymbolMarket",
    "TopOfBook",
    "TradeTape",
    "UnpricedInterest",
]
