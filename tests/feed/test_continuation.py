"""What subscribers are told is the exchange's own, after every entry, wherever they begin, lose their node and go on.

A life is a dense flow of every kind of command. Two nodes apply it: one from the first entry on, one that takes the
state over in the middle, remembers little, and begins again from a new base every few events. Subscribers move between
them at any moment, in the middle of what one entry did as well, and name what they saw last.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from raftbook.engine import Entry, Exchange, Run, Trade
from raftbook.feed import AccountOrders, Feed, market_channel
from raftbook.gateway.stream_delivery import Group
from raftbook.gateway.websocket_frames import Encoding
from raftbook.json_format import decimal_text
from raftbook.json_format.market import public_trade_to_json
from raftbook.state_machine import StateMachine
from tests.engine.dense_flow import ACCOUNTS, SYMBOLS, DenseFlow
from tests.support.feed_followers import BookFollower, Level3Follower, OrdersFollower, TradesFollower
from tests.support.frames import messages_in

LIVES = 6
COMMANDS = 250
ALL_EVENTS = 1_000_000
FEW_EVENTS = 40
FEW_WAITING = 12


class Node:
    """A state machine and its feed."""

    def __init__(self, machine: StateMachine, events_kept: int, **laziness: int) -> None:
        self.machine = machine
        self.feed = Feed(machine.exchange, trades_of(machine), machine.index, events_kept=events_kept, **laziness)
        self.groups: dict[object, Group] = {}

    def apply(self, index: int, entry: Entry) -> list[Trade]:
        executions = self.machine.apply_entry(index, entry)
        if executions:
            self.feed.apply(index, executions)
        else:
            self.feed.advance(index)
        return [event for execution in executions for event in execution.events if isinstance(event, Trade)]

    def restart(self) -> None:
        """From its own snapshot, with nothing remembered."""
        self.machine = StateMachine.from_snapshot(self.machine.to_snapshot())
        self.feed.restore(self.machine.exchange, trades_of(self.machine), self.machine.index)

    def group(self, channel, encoding: Encoding, interval_s: float) -> Group:
        key = (channel.key, encoding, interval_s)
        return self.groups.setdefault(key, Group(channel, encoding, interval_s))


def trades_of(machine: StateMachine) -> dict[str, list[Trade]]:
    return {symbol: machine.recent_trades(symbol) for symbol in machine.exchange.books}


class Subscriber:
    """Takes what a node has for it whenever it is told to `listen`."""

    def __init__(self, channel, follower, encoding: Encoding, interval_s: float, laziness: float) -> None:
        self.channel = channel
        self.follower = follower
        self.laziness = laziness
        self._encoding = encoding
        self._interval_s = interval_s
        self._position: int | None = None

    def listen(self, node: Node, numbers: Random) -> bool:
        """True where it has heard everything; False where it was cut off on the way."""
        group = node.group(self.channel, self._encoding, self._interval_s)
        head = self.channel.head(node.feed)
        if self._position is None:
            block = group.snapshot(node.feed)
        elif self._position < head:
            block = group.block_after(node.feed, self._position)
        else:
            return self._position == head
        messages = list(messages_in(block.frames))
        assert len(messages) == block.message_count
        heard = len(messages)
        if numbers.random() < 0.1:
            heard = numbers.randrange(heard + 1)
        for message in messages[:heard]:
            self.follower.take(message)
        if heard == len(messages):
            self._position = head
        elif heard:
            self._position = self.follower.sequence
        return heard == len(messages)

    @property
    def has_begun(self) -> bool:
        return self._position is not None


def subscribers(numbers: Random) -> list[Subscriber]:
    found = []
    for symbol in SYMBOLS:
        for name, follower in (("book", BookFollower), ("l3", Level3Follower), ("trades", TradesFollower)):
            for encoding in Encoding:
                for interval_s in (0.0, 0.1):
                    laziness = numbers.choice((0.0, 0.5, 0.9))
                    channel = market_channel(name, symbol)
                    found.append(Subscriber(channel, follower(), encoding, interval_s, laziness))
    for account in ACCOUNTS:
        laziness = numbers.choice((0.0, 0.5, 0.9))
        found.append(Subscriber(AccountOrders(account), OrdersFollower(), Encoding.JSON, 0.0, laziness))
    return found


def check_market(subscriber: Subscriber, exchange: Exchange, trades: dict[str, list[Trade]]) -> None:
    """The follower has what the exchange has."""
    name, symbol = subscriber.channel.key
    book, follower = exchange.books[symbol], subscriber.follower
    instrument = book.instrument
    if name == "trades":
        expected = [public_trade_to_json(trade, instrument) for trade in trades[symbol]]
        assert follower.trades == expected[len(expected) - len(follower.trades) :]
        assert not expected or follower.trades
        return

    def texts(price: int, quantity: int) -> list[str]:
        return [decimal_text(price, instrument.price_decimals), decimal_text(quantity, instrument.quantity_decimals)]

    assert follower.status == book.status.label
    if name == "book":
        expected_sides = [[texts(*level) for level in side] for side in exchange.depth(symbol)]
    else:
        expected_sides = [
            [
                {"order_id": order.order_id, "price": price, "quantity": quantity}
                for order in side
                for price, quantity in [texts(order.price, order.visible_quantity)]
            ]
            for side in exchange.level3(symbol)
        ]
    assert list(follower.sides) == expected_sides


def check_orders(subscriber: Subscriber, exchange: Exchange) -> None:
    """The open orders follow from the first snapshot and the events behind it, or stand in the last snapshot."""
    follower, account = subscriber.follower, subscriber.channel.account
    live = {order["order_id"] for order in follower.open_at_first}
    for event in follower.events_behind_snapshot:
        assert_names_nobody_else(event, account)
        if event["event"] == "trade":
            continue
        if event.get("status") in ("open", "untriggered") and "order_id" in event and "requested_status" not in event:
            live.add(event["order_id"])
        elif "order_id" in event and event["status"] in ("canceled", "expired", "filled"):
            live.discard(event["order_id"])
    filled = {
        order_id
        for order_id in live
        if exchange.order(order_id) is None or not exchange.order(order_id).leaves_quantity
    }
    assert live - filled == {order.order_id for order in exchange.orders(account)}


def assert_names_nobody_else(event, account: str) -> None:
    owners = [event[name] for name in ("account", "maker_account", "taker_account") if name in event]
    assert owners, event
    assert set(owners) == {account}, event
    for role in ("maker", "taker"):
        assert (f"{role}_account" in event) == (f"{role}_client_order_id" in event)


def live(seed: int) -> Counter[str]:
    numbers = Random(f"feed {seed}")
    flow = DenseFlow(numbers)
    first, second = Node(StateMachine(), ALL_EVENTS), Node(StateMachine(), FEW_EVENTS, waiting_events=FEW_WAITING)
    trades: dict[str, list[Trade]] = {symbol: [] for symbol in SYMBOLS}
    everybody = subscribers(numbers)
    seen: Counter[str] = Counter()
    now, submitted, index = flow.first_moment, 0, 0
    commands = flow.instruments()
    while submitted < COMMANDS:
        index += 1
        entry = Entry(now, (Run("test", submitted + 1, commands),) if commands else ())
        for trade in first.apply(index, entry):
            trades[trade.symbol].append(trade)
        second.apply(index, entry)
        submitted += len(commands)
        if numbers.random() < 0.02:
            second.restart()
            seen["restart"] += 1
        exchange = first.machine.exchange
        for subscriber in everybody:
            if numbers.random() < subscriber.laziness:
                continue
            node = numbers.choice((first, second))
            if not subscriber.listen(node, numbers):
                seen["cut off"] += 1
            elif isinstance(subscriber.channel, AccountOrders):
                check_orders(subscriber, exchange)
            else:
                check_market(subscriber, exchange, trades)
        now += flow.elapsed(now)
        commands = flow.commands(now, exchange.orders(), exchange.statuses)
    for subscriber in everybody:
        seen["snapshots"] += subscriber.follower.snapshots
        seen["begun"] += subscriber.has_begun
    seen["updates"] = sum(getattr(subscriber.follower, "updates", 0) for subscriber in everybody)
    seen["trades"] = sum(map(len, trades.values()))
    return seen


@pytest.mark.parametrize("seed", range(LIVES))
def test_subscribers_of_either_node_know_what_the_exchange_knows(seed: int):
    seen = live(seed)
    # The life had what it is about: nobody is told everything by snapshots, and some have to be.
    assert seen["restart"]
    assert seen["cut off"] > 20
    assert seen["snapshots"] > seen["begun"] == len(SYMBOLS) * 12 + len(ACCOUNTS)
    assert seen["updates"] > 10 * seen["snapshots"]


def test_a_position_that_is_held_is_continued_by_any_node_with_the_same_messages():
    """Byte for byte, from every sequence that there is, in the middle of an entry as well; whenever it folds."""
    numbers = Random("every position")
    flow = DenseFlow(numbers)
    at_once, *others = nodes = [
        Node(StateMachine(), ALL_EVENTS),
        Node(StateMachine(), ALL_EVENTS),
        Node(StateMachine(), ALL_EVENTS, waiting_events=FEW_WAITING),
        Node(StateMachine(), ALL_EVENTS, waiting_events=1),
        Node(StateMachine(), ALL_EVENTS, waiting_events=FEW_WAITING, most_resting_orders=5),
    ]
    channels = [market_channel(name, symbol) for name in ("book", "l3", "trades") for symbol in SYMBOLS]
    now, submitted, commands = flow.first_moment, 0, flow.instruments()
    for index in range(1, 120):
        entry = Entry(now, (Run("test", submitted + 1, commands),) if commands else ())
        for node in nodes:
            node.apply(index, entry)
        for symbol in SYMBOLS:
            assert at_once.feed.market(symbol).sequence == at_once.machine.exchange.books[symbol].sequence
        submitted += len(commands)
        now += flow.elapsed(now)
        exchange = at_once.machine.exchange
        commands = flow.commands(now, exchange.orders(), exchange.statuses)
    for channel in channels:
        head = channel.head(at_once.feed)
        assert head > 50
        from_first = list(messages_in(at_once.group(channel, Encoding.JSON, 0.0).block_after(at_once.feed, 0).frames))
        for position in range(head - 1, -1, -1):
            expected = [message for message in from_first if message["sequence"] > position]
            for node in others:
                frames = node.group(channel, Encoding.JSON, 0.0).block_after(node.feed, position).frames
                assert list(messages_in(frames)) == expected
    for symbol in SYMBOLS:
        for node in others:
            assert node.feed.candles(symbol).to_snapshot() == at_once.feed.candles(symbol).to_snapshot()
            assert list(node.feed.market(symbol).tape) == list(at_once.feed.market(symbol).tape)
