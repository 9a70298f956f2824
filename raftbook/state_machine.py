"""The state machine: raw entries of the ordered log in, executions out.

It wraps the exchange with what makes replicas comparable: the codec, the digest chain and the snapshot. The same code
runs in a node, in the simulator and in the offline tools. Pure: no clock, randomness or I/O.

    chain(0)  = 32 zero bytes
    chain(i)  = BLAKE2b-256(chain before || index as 8 bytes, big-endian || encoded events of entry i)

So two nodes with the same chain digest have seen the same events at the same indexes from the beginning, whatever
snapshots they came by. An entry that cannot be decoded executes nothing and leaves log time where it is, but takes its
index and extends the chain like one without events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec.structs import astuple

from raftbook.codec import decode_entry, decode_snapshot, encode_events, encode_snapshot
from raftbook.engine.events import Event, Execution, Trade
from raftbook.engine.exchange import Exchange
from raftbook.engine.types import MAX_INTEGER, EventKind, Side
from raftbook.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine.commands import Entry

DIGESTS_KEPT: Final = 10_000
"""Applied entries whose chain digests are kept, so that nodes can compare at an index that both have passed."""

TRADES_KEPT: Final = 1_000
"""Latest trades kept per symbol."""

_DIGEST_BYTES: Final = 32
_GENESIS: Final = bytes(_DIGEST_BYTES)
_VERSION: Final = 2


class StateMachine:
    """`index` is the last index that was applied or passed over, `chain_digest` the digest chain at it (32 bytes)."""

    __slots__ = ("_digest_indexes", "_digests", "_first_index", "_recent_trades", "chain_digest", "exchange", "index")

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.index = 0
        self.chain_digest = _GENESIS
        self._recent_trades: dict[str, deque[Trade]] = {}
        self._start_digests()

    def _start_digests(self) -> None:
        """From here on digests are known: `_first_index` is the lowest index that `digest_at` can answer."""
        self._first_index = self.index
        self._digest_indexes: list[int] = [self.index]
        self._digests: list[bytes] = [self.chain_digest]

    def apply(self, index: int, raw_entry: bytes) -> list[Execution]:
        """Execute the entry at `index`, which is above every earlier one. O(size of the entry and its events).

        Never raises on any bytes; an AssertionError is a bug.
        """
        assert index > self.index, f"entry {index} after index {self.index}"
        entry = decode_entry(raw_entry)
        return self._conclude(index, [] if entry is None else self.exchange.apply(index, entry))

    def apply_entry(self, index: int, entry: Entry) -> list[Execution]:
        """As `apply`, for an entry that was never encoded: the offline tools read commands, not log bytes."""
        assert index > self.index, f"entry {index} after index {self.index}"
        return self._conclude(index, self.exchange.apply(index, entry))

    def _conclude(self, index: int, executions: list[Execution]) -> list[Execution]:
        events = [event for execution in executions for event in execution.events]
        self._extend_chain(index, events)
        self._remember_trades(events)
        return executions

    def advance(self, index: int) -> None:
        """Pass over the indexes up to `index`, which hold nothing for the state machine. O(1)."""
        assert index >= self.index, f"advance to {index} after index {self.index}"
        self.index = index

    def _extend_chain(self, index: int, events: Sequence[Event]) -> None:
        # One call for all three parts: for an entry of one order, two more took longer than to put them together.
        content = b"".join((self.chain_digest, index.to_bytes(8, "big"), encode_events(events)))
        self.chain_digest = blake2b(content, digest_size=_DIGEST_BYTES).digest()
        self.index = index
        self._digest_indexes.append(index)
        self._digests.append(self.chain_digest)
        if len(self._digests) > 2 * DIGESTS_KEPT:
            # Dropped by the thousand, so that it costs nothing per entry and bisect has a plain list.
            del self._digest_indexes[:-DIGESTS_KEPT]
            del self._digests[:-DIGESTS_KEPT]
            self._first_index = self._digest_indexes[0]

    def _remember_trades(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Trade):
                trades = self._recent_trades.get(event.symbol)
                if trades is None:
                    trades = self._recent_trades[event.symbol] = deque(maxlen=TRADES_KEPT)
                trades.append(event)

    def digest_at(self, index: int) -> str | None:
        """The chain digest (hex) after the last entry at or before `index`. O(log entries kept).

        None where `index` was not reached yet, or lies further back than the digests that are kept (at least the last
        10,000 entries' since the start or the last snapshot taken in).
        """
        if not self._first_index <= index <= self.index:
            return None
        return self._digests[bisect_right(self._digest_indexes, index) - 1].hex()

    def state_digest(self) -> str:
        """BLAKE2b-256 (hex) of the exchange's whole state. O(size of the state), so not for every entry."""
        return blake2b(encode_snapshot(self.exchange.to_snapshot()), digest_size=_DIGEST_BYTES).hexdigest()

    def recent_trades(self, symbol: str, from_trade_id: int | None = None, limit: int | None = None) -> list[Trade]:
        """Of the symbol's last 1,000 trades, in the order in which they happened: those from `from_trade_id` on, at
        most `limit`; without `from_trade_id` the latest `limit`. O(trades kept).
        """
        trades = self._recent_trades.get(symbol, ())
        if from_trade_id is not None:
            return [trade for trade in trades if trade.trade_id >= from_trade_id][:limit]
        first = 0 if limit is None else max(0, len(trades) - limit)
        return list(islice(trades, first, None))

    def to_snapshot(self) -> bytes:
        """Everything that another node needs to go on from `index` as if it had applied every entry. O(size).

        Canonical: two state machines that have applied the same entries give the same bytes.
        """
        trades = [[symbol, list(map(astuple, self._recent_trades[symbol]))] for symbol in sorted(self._recent_trades)]
        return encode_snapshot([_VERSION, self.index, self.chain_digest, trades, self.exchange.to_snapshot()])

    @classmethod
    def from_snapshot(cls, raw: bytes) -> StateMachine:
        """Raises SnapshotError where the snapshot is truncated, altered, of another version, or contradicts itself."""
        fields = decode_snapshot(raw)
        if type(fields) is not list or len(fields) != 5 or fields[0] != _VERSION:
            raise SnapshotError("the snapshot's content is not of a version that this release reads")
        _, index, chain_digest, trades, exchange = fields
        if type(index) is not int or not 0 <= index <= MAX_INTEGER:
            raise SnapshotError("the snapshot's log index is out of range")
        if type(chain_digest) is not bytes or len(chain_digest) != _DIGEST_BYTES:
            raise SnapshotError(f"the snapshot's chain digest is not of {_DIGEST_BYTES} bytes")
        machine = cls()
        try:
            machine.exchange = Exchange.from_snapshot(exchange, use_up=True)
            machine._recent_trades = _read_trades(trades)
        except ValueError as error:
            raise SnapshotError(f"the snapshot contradicts itself: {error}") from error
        if machine.exchange.log_index > index:
            raise SnapshotError(f"the snapshot at index {index} holds an exchange at {machine.exchange.log_index}")
        machine.index = index
        machine.chain_digest = chain_digest
        machine._start_digests()
        return machine


def _read_trades(data: object) -> dict[str, deque[Trade]]:
    """The recent trades of a snapshot. Raises ValueError where it does not hold such."""
    if type(data) is not list:
        raise ValueError("recent trades are no list")
    recent: dict[str, deque[Trade]] = {}
    for item in data:
        if type(item) is not list or len(item) != 2 or type(item[0]) is not str or type(item[1]) is not list:
            raise ValueError("recent trades of a symbol are not [symbol, trades]")
        symbol, trades = item
        if symbol in recent or len(trades) > TRADES_KEPT:
            raise ValueError(f"recent trades of {symbol!r} come twice, or are more than {TRADES_KEPT}")
        recent[symbol] = deque([_read_trade(symbol, trade) for trade in trades], maxlen=TRADES_KEPT)
    return recent


_TRADE_TYPES: Final = (int, str, int, int, int, int, int, int, int, str, str, int, str, str, int, bool)
"""The types of a trade's fields in their order, as CBOR holds them."""


def _read_trade(symbol: str, fields: object) -> Trade:
    if type(fields) is not list or tuple(map(type, fields)) != _TRADE_TYPES:
        raise ValueError(f"a recent trade of {symbol!r} has fields of other types")
    trade = Trade(*(EventKind(fields[0]), *fields[1:-2], Side(fields[-2]), fields[-1]))
    if trade.kind is not EventKind.TRADE or trade.symbol != symbol:
        raise ValueError(f"a recent trade of {symbol!r} is no trade of that symbol")
    return trade
