"""The markets of one exchange with their latest updates, and the latest entries with their executions.

Every entry is folded by itself, so that every node has the same updates. What is remembered is bounded by the number of
events: the oldest entry goes, and its updates with it, when there are more. Whoever has been told less than what is
remembered starts again from a snapshot.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raftbook.feed.accounts import events_by_account
from raftbook.market_data import MarketData

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from raftbook.engine.events import Event, Execution, Trade
    from raftbook.engine.exchange import Exchange
    from raftbook.market_data import MarketUpdate


class FeedUpdate:
    """What one entry changed about one symbol. `previous_trade_id` is that of the symbol's last trade before it.

    `encoded` is for whoever sends it, who forgets it with the update.
    """

    __slots__ = ("encoded", "previous_trade_id", "update")

    def __init__(self, update: MarketUpdate, previous_trade_id: int | None) -> None:
        self.update = update
        self.previous_trade_id = previous_trade_id
        self.encoded: dict[object, object] = {}


class FeedEntry:
    """One applied entry: its executions, and the symbols that it touched."""

    __slots__ = ("_by_account", "event_count", "executions", "index", "symbols")

    def __init__(self, index: int, executions: Sequence[Execution], symbols: tuple[str, ...]) -> None:
        self.index = index
        self.executions = executions
        self.symbols = symbols
        # An entry without events takes room as well.
        self.event_count = sum(len(execution.events) for execution in executions) or 1
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
    """`index` is the last log index that is applied or passed over, `exchange` the state at it."""

    def __init__(
        self, exchange: Exchange, recent_trades: Mapping[str, Iterable[Trade]], index: int, *, events_kept: int
    ) -> None:
        """`recent_trades`: the latest trades of each symbol, oldest first."""
        self._events_kept = events_kept
        self.exchange: Exchange
        self.market_data: MarketData
        self.index: int
        self.restore(exchange, recent_trades, index)

    def restore(self, exchange: Exchange, recent_trades: Mapping[str, Iterable[Trade]], index: int) -> None:
        """The state was replaced by that of a snapshot: nothing of what led to it is known."""
        self.exchange = exchange
        self.index = index
        self.market_data = MarketData.of_exchange(exchange, recent_trades)
        self._entries: deque[FeedEntry] = deque()
        self._updates: dict[str, deque[FeedUpdate]] = {}
        # Trade ids are of the whole exchange, so a symbol's have gaps of their own.
        self._last_trade_ids = {symbol: self.market_data[symbol].tape.last_trade_id for symbol in self.market_data}
        self._held_events = 0
        self._held_from = index

    def apply(self, index: int, executions: Sequence[Execution]) -> None:
        """Take in what the entry at `index` led to, which the exchange has applied already, and more entries perhaps.

        O(events), O(log levels) for each level that comes or goes.
        """
        assert index > self.index, f"entry {index} after index {self.index}"
        self.index = index
        if not executions:
            return
        updates = self.market_data.apply(executions)
        for update in updates:
            held = self._updates.get(update.symbol)
            if held is None:
                held = self._updates[update.symbol] = deque()
            held.append(FeedUpdate(update, self._last_trade_ids.get(update.symbol)))
            if update.trades:
                self._last_trade_ids[update.symbol] = update.trades[-1].trade_id
        entry = FeedEntry(index, executions, tuple(update.symbol for update in updates))
        self._entries.append(entry)
        self._held_events += entry.event_count
        # The newest stays, however large it is: whoever was told of all before it can go on.
        while self._held_events > self._events_kept and len(self._entries) > 1:
            self._forget_oldest()

    def advance(self, index: int) -> None:
        """Pass over the indexes up to `index`, which hold nothing."""
        assert index >= self.index, f"advance to {index} after index {self.index}"
        self.index = index

    def _forget_oldest(self) -> None:
        entry = self._entries.popleft()
        self._held_events -= entry.event_count
        self._held_from = entry.index
        for symbol in entry.symbols:
            self._updates[symbol].popleft()

    def sequence(self, symbol: str) -> int:
        """That of the symbol's last event; 0 for an unknown symbol, as before its first. O(1)."""
        return self.market_data[symbol].sequence if symbol in self.market_data else 0

    def updates_after(self, symbol: str, sequence: int) -> list[FeedUpdate] | None:
        """The updates that tell of the events behind `sequence`, the first perhaps of earlier ones as well.

        None where they are not all remembered. O(updates returned).
        """
        found: list[FeedUpdate] = []
        if sequence >= self.sequence(symbol):
            return found
        for held in reversed(self._updates.get(symbol, ())):
            if held.update.sequence <= sequence:
                break
            found.append(held)
        if not found or found[-1].update.first_sequence > sequence + 1:
            return None
        found.reverse()
        return found

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
