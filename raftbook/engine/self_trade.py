"""Self-trade prevention: what happens instead of a trade between two orders of one account.

The taker's mode decides. Nothing prints; every event names the order that prevented it. The modes are those of CME
and Binance (`cancel_newest` is their "expire taker", `cancel_oldest` their "expire maker") and Coinbase's
`decrement_and_cancel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import OrderStatus, Reason, SelfTradePrevention

if TYPE_CHECKING:
    from raftbook.engine.journal import Journal
    from raftbook.engine.order_book import BookSide, Order, OrderBook
    from raftbook.engine.registry import OrderRegistry

_CANCELED: Final = OrderStatus.CANCELED
_OPEN: Final = OrderStatus.OPEN
_SELF_TRADE: Final = Reason.SELF_TRADE


def prevent_self_trade(
    taker: Order, maker: Order, makers: BookSide, book: OrderBook, registry: OrderRegistry, journal: Journal
) -> None:
    """The best maker is the taker's own: one of the two, or both, are canceled or reduced, the maker first. O(1)."""
    mode = taker.self_trade_prevention
    cancels_maker = mode in (SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.CANCEL_BOTH)
    cancels_taker = mode in (SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.CANCEL_BOTH)
    decrement = 0
    if mode is SelfTradePrevention.DECREMENT_AND_CANCEL:
        decrement = min(taker.leaves_quantity, maker.leaves_quantity)
        cancels_maker = maker.leaves_quantity == decrement
        cancels_taker = taker.leaves_quantity == decrement
    if cancels_maker:
        makers.remove(maker)
        registry.close(maker, _CANCELED)
        journal.canceled(book, maker, _SELF_TRADE, taker.order_id)
    elif decrement:
        assert maker.level is not None
        maker.keep_entered_terms()
        maker.level.reduce(maker, decrement)
        maker.quantity -= decrement
        journal.restated(book, maker, _SELF_TRADE, taker.order_id)
    if cancels_taker:
        registry.close(taker, _CANCELED)
        journal.canceled(book, taker, _SELF_TRADE, maker.order_id)
    elif decrement:
        taker.keep_entered_terms()
        taker.leaves_quantity -= decrement
        taker.quantity -= decrement
        journal.restated(book, taker, _SELF_TRADE, maker.order_id)


class OwnOrders(NamedTuple):
    """What a `fok` cannot count on among the makers.

    The look ahead ends at the account's first order in the level of `barrier_rank`; where own makers would only be
    canceled, there is no barrier, and `leaves_by_rank` is what they hold in each level.
    """

    barrier_rank: int | None
    leaves_by_rank: Mapping[int, int]


_NOTHING: Final = OwnOrders(None, {})


def own_orders_ahead(taker: Order, makers: BookSide, registry: OrderRegistry) -> OwnOrders:
    """O(live orders of the account), O(1) without self-trade prevention."""
    mode = taker.self_trade_prevention
    if mode is SelfTradePrevention.NONE:
        return _NOTHING
    leaves_by_rank: dict[int, int] = {}
    for order in registry.accounts[taker.account].open_orders.values():
        if order.symbol == taker.symbol and order.side is makers.side and order.status is _OPEN:
            assert order.price is not None, "while an instrument is trading, every open order has its price"
            rank = order.price * makers.sign
            leaves_by_rank[rank] = leaves_by_rank.get(rank, 0) + order.leaves_quantity
    if mode is SelfTradePrevention.CANCEL_OLDEST:
        return OwnOrders(None, leaves_by_rank)
    return OwnOrders(min(leaves_by_rank, default=None), {})
