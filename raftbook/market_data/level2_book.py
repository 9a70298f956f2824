"""Level 2: the depth of a book by price.

It is kept by absolute levels (LevelChange), so a client needs nothing but these: a snapshot is a change of every level,
and whatever was missed about a level, its next change puts right.

| operation                            | cost                                        |
|--------------------------------------|---------------------------------------------|
| best levels, a level at a price      | O(1)                                        |
| change of a present level            | O(1)                                        |
| a level that comes or goes           | O(log levels), amortized (sortedcontainers) |
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from sortedcontainers import SortedDict

from raftbook.engine.types import Side
from raftbook.market_data.values import PriceLevel, TopOfBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, ValuesView

    from raftbook.market_data.values import LevelChange

_BUY: Final = Side.BUY


class SortedLevels(Protocol):
    """What a side uses of sortedcontainers.SortedDict, which ships no type information."""

    def __setitem__(self, rank: int, level: PriceLevel, /) -> None: ...
    def get(self, rank: int, /) -> PriceLevel | None: ...
    def peekitem(self, index: int, /) -> tuple[int, PriceLevel]: ...
    def pop(self, rank: int, default: None, /) -> PriceLevel | None: ...
    def values(self) -> ValuesView[PriceLevel]: ...
    def __len__(self) -> int: ...


class Level2Side:
    """The levels of one side by rank, lowest first: the price on the ask side, minus the price on the bid side."""

    __slots__ = ("_levels", "_sign", "best")

    def __init__(self, side: Side) -> None:
        self._sign = -1 if side is _BUY else 1
        self._levels: SortedLevels = SortedDict()
        self.best: PriceLevel | None = None

    def __len__(self) -> int:
        return len(self._levels)

    def __iter__(self) -> Iterator[PriceLevel]:
        """Best first."""
        return iter(self._levels.values())

    def at(self, price: int) -> PriceLevel | None:
        return self._levels.get(price * self._sign)

    def set(self, level: PriceLevel) -> None:
        """The level at this price is now so; without quantity there is none."""
        rank, best = level.price * self._sign, self.best
        if level.order_count:
            self._levels[rank] = level
            if best is None or rank <= best.price * self._sign:
                self.best = level
        else:
            self._levels.pop(rank, None)
            if best is not None and best.price == level.price:
                self.best = self._levels.peekitem(0)[1] if self._levels else None


class Level2Book:
    """Bids and asks by price."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Level2Side(Side.BUY)
        self.asks = Level2Side(Side.SELL)

    def side(self, side: Side) -> Level2Side:
        return self.bids if side is _BUY else self.asks

    def apply(self, changes: Iterable[LevelChange]) -> None:
        """O(1) per change, O(log levels) where a level comes or goes."""
        for side, price, quantity, order_count in changes:
            (self.bids if side is _BUY else self.asks).set(PriceLevel(price, quantity, order_count))

    @property
    def top(self) -> TopOfBook:
        """O(1)."""
        return TopOfBook(self.bids.best, self.asks.best)

    def depth(self, limit: int | None = None) -> tuple[list[PriceLevel], list[PriceLevel]]:
        """(bids, asks), the best `limit` levels or all, best first. O(levels returned)."""
        return list(islice(self.bids, limit)), list(islice(self.asks, limit))
