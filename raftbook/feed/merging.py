"""Several updates of one symbol in one: what they led to, without what lay between."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine.types import Side
    from raftbook.market_data import LevelChange, MarketUpdate, OrderChange


def merged(updates: Sequence[MarketUpdate]) -> MarketUpdate:
    """One update that does what these do one after the other. O(changes)."""
    if len(updates) == 1:
        return updates[0]
    first, last = updates[0], updates[-1]
    changed: dict[str, object] = {}
    for update in updates:
        for name in ("top", "instrument", "status", "indication", "unpriced", "uncrossed"):
            value = getattr(update, name)
            if value is not None:
                changed[name] = value
    return last._replace(
        first_sequence=first.first_sequence,
        orders=_merged_orders(chain.from_iterable(update.orders for update in updates)),
        levels=_merged_levels(chain.from_iterable(update.levels for update in updates)),
        trades=tuple(chain.from_iterable(update.trades for update in updates)),
        **changed,  # type: ignore[arg-type]  # Names and values are those of the updates.
    )


def _merged_levels(changes: Iterable[LevelChange]) -> tuple[LevelChange, ...]:
    """Each level as the last of its changes left it."""
    last: dict[tuple[Side, int], LevelChange] = {}
    for change in changes:
        last[change.side, change.price] = change
    return tuple(last.values())


def _merged_orders(changes: Iterable[OrderChange]) -> tuple[OrderChange, ...]:
    """The same changes, applied in their order, without those that a later one makes vain.

    A change that keeps an order's place takes the one before it with it, and so does one that joins the back of a
    price, where the order has left whatever place it had. An order that joined and went is told as both, since only
    the book before knows whether it was there.
    """
    latest: dict[int, int] = {}
    net: list[OrderChange | None] = []
    for change in changes:
        position = latest.get(change.order_id)
        before = None if position is None else net[position]
        if position is not None and before is not None:
            if change.to_back or not before.to_back:
                net[position] = None
            elif change.quantity:
                # It keeps the place for which it joined: it joined showing so much.
                net[position] = change._replace(to_back=True)
                continue
        latest[change.order_id] = len(net)
        net.append(change)
    return tuple(change for change in net if change is not None)
