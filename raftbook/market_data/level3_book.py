"""Level 3: every order of a book, in price-time priority.

It is kept by what the market may see (OrderChange), so that a node and its clients run the same code; what an order
hides is known to order_fold.py alone.

The queue at a price is a dict by order id: a dict keeps the order in which its keys came, a new value keeps the key's
place, and to leave costs O(1) wherever one stands. Nobody takes the head of a queue again and again, which is what a
dict is bad at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import Side
from raftbook.errors import SequenceGapError, SnapshotError
from raftbook.market_data.level2_book import Level2Book
from raftbook.market_data.plain_values import read_integer, read_list
from raftbook.market_data.values import LevelChange, OrderChange, PriceLevel, RestingOrder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from raftbook.market_data.plain_values import PlainValue

_BUY: Final = Side.BUY

Queue = dict[int, int]
"""Shown quantity by order id, longest waiting first."""


class Level3Book:
    """Every order by side, price and arrival; `level2` holds the same by price."""

    __slots__ = ("_asks", "_bids", "_places", "level2")

    def __init__(self) -> None:
        self.level2 = Level2Book()
        self._bids: dict[int, Queue] = {}
        self._asks: dict[int, Queue] = {}
        self._places: dict[int, tuple[Side, int]] = {}

    def __len__(self) -> int:
        """How many orders rest."""
        return len(self._places)

    def fill(self, queues: Mapping[tuple[Side, int], Queue]) -> None:
        """Take in a whole book where nothing is yet: by side and price who waits there, never nobody; the queues are
        the book's own from now on. O(orders), O(log levels) for each level.

        All who wait at one price share one place: one for each would be 65 bytes an order.
        """
        assert not self._places, "a book that holds orders is changed, not filled"
        for place, queue in queues.items():
            side, price = place
            (self._bids if side is _BUY else self._asks)[price] = queue
            self._places.update(dict.fromkeys(queue, place))
            self.level2.side(side).set(PriceLevel(price, sum(queue.values()), len(queue)))

    def apply(self, changes: Iterable[OrderChange]) -> tuple[LevelChange, ...]:
        """Take in the changes of one batch, and say which levels differ from before. O(1) per change, O(log levels) for
        a level that comes or goes.

        Raises SequenceGapError where a change does not fit the orders that are here. The book is then of no use.
        """
        before: dict[tuple[Side, int], PriceLevel] = {}
        places = self._places
        for order_id, side, price, quantity, to_back in changes:
            place = places.get(order_id)
            if to_back:
                if place is not None:
                    self._set_quantity(order_id, *place, 0, before)
                places[order_id] = (side, price)
            elif place != (side, price):
                where = "is not in it" if place is None else f"waits at {place[1]} ({place[0].label})"
                raise SequenceGapError(
                    f"order {order_id} is said to keep its place at {price} ({side.label}) of a book where it {where}: "
                    "this book is not the one that changed; start again from a snapshot"
                )
            self._set_quantity(order_id, side, price, quantity, before)
        level_changes = []
        for (side, price), old in before.items():
            new = self.level2.side(side).at(price) or PriceLevel(price, 0, 0)
            if new != old:
                level_changes.append(LevelChange(side, *new))
        return tuple(level_changes)

    def _set_quantity(
        self, order_id: int, side: Side, price: int, quantity: int, before: dict[tuple[Side, int], PriceLevel]
    ) -> None:
        """Let the order show this quantity at its place, at the back if it has none there; 0 takes it out."""
        queues = self._bids if side is _BUY else self._asks
        queue = queues.get(price)
        if queue is None:
            queue = queues[price] = {}
        levels = self.level2.side(side)
        level = levels.at(price) or PriceLevel(price, 0, 0)
        before.setdefault((side, price), level)
        level_quantity = level.quantity - queue.get(order_id, 0) + quantity
        if quantity:
            queue[order_id] = quantity
        else:
            queue.pop(order_id, None)
            del self._places[order_id]
            if not queue:
                del queues[price]
        levels.set(PriceLevel(price, level_quantity, len(queue)))

    def orders(self, side: Side, limit: int | None = None) -> Iterator[RestingOrder]:
        """The orders of the best `limit` levels, or of all, in priority. O(orders returned)."""
        queues = self._bids if side is _BUY else self._asks
        for position, level in enumerate(self.level2.side(side)):
            if position == limit:
                return
            for order_id, quantity in queues[level.price].items():
                yield RestingOrder(order_id, level.price, quantity)

    def to_snapshot(self) -> list[PlainValue]:
        """`[bids, asks]`, either as `[[order id, price, quantity], …]` in priority. O(orders)."""
        return [[list(order) for order in self.orders(side)] for side in Side]

    @classmethod
    def from_snapshot(cls, data: object) -> Level3Book:
        """Raises SnapshotError for whatever is not such a value."""
        changes: dict[int, OrderChange] = {}
        for side, orders in zip(Side, read_list(data, "book", len(Side)), strict=True):
            for item in read_list(orders, "orders"):
                fields = read_list(item, "order", len(RestingOrder._fields))
                order_id, price, quantity = (read_integer(value, "field of an order", low=1) for value in fields)
                if order_id in changes:
                    raise SnapshotError(f"market data: order {order_id} occurs twice")
                changes[order_id] = OrderChange(order_id, side, price, quantity, to_back=True)
        book = cls()
        book.apply(changes.values())
        return book
