"""The order book of one instrument: who waits at which price, and in which order.

    OrderBook ── bids, asks: BookSide ── levels by rank: PriceLevel ── head ⇄ … ⇄ tail: Order
              └─ buy_stops, sell_stops: Ladder ── the same, by stop price

A data structure and nothing more: it keeps orders in price-time priority and its sums right. When orders
trade is decided in matching.py; who may place them in validation.py.

**Rank** makes the two sides one: it is the price on the ask side and minus the price on the bid side, so on
either side a lower rank is a better price, and an incoming order whose limit has rank r trades with the
levels whose rank is at most r. So matching has no code for buys and other code for sells.

| operation                           | cost                                                   |
|-------------------------------------|--------------------------------------------------------|
| best level, its first order         | O(1)                                                   |
| add to, remove from a present level | O(1): a level is a doubly linked list through its orders |
| first order at a price, last to go  | O(log levels), amortized (sortedcontainers)            |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sortedcontainers import SortedList

from raftbook.engine.events import NO_INDICATION
from raftbook.engine.types import (
    OrderStatus,
    SelfTradePrevention,
    Side,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order import Order

# An enum's member read through its class costs a descriptor call in Python 3.11; a module's name does not.
_BUY: Final = Side.BUY
_new: Final = tuple.__new__
_OPEN: Final = OrderStatus.OPEN
_UNTRIGGERED: Final = OrderStatus.UNTRIGGERED
_NO_PREVENTION: Final = SelfTradePrevention.NONE

UNPRICED_RANK: Final = -(2**63)
"""Rank of the orders without a price, which gather in an auction: better than every price's."""


class PriceLevel:
    """The queue of the orders at one price, longest waiting first. Never empty while it is in a ladder.

    `quantity` is what the orders show together, `hidden_quantity` what they do not.
    """

    __slots__ = ("head", "hidden_quantity", "order_count", "price", "quantity", "rank", "tail")

    def __init__(self, price: int, rank: int) -> None:
        self.price = price
        self.rank = rank
        self.quantity = 0
        self.hidden_quantity = 0
        self.order_count = 0
        self.head: Order | None = None
        self.tail: Order | None = None

    def append(self, order: Order) -> None:
        """Join the back of the queue. O(1)."""
        last = self.tail
        if last is None:
            self.head = order
        else:
            last.next = order
        order.previous = last
        order.level = self
        self.tail = order
        self.quantity += order.leaves_quantity - order.hidden_quantity
        self.hidden_quantity += order.hidden_quantity
        self.order_count += 1

    def remove(self, order: Order) -> None:
        """Leave the queue from any place in it. O(1)."""
        before, behind = order.previous, order.next
        if before is None:
            self.head = behind
        else:
            before.next = behind
        if behind is None:
            self.tail = before
        else:
            behind.previous = before
        order.level = order.previous = order.next = None
        self.quantity -= order.leaves_quantity - order.hidden_quantity
        self.hidden_quantity -= order.hidden_quantity
        self.order_count -= 1

    def reduce(self, order: Order, quantity: int) -> None:
        """Take this quantity, less than its leaves, off an order of the queue, the hidden part first.

        The order keeps its place, and something to show. O(1).
        """
        assert order.level is self, "the order waits at another level"
        assert 0 <= quantity < order.leaves_quantity, "an order in the queue must keep something"
        from_hidden = min(quantity, order.hidden_quantity)
        order.leaves_quantity -= quantity
        order.hidden_quantity -= from_hidden
        self.quantity -= quantity - from_hidden
        self.hidden_quantity -= from_hidden

    def refresh(self, order: Order) -> None:
        """The tip of this iceberg is gone: the next one joins the back of the queue. O(1)."""
        assert order.display_quantity is not None
        self.remove(order)
        order.hidden_quantity = order.leaves_quantity - min(order.display_quantity, order.leaves_quantity)
        self.append(order)

    def __iter__(self) -> Iterator[Order]:
        """Every order, longest waiting first."""
        order = self.head
        while order is not None:
            yield order
            order = order.next


class SortedRanks(Protocol):
    """What a ladder uses of sortedcontainers.SortedList, which ships no type information."""

    def __getitem__(self, index: int, /) -> int: ...
    def __iter__(self) -> Iterator[int]: ...
    def add(self, rank: int, /) -> None: ...
    def pop(self, index: int, /) -> int: ...
    def remove(self, rank: int, /) -> None: ...


