"""The markets of one exchange with their latest updates, and the latest entries with their executions.

Every entry is folded by itself, so that every node has the same updates; when it is folded is each node's own affair
(symbol_feed.py). What is remembered is bounded by the number of events: the oldest entry goes, and its updates with it,
when there are more. Whoever has been told less than what is remembered starts again from a snapshot.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from raftbook.engine.events import InstrumentEvent
from raftbook.engine.types import EventKind
from raftbook.errors import SequenceGapError
from raftbook.feed.accounts import events_by_account
from raftbook.feed.symbol_feed import FORGOTTEN_BATCHES, MOST_RESTING_ORDERS, WAITING_EVENTS, SymbolFeed
from raftbook.market_data.symbol_base import SymbolBase
from raftbook.market_data.symbol_fold import events_by_symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from raftbook.engine.events import Event, Execution, Trade
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order_book import OrderBook
    from raftbook.feed.symbol_feed import FeedUpdate
    from raftbook.market_data import Candles, SymbolMarket
    from raftbook.market_data.symbol_fold import SymbolEvent


class FeedEntry:
    """One applied entry: its executions, and the symbols that it touched."""

    __slots__ = ("_by_account", "event_count", "executions", "index", "symbols")

    def __init__(
        self, index: int, executions: Sequence[Execution], symbols: tuple[SymbolFeed, ...], event_count: int
    ) -> None:
        self.index = index
        self.executions = executions
        self.symbols = symbols
        self.event_count = event_count
        self._by_account: dict[str, list[Event]] | None = None

    @property
    def timestamp(self) -> int:
        return self.executions[0].timestamp

    @property
    def by_account(self) -> dict[str, list[Event]]:
        """The events by the accounts that they concern. O(events) the first time."""
        if self._by_account is None:
            self._by_account = events_by_account(self.executions)
        return self._by_account


class Feed:
    """`index` is the last log index that is applied or passed over, `exchange` the state at it.

    It contains the symbols; to read a market, its updates or its snapshot, is to have it folded.
    """

    def __init__(
        self,
        exchange: Exchange,
        recent_trades: Mapping[str, Iterable[Trade]],
        index: int,
        *,
        events_kept: int,
        waiting_events: int = WAITING_EVENTS,
        most_resting_orders: int = MOST_RESTING_ORDERS,
    ) -> None:
        """`recent_trades`: the latest trades of each symbol, oldest first."""
        self._events_kept = events_kept
        self._waiting_events = waiting_events
        self._most_resting_orders = most_resting_orders
        self._listeners: Counter[str] = Counter()
        self.exchange: Exchange
        self.index: int
        self.restore(exchange, recent_trades, index)

    def prepare(self, exchange: Exchange, recent_trades: Mapping[str, Iterable[Trade]]) -> dict[str, SymbolFeed]:
        """What `restore` makes of that state, for as long as nothing is applied to it. O(resting orders), so that a
        node has it done by another thread.
        """
        symbols: dict[str, SymbolFeed] = {}
        for symbol, book in exchange.books.items():
            trades = tuple(recent_trades.get(symbol, ()))
            known_from = trades[0].timestamp if trades else exchange.time
            base = SymbolBase.of_book(book, exchange.log_index, exchange.time)
            symbol_feed = symbols[symbol] = SymbolFeed(base, trades, known_from, self._waiting_events)
            if len(base.orders) > self._most_resting_orders:
                # Now, rather than while orders are waiting.
                symbol_feed.follow()
        return symbols

    def restore(
        self,
        exchange: Exchange,
        recent_trades: Mapping[str, Iterable[Trade]],
        index: int,
        prepared: dict[str, SymbolFeed] | None = None,
    ) -> None:
        """The state was replaced by that of a snapshot: nothing of what led to it is known.

        O(symbols) with what was `prepared` of it, O(resting orders) without.
        """
        self.exchange = exchange
        self.index = index
        self._entries: deque[FeedEntry] = deque()
        self._held_events = 0
        self._held_from = index
        self._symbols = self.prepare(exchange, recent_trades) if prepared is None else prepared
        # Those that have as many events behind their base as may be.
        self._due: dict[str, SymbolFeed] = {}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._symbols

    def __iter__(self) -> Iterator[str]:
        """The symbols, as their instruments were added."""
        return iter(self._symbols)

    def instrument(self, symbol: str) -> Instrument:
        """KeyError for an unknown symbol. O(1)."""
        return self._symbols[symbol].instrument

    def market(self, symbol: str) -> SymbolMarket:
        """The market as it is now. KeyError for an unknown symbol. O(resting orders, events that wait)."""
        return self._symbols[symbol].market

    def candles(self, symbol: str) -> Candles:
        """KeyError for an unknown symbol. O(events that wait)."""
        return self._symbols[symbol].candles

    def resting_order_count(self, symbol: str) -> int:
        """Of both sides. KeyError for an unknown symbol. O(1), or O(levels) of a book that is not followed."""
        symbol_feed = self._symbols[symbol]
        if symbol_feed.is_followed:
            return len(symbol_feed.market.level3)
        book = self.exchange.books[symbol]
        return sum(level.order_count for side in (book.bids, book.asks) for level in side.best_levels())

    def listen(self, symbol: str) -> None:
        """Somebody is going to read each of its updates soon, until `ignore`. The symbol may be unknown yet. O(1)."""
        self._listeners[symbol] += 1

    def ignore(self, symbol: str) -> None:
        """Take one `listen` back."""
        assert self._listeners[symbol] > 0, f"nobody listens to {symbol}"
        self._listeners[symbol] -= 1
        if not self._listeners[symbol]:
            del self._listeners[symbol]

    def apply(self, index: int, executions: Sequence[Execution]) -> None:
        """Take in what the entry at `index` led to, which the exchange has applied already, and more entries perhaps.

        O(events), and for symbols that are followed what SymbolFeed.take says. Raises SequenceGapError where events
        are missing.
        """
        assert index > self.index, f"entry {index} after index {self.index}"
        self.index = index
        if not executions:
            return
        touched = []
        for symbol, batch in events_by_symbol(executions).items():
            symbol_feed = self._symbols.get(symbol) or self._begin(symbol, batch[0])
            symbol_feed.take(batch)
            touched.append(symbol_feed)
            if symbol_feed.unsettled >= symbol_feed.due:
                self._due[symbol] = symbol_feed
        # An entry without events takes room as well.
        event_count = sum([len(execution.events) for execution in executions]) or 1
        self._entries.append(FeedEntry(index, executions, tuple(touched), event_count))
        self._held_events += event_count
        # The newest stays, however large it is: whoever was told of all before it can go on.
        while self._held_events > self._events_kept and len(self._entries) > 1:
            self._forget_oldest()
        if self._due:
            self._settle()

    def advance(self, index: int) -> None:
        """Pass over the indexes up to `index`, which hold nothing."""
        assert index >= self.index, f"advance to {index} after index {self.index}"
        self.index = index
        if self._due:
            self._settle()

    def _begin(self, symbol: str, event: SymbolEvent) -> SymbolFeed:
        if not isinstance(event, InstrumentEvent) or event.kind is not EventKind.INSTRUMENT_ADDED:
            raise SequenceGapError(
                f"{symbol}: nothing is known of it before event {event.sequence}: start again from a snapshot"
            )
        symbol_feed = self._symbols[symbol] = SymbolFeed(SymbolBase(event.instrument), (), 0, self._waiting_events)
        return symbol_feed

    def _settle(self) -> None:
        """Where much waits behind a base, take the next, or follow the symbol from now on."""
        if self.exchange.log_index > self.index:
            # It has applied what is not told here yet.
            return
        due, self._due = self._due, {}
        for symbol, symbol_feed in due.items():
            book = self.exchange.books[symbol]
            resting_count = _resting_count(book, self._most_resting_orders)
            symbol_feed.due = max(self._waiting_events, resting_count)
            symbol_feed.forgotten_due = max(FORGOTTEN_BATCHES, resting_count)
            if symbol in self._listeners or resting_count > self._most_resting_orders:
                symbol_feed.follow()
            elif symbol_feed.unsettled >= symbol_feed.due or symbol_feed.wasted >= symbol_feed.forgotten_due:
                last_log_time = symbol_feed.last_log_time
                assert last_log_time is not None, "events are what makes it due"
                symbol_feed.begin_again(SymbolBase.of_book(book, *last_log_time))

    def _forget_oldest(self) -> None:
        entry = self._entries.popleft()
        self._held_events -= entry.event_count
        self._held_from = entry.index
        for symbol_feed in entry.symbols:
            symbol_feed.forget_oldest()
            if symbol_feed.wasted >= symbol_feed.forgotten_due:
                # A base costs no more than what it frees; else quiet symbols would keep all that they had at last.
                self._due[symbol_feed.instrument.symbol] = symbol_feed

    def sequence(self, symbol: str) -> int:
        """That of the symbol's last event; 0 for an unknown symbol, as before its first. O(1)."""
        symbol_feed = self._symbols.get(symbol)
        return 0 if symbol_feed is None else symbol_feed.sequence

    def fold_after(self, symbol: str, sequence: int) -> bool:
        """See SymbolFeed.fold_behind."""
        symbol_feed = self._symbols.get(symbol)
        return symbol_feed is None or symbol_feed.fold_behind(sequence)

    def updates_after(self, symbol: str, sequence: int) -> list[FeedUpdate] | None:
        """See SymbolFeed.updates_behind."""
        symbol_feed = self._symbols.get(symbol)
        return [] if symbol_feed is None else symbol_feed.updates_behind(sequence)

    def entries_after(self, index: int) -> list[FeedEntry] | None:
        """The entries behind `index` that led to anything; None where they are not all remembered.

        O(entries returned).
        """
        if index < self._held_from:
            return None
        found: list[FeedEntry] = []
        for entry in reversed(self._entries):
            if entry.index <= index:
                break
            found.append(entry)
        found.reverse()
        return found


def _resting_count(book: OrderBook, most: int) -> int:
    """How many orders wait in the book, or some number above `most`. O(most)."""
    count = book.bids.unpriced.order_count + book.asks.unpriced.order_count
    for side in (book.bids, book.asks):
        for level in side.best_levels():
            count += level.order_count
            if count > most:
                return count
    return count
