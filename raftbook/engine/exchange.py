"""The exchange: the whole replicated state, and the one way in which it changes.

`Exchange.apply` takes the next entry of the ordered log and returns what each of its submissions led to. It is
a pure function of the log: two exchanges that have applied the same entries are equal, whenever and
wherever they did it. It never raises on an entry; an AssertionError is a bug, and halts the node.

Time comes first: what expires, ends before the first command of the entry runs. The indications of auctions come
last: the commands of an entry share one moment of log time, so an auction has one indication for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.api_keys import ApiKeys, create_key, revoke_key
from raftbook.engine.auction import indication
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.events import Execution, Indication, OrderState, Rejection
from raftbook.engine.invariants import check_exchange
from raftbook.engine.journal import Journal
from raftbook.engine.orders import cancel_all, cancel_order, end_order, new_order, replace_order
from raftbook.engine.refused_orders import RefusedOrders
from raftbook.engine.registry import OrderRegistry
from raftbook.engine.snapshot import restore_into, take_snapshot
from raftbook.engine.trading_status import add_instrument, set_status, uncross_auction
from raftbook.engine.types import (
    CLOSED_ORDERS_KEPT,
    MOST_KEYS,
    NO_ORIGIN,
    EventKind,
    OrderStatus,
    Reason,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from raftbook.engine.commands import Entry
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import OrderBook
    from raftbook.engine.snapshot_fields import PlainValue
    from raftbook.engine.types import Side

# Compiled, a name of this module that is Final is found at once; one that was imported is looked up each time.
_Execution: Final = Execution
_Rejection: Final = Rejection

_LIVE: Final = (OrderStatus.OPEN, OrderStatus.UNTRIGGERED)


class Exchange:
    """Instruments, their books, every order and refusal still known, API keys, and how far each origin has come.

    `watermarks` holds, per origin, the sequence of its last executed submission. `closed_orders_kept` bounds what
    is remembered of each account, closed orders and refused ones, `most_keys` the API keys. Both are part of the state:
    they must be the same on every node, and only tests set them.
    """

    __slots__ = ("api_keys", "books", "instruments", "journal", "refused_orders", "registry", "watermarks")

    def __init__(self, *, closed_orders_kept: int = CLOSED_ORDERS_KEPT, most_keys: int = MOST_KEYS) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.books: dict[str, OrderBook] = {}
        self.registry = OrderRegistry(closed_orders_kept)
        self.refused_orders = RefusedOrders()
        self.api_keys = ApiKeys(most_keys)
        self.journal = Journal()
        self.watermarks: dict[str, int] = {}

    # What changes the state.

    def apply(self, log_index: int, entry: Entry) -> list[Execution]:
        """Execute the entry's submissions in order and say what each led to.

        `log_index` is above every earlier one. Log time never runs backwards: it is the entry's timestamp
        (nanoseconds), or the time before where that is later. A submission is executed if it is the next of
        its origin (the first is number 1); one that was executed before is passed over, and so is one that
        leaves a gap, since the log will bring it again behind the missing one.
        """
        journal = self.journal
        assert log_index > journal.log_index, f"entry {log_index} after entry {journal.log_index}"
        journal.log_index = log_index
        journal.time = max(journal.time, entry.timestamp)
        self.refused_orders.forget_expired(journal.time)
        executions: list[Execution] = []
        self._expire(executions)
        for run in entry.runs:
            next_sequence = self.watermarks.get(run.origin, 0) + 1
            first_new = next_sequence - run.first_sequence
            if not 0 <= first_new < len(run.commands):
                continue
            # Counted by hand: compiled, the iterator of `enumerate` would box every number and pair.
            sequence = next_sequence
            for command in run.commands[first_new:] if first_new else run.commands:
                executions.append(self._execute(run.origin, sequence, command))
                sequence += 1
            self.watermarks[run.origin] = sequence - 1
        if journal.auctions:
            self._indicate(executions)
        return executions

    def _expire(self, executions: list[Execution]) -> None:
        """End the orders whose time has come. O(log live orders) for each."""
        next_expiry = self.registry.expiries.next_time
        if next_expiry is None or next_expiry > self.journal.time:
            return
        for order in self.registry.expiries.due(self.journal.time):
            end_order(self, order, self.books[order.symbol], OrderStatus.EXPIRED, Reason.EXPIRED)
        executions.append(self._execution_of_entry())

    def _indicate(self, executions: list[Execution]) -> None:
        """Tell what changed in the auctions. O(instruments), and O(levels that would trade) for each that changed."""
        for symbol, book in self.books.items():
            if symbol in self.journal.auctions and book.indicated_sequence != book.sequence:
                latest = indication(book)
                if latest != book.indication:
                    book.indication = latest
                    self.journal.indicated(book, latest)
                book.indicated_sequence = book.sequence
        if self.journal.events:
            executions.append(self._execution_of_entry())

    def _execution_of_entry(self) -> Execution:
        journal = self.journal
        return Execution(NO_ORIGIN, 0, journal.log_index, journal.time, True, None, journal.take())

    def _execute(self, origin: str, sequence: int, command: Command) -> Execution:
        order = self._dispatch(command)
        journal = self.journal
        events = journal.take()
        accepted = type(events[0]) is not _Rejection
        return _Execution(origin, sequence, journal.log_index, journal.time, accepted, order, events)

    def _dispatch(self, command: Command) -> OrderState | None:
        """Carry out one command; the answer is the order that it names, as it stands at the end."""
        if isinstance(command, NewOrder):
            return new_order(self, command)
        if isinstance(command, CancelOrder):
            return cancel_order(self, command)
        if isinstance(command, ReplaceOrder):
            return replace_order(self, command)
        if isinstance(command, CancelAll):
            cancel_all(self, command)
        elif isinstance(command, AddInstrument):
            add_instrument(self, command)
        elif isinstance(command, SetStatus):
            set_status(self, command)
        elif isinstance(command, Uncross):
            uncross_auction(self, command)
        elif isinstance(command, Tick):
            self._tick(command)
        elif isinstance(command, CreateKey):
            create_key(self, command)
        elif isinstance(command, RevokeKey):
            revoke_key(self, command)
        else:
            self.journal.rejected(EventKind.COMMAND_REJECTED, command, Reason.MALFORMED, command.detail, None)
        return None

    def _tick(self, command: Tick) -> None:
        if self.is_late(command.not_after):
            self.journal.rejected(EventKind.COMMAND_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, None)
        else:
            self.journal.ticked()

    def is_late(self, not_after: int | None) -> bool:
        """Has the time passed to which a command may be executed?"""
        return not_after is not None and self.journal.time > not_after

    # What reads it.

    @property
    def log_index(self) -> int:
        """The index of the last applied entry, 0 before the first."""
        return self.journal.log_index

    @property
    def time(self) -> int:
        """Log time: nanoseconds since the epoch, 0 before the first entry."""
        return self.journal.time

    @property
    def next_expiry(self) -> int | None:
        """When the next order expires (ns), None where none does: no entry needs to be logged before. O(1)."""
        return self.registry.expiries.next_time

    @property
    def statuses(self) -> dict[str, TradingStatus]:
        """Every instrument's trading status. O(instruments)."""
        return {symbol: book.status for symbol, book in self.books.items()}

    def order(self, order_id: int) -> OrderState | None:
        """An open or remembered order, None if there never was one or it is forgotten. O(1)."""
        order = self.registry.orders.get(order_id)
        return None if order is None else order.state()

    def order_by_client_id(self, account: str, client_order_id: str) -> OrderState | None:
        """As `order`, by the name that the account gave it. O(1)."""
        order = self.registry.find(account, client_order_id)
        return None if order is None else order.state()

    def orders(
        self,
        account: str | None = None,
        symbol: str | None = None,
        side: Side | None = None,
        open_only: bool = True,
    ) -> list[OrderState]:
        """The orders that meet all conditions, in order-id order. Costs what `iterate_orders` costs for all of them."""
        return list(self.iterate_orders(account, symbol, side, _LIVE if open_only else tuple(OrderStatus)))

    def iterate_orders(
        self,
        account: str | None,
        symbol: str | None,
        side: Side | None,
        statuses: Collection[OrderStatus],
        from_order_id: int = 0,
    ) -> Iterator[OrderState]:
        """As `orders`, one by one, for whoever needs only the first few. No entry may be applied between two of them.

        O(live orders of the account), or O(its orders log its orders) where `statuses` asks for others too; O(all
        orders known) without an account, but only those that are returned cost more than a look.
        """
        orders: Iterable[Order]
        if account is None:
            orders = self.registry.orders.values()
        elif any(status not in _LIVE for status in statuses):
            orders = self.registry.known_orders(account)
        else:
            orders = self.registry.open_orders(account)
        for order in orders:
            if (
                order.order_id >= from_order_id
                and order.status in statuses
                and (symbol is None or order.symbol == symbol)
                and (side is None or order.side is side)
            ):
                yield order.state()

    def depth(self, symbol: str, levels: int | None = None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) as (price, visible quantity) in units, best first. KeyError for an unknown symbol. O(levels)."""
        book = self.books[symbol]
        return book.bids.depth(levels), book.asks.depth(levels)

    def level3(self, symbol: str, levels: int | None = None) -> tuple[list[OrderState], list[OrderState]]:
        """(bids, asks), every resting order of the best `levels` levels in priority. KeyError for an unknown symbol."""
        book = self.books[symbol]
        bids, asks = book.bids.orders(levels), book.asks.orders(levels)
        return [order.state() for order in bids], [order.state() for order in asks]

    def indication(self, symbol: str) -> Indication:
        """What was told last of the instrument's auction. KeyError for an unknown symbol. O(1)."""
        return self.books[symbol].indication

    def check(self) -> None:
        """Hold the state against every invariant; the AssertionError names the broken one. O(state)."""
        check_exchange(self)

    def to_snapshot(self) -> list[PlainValue]:
        """The whole state as lists of plain values: equal states give equal lists. O(state)."""
        return take_snapshot(self)

    @classmethod
    def from_snapshot(cls, data: object, *, use_up: bool = False) -> Exchange:
        """The exchange that `to_snapshot` was taken of. ValueError for whatever is not such a value. O(state).

        With `use_up`, the lists of orders in `data` are empty afterwards: a large state is not in memory twice.
        """
        exchange = cls()
        restore_into(exchange, data, use_up=use_up)
        return exchange
