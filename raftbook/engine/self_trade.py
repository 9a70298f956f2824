"""Self-trade prevention: what happens instead of a trade between two orders of one account.

The taker's mode decides. Nothing prints; every event names the order that prevented it. The modes are those of CME
and Binance (`cancel_newest` is their "expire taker", `cancel_oldest` their "expire maker") and Coinbase's
`decrement_and_cancel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import OrderStatus, Reason, SelfTradePrevention

if TYPE_CHECKING:
    from raftbook.engine.journal import Journal
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import BookSide, OrderBook, PriceLevel
    from raftbook.engine.registry import OrderRegistry

_CANCELED: Final = OrderStatus.CANCELED
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


def available_to(taker: Order, level: PriceLevel, needed: int) -> tuple[int, bool]:
    """What this level has to trade for the taker, or enough of it, and whether prevention ends the look ahead there.

    Own orders that would only be canceled do not count. In the other modes the first of them is where less than
    everything would trade; what waits ahead of it counts with what it shows, since the next tip of an iceberg joins
    behind. O(orders that show as much as is needed).
    """
    ahead = own = 0
    is_barrier = taker.self_trade_prevention is not SelfTradePrevention.CANCEL_OLDEST
    for maker in level:
        if maker.account == taker.account:
            if is_barrier:
                return ahead, True
            own += maker.leaves_quantity
        else:
            ahead += maker.leaves_quantity - maker.hidden_quantity
            if ahead >= needed:
                return ahead, False
    return level.quantity + level.hidden_quantity - own, False
