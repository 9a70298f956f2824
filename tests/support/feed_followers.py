"""Subscribers in their simplest form: they keep what the messages of a channel say, and insist that none is missing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

Message = dict[str, Any]


class BookFollower:
    """A book by price, kept from the messages of the channel `book`; `sides` as the snapshot has them."""

    channel = "book"

    def __init__(self) -> None:
        self.sequence: int | None = None
        self.levels: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        self.status: str | None = None
        self.snapshots = 0
        self.updates = 0

    def take(self, message: Message) -> None:
        assert message["channel"] == self.channel
        if message["type"] == "snapshot":
            self.snapshots += 1
            self.take_snapshot(message)
        else:
            assert self.sequence is not None, "the first message is a snapshot, or follows one that was seen elsewhere"
            assert message.get("first_sequence", message["sequence"]) == self.sequence + 1, (self.sequence, message)
            self.updates += 1
            self.take_update(message)
        self.sequence = message["sequence"]
        self.status = message.get("status", self.status)

    def take_snapshot(self, message: Message) -> None:
        self.levels = {name: dict(message[name]) for name in ("bids", "asks")}

    def take_update(self, message: Message) -> None:
        for name, levels in self.levels.items():
            for price, quantity in message.get(name, ()):
                if quantity.strip("0."):
                    levels[price] = quantity
                else:
                    # A level that came and went between two merged messages was never here.
                    assert price in levels or "first_sequence" in message
                    levels.pop(price, None)

    @property
    def sides(self) -> tuple[list[list[str]], list[list[str]]]:
        """(bids, asks), best first."""
        bids, asks = (
            sorted(map(list, self.levels[name].items()), key=lambda level: float(level[0])) for name in self.levels
        )
        return bids[::-1], asks


class Level3Follower(BookFollower):
    """Every order by price and arrival, kept from the messages of the channel `l3`."""

    channel = "l3"

    def __init__(self) -> None:
        super().__init__()
        self.trades: list[Message] = []

    def take_snapshot(self, message: Message) -> None:
        self.orders: dict[int, tuple[str, str, str]] = {
            order["order_id"]: (side, order["price"], order["quantity"])
            for side, name in (("buy", "bids"), ("sell", "asks"))
            for order in message[name]
        }

    def take_update(self, message: Message) -> None:
        for change in message.get("orders", ()):
            order_id = change["order_id"]
            place = (change["side"], change["price"])
            if change["to_back"]:
                self.orders.pop(order_id, None)
            else:
                assert self.orders[order_id][:2] == place, change
            if change["quantity"].strip("0."):
                self.orders[order_id] = (*place, change["quantity"])
            else:
                del self.orders[order_id]
        self.trades += message.get("trades", ())

    @property
    def sides(self) -> tuple[list[Message], list[Message]]:
        """(bids, asks), each in priority: a dict keeps the order in which orders came."""
        sides: dict[str, list[Message]] = defaultdict(list)
        for order_id, (side, price, quantity) in self.orders.items():
            sides[side].append({"order_id": order_id, "price": price, "quantity": quantity})
        return (
            sorted(sides["buy"], key=lambda order: -float(order["price"])),
            sorted(sides["sell"], key=lambda order: float(order["price"])),
        )


class TradesFollower:
    """All trades of a symbol from the first that was seen on."""

    def __init__(self) -> None:
        self.trades: list[Message] = []
        self.sequence: int | None = None
        self.snapshots = 0

    def take(self, message: Message) -> None:
        assert message["channel"] == "trades"
        if message["type"] == "snapshot":
            self.snapshots += 1
            for trade in message["trades"]:
                if not self.trades or trade["trade_id"] > self.trades[-1]["trade_id"]:
                    self.trades.append(trade)
        else:
            if self.trades:
                assert message["previous_trade_id"] == self.trades[-1]["trade_id"], (self.trades[-1], message)
            left_out = ("channel", "type", "symbol", "previous_trade_id")
            self.trades.append({name: value for name, value in message.items() if name not in left_out})
        self.sequence = message["sequence"]


class OrdersFollower:
    """The events of one account, in their order, and its open orders."""

    def __init__(self) -> None:
        self.sequence: int | None = None
        self.open_at_first: list[Message] | None = None
        self.events: list[Message] = []
        self.events_behind_snapshot: list[Message] = []
        self.snapshots = 0

    def take(self, message: Message) -> None:
        assert message["channel"] == "orders"
        if message["type"] == "snapshot":
            self.snapshots += 1
            self.open_at_first = message["orders"]
            self.events_behind_snapshot = []
        else:
            assert message["sequence"] > (self.sequence or 0), "an entry is told once"
            assert {event["log_index"] for event in message["events"]} == {message["sequence"]}
            self.events += message["events"]
            self.events_behind_snapshot += message["events"]
        self.sequence = message["sequence"]
