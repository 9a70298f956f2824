"""Market data that follows an exchange, held against it after every entry, and against plain recounts of it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby

from raftbook.engine import Entry, Exchange, Execution, Side, Trade
from raftbook.market_data import (
    CANDLE_INTERVALS,
    Candle,
    Level2Book,
    LevelChange,
    MarketData,
    MarketUpdate,
    PriceLevel,
    RestingOrder,
    SymbolMarket,
    TopOfBook,
    UnpricedInterest,
)
from tests.engine import scripting


class Follower:
    """A node's market data, and two clients per symbol: one that applies updates, and one that only has level 2."""

    def __init__(self, exchange: Exchange, market_data: MarketData):
        self.exchange = exchange
        self.market_data = market_data
        self.trades: list[Trade] = []
        self.clients: dict[str, SymbolMarket] = {}
        self.depths: dict[str, Level2Book] = {}
        self.levels = {symbol: levels_of(exchange, symbol) for symbol in exchange.books}
        self.shown = {symbol: shown_orders(exchange, symbol) for symbol in exchange.books}
        for symbol in market_data:
            self._subscribe(symbol)
        self.check()

    def _subscribe(self, symbol: str) -> None:
        market = self.market_data[symbol]
        self.clients[symbol] = SymbolMarket.from_snapshot(through_json(market.to_snapshot()))
        depth = self.depths[symbol] = Level2Book()
        depth.apply(
            LevelChange(side, *level)
            for side, levels in zip(Side, market.level2.depth(), strict=True)
            for level in levels
        )

    def apply(self, entry: Entry) -> list[MarketUpdate]:
        return self.follow(self.exchange.apply(self.exchange.log_index + 1, entry))

    def follow(self, executions: list[Execution]) -> list[MarketUpdate]:
        """The executions of the entry that the exchange has just applied."""
        updates = self.market_data.apply(executions)
        events = [event for execution in executions for event in execution.events]
        self.trades += [event for event in events if isinstance(event, Trade)]
        assert_covers(updates, events)
        for update in updates:
            symbol = update.symbol
            if update.instrument is not None:
                # A client hears of the instrument and starts from what the node has by then.
                self._subscribe(symbol)
                self.levels[symbol] = ({}, {})
                self.shown[symbol] = {}
            else:
                self.clients[symbol].apply(update)
                self.depths[symbol].apply(update.levels)
            self._check_changed_levels(update)
            self._check_changed_orders(update)
        self.check()
        return updates

    def _check_changed_levels(self, update: MarketUpdate) -> None:
        """Every level that differs from before, and no other."""
        before, now = self.levels[update.symbol], levels_of(self.exchange, update.symbol)
        self.levels[update.symbol] = now
        differing = {
            LevelChange(side, *after.get(price, PriceLevel(price, 0, 0)))
            for side, old, after in zip(Side, before, now, strict=True)
            for price in old.keys() | after.keys()
            if old.get(price) != after.get(price)
        }
        assert len(update.levels) == len(differing)
        assert set(update.levels) == differing
        top_before, top_now = (top_of(*levels) for levels in (before, now))
        assert update.top == (None if top_before == top_now else top_now)

    def _check_changed_orders(self, update: MarketUpdate) -> None:
        """Every order at most once, none that is as it was, and none that came and went."""
        before, now = self.shown[update.symbol], shown_orders(self.exchange, update.symbol)
        self.shown[update.symbol] = now
        changes = {change.order_id: change for change in update.orders}
        assert len(changes) == len(update.orders)
        for order_id, change in changes.items():
            old, new = before.get(order_id), now.get(order_id)
            assert new == (None if change.quantity == 0 else change[:4])
            assert change.to_back or old[:3] == change[:3]
            assert change.to_back or old != new
        assert {
            order_id for order_id in before.keys() | now.keys() if before.get(order_id) != now.get(order_id)
        } <= set(changes)

    def check(self) -> None:
        """Everything, of every symbol."""
        assert list(self.market_data) == list(self.exchange.books)
        for symbol in self.exchange.books:
            market, client = self.market_data[symbol], self.clients[symbol]
            assert_equal_market(market, self.exchange)
            assert_equal_market(client, self.exchange)
            assert self.depths[symbol].depth() == market.level2.depth()
            assert self.depths[symbol].top == market.top

    def check_history(self) -> None:
        """Tape and candles against all trades that were followed; both must have room for them."""
        for symbol in self.exchange.books:
            market = self.market_data[symbol]
            assert self.clients[symbol].to_snapshot() == market.to_snapshot()
            trades = [trade for trade in self.trades if trade.symbol == symbol]
            assert list(market.tape)[len(market.tape) - len(trades) :] == trades
            for name, length in CANDLE_INTERVALS.items():
                followed = candles_of(trades, length)
                history = market.candles.history(name)
                # The first one may have begun before this follower did.
                assert history[len(history) - len(followed) + 1 :] == followed[1:]
                assert [candle.start for candle in history[len(history) - len(followed) :]] == [
                    candle.start for candle in followed
                ]


