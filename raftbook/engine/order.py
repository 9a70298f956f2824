"""One order, as the engine keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.events import OrderState
from raftbook.engine.types import OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce

if TYPE_CHECKING:
    from raftbook.engine.order_book import PriceLevel

# An enum's member read through its class costs a descriptor call in Python 3.11; a module's name does not.
_new: Final = tuple.__new__
# Compiled, a name of this module that is Final is found at once; one that was imported is looked up each time.
_OrderState: Final = OrderState
_NO_PREVENTION: Final = SelfTradePrevention.NONE
_OPEN: Final = OrderStatus.OPEN
_UNTRIGGERED: Final = OrderStatus.UNTRIGGERED


class Terms(NamedTuple):
    """What an order asks for, in the instrument's units; `price` is None for orders that take any."""

    price: int | None
    quantity: int
    stop_price: int | None
    display_quantity: int | None
    expire_time: int | None


class Order:
    """One order: its terms, how far it has come, and its neighbours in the queue at its price.

    quantity = filled + leaves + canceled always; `notional` is the sum of price times quantity over the order's
    trades. `hidden_quantity` is the part of the leaves that an iceberg at its place does not show. `arrival` counts
    the stops of a book as they came to wait. `entered` is None while the terms are those of the first submission.
    """

    __slots__ = (
        "account",
        "arrival",
        "client_order_id",
        "display_quantity",
        "entered",
        "expire_time",
        "filled_quantity",
        "hidden_quantity",
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
        "self_trade_prevention",
        "side",
        "status",
        "stop_price",
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
        stop_price: int | None = None,
        display_quantity: int | None = None,
        expire_time: int | None = None,
        self_trade_prevention: SelfTradePrevention = _NO_PREVENTION,
    ) -> None:
        self.order_id = order_id
        self.client_order_id = client_order_id
        self.account = account
        self.symbol = symbol
        self.side = side
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.post_only = post_only
        self.price = price
        self.quantity = quantity
        self.stop_price = stop_price
        self.display_quantity = display_quantity
        self.expire_time = expire_time
        self.self_trade_prevention = self_trade_prevention
        self.entered: Terms | None = None
        self.filled_quantity = 0
        self.leaves_quantity = quantity
        self.hidden_quantity = 0
        self.notional = 0
        self.status: OrderStatus = _OPEN if stop_price is None else _UNTRIGGERED
        self.arrival = 0
        # Its place in the book; None for all three while it is in none.
        self.level: PriceLevel | None = None
        self.previous: Order | None = None
        self.next: Order | None = None

    @property
    def is_live(self) -> bool:
        """Has it not ended yet?"""
        return self.status is _OPEN or self.status is _UNTRIGGERED

    def fill(self, price: int, quantity: int) -> None:
        self.filled_quantity += quantity
        self.leaves_quantity -= quantity
        self.notional += price * quantity

    def notional_at_most(self) -> int:
        """What it comes to if all that is left trades at its own price."""
        assert self.price is not None, "an order without a price comes to anything"
        return self.notional + self.price * self.leaves_quantity

    def terms(self, quantity: int | None = None) -> Terms:
        """As they are, or as they would be with this quantity."""
        quantity = self.quantity if quantity is None else quantity
        return _new(Terms, (self.price, quantity, self.stop_price, self.display_quantity, self.expire_time))

    def entered_terms(self) -> Terms:
        """By these a repeated submission is recognised, whatever became of the order since."""
        return self.entered or self.terms()

    def keep_entered_terms(self) -> None:
        """To be called before any of them changes."""
        if self.entered is None:
            self.entered = self.terms()

    def state(self) -> OrderState:
        """The order as an event tells it."""
        return _OrderState(
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
            self.stop_price,
            self.display_quantity,
            self.leaves_quantity - self.hidden_quantity,
            self.expire_time,
            self.self_trade_prevention,
        )
