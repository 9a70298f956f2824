"""The channels: what a subscriber is told from where it stands, as JSON objects (forms: json_format/market.py).

`head` is the position of whoever has been told everything; a position is *held* where all behind it is remembered.
`names` is what messages name a channel by.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from raftbook.engine.types import OrderStatus
from raftbook.feed.accounts import account_event_to_json, concerns_symbol
from raftbook.feed.merging import merged
from raftbook.json_format import Json, order_to_json
from raftbook.json_format.market import (
    BOOK,
    LEVEL3,
    ORDERS,
    TRADES,
    bare_update_to_json,
    book_snapshot_to_json,
    book_update_to_json,
    level3_snapshot_to_json,
    level3_update_to_json,
    trade_update_to_json,
    trades_snapshot_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from raftbook.engine.instrument import Instrument
    from raftbook.feed.feed import Feed
    from raftbook.feed.symbol_feed import FeedUpdate
    from raftbook.market_data import SymbolMarket

Message = Json
"""One message to a subscriber."""

TRADES_IN_SNAPSHOT: Final = 100

_LIVE: Final = (OrderStatus.OPEN, OrderStatus.UNTRIGGERED)


class MarketChannel:
    """book, l3 or trades of one symbol."""

    __slots__ = ("_name", "_snapshot", "symbol")

    def __init__(self, name: str, symbol: str, snapshot: Callable[[SymbolMarket], Message]) -> None:
        self._name = name
        self._snapshot = snapshot
        self.symbol = symbol

    @property
    def key(self) -> tuple[str, ...]:
        return (self._name, self.symbol)

    def names(self) -> Json:
        return {"channel": self._name, "symbol": self.symbol}

    def head(self, feed: Feed) -> int:
        return feed.sequence(self.symbol)

    def snapshot(self, feed: Feed) -> Message:
        return self._snapshot(feed.market(self.symbol))

    def instrument(self, feed: Feed) -> Instrument:
        return feed.instrument(self.symbol)

    def messages_of(self, held: FeedUpdate, instrument: Instrument) -> Iterable[Message]:
        """One entry's update, a message for each of its events; of trades, for each trade."""
        update = held.update
        if self._name == TRADES:
            previous_trade_id = held.previous_trade_id
            for trade in update.trades:
                yield trade_update_to_json(trade, instrument, previous_trade_id)
                previous_trade_id = trade.trade_id
            return
        for sequence in range(update.first_sequence, update.sequence):
            yield bare_update_to_json(self._name, self.symbol, sequence)
        yield _UPDATE_TO_JSON[self._name](update, instrument)

    def messages_behind(self, held: FeedUpdate, sequence: int, instrument: Instrument) -> Iterable[Message]:
        """Of an update of which the subscriber has been told the events up to `sequence`, the rest."""
        for message in self.messages_of(held, instrument):
            own_sequence = message["sequence"]
            assert isinstance(own_sequence, int)
            if own_sequence > sequence:
                yield message

    def merged_messages(self, updates: list[FeedUpdate], sequence: int, instrument: Instrument) -> Iterable[Message]:
        """Everything behind `sequence` in one message; of trades, which do not merge, one message for each."""
        if self._name == TRADES:
            return chain.from_iterable(self.messages_behind(held, sequence, instrument) for held in updates)
        update = merged([held.update for held in updates])
        return (_UPDATE_TO_JSON[self._name](update, instrument, sequence + 1),)


_UPDATE_TO_JSON: Final[Mapping[str, Callable[..., Message]]] = {
    BOOK: book_update_to_json,
    LEVEL3: level3_update_to_json,
}

_SNAPSHOTS: Final[Mapping[str, Callable[[SymbolMarket], Message]]] = {
    BOOK: book_snapshot_to_json,
    LEVEL3: level3_snapshot_to_json,
    TRADES: lambda market: trades_snapshot_to_json(market, TRADES_IN_SNAPSHOT),
}

MARKET_CHANNELS: Final = tuple(_SNAPSHOTS)


def market_channel(name: str, symbol: str) -> MarketChannel:
    """`name` is one of MARKET_CHANNELS."""
    return MarketChannel(name, symbol, _SNAPSHOTS[name])


class AccountOrders:
    """The orders of one account, of all symbols or of one; a position is a log index."""

    __slots__ = ("account", "symbol")

    def __init__(self, account: str, symbol: str | None = None) -> None:
        self.account = account
        self.symbol = symbol

    @property
    def key(self) -> tuple[str, ...]:
        return (ORDERS, self.account) if self.symbol is None else (ORDERS, self.account, self.symbol)

    def names(self) -> Json:
        return {"channel": ORDERS, "account": self.account}

    def head(self, feed: Feed) -> int:
        return feed.index

    def snapshot(self, feed: Feed) -> Message:
        """The open orders, stops that were not triggered yet among them. O(the account's orders)."""
        exchange = feed.exchange
        orders = exchange.iterate_orders(self.account, self.symbol, None, _LIVE, 0)
        return {
            "channel": ORDERS,
            "type": "snapshot",
            "account": self.account,
            "sequence": feed.index,
            "orders": [order_to_json(order, exchange.instruments) for order in orders],
        }

    def messages_after(self, feed: Feed, index: int) -> list[Message] | None:
        """One message for each entry behind `index` with events that concern the account; None where not held."""
        entries = feed.entries_after(index)
        if entries is None:
            return None
        instruments = feed.exchange.instruments
        messages: list[Message] = []
        for entry in entries:
            events = entry.by_account.get(self.account, [])
            if self.symbol is not None:
                events = [event for event in events if concerns_symbol(event, self.symbol)]
            if events:
                messages.append(
                    {
                        "channel": ORDERS,
                        "type": "update",
                        "account": self.account,
                        "sequence": entry.index,
                        "timestamp": entry.timestamp,
                        "events": [account_event_to_json(event, self.account, instruments) for event in events],
                    }
                )
        return messages


Channel = MarketChannel | AccountOrders
"""One thing that can be subscribed to; equal ones have equal `key`s."""