class FollowedSession(scripting.Session):
    """A script's session whose exchange is followed; `updates` are those of the last line."""

    def __init__(self):
        super().__init__()
        self.follower = Follower(self.exchange, MarketData())
        self.updates: list[MarketUpdate] = []

    def apply(self, commands):
        known = len(self.executions)
        answers = super().apply(commands)
        self.follower.exchange = self.exchange
        self.updates = self.follower.follow(self.executions[known:])
        return answers

    def run_lines(self, lines: str) -> MarketUpdate | None:
        """Lines of a script, each an entry of its own; the last one's update, None where it made none."""
        for line in lines.strip().splitlines():
            self.run([line.strip()])
        assert len(self.updates) <= 1, "for one symbol at a time"
        return self.updates[0] if self.updates else None

    @property
    def market(self) -> SymbolMarket:
        [symbol] = self.follower.market_data
        return self.follower.market_data[symbol]


def through_json(value):
    """Plain values survive any codec."""
    return json.loads(json.dumps(value))


def assert_equal_market(market: SymbolMarket, exchange: Exchange) -> None:
    symbol = market.symbol
    book = exchange.books[symbol]
    bids, asks = exchange.level3(symbol)
    assert list(market.bids) == [shown(order) for order in bids]
    assert list(market.asks) == [shown(order) for order in asks]
    depth = tuple([(level.price, level.quantity) for level in side] for side in market.level2.depth())
    assert depth == exchange.depth(symbol)
    levels = levels_of(exchange, symbol)
    assert market.level2.depth() == tuple(list(side.values()) for side in levels)
    assert market.top == top_of(*levels)
    assert market.unpriced == UnpricedInterest(
        *(value for side in Side for value in unpriced_of(exchange, symbol, side))
    )
    assert (market.instrument, market.status) == (book.instrument, book.status)
    assert (market.sequence, market.last_price) == (book.sequence, book.last_price)
    assert market.indication == exchange.indication(symbol)


def shown(order) -> RestingOrder:
    return RestingOrder(order.order_id, order.price, order.visible_quantity)


def shown_orders(exchange: Exchange, symbol: str) -> dict[int, tuple[int, Side, int, int]]:
    orders = (order for side in exchange.level3(symbol) for order in side)
    return {order.order_id: (order.order_id, order.side, order.price, order.visible_quantity) for order in orders}


def levels_of(exchange: Exchange, symbol: str) -> tuple[dict[int, PriceLevel], dict[int, PriceLevel]]:
    bids, asks = (
        {
            price: PriceLevel(price, *(map(sum, zip(*((order.visible_quantity, 1) for order in orders), strict=True))))
            for price, orders in groupby(side, key=lambda order: order.price)
        }
        for side in exchange.level3(symbol)
    )
    return bids, asks


def top_of(bids: dict[int, PriceLevel], asks: dict[int, PriceLevel]) -> TopOfBook:
    return TopOfBook(next(iter(bids.values()), None), next(iter(asks.values()), None))


def unpriced_of(exchange: Exchange, symbol: str, side: Side) -> tuple[int, int]:
    """How many, and how much: of open orders without a price, which can only be waiting for an uncross."""
    orders = [order for order in exchange.orders(symbol=symbol, side=side) if order.status.label == "open"]
    leaves = [order.leaves_quantity for order in orders if order.price is None]
    return len(leaves), sum(leaves)


def candles_of(trades: list[Trade], length: int) -> list[Candle]:
    candles = []
    for start, group in groupby(trades, key=lambda trade: trade.timestamp // length * length):
        inside = list(group)
        prices = [trade.price for trade in inside]
        volume = sum(trade.quantity for trade in inside)
        notional = sum(trade.price * trade.quantity for trade in inside)
        candles.append(Candle(start, prices[0], max(prices), min(prices), prices[-1], volume, len(inside), notional))
    return candles


def assert_covers(updates: list[MarketUpdate], events) -> None:
    """One update per symbol that had events, with exactly these events' sequences and trades."""
    numbered = [event for event in events if getattr(event, "sequence", None) is not None]
    counts = Counter(event.symbol for event in numbered)
    assert [update.symbol for update in updates] == list(counts)
    for update in updates:
        sequences = [event.sequence for event in numbered if event.symbol == update.symbol]
        assert list(range(update.first_sequence, update.sequence + 1)) == sequences
        assert list(update.trades) == [
            event for event in numbered if isinstance(event, Trade) and event.symbol == update.symbol
        ]
