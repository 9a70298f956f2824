"""Snapshots: the whole state of an exchange as plain values, and back.

A snapshot is nested lists of integers, strings, booleans and None: whatever codec carries them, nothing is
lost. It is canonical: equal states give equal snapshots. Its shape (VERSION 3):

    [version, log_index, time, last_order_id, last_trade_id, closed_orders_kept,
     [[origin, watermark], …],                            sorted by origin
     [[instrument, status, sequence, forgotten_net_quantity, last_price, indication,
       bids, asks, stops], …],                            as the instruments were added
     [[account, closed orders], …],                       sorted by account; orders as they closed
     [refused order, …],                                  sorted by account; each account's oldest first
     [most_keys, [key, …]]]                               as the keys were created

Before there is a first API key it has the shape of version 2, without the last field, whose bytes older releases read.
`bids` and `asks` list the waiting orders in priority, those without a price first, `stops` the untriggered ones as they
arrived, which is why a restored book has every queue as it was.
Restoring validates every field, and then the state as a whole against the invariants.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from raftbook.engine.api_keys_snapshot import keys_to_list, restore_keys
from raftbook.engine.commands import NewOrder
from raftbook.engine.events import Indication
from raftbook.engine.instrument import Instrument
from raftbook.engine.order_book import OrderBook
from raftbook.engine.snapshot_fields import (
    read_flag,
    read_integer,
    read_length,
    read_limit,
    read_list,
    read_member,
    read_number,
    read_price,
    read_reason,
    read_string,
    read_text,
    read_time,
)
from raftbook.engine.snapshot_orders import OrderReader, orders_to_list
from raftbook.engine.triggers import await_trigger
from raftbook.engine.turns import let_others_run
from raftbook.engine.types import (
    IDENTIFIER_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    MOST_KEYS,
    MOST_PERCENT,
    SYMBOL_PATTERN,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.exchange import Exchange
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import PriceLevel
    from raftbook.engine.refused_orders import RefusedOrder
    from raftbook.engine.snapshot_fields import PlainValue

# An enum's member read through its class costs a descriptor call in Python 3.11; a module's name does not.
_OPEN: Final = OrderStatus.OPEN
_UNTRIGGERED: Final = OrderStatus.UNTRIGGERED
_IOC: Final = TimeInForce.IOC

_order_id: Final = attrgetter("order_id")
_RANGE_BITS: Final = 12

VERSION: Final = 3
_VERSION_WITHOUT_KEYS: Final = 2


def take_snapshot(exchange: Exchange) -> list[PlainValue]:
    """O(state)."""
    registry, journal, keys = exchange.registry, exchange.journal, exchange.api_keys
    assert not journal.events, "a snapshot is taken between two entries"
    # The bound is told as well, so that whoever goes on from the snapshot has the one that a test has set.
    has_keys = bool(keys.records) or keys.most_keys != MOST_KEYS
    return [
        VERSION if has_keys else _VERSION_WITHOUT_KEYS,
        journal.log_index,
        journal.time,
        registry.last_order_id,
        journal.last_trade_id,
        registry.closed_orders_kept,
        [[origin, sequence] for origin, sequence in sorted(exchange.watermarks.items())],
        [_book_to_list(book, registry.forgotten_net_quantity.get(book.symbol, 0)) for book in exchange.books.values()],
        [
            [name, orders_to_list(account.closing_order)]
            for name, account in sorted(registry.accounts.items())
            if account.closing_order
        ],
        [_refused_order_to_list(refused) for refused in exchange.refused_orders],
        *([keys_to_list(keys)] if has_keys else []),
    ]


def _book_to_list(book: OrderBook, forgotten_net_quantity: int) -> list[PlainValue]:
    return [
        [*book.instrument[:-1], int(book.instrument.self_trade_prevention)],
        int(book.status),
        book.sequence,
        forgotten_net_quantity,
        book.last_price,
        _indication_to_list(book.indication),
        orders_to_list(chain(book.bids.unpriced, book.bids.orders())),
        orders_to_list(chain(book.asks.unpriced, book.asks.orders())),
        orders_to_list(
            sorted(chain(book.buy_stops.orders(), book.sell_stops.orders()), key=lambda order: order.arrival)
        ),
    ]


def _indication_to_list(indication: Indication) -> list[PlainValue]:
    side = indication.imbalance_side
    return [
        indication.price,
        indication.quantity,
        indication.imbalance_quantity,
        None if side is None else int(side),
    ]


def _refused_order_to_list(refused: RefusedOrder) -> list[PlainValue]:
    content = refused.content
    return [
        content.client_order_id,
        content.account,
        content.symbol,
        int(content.side),
        int(content.order_type),
        int(content.time_in_force),
        content.post_only,
        None if content.price is None else list(content.price),
        list(content.quantity),
        None if content.stop_price is None else list(content.stop_price),
        None if content.display_quantity is None else list(content.display_quantity),
        content.expire_time,
        None if content.self_trade_prevention is None else int(content.self_trade_prevention),
        refused.not_after,
        refused.reason.value,
        refused.detail,
    ]


def restore_into(exchange: Exchange, data: object, *, use_up: bool) -> None:
    """Fill a new exchange with the snapshot's state. ValueError for whatever is not a snapshot. O(n log n).

    With `use_up`, the lists of orders are emptied as they are read.
    """
    fields = read_list(data, "snapshot")
    version = fields[0] if fields else None
    if type(version) is not int or version not in (_VERSION_WITHOUT_KEYS, VERSION):
        raise ValueError(f"snapshot: version {version!r} is neither {_VERSION_WITHOUT_KEYS} nor {VERSION}")
    read_length(fields, 10 if version == _VERSION_WITHOUT_KEYS else 11, "snapshot")
    registry, journal = exchange.registry, exchange.journal
    journal.log_index = read_integer(fields[1], "log_index")
    journal.time = read_integer(fields[2], "time")
    registry.last_order_id = read_integer(fields[3], "last_order_id")
    journal.last_trade_id = read_integer(fields[4], "last_trade_id")
    registry.closed_orders_kept = read_integer(fields[5], "closed_orders_kept", low=1)
    _restore_watermarks(exchange, fields[6])

    reader = OrderReader(exchange, use_up=use_up)
    waiting: list[Order] = []
    for item in read_list(fields[7], "books"):
        waiting += _restore_book(exchange, reader, item)
    closed: list[Order] = []
    for item in read_list(fields[8], "accounts"):
        account_name, orders = read_length(read_list(item, "account"), 2, "account")
        closed += _restore_closed(reader, read_text(account_name, IDENTIFIER_PATTERN, "account"), orders)
    _register(exchange, waiting, closed)
    for item in read_list(fields[9], "refused orders"):
        _restore_refused_order(exchange, item)
    if version == VERSION:
        restore_keys(exchange.api_keys, fields[10])
    try:
        exchange.check()
    except AssertionError as error:
        raise ValueError(f"snapshot: {error}") from error


def _restore_watermarks(exchange: Exchange, data: object) -> None:
    for item in read_list(data, "watermarks"):
        name, sequence = read_length(read_list(item, "watermark"), 2, "watermark")
        origin = read_string(name, "origin")
        if origin in exchange.watermarks:
            raise ValueError(f"snapshot: origin {origin!r} occurs twice")
        exchange.watermarks[origin] = read_integer(sequence, "watermark", low=1)


def _restore_book(exchange: Exchange, reader: OrderReader, data: object) -> list[Order]:
    """Returns the orders that wait in the book."""
    fields = read_length(read_list(data, "book"), 9, "book")
    instrument = _restore_instrument(fields[0])
    symbol = instrument.symbol
    if symbol in exchange.books:
        raise ValueError(f"snapshot: instrument {symbol} occurs twice")
    book = OrderBook(instrument)
    book.status = read_member(TradingStatus, fields[1], "status")
    book.sequence = read_integer(fields[2], "sequence", low=1)
    net = read_integer(fields[3], "forgotten_net_quantity")
    if net:
        exchange.registry.forgotten_net_quantity[symbol] = net
    book.last_price = read_price(fields[4], "last_price")
    book.indication = _restore_indication(fields[5])
    exchange.instruments[symbol] = instrument
    exchange.books[symbol] = book
    if instrument.max_open_orders is not None:
        exchange.registry.limited_symbols[symbol] = instrument.max_open_orders
    if book.status is TradingStatus.AUCTION:
        exchange.journal.auctions[symbol] = book
        book.indicated_sequence = book.sequence
    return _restore_waiting(book, reader, bids=fields[6], asks=fields[7], stops=fields[8])


def _restore_instrument(data: object) -> Instrument:
    fields = read_length(read_list(data, "instrument"), 12, "instrument")
    return Instrument(
        read_text(fields[0], SYMBOL_PATTERN, "symbol"),
        read_integer(fields[1], "price_decimals", high=MAX_DECIMALS),
        read_integer(fields[2], "quantity_decimals", high=MAX_DECIMALS),
        read_integer(fields[3], "tick_size", low=1),
        read_integer(fields[4], "lot_size", low=1),
        read_limit(fields[5], "min_quantity"),
        read_limit(fields[6], "max_quantity"),
        read_limit(fields[7], "min_notional"),
        read_limit(fields[8], "price_band", MOST_PERCENT),
        read_limit(fields[9], "market_protection", MOST_PERCENT),
        read_limit(fields[10], "max_open_orders"),
        read_member(SelfTradePrevention, fields[11], "self_trade_prevention"),
    )


def _restore_indication(data: object) -> Indication:
    fields = read_length(read_list(data, "indication"), 4, "indication")
    return Indication(
        read_price(fields[0], "indicative price"),
        read_integer(fields[1], "indicative quantity"),
        read_integer(fields[2], "imbalance quantity"),
        None if fields[3] is None else read_member(Side, fields[3], "imbalance side"),
    )


def _restore_waiting(book: OrderBook, reader: OrderReader, *, bids: object, asks: object, stops: object) -> list[Order]:
    waiting: list[Order] = []
    for side, orders in ((book.bids, bids), (book.asks, asks)):
        level: PriceLevel | None = None
        for order in reader.read_orders(orders, "waiting orders"):
            let_others_run()
            if order.status is not _OPEN or order.hidden_quantity >= order.leaves_quantity:
                raise ValueError(f"snapshot: order {order.order_id} cannot rest")
            price = order.price
            if price is None:
                side.unpriced.append(order)
            elif level is not None and level.price == price:
                # Nearly all: they come price by price.
                level.append(order)
            else:
                side.add_at(price, order)
                level = order.level
            if order.time_in_force is _IOC and price is not None:
                book.until_uncross[order.order_id] = order
            waiting.append(order)
    for order in reader.read_orders(stops, "stops"):
        if order.stop_price is None or order.status is not _UNTRIGGERED:
            raise ValueError(f"snapshot: order {order.order_id} is no untriggered stop")
        await_trigger(order, book)
        waiting.append(order)
    return waiting


def _restore_closed(reader: OrderReader, account: str, data: object) -> list[Order]:
    orders = reader.read_orders(data, "closed orders")
    for order in orders:
        if order.account != account:
            raise ValueError(f"snapshot: order {order.order_id} is listed by an account that is not its own")
    return orders


def _register(exchange: Exchange, waiting: list[Order], closed: list[Order]) -> None:
    """Take in all orders: by order id, except that an account's closed ones stay as they closed."""
    registry = exchange.registry
    orders, accounts = registry.orders, registry.accounts
    previous_id: int | None = None
    for order in _by_order_id(waiting + closed):
        let_others_run()
        if order.order_id == previous_id:
            raise ValueError(f"snapshot: order {order.order_id} occurs twice")
        previous_id = order.order_id
        if order.account not in accounts:
            registry.account(order.account)
        if order.status is _OPEN or order.status is _UNTRIGGERED:
            registry.add(order)
        else:
            orders[order.order_id] = order
    for order in closed:
        registry.remember_closed(accounts[order.account], order)


