"""Events, orders and books as lines of a script; scripting.py says how to read them."""

from __future__ import annotations

from raftbook.engine import (
    AuctionEvent,
    Event,
    Exchange,
    Execution,
    Instrument,
    InstrumentEvent,
    KeyEvent,
    KeyRecord,
    MassCanceled,
    OrderEvent,
    OrderState,
    OrderStatus,
    OrderType,
    Rejection,
    SelfTradePrevention,
    Side,
    Ticked,
    Trade,
)
from raftbook.engine.types import DAY_NS, PERCENT_DECIMALS, EventKind


def render_execution(exchange: Exchange, execution: Execution) -> list[str]:
    """Its events; where something traded, also the order that it names and those that were elected, as they ended."""
    lines = [render_event(exchange, event) for event in execution.events]
    if any(isinstance(event, Trade) for event in execution.events):
        ended = [] if execution.order is None else [execution.order]
        for event in execution.events:
            if event.kind is EventKind.ORDER_TRIGGERED:
                ended += [exchange.order(event.order.order_id)]
        latest = {order.order_id: order for order in ended}
        lines += [f"  {render_order(exchange, order)}" for order in latest.values()]
    return lines


def render_event(exchange: Exchange, event: Event) -> str:
    symbol, sequence = getattr(event, "symbol", None), getattr(event, "sequence", None)
    words = [f"{symbol}/{sequence}" if sequence is not None else "-", event.kind.label]
    match event:
        case OrderEvent():
            words += [event.reason.value] if event.reason else []
            words += [f"prevented by #{event.prevented_by_order_id}"] if event.prevented_by_order_id else []
            words += ["duplicate"] if event.duplicate else []
            words.append(render_order(exchange, event.order))
        case Trade():
            price, quantity = _price(exchange, event.symbol, event.price), _quantity(exchange, symbol, event.quantity)
            maker = f"{event.maker_account} {event.maker_client_order_id}"
            taker = f"{event.taker_account} {event.taker_client_order_id}"
            where = " in auction" if event.auction else ""
            words.append(f"{event.trade_id}: {quantity} @ {price}{where}, maker {maker}, taker {taker}")
            words.append("buys" if event.taker_side is Side.BUY else "sells")
        case Rejection():
            words += ["duplicate"] if event.duplicate else []
            words.append(event.reason.value + (f": {event.detail}" if event.detail else ""))
            words += [f"[{render_order(exchange, event.order)}]"] if event.order else []
        case MassCanceled():
            words.append(str(event.canceled_count))
        case InstrumentEvent():
            words.append(event.status.label)
            words += [event.reason.value] if event.reason else []
            if event.kind is EventKind.INSTRUMENT_ADDED:
                words += _limits(event.instrument)
        case AuctionEvent():
            words.append(_render_auction(exchange, event))
        case KeyEvent():
            words.append(_render_key(event.key))
        case Ticked():
            words.append(f"at {render_time(event.timestamp)}")
    return " ".join(words)


def render_order(exchange: Exchange, order: OrderState) -> str:
    """Of the terms that most orders lack, those that this one has."""
    symbol = order.symbol
    terms = [order.side.label, _quantity(exchange, symbol, order.quantity)]
    terms += [f"@ {_price(exchange, symbol, order.price)}"] if order.price is not None else []
    terms += [order.order_type.label] if order.order_type is not OrderType.LIMIT else []
    terms += [_price(exchange, symbol, order.stop_price)] if order.stop_price is not None else []
    terms.append(order.time_in_force.label)
    if order.expire_time is not None:
        terms.append(f"until {render_time(order.expire_time)}")
    terms += ["post_only"] if order.post_only else []
    leaves = _quantity(exchange, symbol, order.leaves_quantity)
    if order.display_quantity is not None:
        terms.append(f"display {_quantity(exchange, symbol, order.display_quantity)}")
    if order.visible_quantity != order.leaves_quantity:
        leaves += f" ({_quantity(exchange, symbol, order.visible_quantity)} visible)"
    if order.self_trade_prevention is not SelfTradePrevention.NONE:
        terms.append(order.self_trade_prevention.label)
    return (
        f"{order.account} {order.client_order_id} (#{order.order_id}) {' '.join(terms)}"
        f", filled {_quantity(exchange, symbol, order.filled_quantity)} for {order.notional}"
        f", leaves {leaves}, {order.status.label}"
    )


