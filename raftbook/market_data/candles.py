"""Candles: the trades of an interval of log time in one line.

An interval begins at a multiple of its length since the epoch, so a day begins at midnight UTC. An interval without a
trade has no candle. Trades of an auction count as any other.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import DAY_NS
from raftbook.errors import SnapshotError
from raftbook.market_data.plain_values import read_integer, read_list, read_text, read_total

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.engine.events import Trade
    from raftbook.market_data.plain_values import PlainValue

_MINUTE_NS: Final = 60 * 1_000_000_000

CANDLE_INTERVALS: Final[dict[str, int]] = {
    "1m": _MINUTE_NS,
    "5m": 5 * _MINUTE_NS,
    "1h": 60 * _MINUTE_NS,
    "1d": DAY_NS,
}
"""Length in nanoseconds by name, the shortest first."""


class Candle(NamedTuple):
    """`start` is in nanoseconds; `notional` the sum of price times quantity, so (`notional`, `volume`) is the
    volume-weighted average price as an exact pair.
    """

    start: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trade_count: int
    notional: int


class Candles:
    """The last `kept` candles of one symbol for each of some intervals.

    `known_from` is the log time from which on all trades were counted: a candle that starts before is incomplete.
    """

    __slots__ = ("_candles", "_intervals", "_run", "_run_ends_before", "kept", "known_from")

    def __init__(self, intervals: Mapping[str, int], kept: int, known_from: int = 0) -> None:
        self._intervals = dict(intervals)
        self._candles: dict[str, deque[Candle]] = {name: deque(maxlen=kept) for name in self._intervals}
        # Trades between whose times no interval ends are gathered first: they go into every candle together.
        self._run: Candle | None = None
        self._run_ends_before = 0
        self.kept = kept
        self.known_from = known_from

    @property
    def intervals(self) -> dict[str, int]:
        """Length in nanoseconds by name."""
        return dict(self._intervals)

    def add(self, trade: Trade) -> None:
        """Count a trade, which is not older than any before. O(1), O(intervals) where one of them has ended."""
        price, quantity, timestamp = trade.price, trade.quantity, trade.timestamp
        run = self._run
        if run is None or timestamp >= self._run_ends_before:
            self._close_run()
            ends = [timestamp - timestamp % length + length for length in self._intervals.values()]
            self._run_ends_before = min(ends, default=timestamp)
            self._run = Candle(timestamp, price, price, price, price, quantity, 1, price * quantity)
            return
        start, first, high, low, _, volume, trade_count, notional = run
        self._run = Candle(
            start,
            first,
            max(high, price),
            min(low, price),
            price,
            volume + quantity,
            trade_count + 1,
            notional + price * quantity,
        )

    def _close_run(self) -> None:
        """Add what was gathered to the candles. O(intervals)."""
        if self._run is None:
            return
        timestamp, first, high, low, close, volume, trade_count, notional = self._run
        self._run = None
        for name, length in self._intervals.items():
            candles = self._candles[name]
            start = timestamp - timestamp % length
            if candles and candles[-1].start == start:
                before = candles[-1]
                candles[-1] = Candle(
                    start,
                    before.open,
                    max(before.high, high),
                    min(before.low, low),
                    close,
                    before.volume + volume,
                    before.trade_count + trade_count,
                    before.notional + notional,
                )
            else:
                candles.append(Candle(start, first, high, low, close, volume, trade_count, notional))

    def history(self, interval: str, limit: int | None = None) -> list[Candle]:
        """The last `limit` candles, or all that are kept, oldest first; the last one may still grow. O(candles kept).

        KeyError for an interval that is not kept.
        """
        self._close_run()
        candles = self._candles[interval]
        return list(islice(candles, 0 if limit is None else max(0, len(candles) - limit), None))

    def to_snapshot(self) -> list[PlainValue]:
        """`[kept, known from, [[interval, its length, [candle, …]], …]]`. O(candles kept)."""
        self._close_run()
        return [
            self.kept,
            self.known_from,
            [
                [name, length, [list(candle) for candle in self._candles[name]]]
                for name, length in self._intervals.items()
            ],
        ]

    @classmethod
    def from_snapshot(cls, data: object) -> Candles:
        """Raises SnapshotError for whatever is not such a value."""
        kept, known_from, intervals = read_list(data, "candles", 3)
        lengths: dict[str, int] = {}
        histories: dict[str, list[Candle]] = {}
        for item in read_list(intervals, "intervals"):
            name, length, candles = read_list(item, "interval", 3)
            interval = read_text(name, "interval")
            lengths[interval] = read_integer(length, "length of an interval", low=1)
            histories[interval] = [_read_candle(candle) for candle in read_list(candles, "candles")]
        restored = cls(lengths, read_integer(kept, "candles kept"), read_integer(known_from, "known from"))
        for interval, history in histories.items():
            starts = [candle.start for candle in history]
            if any(start % lengths[interval] for start in starts) or sorted(starts) != starts:
                raise SnapshotError(f"market data: candles of {interval} start at other times, or not one by one")
            restored._candles[interval].extend(history)
        return restored


def _read_candle(data: object) -> Candle:
    *fields, volume, trade_count, notional = read_list(data, "candle", len(Candle._fields))
    start, first, high, low, close = (read_integer(value, "a candle's time or price") for value in fields)
    return Candle(
        start,
        first,
        high,
        low,
        close,
        read_total(volume, "volume"),
        read_integer(trade_count, "trade count", low=1),
        read_total(notional, "notional"),
    )
