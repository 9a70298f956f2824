"""The oracle's book: one instrument's orders in lists, searched from end to end for everything.

Slow and obvious, written from the matching semantics (engine/SEMANTICS.md). Together with the other naive_*.py it is
an exchange that shares the engine's vocabulary (commands in, events out) and not one line of its logic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine import (
    Instrument,
    NewOrder,
    Number,
    OrderState,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST: Final = 2**63 - 1

STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT)
WITH_PRICE: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT)
LASTING: Final = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD)


class Told(NamedTuple):
    """What an auction tells: at which price it would trade, how much, and what one side has there beyond the other."""

    price: int | None = None
    quantity: int = 0
    imbalance_quantity: int = 0
    imbalance_side: Side | None = None


NOTHING_TOLD: Final = Told()


@dataclass(slots=True, eq=False)
class NaiveOrder:
    """An order that was accepted. `arrival` is its place in the queue of its price, the lowest first.

    `tip` is what the book shows of an iceberg, and None for every other order and while it is in no book.
    """

    order_id: int
    command: NewOrder
    mode: SelfTradePrevention
    price: int | None
    stop_price: int | None
    quantity: int
    display_quantity: int | None
    expire_time: int | None
    status: OrderStatus
    arrival: int = 0
    filled: int = 0
    notional: int = 0
    tip: int | None = None

    @property
    def is_live(self) -> bool:
        return self.status in (OrderStatus.OPEN, OrderStatus.UNTRIGGERED)

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled if self.is_live else 0

    @property
    def visible(self) -> int:
        """What the order offers at its place: one trade takes no more of it."""
        return self.leaves if self.tip is None else self.tip

    @property
    def full_tip(self) -> int | None:
        return None if self.display_quantity is None else min(self.display_quantity, self.leaves)

    @property
    def limit(self) -> int:
        """The price of an order that has one, as every order has that rests while the instrument is trading."""
        assert self.price is not None
        return self.price

    @property
    def buys(self) -> bool:
        return self.command.side is Side.BUY

    @property
    def may_rest(self) -> bool:
        """Whether its remainder rests, rather than being canceled."""
        return self.command.order_type in WITH_PRICE and self.command.time_in_force in LASTING

    def largest_notional(self) -> int:
        """What the order comes to if all that is left of it trades at its own price, where it has one."""
        return self.notional + (self.price or 0) * self.leaves

    def take(self, quantity: int, price: int) -> None:
        """It trades."""
        self.filled += quantity
        self.notional += quantity * price
        if self.tip is not None:
            self.tip -= quantity

    def lower_to(self, quantity: int) -> None:
        """Its quantity becomes lower, its place stays: an iceberg gives up its hidden part first."""
        self.quantity = quantity
        if self.tip is not None:
            self.tip = min(self.tip, self.leaves)

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
            stop_price=self.stop_price,
            display_quantity=self.display_quantity,
            visible_quantity=self.visible,
            expire_time=self.expire_time,
            self_trade_prevention=self.mode,
        )


@dataclass(slots=True, eq=False)
class NaiveBook:
    """`resting` holds the orders that wait for others, `untriggered` the stops, both in no particular order.

    `sequence` is the symbol's last event's, `told` what was told last in the auction that is under way.
    """

    instrument: Instrument
    status: TradingStatus = TradingStatus.TRADING
    sequence: int = 0
    last_price: int | None = None
    told: Told = NOTHING_TOLD
    resting: list[NaiveOrder] = field(default_factory=list)
    untriggered: list[NaiveOrder] = field(default_factory=list)

    def makers_for(self, taker: NaiveOrder) -> list[NaiveOrder]:
        """Those that the order may trade with while trading, in the order in which it must: best price, first come."""
        makers = [maker for maker in self.resting if maker.buys != taker.buys and _crosses(taker, maker.limit)]
        return sorted(makers, key=lambda maker: (maker.limit if taker.buys else -maker.limit, maker.arrival))

    def level_quantity(self, order: NaiveOrder) -> int:
        """What waits at the order's price on its side, hidden or not, the order itself included."""
        level = [
            other.leaves
            for other in self.resting
            if other.buys == order.buys and other.price == order.price and other.order_id != order.order_id
        ]
        return sum(level) + order.leaves

    # What reads it.

    def level3(self) -> tuple[list[OrderState], list[OrderState]]:
        """(bids, asks), every order that has a price, in its priority."""
        first_come = sorted((order for order in self.resting if order.price is not None), key=lambda o: o.arrival)
        bids = sorted((order for order in first_come if order.buys), key=lambda order: -order.limit)
        asks = sorted((order for order in first_come if not order.buys), key=lambda order: order.limit)
        return [order.state() for order in bids], [order.state() for order in asks]

    def depth(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks), each as (price, displayed quantity)."""
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
        levels[state.price] = levels.get(state.price, 0) + state.visible_quantity
    return list(levels.items())


def exact_units(number: Number, decimals: int) -> int | None:
    """An integer, or None where the instrument's decimals cannot express the number."""
    units = Fraction(number.mantissa, 10**number.decimals) * 10**decimals
    return int(units) if units.denominator == 1 else None


def is_inside(price: int, reference: int, band: int) -> bool:
    """Whether a price is no further than `band`, in hundredths of a percent, from another."""
    return reference * (10_000 - band) <= price * 10_000 <= reference * (10_000 + band)
