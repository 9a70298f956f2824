"""From the feed to its subscribers: every message is encoded once for all who get it.

Subscribers of the same channel, encoding and interval are a group. In a group they stand at positions, nearly always
all at the same; who joins or resumes begins at another one and is with the others after the next delivery. So what
is encoded is a block of frames for each position, and what is done for each subscriber is one write.

A delivery comes at the end of a turn of the node's loop in which something was applied. With many subscribers it takes
a while, and then the next one waits until the node has had REST times as long for its other work; what is applied
meanwhile goes out together.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from raftbook.errors import ProblemError
from raftbook.feed import AccountOrders, MarketChannel
from raftbook.gateway.query import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from raftbook.engine.instrument import Instrument
    from raftbook.feed import Channel, Feed, FeedUpdate, Message
    from raftbook.gateway.stream_connection import StreamConnection
    from raftbook.gateway.websocket_frames import Encoding

REST: Final = 2
"""At most a third of the loop's time goes into delivery."""

FOLDING_REST_S: Final = 0.04
"""For the node's other work, while what a subscriber resumes from is folded."""

AHEAD_WAIT_S: Final = 5.0
"""For this node to apply what a subscriber has seen at another one."""


class FeedFigures:
    """Counters, since the node started: of subscriptions now, connections closed with 4008, messages and bytes sent."""

    __slots__ = ("bytes_sent", "deliveries", "dropped", "messages_sent", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions = 0
        self.dropped = 0
        self.messages_sent = 0
        self.bytes_sent = 0
        self.deliveries = 0


class Block:
    """Frames of consecutive messages, for everyone at one position."""

    __slots__ = ("frames", "is_snapshot", "message_count")

    def __init__(self, frames: bytes, message_count: int, *, is_snapshot: bool = False) -> None:
        self.frames = frames
        self.message_count = message_count
        self.is_snapshot = is_snapshot


class Subscription:
    """A place in a group: everything up to `position` has been told.

    While `folding` is set it has no place yet: what it is to be told first is being folded, by and by.
    """

    __slots__ = ("ahead_timer", "connection", "folding", "group", "position")

    def __init__(self, connection: StreamConnection, group: Group, position: int) -> None:
        self.connection = connection
        self.group = group
        self.position = position
        self.ahead_timer: asyncio.TimerHandle | None = None
        self.folding: asyncio.TimerHandle | None = None


class Group:
    """Subscribers of one channel who get the same bytes at the same time."""

    __slots__ = ("_latest", "_snapshot", "channel", "due_at", "encoding", "folding_count", "interval_s", "positions")

    def __init__(self, channel: Channel, encoding: Encoding, interval_s: float) -> None:
        self.channel = channel
        self.encoding = encoding
        self.interval_s = interval_s
        self.due_at = 0.0
        self.positions: dict[int, dict[Subscription, None]] = {}
        self.folding_count = 0
        """Subscriptions that are in no position yet."""
        self._latest: tuple[int, int, Block] | None = None
        self._snapshot: tuple[int, Block] | None = None

    def snapshot(self, feed: Feed) -> Block:
        """Encoded once for all who join at the same head."""
        head = self.channel.head(feed)
        if self._snapshot is None or self._snapshot[0] != head or isinstance(self.channel, AccountOrders):
            block = Block(self.encoding.frame(self.channel.snapshot(feed)), 1, is_snapshot=True)
            self._snapshot = (head, block)
        return self._snapshot[1]

    def block_after(self, feed: Feed, position: int) -> Block:
        """All between `position` and the head; a snapshot where that is not held.

        The latest one is kept: when a node dies, its subscribers resume at another one from the same position. No more
        than one, or a client that resumes from everywhere could fill the memory with them.
        """
        head = self.channel.head(feed)
        if self._latest is None or self._latest[:2] != (head, position):
            self._latest = (head, position, self._updates_after(feed, position) or self.snapshot(feed))
        return self._latest[2]

    def _updates_after(self, feed: Feed, position: int) -> Block | None:
        channel = self.channel
        if isinstance(channel, AccountOrders):
            messages = channel.messages_after(feed, position)
            return None if messages is None else self._encoded(messages)
        updates = feed.updates_after(channel.symbol, position)
        if updates is None:
            return None
        instrument = channel.instrument(feed)
        if self.interval_s:
            return self._encoded(channel.merged_messages(updates, position, instrument))
        blocks = []
        if updates[0].update.first_sequence <= position:
            blocks.append(self._encoded(channel.messages_behind(updates[0], position, instrument)))
            updates = updates[1:]
        blocks += [self._block_of(channel, held, instrument) for held in updates]
        if len(blocks) == 1:
            return blocks[0]
        return Block(b"".join(block.frames for block in blocks), sum(block.message_count for block in blocks))

    def _block_of(self, channel: MarketChannel, held: FeedUpdate, instrument: Instrument) -> Block:
        """One entry's update, encoded once as long as the feed remembers it."""
        name = (channel.key[0], self.encoding)
        block = held.encoded.get(name)
        if block is None:
            block = held.encoded[name] = self._encoded(channel.messages_of(held, instrument))
        assert isinstance(block, Block)
        return block

    def _encoded(self, messages: Iterable[Message]) -> Block:
        frames = [self.encoding.frame(message) for message in messages]
        return Block(b"".join(frames), len(frames))

    def forget_blocks(self) -> None:
        """What was told to everyone who was behind."""
        self._latest = self._snapshot = None

    def place(self, subscription: Subscription, position: int) -> None:
        subscription.position = position
        self.positions.setdefault(position, {})[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        there = self.positions[subscription.position]
        del there[subscription]
        if not there:
            del self.positions[subscription.position]


class Delivery:
    """All groups of a node, and when they are told. Everything happens on the node's loop."""

    def __init__(self, feed: Callable[[], Feed]) -> None:
        self._feed = feed
        self._groups: dict[tuple[tuple[str, ...], Encoding, float], Group] = {}
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.figures = FeedFigures()

    # Subscribing.

    def subscribe(
        self,
        connection: StreamConnection,
        channel: Channel,
        encoding: Encoding,
        from_sequence: int | None,
        interval_s: float,
        fail: Callable[[ProblemError], None],
    ) -> Subscription:
        """Tell the connection a snapshot, or what follows `from_sequence`, and from now on whatever comes.

        `fail` is called later where this node does not reach `from_sequence` in time.

        Raises:
            ProblemError: there is no such symbol.
        """
        feed = self._feed()
        if isinstance(channel, MarketChannel) and not from_sequence:
            check_symbol(feed, channel.symbol)
        key = (channel.key, encoding, interval_s)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(channel, encoding, interval_s)
            if isinstance(channel, MarketChannel):
                feed.listen(channel.symbol)
        head = group.channel.head(feed)
        subscription = Subscription(connection, group, head if from_sequence is None else from_sequence)
        if from_sequence is not None and from_sequence > head:
            group.place(subscription, from_sequence)
            subscription.ahead_timer = asyncio.get_running_loop().call_later(
                AHEAD_WAIT_S, self._give_up, subscription, fail
            )
        else:
            self._begin(subscription, from_sequence)
        self.figures.subscriptions += 1
        return subscription

    def _begin(self, subscription: Subscription, from_sequence: int | None) -> None:
        """Tell it what comes first; where much of that is still to be folded, by and by."""
        group, connection, feed = subscription.group, subscription.connection, self._feed()
        channel = group.channel
        group.folding_count -= subscription.folding is not None
        subscription.folding = None
        if (
            from_sequence is not None
            and isinstance(channel, MarketChannel)
            and not feed.fold_after(channel.symbol, from_sequence)
        ):
            loop = asyncio.get_running_loop()
            subscription.folding = loop.call_later(FOLDING_REST_S, self._begin, subscription, from_sequence)
            group.folding_count += 1
            return
        head = channel.head(feed)
        group.place(subscription, head)
        if from_sequence is None:
            self._queue(connection, group.snapshot(feed))
        elif from_sequence < head:
            self._queue(connection, group.block_after(feed, from_sequence))
        connection.flush()

    def unsubscribe(self, subscription: Subscription) -> None:
        group = subscription.group
        if subscription.folding is not None:
            subscription.folding.cancel()
            subscription.folding = None
            group.folding_count -= 1
        else:
            group.remove(subscription)
        if subscription.ahead_timer is not None:
            subscription.ahead_timer.cancel()
            subscription.ahead_timer = None
        if not group.positions and not group.folding_count:
            channel = group.channel
            del self._groups[channel.key, group.encoding, group.interval_s]
            if isinstance(channel, MarketChannel):
                self._feed().ignore(channel.symbol)
        self.figures.subscriptions -= 1

    def _give_up(self, subscription: Subscription, fail: Callable[[ProblemError], None]) -> None:
        subscription.ahead_timer = None
        feed, channel = self._feed(), subscription.group.channel
        head = channel.head(feed)
        if subscription.position <= head:
            return
        detail = (
            f"this node has applied {head} and not yet {subscription.position}; ask the node that you saw it at, or "
            "start again without from_sequence"
        )
        problem = ProblemError(409, "sequence_ahead", detail)
        if isinstance(channel, MarketChannel):
            try:
                check_symbol(feed, channel.symbol)
            except ProblemError as unknown:
                problem = unknown
        fail(problem)

    # Telling.

    def changed(self) -> None:
        """The feed has something new."""
        if not self._groups:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._free_at:
            self._deliver()
        else:
            self._deliver_at(self._free_at)

    def _deliver_at(self, when: float) -> None:
        """At that time, or before, where that is arranged already."""
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._deliver)

    def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        began_at = loop.time()
        next_due_at = float("inf")
        feed = self._feed()
        touched: list[StreamConnection] = []
        for group in self._groups.values():
            head = group.channel.head(feed)
            if all(position >= head for position in group.positions):
                continue
            if group.interval_s and group.due_at > began_at:
                next_due_at = min(next_due_at, group.due_at)
                continue
            group.due_at = began_at + group.interval_s
            self._deliver_to(group, feed, head, touched)
        for connection in touched:
            connection.flush()
        self.figures.deliveries += 1
        ended_at = loop.time()
        self._free_at = ended_at + REST * (ended_at - began_at)
        if next_due_at != float("inf"):
            self._deliver_at(max(next_due_at, self._free_at))

    def _deliver_to(self, group: Group, feed: Feed, head: int, touched: list[StreamConnection]) -> None:
        for position in [position for position in group.positions if position < head]:
            block = group.block_after(feed, position)
            subscriptions = group.positions.pop(position)
            for subscription in subscriptions:
                subscription.position = head
                if block.message_count and self._queue(subscription.connection, block):
                    touched.append(subscription.connection)
            if head in group.positions:
                group.positions[head].update(subscriptions)
            else:
                group.positions[head] = subscriptions
        group.forget_blocks()

    def _queue(self, connection: StreamConnection, block: Block) -> bool:
        self.figures.messages_sent += block.message_count
        self.figures.bytes_sent += len(block.frames)
        if block.is_snapshot:
            return connection.queue_snapshot(block.frames)
        return connection.queue(block.frames)


def check_symbol(feed: Feed, symbol: str) -> None:
    """ProblemError where there is no such symbol."""
    if symbol not in feed:
        near = nearest(symbol, feed)
        hint = f"did you mean {' or '.join(near)}?" if near else "GET /v1/instruments lists those there are"
        raise ProblemError(404, "unknown_symbol", f"there is no instrument {symbol}; {hint}", members={"near": near})
