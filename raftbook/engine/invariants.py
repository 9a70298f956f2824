"""The invariants of the exchange's state, checked all through the tests and after a snapshot is restored.

Each failure is an AssertionError that names the broken invariant. The checks raise it themselves and use no
assert statement, so that a snapshot is checked under `python -O` as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine.refused_orders import content_of
from raftbook.engine.types import MAX_INTEGER, OrderStatus, OrderType, Reason, Side, TimeInForce

if TYPE_CHECKING:
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.order_book import BookSide, Order, OrderBook, PriceLevel
    from raftbook.engine.refused_orders import RefusedOrdersOfAccount
    from raftbook.engine.registry import OrderRegistry


def check_exchange(exchange: Exchange) -> None:
    """Hold the whole state against every invariant. O(state)."""
    registry = exchange.registry
    _require(exchange.journal.events == [], "no event is left over between two commands")
    _require(
        exchange.instruments == {symbol: book.instrument for symbol, book in exchange.books.items()},
        "every instrument has one book",
    )
    for sequence in exchange.watermarks.values():
        _require(sequence > 0, "an origin is known from its first executed submission on")
    for order in registry.orders.values():
        _check_order(order)
        _require(order.symbol in exchange.books, "every order belongs to a known instrument")
    _check_registry(registry)
    _check_refused_orders(exchange)
    resting_count = 0
    for book in exchange.books.values():
        resting_count += _check_book(book, registry)
        _check_bought_equals_sold(book, registry)
    open_count = sum(order.status is OrderStatus.OPEN for order in registry.orders.values())
    _require(resting_count == open_count, "every open order rests in its book, and no other does")


def _require(condition: bool, invariant: str) -> None:
    if not condition:
        raise AssertionError(f"broken invariant: {invariant}")


def _check_order(order: Order) -> None:
    name = f"order {order.order_id}"
    canceled = order.quantity - order.filled_quantity - order.leaves_quantity
    _require(0 < order.quantity <= MAX_INTEGER, f"{name}: the quantity is positive and fits 64 bits")
    _require(order.filled_quantity >= 0 and order.leaves_quantity >= 0, f"{name}: no quantity is negative")
    _require(canceled >= 0, f"{name}: quantity = filled + leaves + canceled")
    _require((order.filled_quantity == 0) == (order.notional == 0), f"{name}: a notional comes from trades alone")
    _require(0 <= order.notional <= MAX_INTEGER, f"{name}: the notional fits 64 bits")
    _require((order.price is None) == (order.order_type is OrderType.MARKET), f"{name}: a price is a limit order's")
    _require(order.price is None or 0 < order.price <= MAX_INTEGER, f"{name}: the price fits 64 bits")
    if order.status is OrderStatus.OPEN:
        _require(canceled == 0 and order.leaves_quantity > 0, f"{name}: an open order has leaves, nothing canceled")
        _require(
            order.order_type is OrderType.LIMIT and order.time_in_force is TimeInForce.GTC,
            f"{name}: only a limit order that is good till canceled rests",
        )
    elif order.status is OrderStatus.FILLED:
        _require(order.filled_quantity == order.quantity, f"{name}: a filled order is filled")
    else:
        _require(order.status is OrderStatus.CANCELED, f"{name}: a known order is open, filled or canceled")
        _require(order.leaves_quantity == 0 and canceled > 0, f"{name}: a canceled order has no leaves")
    if order.status is not OrderStatus.OPEN:
        _require(order.level is None, f"{name}: a closed order is in no book")


def _check_registry(registry: OrderRegistry) -> None:
    previous_id = 0
    for order_id, order in registry.orders.items():
        _require(order_id == order.order_id, "an order is found under its own id")
        _require(previous_id < order_id <= registry.last_order_id, "order ids rise and none repeats")
        previous_id = order_id
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
            _require(order.status is OrderStatus.OPEN, f"order {order.order_id}: listed as open, is open")
            _require(previous_id < order.order_id, f"account {name}: open orders are in order-id order")
            previous_id = order.order_id
            _check_listing(registry, name, client_order_id, order)
        for client_order_id, order in account.closed_orders.items():
            _require(order.status is not OrderStatus.OPEN, f"order {order.order_id}: listed as closed, is closed")
            _check_listing(registry, name, client_order_id, order)
        listed += len(account.open_orders) + len(account.closed_orders)
    _require(listed == len(registry.orders), "every order is listed by its account")


def _check_listing(registry: OrderRegistry, account_name: str, client_order_id: str, order: Order) -> None:
    _require(
        order.account == account_name
        and order.client_order_id == client_order_id
        and registry.orders.get(order.order_id) is order,
        f"order {order.order_id}: found under its id, its account and its client order id",
    )


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
    """Returns how many orders rest in the book."""
    _require(book.sequence > 0, f"{book.symbol}: the first event is the instrument's own")
    bid, ask = book.bids.best, book.asks.best
    _require(bid is None or ask is None or bid.price < ask.price, f"{book.symbol}: the best bid is below the best ask")
    count = 0
    for side in (book.bids, book.asks):
        previous_rank: int | None = None
        for level in side.levels.values():
            _require(previous_rank is None or previous_rank < level.rank, f"{book.symbol}: levels are sorted by rank")
            previous_rank = level.rank
            count += _check_level(book, side, level, registry)
        first = next(iter(side.levels.values()), None)
        _require(side.best is first, f"{book.symbol}: the best level is the first")
    return count


def _check_level(book: OrderBook, side: BookSide, level: PriceLevel, registry: OrderRegistry) -> int:
    name = f"{book.symbol} {side.side.label} {level.price}"
    _require(level.rank == level.price * side.sign, f"{name}: the rank is the signed price")
    _require(side.level_at(level.price) is level, f"{name}: a level is found under its price")
    _require(level.price % book.instrument.tick_size == 0, f"{name}: the price is on its tick")
    _require(level.head is not None, f"{name}: no empty level remains")
    quantity = count = 0
    previous: Order | None = None
    for order in level:
        _require(registry.orders.get(order.order_id) is order, f"{name}: a resting order is registered")
        _require(order.status is OrderStatus.OPEN, f"{name}: a resting order is open")
        _require(order.previous is previous and order.level is level, f"{name}: the queue is linked both ways")
        _require(
            (order.symbol, order.side, order.price) == (book.symbol, side.side, level.price),
            f"{name}: a resting order waits at its own price",
        )
        _require(order.quantity % book.instrument.lot_size == 0, f"{name}: the quantity is a multiple of the lot")
        quantity += order.leaves_quantity
        count += 1
        previous = order
    _require(level.tail is previous, f"{name}: the queue's tail is its last order")
    _require((level.quantity, level.order_count) == (quantity, count), f"{name}: the sums are those over its orders")
    _require(quantity <= MAX_INTEGER, f"{name}: the level's quantity fits 64 bits")
    return count


def _check_bought_equals_sold(book: OrderBook, registry: OrderRegistry) -> None:
    """Every trade has a buyer and a seller, so over all orders there ever were the filled quantities are equal."""
    net = registry.forgotten_net_quantity.get(book.symbol, 0)
    for order in registry.orders.values():
        if order.symbol == book.symbol:
            net += order.filled_quantity if order.side is Side.BUY else -order.filled_quantity
    _require(net & MAX_INTEGER == 0, f"{book.symbol}: bought = sold")