def render_book(exchange: Exchange, symbol: str) -> list[str]:
    """A table, highest price first: bids on the left, asks on the right, whoever waited longest first.

    Below it, what has no place in it: orders without a price, as they will trade, and untriggered stops, as a moving
    price would reach them; buys before sells.
    """
    bids, asks = exchange.level3(symbol)
    bid_totals, ask_totals = (dict(side) for side in exchange.depth(symbol))
    rows = [
        (
            _level(exchange, bids, price, bid_totals.get(price)),
            _price(exchange, symbol, price),
            _level(exchange, asks, price, ask_totals.get(price)),
        )
        for price in sorted({order.price for order in [*bids, *asks]}, reverse=True)
    ]
    table = [("bids", symbol, "asks"), *(rows or [("", "empty", "")])]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = [f"| {bid:>{widths[0]}} | {price:^{widths[1]}} | {ask:<{widths[2]}} |" for bid, price, ask in table]
    book = exchange.books[symbol]
    unpriced = [order.state() for side in (book.bids, book.asks) for order in side.unpriced]
    stops = [order.state() for ladder in (book.buy_stops, book.sell_stops) for order in ladder.orders()]
    shown = {order.order_id for order in [*bids, *asks, *unpriced, *stops]}
    assert shown == {order.order_id for order in exchange.orders(symbol=symbol)}, "the reader sees every live order"
    lines += [f"  at any price: {_waiting(exchange, order)}" for order in unpriced]
    lines += [f"  untriggered: {_waiting(exchange, order)}" for order in stops]
    return lines


def _waiting(exchange: Exchange, order: OrderState) -> str:
    words = [order.side.label, _quantity(exchange, order.symbol, order.leaves_quantity)]
    if order.status is OrderStatus.UNTRIGGERED:
        words += [f"@ {_price(exchange, order.symbol, order.price)}"] if order.price is not None else []
        words.append(f"stop {_price(exchange, order.symbol, order.stop_price)}")
    return f"{' '.join(words)} ({order.client_order_id})"


def render_time(nanoseconds: int) -> str:
    """Midnight as the number of days, anything else as it is."""
    days, of_day = divmod(nanoseconds, DAY_NS)
    return f"{days}d" if days and not of_day else str(nanoseconds)


def _level(exchange: Exchange, side: list[OrderState], price: int, total: int | None) -> str:
    """`6 = 1 (b1) + 5 (b2)`; of an iceberg the total counts the tip, and `2+8 hidden (b3)` shows both."""
    queue = []
    for order in side:
        if order.price == price:
            shown = _quantity(exchange, order.symbol, order.visible_quantity)
            hidden = order.leaves_quantity - order.visible_quantity
            shown += f"+{_quantity(exchange, order.symbol, hidden)} hidden" if hidden else ""
            queue.append(f"{shown} ({order.client_order_id})")
    return f"{_quantity(exchange, side[0].symbol, total)} = {' + '.join(queue)}" if queue else ""


def _render_auction(exchange: Exchange, event: AuctionEvent) -> str:
    quantity = _quantity(exchange, event.symbol, event.quantity)
    imbalance = _quantity(exchange, event.symbol, event.imbalance_quantity)
    price = "no price" if event.price is None else f"@ {_price(exchange, event.symbol, event.price)}"
    side = "" if event.imbalance_side is None else f" {event.imbalance_side.label}"
    return f"{quantity} {price}, imbalance {imbalance}{side}"


def _render_key(key: KeyRecord) -> str:
    revoked = "" if key.revoked_at is None else f", revoked at {render_time(key.revoked_at)}"
    accounts = " ".join(key.accounts) or "no account"
    return (
        f"{key.key_id} {key.role.label} of {key.name} for {accounts}, created at {render_time(key.created_at)}{revoked}"
    )


def _limits(instrument: Instrument) -> list[str]:
    """The limits that it has, each with its name."""
    decimals = {
        "min_quantity": instrument.quantity_decimals,
        "max_quantity": instrument.quantity_decimals,
        "min_notional": instrument.price_decimals + instrument.quantity_decimals,
        "price_band": PERCENT_DECIMALS,
        "market_protection": PERCENT_DECIMALS,
        "max_open_orders": 0,
    }
    limits = [
        f"{name}={_decimal_text(getattr(instrument, name), places)}"
        for name, places in decimals.items()
        if getattr(instrument, name) is not None
    ]
    if instrument.self_trade_prevention is not SelfTradePrevention.NONE:
        limits.append(f"self_trade_prevention={instrument.self_trade_prevention.label}")
    return limits


def _price(exchange: Exchange, symbol: str, price: int) -> str:
    return _decimal_text(price, exchange.instruments[symbol].price_decimals)


def _quantity(exchange: Exchange, symbol: str, quantity: int) -> str:
    return _decimal_text(quantity, exchange.instruments[symbol].quantity_decimals)


def _decimal_text(units: int, decimals: int) -> str:
    whole, fraction = divmod(units, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
