"""The order book of one instrument: who waits at which price, and in which order.

    OrderBook ── bids, asks: BookSide ── levels by rank: PriceLevel ── head ⇄ … ⇄ tail: Order

A data structure and nothing more: it keeps orders in price-time priority and its sums right. When orders
trade is decided in matching.py; who may place them in validation.py.

**Rank** makes the two sides one: it is the price on the ask side and minus the price on the bid side, so on
either side a lower rank is a better price, and an incoming order whose limit has rank r trades with the
levels whose rank is at most r. No other code needs to tell the sides apart.

| operation                           | cost                                                   |
|-------------------------------------|--------------------------------------------------------|
| best level, its first order         | O(1)                                                   |
| add to, remove from a present level | O(1): a level is a doubly linked list through its orders |
| first order at a price, last to go  | O(log levels), amortized (sortedcontainers)            |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sortedcontainers import SortedDict

from raftbook.engine.events import OrderState
from raftbook.engine.types import OrderStatus, OrderType, Side, TimeInForce, TradingStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, ValuesView

    from raftbook.engine.instrument import Instrument

# An enum's member read through its class costs a descriptor call in Python 3.11; a module's name does not.
_BUY: Final = Side.BUY
_new: Final = tuple.__new__
_OPEN: Final = OrderStatus.OPEN


class Order:
    """One order: its terms, how far it has come, and its neighbours in the queue at its price.

    `entered_price` and `entered_quantity` are the terms of the first submission, which a replace does not
    touch: a repeated submission is recognised by them. quantity = filled + leaves + canceled always;
    `notional` is the sum of price times quantity over the order's trades.
    """

    __slots__ = (
        "account",
        "client_order_id",
        "entered_price",
        "entered_quantity",
        "filled_quantity",
        "leaves_quantity",
        "level",
        "next",
        "notional",
        "order_id",
        "order_type",
        "post_only",
        "previous",
        "price",
        "quantity",
        "side",
        "status",
        "symbol",
        "time_in_force",
    )

    def __init__(
        self,
        order_id: int,
        client_order_id: str,
        account: str,
        symbol: str,
        side: Side,
        order_type: OrderType,
        time_in_force: TimeInForce,
        post_only: bool,
        price: int | None,
        quantity: int,
    ) -> None:
        self.order_id = order_id
        self.client_order_id = client_order_id
        self.account = account
        self.symbol = symbol
        self.side = side
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.post_only = post_only
        self.entered_price = price
        self.entered_quantity = quantity
        self.price = price
        self.quantity = quantity
        self.filled_quantity = 0
        self.leaves_quantity = quantity
        self.notional = 0
        self.status: OrderStatus = _OPEN
        # Its place in the book; None for all three while it is not resting.
        self.level: PriceLevel | None = None
        self.previous: Order | None = None
        self.next: Order | None = None

    def fill(self, price: int, quantity: int) -> None:
        self.filled_quantity += quantity
        self.leaves_quantity -= quantity
        self.notional += price * quantity

    def state(self) -> OrderState:
        """The order as an event tells it."""
        return _new(
            OrderState,
            (
                self.order_id,
                self.client_order_id,
                self.account,
                self.symbol,
                self.side,
                self.order_type,
                self.time_in_force,
                self.post_only,
                self.price,
                self.quantity,
                self.filled_quantity,
                self.leaves_quantity,
                self.notional,
                self.status,
            ),
        )


class PriceLevel:
    """The queue of the orders at one price, longest waiting first. Never empty while it is in a book."""

    __slots__ = ("head", "order_count", "price", "quantity", "rank", "tail")

    def __init__(self, price: int, rank: int) -> None:
        self.price = price
        self.rank = rank
        self.quantity = 0
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
        self.quantity += order.leaves_quantity
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
        self.quantity -= order.leaves_quantity
        self.order_count -= 1

    def __iter__(self) -> Iterator[Order]:
        """Every order, longest waiting first."""
        order = self.head
        while order is not None:
            yield order
            order = order.next


class SortedLevels(Protocol):
    """What a book side uses of sortedcontainers.SortedDict, which ships no type information."""

    def __len__(self) -> int: ...
    def __setitem__(self, rank: int, level: PriceLevel, /) -> None: ...
    def __delitem__(self, rank: int, /) -> None: ...
    def get(self, rank: int, /) -> PriceLevel | None: ...
    def peekitem(self, index: int, /) -> tuple[int, PriceLevel]: ...
    def values(self) -> ValuesView[PriceLevel]: ...


class BookSide:
    """All bids, or all asks. `best` is the level at the best price, None when the side is empty."""

    __slots__ = ("best", "levels", "side", "sign")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sign = -1 if side is _BUY else 1
        self.levels: SortedLevels = SortedDict()
        self.best: PriceLevel | None = None

    def level_at(self, price: int) -> PriceLevel | None:
        """O(1)."""
        return self.levels.get(price * self.sign)

    def worst(self) -> PriceLevel | None:
        """The level farthest from the market. O(log levels)."""
        return self.levels.peekitem(-1)[1] if self.levels else None

    def reaches(self, price: int) -> bool:
        """Would an order of the other side with this limit trade with this side now? O(1)."""
        return self.best is not None and self.best.rank <= price * self.sign

    def add(self, order: Order) -> None:
        """Let the order wait at its price, behind those that are there. O(1), O(log levels) at a new price."""
        price = order.price
        assert price is not None, "a market order never rests"
        rank = price * self.sign
        level = self.levels.get(rank)
        if level is None:
            level = PriceLevel(price, rank)
            self.levels[rank] = level
            if self.best is None or rank < self.best.rank:
                self.best = level
        level.append(order)

    def remove(self, order: Order) -> None:
        """Take the order out, and its level when nobody is left there. O(1), O(log levels) for the last one."""
        level = order.level
        assert level is not None, "the order is not resting"
        level.remove(order)
        if level.head is None:
            del self.levels[level.rank]
            if level is self.best:
                self.best = self.levels.peekitem(0)[1] if self.levels else None

    def reduce(self, order: Order, quantity: int) -> None:
        """Take this quantity, less than its leaves, off a resting order, which keeps its place. O(1)."""
        level = order.level
        assert level is not None, "the order is not resting"
        assert 0 <= quantity < order.leaves_quantity, "a resting order must keep something"
        order.leaves_quantity -= quantity
        level.quantity -= quantity

    def depth(self, limit: int | None = None) -> list[tuple[int, int]]:
        """(price, quantity) of the best `limit` levels, or of all, best first. O(levels returned)."""
        return [(level.price, level.quantity) for level in self.best_levels(limit)]

    def orders(self, limit: int | None = None) -> Iterator[Order]:
        """Every order of the best `limit` levels, or of all, in priority. O(orders returned)."""
        for level in self.best_levels(limit):
            yield from level

    def best_levels(self, limit: int | None) -> Iterator[PriceLevel]:
        """The best `limit` levels, or all, best first."""
        for position, level in enumerate(self.levels.values()):
            if position == limit:
                return
            yield level


class OrderBook:
    """One instrument's bids and asks, its trading status, and `sequence`, the number of its latest event."""

    __slots__ = ("asks", "bids", "instrument", "sequence", "status", "symbol")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.status = TradingStatus.TRADING
        self.sequence = 0
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side_of(self, side: Side) -> BookSide:
        """Where an order of this side rests."""
        return self.bids if side is _BUY else self.asks

    def opposite_of(self, side: Side) -> BookSide:
        """What an order of this side trades with."""
        return self.asks if side is _BUY else self.bids
