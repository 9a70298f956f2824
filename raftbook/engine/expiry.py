"""Expiry: which orders end at which moment of log time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import ItemsView, ValuesView

    from raftbook.engine.order import Order


class SortedByTime(Protocol):
    """What is used here of sortedcontainers.SortedDict, which ships no type information."""

    def __len__(self) -> int: ...
    def __setitem__(self, time: int, orders: dict[int, Order], /) -> None: ...
    def __delitem__(self, time: int, /) -> None: ...
    def __getitem__(self, time: int, /) -> dict[int, Order]: ...
    def get(self, time: int, /) -> dict[int, Order] | None: ...
    def peekitem(self, index: int, /) -> tuple[int, dict[int, Order]]: ...
    def items(self) -> ItemsView[int, dict[int, Order]]: ...
    def values(self) -> ValuesView[dict[int, Order]]: ...


class Expiries:
    """The live orders that expire, by the time (ns) at which they do: all `day` orders of one day are in one group.

    O(1) to add and to discard where others expire at the same moment, O(log moments) otherwise.
    """

    __slots__ = ("_by_time",)

    def __init__(self) -> None:
        self._by_time: SortedByTime = SortedDict()

    @property
    def next_time(self) -> int | None:
        """The earliest expiry of a live order, None where none expires. O(1)."""
        return self._by_time.peekitem(0)[0] if self._by_time else None

    def add(self, order: Order) -> None:
        assert order.expire_time is not None
        group = self._by_time.get(order.expire_time)
        if group is None:
            self._by_time[order.expire_time] = {order.order_id: order}
        else:
            group[order.order_id] = order

    def discard(self, order: Order) -> None:
        assert order.expire_time is not None
        group = self._by_time[order.expire_time]
        del group[order.order_id]
        if not group:
            del self._by_time[order.expire_time]

    def due(self, time: int) -> list[Order]:
        """The orders whose expiry is at most `time`, by expiry and then by order id. O(n log n) for their number n."""
        orders: list[Order] = []
        for moment, group in self._by_time.items():
            if moment > time:
                break
            orders += [order for _, order in sorted(group.items())]
        return orders

    def __contains__(self, order: Order) -> bool:
        return order.expire_time is not None and order.order_id in (self._by_time.get(order.expire_time) or ())

    def __len__(self) -> int:
        """How many orders expire. O(moments)."""
        return sum(len(group) for group in self._by_time.values())
