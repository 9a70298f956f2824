"""Orders that fill a book and never trade."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEVELS_PER_SIDE: Final = 500
MIDDLE_TICKS: Final = 10_000
NEAREST_TICKS: Final = 2_000
"""From the middle, so that order flow which trades there does not reach them."""


def resting_orders(accounts: Sequence[str], *, client_order_id_prefix: str = "order-") -> Iterator[NewOrder]:
    """Endless, and none of them trades: buys below the middle, sells above it. The accounts take turns."""
    for number in itertools.count(1):
        side = Side.BUY if number % 2 else Side.SELL
        distance = NEAREST_TICKS + number // 2 % LEVELS_PER_SIDE
        price = Number(MIDDLE_TICKS + (distance if side is Side.SELL else -distance), 2)
        yield NewOrder(
            "ACME",
            accounts[number % len(accounts)],
            f"{client_order_id_prefix}{number}",
            side,
            OrderType.LIMIT,
            TimeInForce.GTC,
            price,
            Number(number % 99 + 1, 0),
        )
