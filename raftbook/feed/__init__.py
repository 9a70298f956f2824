"""The feed: what a node tells its subscribers, and how much of it it remembers. Pure: no clock, I/O or randomness.

    executions ──▶ Feed ──▶ updates of each symbol, by sequence   ──▶ channels: snapshots and updates as JSON objects
                            executions of each entry, by index

    feed.py        the latest entries and all symbols, bounded together
    symbol_feed.py what is remembered of one symbol, folded when somebody asks
    channels.py    book, l3, trades, orders: a snapshot, and what follows a position
    merging.py     several updates of one symbol in one
    accounts.py    which events concern an account, and how it may see them

A *position* is what a subscriber has been told: the sequence of a symbol's event, or for orders a log index. Both are
the same on every node, so a subscriber can lose its node, go to another one, name its position, and go on.
"""

from __future__ import annotations

from raftbook.feed.channels import AccountOrders, Channel, MarketChannel, Message, market_channel
from raftbook.feed.feed import Feed, FeedEntry
from raftbook.feed.symbol_feed import FeedUpdate

__all__ = ["AccountOrders", "Channel", "Feed", "FeedEntry", "FeedUpdate", "MarketChannel", "Message", "market_channel"]