class Ladder:
    """Price levels by rank = price * `sign`, and their `ranks` sorted. `best` is the first level, None without any.

    A level is looked for several times as often as one comes or goes, so they stand in a plain dict.
    """

    __slots__ = ("best", "levels", "ranks", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, PriceLevel] = {}
        self.ranks: SortedRanks = SortedList()
        self.best: PriceLevel | None = None

    def level_at(self, price: int) -> PriceLevel | None:
        """O(1)."""
        return self.levels.get(price * self.sign)

    def add_at(self, price: int, order: Order) -> None:
        """Let the order wait at this price, behind those that are there. O(1), O(log levels) at a new price."""
        rank = price * self.sign
        level = self.levels.get(rank)
        if level is None:
            level = PriceLevel(price, rank)
            self.add_level(level)
        level.append(order)

    def add_level(self, level: PriceLevel) -> None:
        """A level at a price where there is none yet. O(log levels)."""
        self.levels[level.rank] = level
        self.ranks.add(level.rank)
        if self.best is None or level.rank < self.best.rank:
            self.best = level

    def remove(self, order: Order) -> None:
        """Take the order out, and its level when nobody is left there. O(1), O(log levels) for the last one."""
        level = order.level
        assert level is not None, "the order waits nowhere"
        level.remove(order)
        if level.head is None and level.rank != UNPRICED_RANK:
            del self.levels[level.rank]
            if level is self.best:
                self.ranks.pop(0)
                self.best = self.levels[self.ranks[0]] if self.levels else None
            else:
                self.ranks.remove(level.rank)

    def best_levels(self, limit: int | None = None) -> Iterator[PriceLevel]:
        """The best `limit` levels, or all, best first."""
        for position, rank in enumerate(self.ranks):
            if position == limit:
                return
            yield self.levels[rank]

    def orders(self, limit: int | None = None) -> Iterator[Order]:
        """Every order of the best `limit` levels, or of all, in priority. O(orders returned)."""
        for level in self.best_levels(limit):
            yield from level


class BookSide(Ladder):
    """All bids, or all asks: the resting orders by price, and `unpriced`, those that gather without one."""

    __slots__ = ("side", "unpriced")

    def __init__(self, side: Side) -> None:
        super().__init__(-1 if side is _BUY else 1)
        self.side = side
        self.unpriced = PriceLevel(0, UNPRICED_RANK)

    def reaches(self, price: int) -> bool:
        """Would an order of the other side with this limit trade with this side now? O(1)."""
        return self.best is not None and self.best.rank <= price * self.sign

    def add(self, order: Order) -> None:
        """Let the order wait at its price, an iceberg with a full tip. O(1), O(log levels) at a new price."""
        tip = order.display_quantity
        if tip is not None and tip < order.leaves_quantity:
            order.hidden_quantity = order.leaves_quantity - tip
        if order.price is None:
            self.unpriced.append(order)
        else:
            self.add_at(order.price, order)

    def depth(self, limit: int | None = None) -> list[tuple[int, int]]:
        """(price, visible quantity) of the best `limit` levels, or of all, best first. O(levels returned)."""
        return [(level.price, level.quantity) for level in self.best_levels(limit)]


class OrderBook:
    """One instrument's bids and asks, its stops, its trading status, and `sequence`, the number of its latest event.

    `last_price` is the last trade's, None before the first. `limited`: does the instrument have limits at all?
    `until_uncross` holds the orders that gather in an auction with a price and `ioc`, by order id. `indication` is what
    was told last of the auction, `indicated_sequence` the `sequence` up to which it is true. `last_arrival` counts the
    stops that came to wait.
    """

    __slots__ = (
        "asks",
        "bids",
        "buy_stops",
        "indicated_sequence",
        "indication",
        "instrument",
        "last_arrival",
        "last_price",
        "limited",
        "sell_stops",
        "sequence",
        "status",
        "symbol",
        "until_uncross",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.limited = any(limit is not None for limit in instrument.limits)
        self.status = TradingStatus.TRADING
        self.sequence = 0
        self.last_price: int | None = None
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)
        # A rising price reaches the lowest buy stop first, a falling one the highest sell stop.
        self.buy_stops = Ladder(1)
        self.sell_stops = Ladder(-1)
        self.last_arrival = 0
        self.until_uncross: dict[int, Order] = {}
        self.indication = NO_INDICATION
        self.indicated_sequence = 0

    def side_of(self, side: Side) -> BookSide:
        """Where an order of this side rests."""
        return self.bids if side is _BUY else self.asks

    def opposite_of(self, side: Side) -> BookSide:
        """What an order of this side trades with."""
        return self.asks if side is _BUY else self.bids

    def stops_of(self, side: Side) -> Ladder:
        """Where a stop of this side waits for its price."""
        return self.buy_stops if side is _BUY else self.sell_stops

    def change_status(self, status: TradingStatus) -> None:
        """Nothing is told yet of an auction that begins."""
        if self.status is not status:
            self.indication = NO_INDICATION
            self.indicated_sequence = 0
        self.status = status

    def withdraw(self, order: Order) -> None:
        """Take a waiting order out, wherever it waits; of an iceberg nothing is hidden then. O(log levels)."""
        if order.status is _UNTRIGGERED:
            self.stops_of(order.side).remove(order)
        else:
            self.side_of(order.side).remove(order)
            order.hidden_quantity = 0
            if self.until_uncross:
                self.until_uncross.pop(order.order_id, None)
