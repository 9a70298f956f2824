"""A book kept from a feed: at the same sequence it equals the node's. Pure.

It is made of market_data's own books, so a client keeps its book by the code by which a node keeps its own.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

from raftbook.engine.types import Side
from raftbook.errors import SequenceGapError
from raftbook.json_format import decimal_text
from raftbook.market_data import Level2Book, Level3Book, LevelChange, OrderChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.client.documents import BookOrder, FeedMessage, Indication, TradingStatusName
    from raftbook.client.documents import OrderChange as OrderChangeDocument

_SIDES = {side.label: side for side in Side}


class Level(NamedTuple):
    """A price and the displayed quantity there, as decimal text."""

    price: str
    quantity: str


class Top(NamedTuple):
    """The best bid and offer, None where a side is empty."""

    bid: Level | None
    ask: Level | None


class LocalBook:
    """The book of one symbol after the event `sequence`, from the messages of `book` (level 2) or `l3`.

    `apply` takes every message of the feed, in its order. What is read is as JSON has it: decimal text.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.sequence = 0
        self.log_index = 0
        """Of the last entry that is in it."""
        self.timestamp = 0
        self.status: TradingStatusName = "trading"
        self.indication: Indication | None = None
        """While the instrument is in an auction: at what it would trade now."""
        self.last_price: str | None = None
        self._level2 = Level2Book()
        self._level3: Level3Book | None = None
        self._price_decimals = 0
        self._quantity_decimals = 0

    @property
    def bids(self) -> list[Level]:
        """Best first. O(levels)."""
        return self.depth()[0]

    @property
    def asks(self) -> list[Level]:
        """Best first. O(levels)."""
        return self.depth()[1]

    def depth(self, limit: int | None = None) -> tuple[list[Level], list[Level]]:
        """(bids, asks), the best `limit` levels or all, best first. O(levels returned)."""
        bids, asks = self._level2.depth(limit)
        return [self._level(*level[:2]) for level in bids], [self._level(*level[:2]) for level in asks]

    @property
    def top(self) -> Top:
        """O(1)."""
        bid, ask = self._level2.top
        return Top(bid and self._level(*bid[:2]), ask and self._level(*ask[:2]))

    def orders(self, side: str, limit: int | None = None) -> list[BookOrder]:
        """The first `limit` orders of a side ("buy", "sell"), or all, in priority; of a book that is kept from `l3`."""
        if self._level3 is None:
            raise ValueError("a level 2 book knows no orders; ask for client.local_book(symbol, level=3)")
        return [
            {
                "order_id": order.order_id,
                "price": decimal_text(order.price, self._price_decimals),
                "quantity": decimal_text(order.quantity, self._quantity_decimals),
            }
            for order in islice(self._level3.orders(_SIDES[side]), limit)
        ]

    def apply(self, message: FeedMessage) -> None:
        """Take in the next message. O(changes), O(log levels) for each level that comes or goes.

        Raises SequenceGapError where it does not fit what is here; then only a snapshot helps.
        """
        if message["type"] == "snapshot":
            self._start(message)
        else:
            first = message.get("first_sequence", message["sequence"])
            if first != self.sequence + 1:
                raise SequenceGapError(f"{self.symbol}: {self.sequence + 1} is the next event, and here is {first}")
            self._change(message)
        self.sequence = message["sequence"]
        self.log_index = message.get("log_index", self.log_index)
        self.timestamp = message.get("timestamp", self.timestamp)
        self.last_price = message.get("last_price", self.last_price)
        self.status = message.get("status", self.status)
        if self.status != "auction":
            self.indication = None
        elif "indication" in message:
            self.indication = message["indication"]
        elif self.indication is None:
            # An auction begins; until it is told otherwise, nothing would trade.
            nothing = decimal_text(0, self._quantity_decimals)
            self.indication = {"quantity": nothing, "imbalance_quantity": nothing}

    def _start(self, message: FeedMessage) -> None:
        self._level2, self._level3 = Level2Book(), None
        self.last_price = self.indication = None
        self.status = "trading"
        if message["channel"] == "l3":
            self._level3 = Level3Book()
            self._level2 = self._level3.level2
            for side, orders in ((Side.BUY, message["bids"]), (Side.SELL, message["asks"])):
                self._level3.apply(
                    OrderChange(
                        order["order_id"], side, self._price(order["price"]), self._quantity(order["quantity"]), True
                    )
                    for order in cast("list[BookOrder]", orders)
                )
        else:
            self._set_levels(message)

    def _change(self, message: FeedMessage) -> None:
        if self._level3 is None:
            self._set_levels(message)
        else:
            self._level3.apply(
                OrderChange(
                    change["order_id"],
                    _SIDES[change["side"]],
                    self._price(change["price"]),
                    self._quantity(change["quantity"]),
                    change["to_back"],
                )
                for change in cast("Iterable[OrderChangeDocument]", message.get("orders", ()))
            )

    def _set_levels(self, message: FeedMessage) -> None:
        for side, levels in ((Side.BUY, message.get("bids", ())), (Side.SELL, message.get("asks", ()))):
            for price, text in cast("Iterable[list[str]]", levels):
                quantity = self._quantity(text)
                # The feed does not say how many orders a level has; at least one, unless it is gone.
                self._level2.apply([LevelChange(side, self._price(price), quantity, int(quantity > 0))])

    def _level(self, price: int, quantity: int) -> Level:
        return Level(decimal_text(price, self._price_decimals), decimal_text(quantity, self._quantity_decimals))

    def _price(self, text: str | None) -> int:
        assert text is not None, "what rests in a book has a price"
        self._price_decimals = _decimals(text)
        return int(text.replace(".", ""))

    def _quantity(self, text: str) -> int:
        self._quantity_decimals = _decimals(text)
        return int(text.replace(".", ""))


def _decimals(text: str) -> int:
    """An instrument's numbers all have its number of decimals."""
    return len(text.partition(".")[2])
