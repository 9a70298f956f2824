"""A bare limit order book: what the engine's figures are held against, on the same flow and in the same run.

Price-time priority on integers, and nothing else: no accounts, reports, events with text, limits, stops, icebergs,
auctions, duplicate detection, checks or replay. It is about as fast as a book in plain Python gets, so the ratio says
what the rest of an exchange costs, whatever mood the machine is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sortedcontainers import SortedDict

from raftbook.engine.commands import CancelOrder, NewOrder, ReplaceOrder
from raftbook.engine.types import OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.engine.commands import Command

ANY_PRICE: Final = 1 << 40


class BareOrder:
    """In the middle of a level's chain."""

    __slots__ = ("after", "before", "key", "level", "order_id", "quantity")

    def __init__(self, order_id: str, key: int, quantity: int) -> None:
        self.order_id = order_id
        self.key = key
        self.quantity = quantity
        self.before: BareOrder | None = None
        self.after: BareOrder | None = None
        self.level: _Level | None = None


class _Level:
    """The orders at a price, first come first; as a chain, so that any of them goes in O(1)."""

    __slots__ = ("first", "key", "last", "quantity")

    def __init__(self, key: int) -> None:
        self.key = key
        self.quantity = 0
        self.first: BareOrder | None = None
        self.last: BareOrder | None = None

    def append(self, order: BareOrder) -> None:
        last = self.last
        order.before, order.level = last, self
        if last is None:
            self.first = order
        else:
            last.after = order
        self.last = order
        self.quantity += order.quantity

    def remove(self, order: BareOrder) -> None:
        before, after = order.before, order.after
        if before is None:
            self.first = after
        else:
            before.after = after
        if after is None:
            self.last = before
        else:
            after.before = before
        self.quantity -= order.quantity
        order.before = order.after = order.level = None


class _Side:
    """Levels by key, the best first: the price of a sell, and its negative of a buy."""

    __slots__ = ("best", "levels")

    def __init__(self) -> None:
        self.levels = SortedDict()
        self.best: _Level | None = None

    def append(self, order: BareOrder) -> None:
        level = self.levels.get(order.key)
        if level is None:
            level = self.levels[order.key] = _Level(order.key)
            if self.best is None or order.key < self.best.key:
                self.best = level
        level.append(order)

    def drop(self, level: _Level) -> None:
        """It is empty."""
        del self.levels[level.key]
        if level is self.best:
            self.best = self.levels.peekitem(0)[1] if self.levels else None


class BareOperation(NamedTuple):
    """A command in the book's own terms. `kind`: enter, cancel or replace; `key` and `quantity` None: as it is."""

    kind: str
    order_id: str
    side: int
    key: int | None
    quantity: int | None
    rests: bool


class BareBook:
    """Two sides, 0 that of the buys."""

    def __init__(self) -> None:
        self.trades: list[tuple[str, str, int, int]] = []
        """(taker, maker, price, quantity)"""
        self._sides = (_Side(), _Side())
        self._orders: dict[str, tuple[int, BareOrder]] = {}

    @property
    def order_count(self) -> int:
        return len(self._orders)

    def apply(self, operations: Iterable[BareOperation]) -> None:
        for kind, order_id, side, key, quantity, rests in operations:
            if kind == "enter":
                assert key is not None
                assert quantity is not None
                self.enter(order_id, side, key, quantity, rests=rests)
            elif kind == "cancel":
                self.cancel(order_id)
            else:
                self.replace(order_id, key, quantity)

    def enter(self, order_id: str, side: int, key: int, quantity: int, *, rests: bool) -> None:
        opposite = self._sides[1 - side]
        level = opposite.best
        # A key on one side is the negative of that price's key on the other one.
        while level is not None and quantity and level.key <= -key:
            maker = level.first
            while maker is not None and quantity:
                fill = min(maker.quantity, quantity)
                quantity -= fill
                maker.quantity -= fill
                level.quantity -= fill
                self.trades.append((order_id, maker.order_id, abs(level.key), fill))
                if not maker.quantity:
                    level.remove(maker)
                    del self._orders[maker.order_id]
                    maker = level.first
            if level.first is None:
                opposite.drop(level)
                level = opposite.best
        if quantity and rests:
            order = BareOrder(order_id, key, quantity)
            self._sides[side].append(order)
            self._orders[order_id] = (side, order)

    def cancel(self, order_id: str) -> bool:
        """Whether there was such an order."""
        found = self._orders.pop(order_id, None)
        if found is None:
            return False
        side, order = found
        level = order.level
        assert level is not None
        level.remove(order)
        if level.first is None:
            self._sides[side].drop(level)
        return True

    def replace(self, order_id: str, key: int | None, quantity: int | None) -> None:
        """Less of it keeps its place; at another price it is a new order."""
        found = self._orders.get(order_id)
        if found is None:
            return
        side, order = found
        if key is not None:
            # Keys come as prices, whose sign the side decides.
            self.cancel(order_id)
            self.enter(order_id, side, key if side else -key, order.quantity, rests=True)
        elif quantity is not None and quantity < order.quantity:
            assert order.level is not None
            order.level.quantity -= order.quantity - quantity
            order.quantity = quantity


def bare_operation(command: Command) -> BareOperation:
    """Fill-or-kill as immediate-or-cancel, and post-only as any order: a bare book has neither."""
    assert isinstance(command, NewOrder | CancelOrder | ReplaceOrder), "the flow enters, replaces and cancels"
    order_id = command.client_order_id
    assert order_id is not None
    if isinstance(command, CancelOrder):
        return BareOperation("cancel", order_id, 0, None, None, rests=False)
    price = None if command.price is None else command.price.mantissa
    quantity = None if command.quantity is None else command.quantity.mantissa
    if isinstance(command, ReplaceOrder):
        return BareOperation("replace", order_id, 0, price, quantity, rests=True)
    side = 0 if command.side is Side.BUY else 1
    rests = command.time_in_force is TimeInForce.GTC
    if command.order_type is OrderType.MARKET or price is None:
        return BareOperation("enter", order_id, side, -ANY_PRICE, quantity, rests=False)
    return BareOperation("enter", order_id, side, price if side else -price, quantity, rests=rests)
