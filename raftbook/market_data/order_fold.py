"""What events do to the orders of one symbol: the one place that knows what an order hides.

    order events, trades ──▶ OrderFold ──▶ OrderChange …     once per batch, net, without hidden quantity

The rules, each that of engine/SEMANTICS.md:

- An order that is accepted or triggered joins the back of its price at once, though it may have to trade first: what
  it trades then is taken off it, and its end, if it comes to that, takes it out again. Nobody else joins the same price
  in between, so at the end of the command it stands where the engine put it.
- Before it waits, an order shows a full tip, `min(display_quantity, leaves)`, of what its trades leave. While it waits,
  a trade is taken off what it shows, and off nothing else.
- A tip that is used up is followed by the next at the back of the price (`order_restated`, `iceberg_refresh`).
- What is taken off without a trade, by a decrement or by a lower quantity, is taken off the hidden part first.
- A replace keeps the place exactly where the quantity is lower or the same and nothing else is different.
- Untriggered stops are in no book. Orders without a price are in no price level, and are summed up instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import EventKind, OrderStatus, Reason, Side
from raftbook.market_data.values import NO_UNPRICED_INTEREST, OrderChange, UnpricedInterest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.events import OrderEvent, OrderState, Trade

_ACCEPTED: Final = EventKind.ORDER_ACCEPTED
_CANCELED: Final = EventKind.ORDER_CANCELED
_REPLACED: Final = EventKind.ORDER_REPLACED
_RESTATED: Final = EventKind.ORDER_RESTATED
_OPEN: Final = OrderStatus.OPEN
_BUY: Final = Side.BUY


class KnownOrder:
    """An open order: what of its terms decides its place, what it shows, and since when it waits there.

    `arrival` counts arrivals at any price; of two orders at a price the one with the lower number came first.
    """

    __slots__ = (
        "arrival",
        "display_quantity",
        "expire_time",
        "leaves_quantity",
        "order_id",
        "price",
        "quantity",
        "side",
        "visible_quantity",
    )

    def __init__(
        self,
        order_id: int,
        side: Side,
        price: int | None,
        quantity: int,
        leaves_quantity: int,
        display_quantity: int | None,
        expire_time: int | None,
        visible_quantity: int = 0,
    ) -> None:
        self.order_id = order_id
        self.side = side
        self.price = price
        self.quantity = quantity
        self.leaves_quantity = leaves_quantity
        self.display_quantity = display_quantity
        self.expire_time = expire_time
        self.visible_quantity = visible_quantity
        self.arrival = 0

    @classmethod
    def of(cls, state: OrderState) -> KnownOrder:
        return cls(
            state.order_id,
            state.side,
            state.price,
            state.quantity,
            state.leaves_quantity,
            state.display_quantity,
            state.expire_time,
        )

    def show_full_tip(self) -> None:
        leaves, display = self.leaves_quantity, self.display_quantity
        self.visible_quantity = leaves if display is None or display > leaves else display

    def take_off_hidden_first(self, leaves_quantity: int) -> None:
        """So much is left, without a trade."""
        self.leaves_quantity = leaves_quantity
        self.visible_quantity = min(self.visible_quantity, leaves_quantity)


class _Place(NamedTuple):
    """Where an order was when the batch began."""

    side: Side
    price: int | None
    visible_quantity: int
    arrival: int


class OrderFold:
    """The open orders of one symbol. O(1) per event.

    Events must come without gaps, from the first on or from the point where `restore` took over: an order that is not
    known is a programmer's mistake.
    """

    __slots__ = ("_arrivals", "_before", "orders", "unpriced")

    def __init__(self) -> None:
        self.orders: dict[int, KnownOrder] = {}
        self.unpriced: UnpricedInterest = NO_UNPRICED_INTEREST
        self._arrivals = 0
        # What the orders that this batch has touched were before it, None where they were not in the book.
        self._before: dict[int, _Place | None] = {}

    def restore(self, order: KnownOrder) -> None:
        """Take in an order that waits already, and shows what it does, the longest waiting of its price first."""
        assert order.order_id not in self.orders, f"order {order.order_id} was taken in already"
        self._arrivals += 1
        order.arrival = self._arrivals
        self.orders[order.order_id] = order
        if order.price is None:
            self._count_unpriced(order.side, 1, order.visible_quantity)

    def fold_order_event(self, event: OrderEvent) -> None:
        assert not event.duplicate, "the answer to a repeated submission changes nothing"
        kind, state = event.kind, event.order
        order = self._touch(state.order_id)
        if kind is _CANCELED:
            # Untriggered stops are canceled as well, and were never here.
            self.orders.pop(state.order_id, None)
        elif state.status is not _OPEN:
            assert order is None, f"order {state.order_id} is open, and {state.status.label} in {kind.label}"
        elif order is None:
            assert kind not in {_REPLACED, _RESTATED}, f"{kind.label} of unknown order {state.order_id}"
            self._arrive(state)
        elif kind is _REPLACED:
            self._replace(order, state)
        else:
            assert kind is _RESTATED, f"{kind.label} of order {state.order_id}, which is open already"
            self._restate(order, state, event.reason)

    def fold_trade(self, trade: Trade) -> None:
        quantity = trade.quantity
        maker = self._touch(trade.maker_order_id)
        taker = self._touch(trade.taker_order_id)
        assert maker is not None, f"trade {trade.trade_id} names an order that is not open"
        assert taker is not None, f"trade {trade.trade_id} names an order that is not open"
        self._trade_waiting(maker, quantity)
        if trade.auction:
            self._trade_waiting(taker, quantity)
            return
        taker.leaves_quantity -= quantity
        if taker.leaves_quantity:
            taker.show_full_tip()
        else:
            del self.orders[taker.order_id]

    def take_changes(self) -> tuple[OrderChange, ...]:
        """What the batch has changed, net; the next batch begins. O(orders touched, log of those that joined a price).

        First those that keep their place or go, then those that join the back of a price, as they arrived: whoever
        joined stands behind all who stayed.
        """
        stayed: list[OrderChange] = []
        joined: list[tuple[int, OrderChange]] = []
        for order_id, before in self._before.items():
            order = self.orders.get(order_id)
            if order is None:
                if before is None:
                    continue
                if before.price is None:
                    self._count_unpriced(before.side, -1, -before.visible_quantity)
                else:
                    stayed.append(OrderChange(order_id, before.side, before.price, 0, to_back=False))
                continue
            side, price, visible = order.side, order.price, order.visible_quantity
            assert visible > 0, f"order {order_id} shows nothing at the end of a batch: commands are not cut in two"
            if price is None:
                count, quantity = (1, 0) if before is None else (0, before.visible_quantity)
                self._count_unpriced(side, count, visible - quantity)
            elif before is None or before.arrival != order.arrival:
                joined.append((order.arrival, OrderChange(order_id, side, price, visible, to_back=True)))
            elif before.visible_quantity != visible:
                stayed.append(OrderChange(order_id, side, price, visible, to_back=False))
        self._before.clear()
        joined.sort()
        return (*stayed, *(change for _, change in joined))

    def unpriced_orders(self) -> Iterator[KnownOrder]:
        """The orders without a price, by order id. O(orders)."""
        return (order for _, order in sorted(self.orders.items()) if order.price is None)

    def _touch(self, order_id: int) -> KnownOrder | None:
        """The order, about to change: what it was is remembered for the end of the batch."""
        order = self.orders.get(order_id)
        if order_id not in self._before:
            self._before[order_id] = (
                None if order is None else _Place(order.side, order.price, order.visible_quantity, order.arrival)
            )
        return order

    def _arrive(self, state: OrderState) -> None:
        order = KnownOrder.of(state)
        order.show_full_tip()
        self._join(order)

    def _join(self, order: KnownOrder) -> None:
        self._arrivals += 1
        order.arrival = self._arrivals
        self.orders[order.order_id] = order

    def _replace(self, order: KnownOrder, state: OrderState) -> None:
        keeps_place = (
            state.quantity <= order.quantity
            and state.price == order.price
            and state.display_quantity == order.display_quantity
            and state.expire_time == order.expire_time
        )
        if keeps_place:
            order.quantity = state.quantity
            order.take_off_hidden_first(state.leaves_quantity)
        else:
            self._arrive(state)

    def _restate(self, order: KnownOrder, state: OrderState, reason: Reason | None) -> None:
        if reason is Reason.ICEBERG_REFRESH:
            self._arrive(state)
        else:
            order.quantity = state.quantity
            order.take_off_hidden_first(state.leaves_quantity)

    def _trade_waiting(self, order: KnownOrder, quantity: int) -> None:
        assert quantity <= order.visible_quantity, f"order {order.order_id} trades more than it shows"
        order.visible_quantity -= quantity
        order.leaves_quantity -= quantity
        if order.leaves_quantity == 0:
            del self.orders[order.order_id]

    def _count_unpriced(self, side: Side, count: int, quantity: int) -> None:
        buy_count, buy_quantity, sell_count, sell_quantity = self.unpriced
        if side is _BUY:
            self.unpriced = UnpricedInterest(buy_count + count, buy_quantity + quantity, sell_count, sell_quantity)
        else:
            self.unpriced = UnpricedInterest(buy_count, buy_quantity, sell_count + count, sell_quantity + quantity)
