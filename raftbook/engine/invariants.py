"""The invariants of the exchange's state, checked all through the tests and after a snapshot is restored.

Each failure is an AssertionError that names the broken invariant. The checks raise it themselves and use no
assert statement, so that a snapshot is checked under `python -O` as well.

What is asked of every order is asked in plain conditions, without a call or a text for those that hold: a million
orders take a third of the time that they took with `_require`, and a node checks its state with every snapshot.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from raftbook.engine.api_keys import fault_of_accounts
from raftbook.engine.auction import indication
from raftbook.engine.events import NO_INDICATION
from raftbook.engine.order_book import Ladder
from raftbook.engine.refused_orders import content_of
from raftbook.engine.turns import let_others_run
from raftbook.engine.types import (
    DAY_NS,
    MAX_INTEGER,
    OrderStatus,
    OrderType,
    Reason,
    Side,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import OrderBook, PriceLevel
    from raftbook.engine.refused_orders import RefusedOrdersOfAccount
    from raftbook.engine.registry import OrderRegistry

# An enum's member read through its class costs a descriptor call in Python 3.11; a module's name does not.
_OPEN: Final = OrderStatus.OPEN
_UNTRIGGERED: Final = OrderStatus.UNTRIGGERED
_LIMIT: Final = OrderType.LIMIT
_STOP: Final = OrderType.STOP
_STOP_LIMIT: Final = OrderType.STOP_LIMIT
_DAY: Final = TimeInForce.DAY
_GTD: Final = TimeInForce.GTD
_GTC: Final = TimeInForce.GTC
_IOC: Final = TimeInForce.IOC
_FOK: Final = TimeInForce.FOK


def check_exchange(exchange: Exchange) -> None:
    """Hold the whole state against every invariant. O(state)."""
    registry = exchange.registry
    _require(exchange.journal.events == [], "no event is left over between two commands")
    _require(
        exchange.instruments == {symbol: book.instrument for symbol, book in exchange.books.items()},
        "every instrument has one book",
    )
    limited = {
        symbol: instrument.max_open_orders
        for symbol, instrument in exchange.instruments.items()
        if instrument.max_open_orders is not None
    }
    _require(registry.limited_symbols == limited, "open orders are counted where an instrument limits them")
    for sequence in exchange.watermarks.values():
        _require(sequence > 0, "an origin is known from its first executed submission on")
    net_quantity, expiring = _check_orders(exchange)
    _check_registry(registry)
    _check_refused_orders(exchange)
    resting_count = 0
    for book in exchange.books.values():
        resting_count += _check_book(book, registry)
    _check_bought_equals_sold(exchange, net_quantity)
    # Every order is listed by its account, the live ones among the open: `_check_registry` has seen to it.
    live_count = sum(len(account.open_orders) for account in registry.accounts.values())
    _require(resting_count == live_count, "every live order waits in its book, and no other does")
    auctions = {symbol: book for symbol, book in exchange.books.items() if book.status is TradingStatus.AUCTION}
    _require(exchange.journal.auctions == auctions, "the auctions are the books in auction")
    _check_expiries(exchange, expiring)
    _check_api_keys(exchange)


def _require(condition: bool, invariant: str) -> None:
    if not condition:
        raise _broken(invariant)


def _broken(invariant: str) -> AssertionError:
    return AssertionError(f"broken invariant: {invariant}")


def _broken_by(order: Order, invariant: str) -> AssertionError:
    return _broken(f"order {order.order_id}: {invariant}")


def _check_orders(exchange: Exchange) -> tuple[dict[str, int], list[Order]]:
    """Returns what all there ever were have bought minus what they have sold, by symbol, and the live that expire."""
    registry, instruments, books = exchange.registry, exchange.instruments, exchange.books
    net = dict(registry.forgotten_net_quantity)
    expiring: list[Order] = []
    previous_id = 0
    for order_id, order in registry.orders.items():
        let_others_run()
        instrument = instruments.get(order.symbol)
        if instrument is None or not _is_plain_and_sound(order, instrument):
            _check_order(order)
            if instrument is None or order.symbol not in books:
                raise _broken("every order belongs to a known instrument")
            _check_steps(order, instrument)
            if order.filled_quantity:
                filled = order.filled_quantity if order.side is Side.BUY else -order.filled_quantity
                net[order.symbol] = net.get(order.symbol, 0) + filled
            if order.expire_time is not None and order.is_live:
                expiring.append(order)
        if order_id != order.order_id:
            raise _broken("an order is found under its own id")
        if not previous_id < order_id <= registry.last_order_id:
            raise _broken("order ids rise and none repeats")
        previous_id = order_id
    return net, expiring


def _is_plain_and_sound(order: Order, instrument: Instrument) -> bool:
    """Whether it is as nearly all are, a resting gtc limit order that has not traded and hides nothing, and nothing is
    wrong with it: what `_check_order` and `_check_steps` come to for such a one, at a third of the time.
    """
    price, quantity = order.price, order.quantity
    return (
        order.status is _OPEN
        and order.order_type is _LIMIT
        and order.time_in_force is _GTC
        and price is not None
        and price > 0
        and quantity > 0
        and price * quantity <= MAX_INTEGER
        and order.leaves_quantity == quantity
        and order.filled_quantity == order.notional == order.hidden_quantity == 0
        and order.stop_price is None
        and order.display_quantity is None
        and order.expire_time is None
        and order.level is not None
        and price % instrument.tick_size == 0
        and quantity % instrument.lot_size == 0
    )


def _check_order(order: Order) -> None:
    quantity, filled, leaves = order.quantity, order.filled_quantity, order.leaves_quantity
    canceled = quantity - filled - leaves
    if not 0 < quantity <= MAX_INTEGER:
        raise _broken_by(order, "the quantity is positive and fits 64 bits")
    if filled < 0 or leaves < 0:
        raise _broken_by(order, "no quantity is negative")
    if canceled < 0:
        raise _broken_by(order, "quantity = filled + leaves + canceled")
    if (filled == 0) is not (order.notional == 0):
        raise _broken_by(order, "a notional comes from trades alone")
    if not 0 <= order.notional <= MAX_INTEGER:
        raise _broken_by(order, "the notional fits 64 bits")
    _check_terms(order)
    if order.status is _OPEN or order.status is _UNTRIGGERED:
        _check_live(order, canceled)
    else:
        _check_closed(order, canceled)


def _check_live(order: Order, canceled: int) -> None:
    if canceled != 0 or order.leaves_quantity == 0:
        raise _broken_by(order, "a live order has leaves, nothing canceled")
    if order.level is None:
        raise _broken_by(order, "a live order waits somewhere")
    if order.price is not None and order.notional_at_most() > MAX_INTEGER:
        raise _broken_by(order, "the notional fits 64 bits, also when all is traded at the order's price")
    if order.status is _UNTRIGGERED and (order.stop_price is None or order.filled_quantity != 0):
        raise _broken_by(order, "only a stop that has not traded is untriggered")


def _check_closed(order: Order, canceled: int) -> None:
    if order.status is OrderStatus.FILLED:
        if order.filled_quantity != order.quantity:
            raise _broken_by(order, "a filled order is filled")
    else:
        if order.status is not OrderStatus.CANCELED and order.status is not OrderStatus.EXPIRED:
            raise _broken_by(order, "a known order is live, filled, canceled or expired")
        if order.leaves_quantity != 0 or canceled == 0:
            raise _broken_by(order, "a canceled order has no leaves")
        if order.status is OrderStatus.EXPIRED and order.expire_time is None:
            raise _broken_by(order, "only an order that expires is expired")
    if order.level is not None:
        raise _broken_by(order, "a closed order is in no book")
    if order.hidden_quantity != 0:
        raise _broken_by(order, "a closed order hides nothing")


def _check_steps(order: Order, instrument: Instrument) -> None:
    tick_size, lot_size = instrument.tick_size, instrument.lot_size
    if (order.price or 0) % tick_size or (order.stop_price or 0) % tick_size:
        raise _broken_by(order, "prices are on the tick")
    if (
        order.quantity % lot_size
        or order.filled_quantity % lot_size
        or order.leaves_quantity % lot_size
        or (order.display_quantity or 0) % lot_size
    ):
        raise _broken_by(order, "quantities are multiples of the lot")


def _check_terms(order: Order) -> None:
    order_type, time_in_force = order.order_type, order.time_in_force
    price, stop_price, tip = order.price, order.stop_price, order.display_quantity
    has_price = order_type is _LIMIT or order_type is _STOP_LIMIT
    has_stop = order_type is _STOP or order_type is _STOP_LIMIT
    expires = time_in_force is _DAY or time_in_force is _GTD
    may_rest = has_price and time_in_force is not _IOC and time_in_force is not _FOK
    if (price is not None) is not has_price:
        raise _broken_by(order, "a price is a limit order's")
    if (stop_price is not None) is not has_stop:
        raise _broken_by(order, "a stop price is a stop's")
    if time_in_force is _FOK:
        if has_stop:
            raise _broken_by(order, "no stop is fok")
        if order.is_live:
            raise _broken_by(order, "a fok never waits")
    if (order.expire_time is not None) is not expires:
        raise _broken_by(order, "a day or gtd order expires, no other does")
    if tip is not None and not may_rest:
        raise _broken_by(order, "only an order that may rest shows a part of it")
    if order.post_only and (has_stop or not may_rest):
        raise _broken_by(order, "only a limit order that may rest is post_only")
    if (
        (price is not None and not 0 < price <= MAX_INTEGER)
        or (stop_price is not None and not 0 < stop_price <= MAX_INTEGER)
        or (tip is not None and not 0 < tip <= MAX_INTEGER)
    ):
        raise _broken_by(order, "prices and the tip are positive and fit 64 bits")
    if not 0 <= order.hidden_quantity <= order.leaves_quantity:
        raise _broken_by(order, "what is hidden is part of the leaves")
    if tip is None and order.hidden_quantity != 0:
        raise _broken_by(order, "only an iceberg hides a part")
    if time_in_force is _DAY:
        assert order.expire_time is not None
        if order.expire_time % DAY_NS != 0 and order.expire_time != MAX_INTEGER:
            raise _broken_by(order, "a day ends at midnight")


def _check_expiries(exchange: Exchange, expiring: list[Order]) -> None:
    """`expiring` are the live orders that expire."""
    expiries = exchange.registry.expiries
    _require(len(expiries) == len(expiring), "the expiries are those of the live orders that expire")
    for order in expiring:
        _require(order in expiries, f"order {order.order_id}: listed by its expiry")
        assert order.expire_time is not None
        _require(order.expire_time > exchange.time, f"order {order.order_id}: ended when its time had come")


def _check_registry(registry: OrderRegistry) -> None:
    orders = registry.orders
    listed = 0
    for name, account in registry.accounts.items():
        _require(name == account.name, "an account is found under its own name")
        _require(len(account.closing_order) <= registry.closed_orders_kept, f"account {name}: bounded memory")
        _require(
            list(account.closed_orders.values()) == list(account.closing_order),
            f"account {name}: closed orders are held in the order in which they closed",
        )
        _require(
            account.open_orders.keys().isdisjoint(account.closed_orders),
            f"account {name}: a client order id is unique among open and remembered orders",
        )
        previous_id = 0
        for client_order_id, order in account.open_orders.items():
            let_others_run()
            if order.status is not _OPEN and order.status is not _UNTRIGGERED:
                raise _broken_by(order, "listed as open, is live")
            if previous_id >= order.order_id:
                raise _broken(f"account {name}: open orders are in order-id order")
            previous_id = order.order_id
            if (
                order.account != name
                or order.client_order_id != client_order_id
                or orders.get(previous_id) is not order
            ):
                raise _broken_by(order, "found under its id, its account and its client order id")
        for client_order_id, order in account.closed_orders.items():
            if order.is_live:
                raise _broken_by(order, "listed as closed, is closed")
            if (
                order.account != name
                or order.client_order_id != client_order_id
                or orders.get(order.order_id) is not order
            ):
                raise _broken_by(order, "found under its id, its account and its client order id")
        listed += len(account.open_orders) + len(account.closed_orders)
        counts: dict[str, int] = {}
        for order in account.open_orders.values() if registry.limited_symbols else ():
            if order.symbol in registry.limited_symbols:
                counts[order.symbol] = counts.get(order.symbol, 0) + 1
        _require(account.open_counts == counts, f"account {name}: its live orders are counted where they are limited")
        for symbol, count in counts.items():
            _require(count <= registry.limited_symbols[symbol], f"account {name}: no more live orders than allowed")
    _require(listed == len(registry.orders), "every order is listed by its account")


def _check_refused_orders(exchange: Exchange) -> None:
    refused_orders, registry = exchange.refused_orders, exchange.registry
    remembered = 0
    for name, account in refused_orders.accounts.items():
        count = len(account.oldest_first)
        _require(0 < count <= registry.closed_orders_kept, f"account {name}: a bounded memory of refusals, none empty")
        _require(
            count == sum(len(under_id) for under_id in account.by_client_order_id.values()),
            f"account {name}: every refusal is found under its client order id",
        )
        for client_order_id in account.by_client_order_id:
            _require(
                registry.find(name, client_order_id) is None,
                f"account {name}: a client order id is an order's or has refusals, not both",
            )
        _check_refusals(exchange, name, account)
        remembered += count
    _require(len(refused_orders.by_expiry) == remembered, "every refusal is listed by its expiry")


def _check_refusals(exchange: Exchange, account_name: str, account: RefusedOrdersOfAccount) -> None:
    refused_orders = exchange.refused_orders
    previous_number = 0
    for number, refused in account.oldest_first.items():
        content = refused.content
        name = f"refused order {account_name} {content.client_order_id}"
        _require(
            number == refused.number and previous_number < number <= refused_orders.last_number,
            f"{name}: the account's refusals are listed oldest first",
        )
        previous_number = number
        under_id = account.by_client_order_id.get(content.client_order_id, {})
        _require(
            content.account == account_name and under_id.get(content) is refused,
            f"{name}: found under its account, its client order id and its content",
        )
        _require(content == content_of(content), f"{name}: the content is what copies have in common")
        _require(refused.not_after >= exchange.time, f"{name}: forgotten when its time has passed")
        _require(refused_orders.by_expiry.get((refused.not_after, number)) is refused, f"{name}: listed by its expiry")
        _require(
            refused.reason not in (Reason.SUBMISSION_EXPIRED, Reason.DUPLICATE_CLIENT_ORDER_ID),
            f"{name}: only what a copy could overturn is remembered",
        )


def _check_book(book: OrderBook, registry: OrderRegistry) -> int:
    """Returns how many orders wait in the book."""
    _require(book.sequence > 0, f"{book.symbol}: the first event is the instrument's own")
    _require(
        book.last_price is None or 0 < book.last_price <= MAX_INTEGER, f"{book.symbol}: the last price fits 64 bits"
    )
    count = 0
    gathered_ioc: dict[int, Order] = {}
    for side in (book.bids, book.asks):
        count += _check_ladder(book, side, f"{book.symbol} {side.side.label}", registry)
        count += _check_level(book, side.unpriced, f"{book.symbol} {side.side.label} unpriced", registry)
        for level in side.best_levels():
            gathered_ioc |= _check_resting(level, side.side, level.price)
        _check_resting(side.unpriced, side.side, None)
    for stops, side_name in ((book.buy_stops, Side.BUY), (book.sell_stops, Side.SELL)):
        count += _check_ladder(book, stops, f"{book.symbol} {side_name.label} stop", registry)
        _check_stops(book, stops, side_name)
    _check_status(book, gathered_ioc)
    return count


def _check_resting(level: PriceLevel, side: Side, price: int | None) -> dict[int, Order]:
    """Returns those that are ioc, by order id."""
    let_others_run()
    ioc: dict[int, Order] = {}
    order = level.head
    while order is not None:
        if order.status is not _OPEN or order.side is not side:
            raise _broken_by(order, "an order in the book is open")
        if order.price != price:
            raise _broken_by(order, "a resting order waits at its own price")
        if order.time_in_force is _IOC:
            ioc[order.order_id] = order
        order = order.next
    return ioc


def _check_stops(book: OrderBook, stops: Ladder, side: Side) -> None:
    for level in stops.best_levels():
        arrivals = [order.arrival for order in level]
        _require(arrivals == sorted(arrivals), f"{book.symbol}: stops wait in the order of their arrival")
        _require(arrivals[-1] <= book.last_arrival, f"{book.symbol}: stops are counted as they arrive")
        for stop in level:
            _require(
                stop.status is OrderStatus.UNTRIGGERED and stop.side is side and stop.stop_price == level.price,
                f"order {stop.order_id}: an untriggered stop waits at its stop price",
            )
            _require(stop.hidden_quantity == 0, f"order {stop.order_id}: an untriggered stop hides nothing")


def _check_status(book: OrderBook, gathered_ioc: dict[int, Order]) -> None:
    """`gathered_ioc`: the orders of the book that have a price and are ioc."""
    bid, ask, last_price = book.bids.best, book.asks.best, book.last_price
    _require(gathered_ioc == book.until_uncross, f"{book.symbol}: ioc orders wait for an uncross only")
    if book.status is TradingStatus.TRADING:
        unpriced_count = book.bids.unpriced.order_count + book.asks.unpriced.order_count
        _require(
            unpriced_count == 0 and not gathered_ioc, f"{book.symbol}: while trading, market orders and ioc are gone"
        )
        _require(
            bid is None or ask is None or bid.price < ask.price, f"{book.symbol}: the best bid is below the best ask"
        )
    if last_price is not None and book.status in (TradingStatus.TRADING, TradingStatus.AUCTION):
        for stops in (book.buy_stops, book.sell_stops):
            _require(
                stops.best is None or stops.best.rank > last_price * stops.sign,
                f"{book.symbol}: no stop waits whose condition holds",
            )
    told = indication(book) if book.status is TradingStatus.AUCTION else NO_INDICATION
    _require(book.indication == told, f"{book.symbol}: what was told of the auction is true, and there is one")


def _check_ladder(book: OrderBook, ladder: Ladder, name: str, registry: OrderRegistry) -> int:
    """Returns how many orders wait in it."""
    count = 0
    previous_rank: int | None = None
    # First of all: where one is missing among the ranks, or too much, the levels cannot even be passed over.
    _require(list(ladder.ranks) == sorted(ladder.levels), f"{name}: the ranks are those of the levels")
    for level in ladder.best_levels():
        _require(previous_rank is None or previous_rank < level.rank, f"{name}: levels are sorted by rank")
        previous_rank = level.rank
        _require(level.rank == level.price * ladder.sign, f"{name} {level.price}: the rank is the signed price")
        _require(ladder.level_at(level.price) is level, f"{name} {level.price}: a level is found under its price")
        _require(level.head is not None, f"{name} {level.price}: no empty level remains")
        _require(
            type(ladder) is Ladder or level.quantity + level.hidden_quantity <= MAX_INTEGER,
            f"{name} {level.price}: what rests at one price fits 64 bits",
        )
        count += _check_level(book, level, f"{name} {level.price}", registry)
    first = next(ladder.best_levels(), None)
    _require(ladder.best is first, f"{name}: the best level is the first")
    return count


def _check_level(book: OrderBook, level: PriceLevel, name: str, registry: OrderRegistry) -> int:
    """Returns how many orders wait in it."""
    orders, symbol = registry.orders, book.symbol
    visible = hidden = count = 0
    previous: Order | None = None
    # Without the level's iterator, which would be resumed a million times.
    order = level.head
    while order is not None:
        let_others_run()
        if orders.get(order.order_id) is not order:
            raise _broken(f"{name}: a waiting order is registered")
        if order.symbol != symbol:
            raise _broken(f"{name}: a waiting order is of this instrument")
        if order.previous is not previous or order.level is not level:
            raise _broken(f"{name}: the queue is linked both ways")
        shown = order.leaves_quantity - order.hidden_quantity
        if shown <= 0:
            raise _broken(f"{name}: a waiting order shows something")
        if order.display_quantity is not None and shown > order.display_quantity and order.status is not _UNTRIGGERED:
            raise _broken(f"{name}: an iceberg shows no more than its tip")
        visible += shown
        hidden += order.hidden_quantity
        count += 1
        previous = order
        order = order.next
    _require(level.tail is previous, f"{name}: the queue's tail is its last order")
    sums = (level.quantity, level.hidden_quantity, level.order_count)
    _require(sums == (visible, hidden, count), f"{name}: the sums are those over its orders")
    return count


def _check_bought_equals_sold(exchange: Exchange, net: dict[str, int]) -> None:
    """Every trade has a buyer and a seller, so over all orders there ever were the filled quantities are equal.

    `net` is what they have bought minus what they have sold, by symbol.
    """
    for symbol in exchange.books:
        _require(net.get(symbol, 0) & MAX_INTEGER == 0, f"{symbol}: bought = sold")


def _check_api_keys(exchange: Exchange) -> None:
    keys = exchange.api_keys
    _require(len(keys.records) <= keys.most_keys, "a bounded number of keys")
    by_public_key = {record.public_key: record.key_id for record in keys.records.values()}
    _require(keys.key_ids == by_public_key, "every public key belongs to one key")
    for key_id, record in keys.records.items():
        name = f"key {key_id}"
        _require(record.key_id == key_id, f"{name}: is found under its id")
        _require(fault_of_accounts(record.role, record.accounts) is None, f"{name}: its accounts go with its role")
        rising = all(former < latter for former, latter in pairwise(record.accounts))
        _require(rising, f"{name}: its accounts are in rising order")
        revoked_at = exchange.time if record.revoked_at is None else record.revoked_at
        _require(record.created_at <= revoked_at <= exchange.time, f"{name}: was created, then revoked, in log time")
