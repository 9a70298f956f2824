"""One symbol's part of the feed: its history of trades, its latest events, and the updates that they are folded into.

To fold an event costs several times what it costs to match the order, on every node, and most nodes have nobody who
listens to most symbols. So events wait as they are, by reference, and are folded when somebody asks for what they did:

    base ── batch ── batch ── … ── base ── batch ── batch ── … ── batch
    └──────── a stretch ─────────┘ └────────── the newest one ──────────┘

A *base* is the state of the book, taken from the exchange; a batch is what one entry did to the symbol. A stretch is
folded whole, batch by batch, so the updates are those that a node has who folded every entry at once. The newest one is
then *followed*: whatever comes is folded as it comes, until the next base.

What waits is bounded, and so is the time for which the fold of a stretch holds the loop: see `WAITING_EVENTS`.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from raftbook.engine.events import AuctionEvent, Trade
from raftbook.engine.types import EventKind
from raftbook.errors import SequenceGapError
from raftbook.market_data import CANDLE_INTERVALS, CANDLES_KEPT, TRADES_KEPT, Candles, TradeTape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine.instrument import Instrument
    from raftbook.market_data import MarketUpdate, SymbolMarket
    from raftbook.market_data.symbol_base import SymbolBase
    from raftbook.market_data.symbol_fold import SymbolEvent, SymbolFold

WAITING_EVENTS: Final = 1_024
"""So many events of a symbol may wait behind a base, or as many as orders rest in its book when these are more: a base
costs O(resting orders), which are then no more than the events that it follows. MOST_RESTING_ORDERS bounds both."""

MOST_RESTING_ORDERS: Final = 4_096
"""Of a larger book no base is taken, since that would hold the loop for long: it is followed, whoever asks."""


MOST_FOLDED: Final = 4_096
"""So many orders of bases and events are folded at once, in some 40 ms, for one who resumes where nobody listened."""

FORGOTTEN_BATCHES: Final = 32
"""So many batches of a symbol may wait that are not to be told any more, or as many as orders rest in its book."""


class FeedUpdate:
    """What one entry changed about one symbol. `previous_trade_id` is that of the symbol's last trade before it.

    `encoded` is for whoever sends it, who forgets it with the update.
    """

    __slots__ = ("encoded", "previous_trade_id", "update")

    def __init__(self, update: MarketUpdate, previous_trade_id: int | None) -> None:
        self.update = update
        self.previous_trade_id = previous_trade_id
        self.encoded: dict[object, object] = {}


class _Stretch:
    """Consecutive batches from a base on: as they came (`base`, `batches`), or folded, and then `updates` alone.

    Of the batches the first `forgotten` are only there to be folded. `begins_behind` is the sequence of the base,
    `last_trade_id` the symbol's last before the first batch, or once it is folded behind the last.
    """

    __slots__ = ("base", "batches", "begins_behind", "forgotten", "last_trade_id", "updates")

    def __init__(self, base: SymbolBase, last_trade_id: int | None) -> None:
        self.base: SymbolBase | None = base
        self.begins_behind = base.sequence
        self.last_trade_id = last_trade_id
        self.batches: list[Sequence[SymbolEvent]] = []
        self.forgotten = 0
        self.updates: deque[FeedUpdate] | None = None

    @property
    def holds_anything(self) -> bool:
        return bool(self.updates) if self.updates is not None else self.forgotten < len(self.batches)

    def fold(self, tape: TradeTape, candles: Candles) -> SymbolFold:
        """Turn the batches into updates, and say what they led to. O(orders of the base, events)."""
        assert self.base is not None, "a stretch is folded once"
        fold = self.base.to_fold(tape, candles)
        self.updates = deque()
        if self.forgotten:
            self.fold_batch(fold, [event for batch in self.batches[: self.forgotten] for event in batch])
            self.updates.clear()
        for batch in islice(self.batches, self.forgotten, None):
            self.fold_batch(fold, batch)
        self.base = None
        self.batches = []
        return fold

    def fold_batch(self, fold: SymbolFold, events: Iterable[SymbolEvent]) -> None:
        for event in events:
            fold.fold(event)
        update = fold.take_update()
        assert update is not None, "a batch has events"
        assert self.updates is not None, "the stretch is being folded"
        self.updates.append(FeedUpdate(update, self.last_trade_id))
        if update.trades:
            self.last_trade_id = update.trades[-1].trade_id


class SymbolFeed:
    """Batches come in with `take`, the oldest goes with `forget_oldest`; `sequence` is that of the latest event.

    `unsettled` counts the events behind the last base, `due` is how many they may be before the next, and
    `forgotten_due` how many entries' may be `wasted` before it.
    """

    __slots__ = (
        "_candles",
        "_counted",
        "_fold",
        "_held_behind",
        "_last_event",
        "_last_uncross",
        "_stretches",
        "_tape",
        "due",
        "forgotten_due",
        "instrument",
        "sequence",
        "unsettled",
    )

    def __init__(self, base: SymbolBase, trades: Iterable[Trade], known_from: int, due: int) -> None:
        """`trades` are the latest, oldest first, and all since the log time `known_from`."""
        self.instrument: Instrument = base.instrument
        self.sequence = base.sequence
        self._tape = TradeTape(TRADES_KEPT)
        self._candles = Candles(CANDLE_INTERVALS, CANDLES_KEPT, known_from)
        for trade in trades:
            self._tape.add(trade)
            self._candles.add(trade)
        self._stretches: deque[_Stretch] = deque([_Stretch(base, self._tape.last_trade_id)])
        # Of the newest stretch, where it is followed.
        self._fold: SymbolFold | None = None
        # So many of its batches are in tape and candles, where it is not.
        self._counted = 0
        self._held_behind = base.sequence
        self._last_event: SymbolEvent | None = None
        self._last_uncross: AuctionEvent | None = None
        self.unsettled = 0
        self.due = due
        self.forgotten_due = FORGOTTEN_BATCHES

    @property
    def candles(self) -> Candles:
        """O(events that wait)."""
        self._count_trades()
        return self._candles

    @property
    def last_log_time(self) -> tuple[int, int] | None:
        """(log index, timestamp) of the latest event; None where none came since the start."""
        event = self._last_event
        return None if event is None else (event.log_index, event.timestamp)

    @property
    def is_followed(self) -> bool:
        return self._fold is not None

    @property
    def market(self) -> SymbolMarket:
        """The market as it is now; from now on it is followed. O(orders of the base, events that wait)."""
        fold = self._fold or self._follow()
        return fold.market

    def take(self, events: Sequence[SymbolEvent]) -> None:
        """The next batch. O(1) where nobody follows, else O(events), O(log levels) for each level that comes or goes.

        Raises SequenceGapError where it is not the next; nothing has changed then.
        """
        first_sequence = events[0].sequence
        if first_sequence != self.sequence + 1:
            raise SequenceGapError(
                f"{self.instrument.symbol}: event {self.sequence + 1} is the next, and here is {first_sequence}: "
                "start again from a snapshot"
            )
        newest = self._stretches[-1]
        if self._fold is None:
            newest.batches.append(events)
        else:
            newest.fold_batch(self._fold, events)
        self._last_event = events[-1]
        self.sequence += len(events)
        self.unsettled += len(events)

    def forget_oldest(self) -> None:
        """The oldest batch need not be told any more. O(1)."""
        oldest = self._stretches[0]
        if oldest.updates is not None:
            self._held_behind = oldest.updates.popleft().update.sequence
        else:
            self._held_behind += len(oldest.batches[oldest.forgotten])
            oldest.forgotten += 1
        if not oldest.holds_anything and len(self._stretches) > 1:
            self._stretches.popleft()

    @property
    def wasted(self) -> int:
        """The batches that wait behind the newest base and are not to be told any more; 0 where as many still are."""
        newest = self._stretches[-1]
        told = len(newest.batches) - newest.forgotten
        return newest.forgotten if self._fold is None and newest.forgotten > told else 0

    def updates_behind(self, sequence: int) -> list[FeedUpdate] | None:
        """The updates that tell of the events behind `sequence`, the first perhaps of earlier ones as well.

        None where they are not all remembered. O(updates returned), and O(orders of its base, events) for each stretch
        of them that was not folded yet: where that may be much, let `fold_behind` go before, by and by.
        """
        found: list[FeedUpdate] = []
        if sequence >= self.sequence:
            return found
        if sequence < self._held_behind:
            return None
        for stretch in reversed(self._stretches):
            for held in reversed(self._updates_of(stretch)):
                if held.update.sequence <= sequence:
                    break
                found.append(held)
            if stretch.begins_behind <= sequence:
                break
        found.reverse()
        return found

    def fold_behind(self, sequence: int, most: int = MOST_FOLDED) -> bool:
        """Fold some of what tells of the events behind `sequence`; whether nothing of it is left to fold.

        Of bases' orders and events no more than `most`, but one stretch at least. O(stretches, most).
        """
        if sequence < self._held_behind:
            return True
        end = self.sequence
        for stretch in reversed(self._stretches):
            if end <= sequence:
                break
            if stretch.base is not None:
                if most <= 0:
                    return False
                most -= len(stretch.base.orders) + end - stretch.begins_behind
                self._updates_of(stretch)
            end = stretch.begins_behind
        return True

    def follow(self) -> None:
        """Fold what comes as it comes, until the next base. O(orders of the base, events that wait)."""
        self.unsettled = 0
        if self._fold is None:
            self._follow()

    def begin_again(self, base: SymbolBase) -> None:
        """What comes from now on waits behind this base, which is the state as it is now. O(events that wait)."""
        assert base.sequence == self.sequence, f"a base at {base.sequence} behind event {self.sequence}"
        self._count_trades()
        if self._fold is not None:
            self._last_uncross = self._fold.market.last_uncross
        self._fold = None
        self._counted = 0
        if not self._stretches[-1].holds_anything:
            self._stretches.pop()
        self._stretches.append(_Stretch(base, self._tape.last_trade_id))
        self.unsettled = 0

    def _updates_of(self, stretch: _Stretch) -> deque[FeedUpdate]:
        if stretch.updates is None:
            if stretch is self._stretches[-1]:
                self._follow()
            else:
                # Its trades are in tape and candles already.
                stretch.fold(TradeTape(0), Candles({}, 0))
        assert stretch.updates is not None
        return stretch.updates

    def _follow(self) -> SymbolFold:
        self._count_trades()
        fold = self._stretches[-1].fold(TradeTape(0), Candles({}, 0))
        # The trades of what waited are counted, those that come are counted by the fold.
        fold.market.tape, fold.market.candles = self._tape, self._candles
        fold.market.last_uncross = self._last_uncross
        self._fold = fold
        return fold

    def _count_trades(self) -> None:
        """Bring tape and candles to the latest event."""
        if self._fold is not None:
            return
        batches = self._stretches[-1].batches
        for batch in islice(batches, self._counted, None):
            for event in batch:
                if isinstance(event, Trade):
                    self._tape.add(event)
                    self._candles.add(event)
                elif event.kind is EventKind.AUCTION_UNCROSSED:
                    assert isinstance(event, AuctionEvent)
                    self._last_uncross = event
        self._counted = len(batches)
