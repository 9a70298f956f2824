"""The oracle's book: one instrument's orders in one list, searched from end to end for everything.

Slow and obvious, written from the matching semantics. Together with naive_exchange.py it is an exchange that shares
the engine's vocabulary (commands in, events out) and not one line of its logic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from raftbook.engine import Instrument, NewOrder, Number, OrderState, OrderStatus, Side, TradingStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST: Final = 2**63 - 1


@dataclass(slots=True, eq=False)
class NaiveOrder:
    """An order that was accepted. `arrival` is its place in the queue of its price, the lowest first."""

    order_id: int
    command: NewOrder
    price: int | None
    quantity: int
    arrival: int = 0
    filled: int = 0
    notional: int = 0
    status: OrderStatus = OrderStatus.OPEN

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled if self.status is OrderStatus.OPEN else 0

    @property
    def limit(self) -> int:
        """The price of an order that has one, as every order has that rests."""
        assert self.price is not None
        return self.price

    @property
    def buys(self) -> bool:
        return self.command.side is Side.BUY

    def state(self) -> OrderState:
        command = self.command
        return OrderState(
            order_id=self.order_id,
            client_order_id=command.client_order_id,
            account=command.account,
            symbol=command.symbol,
            side=command.side,
            order_type=command.order_type,
            time_in_force=command.time_in_force,
            post_only=command.post_only,
            price=self.price,
            quantity=self.quantity,
            filled_quantity=self.filled,
            leaves_quantity=self.leaves,
            notional=self.notional,
            status=self.status,
        )


@dataclass(slots=True, eq=False)
class NaiveBook:
    """`resting` holds the orders that wait, in no particular order; `sequence` is the symbol's last event's."""

    instrument: Instrument
    status: TradingStatus = TradingStatus.TRADING
    sequence: int = 0
    resting: list[NaiveOrder] = field(default_factory=list)

    def makers_for(self, taker: NaiveOrder) -> list[NaiveOrder]:
        """Those that the order may trade with now, in the order in which it must: best price, then first come."""
        makers = [maker for maker in self.resting if maker.buys != taker.buys and _crosses(taker, maker.limit)]
        return sorted(makers, key=lambda maker: (maker.limit if taker.buys else -maker.limit, maker.arrival))

    def largest_notional(self, order: NaiveOrder) -> int:
        """What the order comes to if all that is left of it trades at the highest price that it could."""
        if order.buys and order.price is not None:
            highest = order.price
        else:
            others = [other.limit for other in self.resting if other.buys != order.buys]
            highest = max([0, *others] if order.buys else [order.price or 0, *others])
        return order.notional + highest * order.leaves

    def level_quantity(self, order: NaiveOrder) -> int:
        """What waits at the order's price on its side, the order itself included."""
        level = [other.leaves for other in self.resting if other.buys == order.buys and other.price == order.price]
        return sum(level) + order.leaves

    # What reads it.

    def level3(self) -> tuple[list[OrderState], list[OrderState]]:
        """(bids, asks), every order in its priority."""
        first_come = sorted(self.resting, key=lambda order: order.arrival)
        bids = sorted((order for order in first_come if order.buys), key=lambda order: -order.limit)
        asks = sorted((order for order in first_come if not order.buys), key=lambda order: order.limit)
        return [order.state() for order in bids], [order.state() for order in asks]

    def depth(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks), each as (price, quantity)."""
        bids, asks = self.level3()
        return _levels(bids), _levels(asks)


def _crosses(taker: NaiveOrder, price: int) -> bool:
    if taker.price is None:
        return True
    return price <= taker.price if taker.buys else price >= taker.price


def _levels(states: Iterable[OrderState]) -> list[tuple[int, int]]:
    levels: dict[int, int] = {}
    for state in states:
        assert state.price is not None
        levels[state.price] = levels.get(state.price, 0) + state.leaves_quantity
    return list(levels.items())


def exact_units(number: Number, decimals: int) -> int | None:
    """An integer, or None where the instrument's decimals cannot express the number."""
    units = Fraction(number.mantissa, 10**number.decimals) * 10**decimals
    return int(units) if units.denominator == 1 else None
