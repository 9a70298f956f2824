"""The tape: the latest trades of one symbol."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import astuple

from raftbook.engine.events import Trade
from raftbook.engine.types import EventKind, Side
from raftbook.errors import SnapshotError
from raftbook.market_data.plain_values import read_flag, read_integer, read_list, read_member, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.market_data.plain_values import PlainValue


class TradeTape:
    """The last `kept` trades, in the order in which they happened; trade ids rise along it."""

    __slots__ = ("_trades", "kept")

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._trades: deque[Trade] = deque(maxlen=kept)

    def __len__(self) -> int:
        return len(self._trades)

    def __iter__(self) -> Iterator[Trade]:
        return iter(self._trades)

    def add(self, trade: Trade) -> None:
        """O(1)."""
        self._trades.append(trade)

    @property
    def last(self) -> Trade | None:
        return self._trades[-1] if self._trades else None

    @property
    def last_trade_id(self) -> int | None:
        return self._trades[-1].trade_id if self._trades else None

    def latest(self, limit: int) -> list[Trade]:
        """The last `limit`, oldest first. O(trades kept)."""
        return list(islice(self._trades, max(0, len(self._trades) - limit), None))

    def from_trade_id(self, trade_id: int, limit: int | None = None) -> list[Trade]:
        """Those with this id or a higher one, at most `limit`, oldest first. O(trades kept).

        What has left the tape is missing from the answer: it reaches back to the first trade of `iter`.
        """
        return list(islice((trade for trade in self._trades if trade.trade_id >= trade_id), limit))

    def to_snapshot(self) -> list[PlainValue]:
        """`[kept, [trade without kind and symbol, …]]`. O(trades kept)."""
        return [self.kept, [[*astuple(trade)[2:14], int(trade.taker_side), trade.auction] for trade in self._trades]]

    @classmethod
    def from_snapshot(cls, data: object, symbol: str) -> TradeTape:
        """Raises SnapshotError for whatever is not such a value."""
        kept, trades = read_list(data, "tape", 2)
        tape = cls(read_integer(kept, "trades kept"))
        last_trade_id = 0
        for item in read_list(trades, "trades"):
            trade = _read_trade(item, symbol)
            if trade.trade_id <= last_trade_id:
                raise SnapshotError(f"market data: trade {trade.trade_id} of {symbol} follows {last_trade_id}")
            last_trade_id = trade.trade_id
            tape.add(trade)
        return tape


def _read_trade(data: object, symbol: str) -> Trade:
    fields = read_list(data, "trade", 14)
    sequence, log_index, timestamp, trade_id, price, quantity, maker_order_id = (
        read_integer(value, name) for value, name in zip(fields[:7], Trade.__struct_fields__[2:9], strict=True)
    )
    return Trade(
        EventKind.TRADE,
        symbol,
        sequence,
        log_index,
        timestamp,
        trade_id,
        price,
        quantity,
        maker_order_id,
        read_text(fields[7], "maker_client_order_id"),
        read_text(fields[8], "maker_account"),
        read_integer(fields[9], "taker_order_id"),
        read_text(fields[10], "taker_client_order_id"),
        read_text(fields[11], "taker_account"),
        read_member(Side, fields[12], "taker_side"),
        read_flag(fields[13], "auction"),
    )