def _by_order_id(orders: list[Order]) -> Iterator[Order]:
    """Sorted by range, then within it: no call of C takes long, since the other threads of a node wait for each, and
    what a range's sort touches stays near the processor, which saves half of the time.
    """
    ranges: dict[int, list[Order]] = {}
    for order in orders:
        let_others_run()
        number = order.order_id >> _RANGE_BITS
        of_range = ranges.get(number)
        if of_range is None:
            ranges[number] = [order]
        else:
            of_range.append(order)
    for number in sorted(ranges):
        of_range = ranges.pop(number)
        of_range.sort(key=_order_id)
        yield from of_range


def _restore_refused_order(exchange: Exchange, data: object) -> None:
    fields = read_length(read_list(data, "refused order"), 16, "refused order")
    content = NewOrder(
        client_order_id=read_text(fields[0], IDENTIFIER_PATTERN, "client_order_id"),
        account=read_text(fields[1], IDENTIFIER_PATTERN, "account"),
        symbol=read_text(fields[2], SYMBOL_PATTERN, "symbol"),
        side=read_member(Side, fields[3], "side"),
        order_type=read_member(OrderType, fields[4], "order_type"),
        time_in_force=read_member(TimeInForce, fields[5], "time_in_force"),
        post_only=read_flag(fields[6], "post_only"),
        price=None if fields[7] is None else read_number(fields[7], "price"),
        quantity=read_number(fields[8], "quantity"),
        stop_price=None if fields[9] is None else read_number(fields[9], "stop_price"),
        display_quantity=None if fields[10] is None else read_number(fields[10], "display_quantity"),
        expire_time=read_time(fields[11], "expire_time"),
        self_trade_prevention=None
        if fields[12] is None
        else read_member(SelfTradePrevention, fields[12], "self_trade_prevention"),
    )
    refused_orders = exchange.refused_orders
    # Sorted, the accounts come one after the other; whichever came before this one is the last to have a number.
    if refused_orders.accounts and content.account < next(reversed(refused_orders.accounts)):
        raise ValueError("snapshot: refused orders must be sorted by account")
    if content in (refused_orders.under_id(content.account, content.client_order_id) or {}):
        raise ValueError(f"snapshot: refused order {content.account} {content.client_order_id} occurs twice")
    refused_orders.remember(
        content,
        read_reason(fields[14]),
        None if fields[15] is None else read_string(fields[15], "detail"),
        not_after=read_integer(fields[13], "not_after"),
        # A snapshot that lists too many is refused by the check at the end, not cut short here.
        limit_per_account=MAX_INTEGER,
    )
