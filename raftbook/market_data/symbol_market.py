"""One symbol as the market sees it: kept by updates alone, by a node and its clients alike.

    market = SymbolMarket.from_snapshot(snapshot)
    for update in feed:
        if not market.holds(update):
            market.apply(update)

Some updates may have been under way when the snapshot was taken; after these, none may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.events import NO_INDICATION, AuctionEvent, Indication
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import MAX_DECIMALS, EventKind, SelfTradePrevention, Side, TradingStatus
from raftbook.errors import SequenceGapError, SnapshotError
from raftbook.market_data.candles import Candles
from raftbook.market_data.level3_book import Level3Book
from raftbook.market_data.plain_values import (
    read_integer,
    read_list,
    read_member,
    read_optional_integer,
    read_optional_side,
    read_text,
    read_total,
)
from raftbook.market_data.trade_tape import TradeTape
from raftbook.market_data.values import NO_UNPRICED_INTEREST, UnpricedInterest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.market_data.level2_book import Level2Book
    from raftbook.market_data.plain_values import PlainValue
    from raftbook.market_data.values import MarketUpdate, RestingOrder, TopOfBook

_BUY: Final = Side.BUY
_SELL: Final = Side.SELL

VERSION: Final = 1
"""Of the form that a snapshot has."""


class SymbolMarket:
    """Book, tape, candles, trading status and auction of one symbol after the event `sequence`.

    `log_index` and `timestamp` are those of this event, `last_price` is the last trade's, None before the first.
    """

    __slots__ = (
        "candles",
        "indication",
        "instrument",
        "last_price",
        "last_uncross",
        "level3",
        "log_index",
        "sequence",
        "status",
        "tape",
        "timestamp",
        "unpriced",
    )

    def __init__(self, instrument: Instrument, tape: TradeTape, candles: Candles) -> None:
        self.instrument = instrument
        self.status = TradingStatus.TRADING
        self.sequence = 0
        self.log_index = 0
        self.timestamp = 0
        self.last_price: int | None = None
        self.level3 = Level3Book()
        self.tape = tape
        self.candles = candles
        self.indication: Indication = NO_INDICATION
        self.unpriced: UnpricedInterest = NO_UNPRICED_INTEREST
        self.last_uncross: AuctionEvent | None = None

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def level2(self) -> Level2Book:
        return self.level3.level2

    @property
    def top(self) -> TopOfBook:
        """O(1)."""
        return self.level2.top

    @property
    def bids(self) -> Iterator[RestingOrder]:
        """In priority."""
        return self.level3.orders(_BUY)

    @property
    def asks(self) -> Iterator[RestingOrder]:
        """In priority."""
        return self.level3.orders(_SELL)

    def holds(self, update: MarketUpdate) -> bool:
        """Is all that it tells here already? So it is with updates that were under way when the snapshot was taken."""
        return update.sequence <= self.sequence

    def apply(self, update: MarketUpdate) -> None:
        """Take in the next update. Its `levels` and `top` are not needed for it: they follow from its `orders`.

        Raises SequenceGapError where it is not the next, or does not fit. O(changes), O(log levels) for each level that
        comes or goes, O(intervals) per trade.
        """
        if update.first_sequence != self.sequence + 1:
            raise SequenceGapError(
                f"{update.symbol}: event {self.sequence + 1} is the next, and here is {update.first_sequence}: "
                "start again from a snapshot"
            )
        self.level3.apply(update.orders)
        self.advance(update)

    def advance(self, update: MarketUpdate) -> None:
        """Take in all that an update tells but for its orders, which the book holds already."""
        for trade in update.trades:
            self.tape.add(trade)
            self.candles.add(trade)
            self.last_price = trade.price
        if update.status is not None:
            self.status = update.status
        if update.indication is not None:
            self.indication = update.indication
        if update.unpriced is not None:
            self.unpriced = update.unpriced
        if update.uncrossed is not None:
            self.last_uncross = update.uncrossed
        self.sequence = update.sequence
        self.log_index = update.log_index
        self.timestamp = update.timestamp

    def to_snapshot(self) -> list[PlainValue]:
        """What the market may see, as plain values: equal states give equal lists. O(state).

        `[version, instrument, status, sequence, log_index, timestamp, last_price, indication, unpriced interest, last
        uncross without kind and symbol or None, book, tape, candles]`
        """
        uncross = self.last_uncross
        return [
            VERSION,
            [*self.instrument[:-1], int(self.instrument.self_trade_prevention)],
            int(self.status),
            self.sequence,
            self.log_index,
            self.timestamp,
            self.last_price,
            _plain_outcome(self.indication),
            list(self.unpriced),
            None if uncross is None else _plain_uncross(uncross),
            self.level3.to_snapshot(),
            self.tape.to_snapshot(),
            self.candles.to_snapshot(),
        ]

    @classmethod
    def from_snapshot(cls, data: object) -> SymbolMarket:
        """The market that `to_snapshot` was taken of. Raises SnapshotError for whatever is not such a value."""
        fields = read_list(data, "snapshot")
        if not fields or fields[0] != VERSION:
            raise SnapshotError(f"market data: version {fields[0] if fields else None!r} is not {VERSION}")
        fields = read_list(fields, "snapshot", 13)
        instrument = _read_instrument(fields[1])
        market = cls(
            instrument, TradeTape.from_snapshot(fields[11], instrument.symbol), Candles.from_snapshot(fields[12])
        )
        market.status = read_member(TradingStatus, fields[2], "status")
        market.sequence = read_integer(fields[3], "sequence")
        market.log_index = read_integer(fields[4], "log_index")
        market.timestamp = read_integer(fields[5], "timestamp")
        market.last_price = read_optional_integer(fields[6], "last_price", low=1)
        market.indication = _read_outcome(fields[7], "indication")
        interest = read_list(fields[8], "unpriced interest", len(UnpricedInterest._fields))
        market.unpriced = UnpricedInterest(*(read_total(value, "unpriced interest") for value in interest))
        if fields[9] is not None:
            market.last_uncross = _read_uncross(fields[9], instrument.symbol)
        market.level3 = Level3Book.from_snapshot(fields[10])
        return market


def _read_instrument(data: object) -> Instrument:
    fields = read_list(data, "instrument", len(Instrument._fields))
    limits = Instrument._fields[5:11]
    return Instrument(
        read_text(fields[0], "symbol"),
        read_integer(fields[1], "price_decimals", high=MAX_DECIMALS),
        read_integer(fields[2], "quantity_decimals", high=MAX_DECIMALS),
        read_integer(fields[3], "tick_size", low=1),
        read_integer(fields[4], "lot_size", low=1),
        **{name: read_optional_integer(value, name) for name, value in zip(limits, fields[5:11], strict=True)},
        self_trade_prevention=read_member(SelfTradePrevention, fields[11], "self_trade_prevention"),
    )


def _plain_outcome(outcome: Indication) -> list[PlainValue]:
    side = outcome.imbalance_side
    return [*outcome[:3], None if side is None else int(side)]


def _read_outcome(data: object, name: str) -> Indication:
    price, quantity, imbalance_quantity, imbalance_side = read_list(data, name, len(Indication._fields))
    return Indication(
        read_optional_integer(price, name, low=1),
        read_integer(quantity, name),
        read_integer(imbalance_quantity, name),
        read_optional_side(imbalance_side, name),
    )


def _plain_uncross(uncross: AuctionEvent) -> list[PlainValue]:
    outcome = Indication(uncross.price, uncross.quantity, uncross.imbalance_quantity, uncross.imbalance_side)
    return [uncross.sequence, uncross.log_index, uncross.timestamp, *_plain_outcome(outcome)]


def _read_uncross(data: object, symbol: str) -> AuctionEvent:
    sequence, log_index, timestamp, *outcome = read_list(data, "last uncross", 7)
    return AuctionEvent(
        EventKind.AUCTION_UNCROSSED,
        symbol,
        read_integer(sequence, "last uncross", low=1),
        read_integer(log_index, "last uncross"),
        read_integer(timestamp, "last uncross"),
        *_read_outcome(outcome, "last uncross"),
    )
