"""All symbols of one exchange, folded from its executions: what a node keeps, and tells its subscribers.

    executions ──▶ MarketData ──▶ SymbolFold, one per symbol ──▶ MarketUpdate ──▶ SymbolMarket, subscribers
                                  with what is hidden                             what the market may see

It begins with the exchange, or takes over where an exchange, or other market data of it, are by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.events import InstrumentEvent
from raftbook.engine.types import EventKind
from raftbook.errors import SequenceGapError, SnapshotError
from raftbook.market_data.candles import CANDLE_INTERVALS, Candles
from raftbook.market_data.plain_values import read_integer, read_list, read_text
from raftbook.market_data.symbol_base import SymbolBase
from raftbook.market_data.symbol_fold import SymbolFold, events_by_symbol
from raftbook.market_data.trade_tape import TradeTape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from raftbook.engine.events import Execution, Trade
    from raftbook.engine.exchange import Exchange
    from raftbook.market_data.plain_values import PlainValue
    from raftbook.market_data.symbol_fold import SymbolEvent
    from raftbook.market_data.symbol_market import SymbolMarket
    from raftbook.market_data.values import MarketUpdate

VERSION: Final = 1
"""Of the form that a snapshot has."""
TRADES_KEPT: Final = 1_000
"""Per symbol."""
CANDLES_KEPT: Final = 1_500
"""Per symbol and interval: a day of minutes and an hour, two months of hours."""


class MarketData:
    """The markets of one exchange by symbol, in the order in which their instruments were added."""

    __slots__ = ("_candle_intervals", "_candles_kept", "_folds", "_trades_kept")

    def __init__(
        self,
        *,
        trades_kept: int = TRADES_KEPT,
        candles_kept: int = CANDLES_KEPT,
        candle_intervals: Mapping[str, int] = CANDLE_INTERVALS,
    ) -> None:
        """Of an exchange that has executed nothing yet."""
        self._trades_kept = trades_kept
        self._candles_kept = candles_kept
        self._candle_intervals = dict(candle_intervals)
        self._folds: dict[str, SymbolFold] = {}

    @classmethod
    def of_exchange(
        cls,
        exchange: Exchange,
        recent_trades: Mapping[str, Iterable[Trade]] | None = None,
        *,
        trades_kept: int = TRADES_KEPT,
        candles_kept: int = CANDLES_KEPT,
        candle_intervals: Mapping[str, int] = CANDLE_INTERVALS,
    ) -> MarketData:
        """As if every execution that led the exchange to where it is had been folded, but for the trades.

        The exchange does not hold its trades; whoever has some hands them in, oldest first by symbol. Candles count
        from the first of them on, or from now. O(resting orders).
        """
        market_data = cls(trades_kept=trades_kept, candles_kept=candles_kept, candle_intervals=candle_intervals)
        for symbol, book in exchange.books.items():
            trades = tuple((recent_trades or {}).get(symbol, ()))
            known_from = trades[0].timestamp if trades else exchange.time
            tape, candles = market_data._new_history(known_from)
            for trade in trades:
                tape.add(trade)
                candles.add(trade)
            base = SymbolBase.of_book(book, exchange.log_index, exchange.time)
            market_data._folds[symbol] = base.to_fold(tape, candles)
        return market_data

    def _new_history(self, known_from: int) -> tuple[TradeTape, Candles]:
        candles = Candles(self._candle_intervals, self._candles_kept, known_from)
        return TradeTape(self._trades_kept), candles

    def __getitem__(self, symbol: str) -> SymbolMarket:
        """KeyError for an unknown symbol."""
        return self._folds[symbol].market

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._folds

    def __iter__(self) -> Iterator[str]:
        """The symbols."""
        return iter(self._folds)

    def __len__(self) -> int:
        return len(self._folds)

    def to_snapshot(self) -> list[PlainValue]:
        """All of it as plain values, what is hidden included: equal states give equal lists. O(state).

        `[version, trades_kept, candles_kept, [[interval, its length], …], [symbol as SymbolFold gives it, …]]`
        """
        intervals: list[PlainValue] = [[name, length] for name, length in self._candle_intervals.items()]
        folds: list[PlainValue] = [fold.to_snapshot() for fold in self._folds.values()]
        return [VERSION, self._trades_kept, self._candles_kept, intervals, folds]

    @classmethod
    def from_snapshot(cls, data: object) -> MarketData:
        """The market data that `to_snapshot` was taken of. Raises SnapshotError for whatever is not such a value."""
        fields = read_list(data, "snapshot")
        if not fields or fields[0] != VERSION:
            raise SnapshotError(f"market data: version {fields[0] if fields else None!r} is not {VERSION}")
        _, trades_kept, candles_kept, intervals, folds = read_list(fields, "snapshot", 5)
        lengths: dict[str, int] = {}
        for item in read_list(intervals, "intervals"):
            name, length = read_list(item, "interval", 2)
            lengths[read_text(name, "interval")] = read_integer(length, "length of an interval", low=1)
        market_data = cls(
            trades_kept=read_integer(trades_kept, "trades_kept"),
            candles_kept=read_integer(candles_kept, "candles_kept"),
            candle_intervals=lengths,
        )
        for item in read_list(folds, "symbols"):
            fold = SymbolFold.from_snapshot(item)
            if fold.market.symbol in market_data._folds:
                raise SnapshotError(f"market data: symbol {fold.market.symbol} occurs twice")
            market_data._folds[fold.market.symbol] = fold
        return market_data

    def apply(self, executions: Iterable[Execution]) -> list[MarketUpdate]:
        """Fold one batch, all that an entry led to or several entries, and say what it changed: one update for each
        symbol that had events, in the order in which they first had one.

        A batch of rejections is an update with nothing but its sequences, so that these have no gaps.
        Raises SequenceGapError where events are missing; nothing that is held here is of use then.
        O(events), O(log levels) for each level that comes or goes.
        """
        updates = []
        for symbol, events in events_by_symbol(executions).items():
            fold = self._fold_for(events[0], symbol)
            for event in events:
                fold.fold(event)
            updates.append(fold.take_update())
        return [update for update in updates if update is not None]

    def _fold_for(self, event: SymbolEvent, symbol: str) -> SymbolFold:
        fold = self._folds.get(symbol)
        if fold is None:
            if not isinstance(event, InstrumentEvent) or event.kind is not EventKind.INSTRUMENT_ADDED:
                raise SequenceGapError(
                    f"{symbol}: nothing is known of it before event {event.sequence}: start again from a snapshot"
                )
            fold = self._folds[symbol] = SymbolBase(event.instrument).to_fold(*self._new_history(0))
        return fold
