"""What would become of commands now: the very engine, over the book as a node shows it. Pure.

It is an estimate. What the market does not see is not in it (hidden quantity and stops of other accounts), nor is what
the log orders before the command. Everything else is as it will be: the instrument's rules and status, the account's
own orders, matching, price after price.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from raftbook.engine.commands import Entry, NewOrder, Run, SetStatus
from raftbook.engine.exchange import Exchange
from raftbook.engine.order import Order
from raftbook.engine.triggers import await_trigger
from raftbook.engine.types import (
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.json_format import command_from_fields, decimal_text, event_to_json, order_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.engine.instrument import Instrument
    from raftbook.json_format import Json

Member = TypeVar("Member", Side, OrderStatus, OrderType, TimeInForce, SelfTradePrevention, TradingStatus)

ORIGIN: Final = "dry-run"
EXTRA_DECIMALS: Final = 4
"""Of an average price that does not come out even, beyond those of the instrument's prices."""
CAVEAT: Final = "hidden quantity, other accounts' stops and whatever is ordered before it are not in it"
_UNCERTAIN: Final = ("sequence", "log_index", "timestamp", "trade_id")
"""What only the log gives: these are left out of what an estimate tells."""


class MarketView(NamedTuple):
    """What nodes tell: all instruments; by symbol the level 3 book and, where there was a trade, its price; and the
    orders, in every status, of the accounts that the commands are about. All as the HTTP interface has them.
    """

    instruments: Sequence[Mapping[str, Any]]
    books: Mapping[str, Mapping[str, Any]]
    last_prices: Mapping[str, str]
    orders: Sequence[Mapping[str, Any]]

    @property
    def log_index(self) -> int:
        """Of the oldest book in it."""
        return min((int(book["log_index"]) for book in self.books.values()), default=0)


class DryRun:
    """An exchange of one's own that starts as `view` shows the real one. `now` is in nanoseconds since the epoch."""

    def __init__(self, view: MarketView, now: int) -> None:
        self.log_index = view.log_index
        self._now = now
        self._exchange = exchange_of(view)
        self._last_known_order_id = self._exchange.registry.last_order_id
        self._sequence = 0

    def try_out(self, command: Command) -> Json:
        """What the command would lead to; the next one finds what this one left."""
        exchange = self._exchange
        self._sequence += 1
        run = Run(ORIGIN, self._sequence, (command,))
        executions = exchange.apply(exchange.log_index + 1, Entry(self._now, (run,)))
        (own,) = (execution for execution in executions if execution.origin == ORIGIN)
        events = [event_to_json(event, exchange.instruments) for event in own.events]
        json: Json = {
            "dry_run": True,
            "log_index": self.log_index,
            "status": "accepted" if own.accepted else "rejected",
        }
        if not own.accepted:
            json |= {name: events[0][name] for name in ("reason", "detail") if events[0].get(name) is not None}
        if own.accepted and isinstance(command, NewOrder):
            json |= self._outcome_of_order(command, own)
        if own.order is not None:
            json["order"] = self._certain(order_to_json(own.order, exchange.instruments))
        return json | {"events": [self._certain(event) for event in events]}

    def _outcome_of_order(self, command: NewOrder, execution: Execution) -> Json:
        """How much would trade, at which average, and how much would wait where, behind how much."""
        state = execution.order
        assert state is not None, "an accepted order is told"
        instrument = self._exchange.instruments[command.symbol]
        quantity_decimals = instrument.quantity_decimals
        json: Json = {"traded_quantity": decimal_text(state.filled_quantity, quantity_decimals)}
        if state.filled_quantity:
            json["average_price"] = average_price(state.notional, state.filled_quantity, instrument)
        order = self._exchange.registry.find(command.account, command.client_order_id)
        is_waiting = order is not None and order.is_live
        json["waiting_quantity"] = decimal_text(state.leaves_quantity if is_waiting else 0, quantity_decimals)
        if order is not None and order.status is OrderStatus.OPEN and order.level is not None:
            shown = order.leaves_quantity - order.hidden_quantity
            json["quantity_ahead"] = decimal_text(order.level.quantity - shown, quantity_decimals)
        return json

    def _certain(self, told: Json) -> Json:
        """Without what only the log can say: places in it, and the number of an order that does not exist."""
        return {
            name: value
            for name, value in told.items()
            if name not in _UNCERTAIN
            and not (name.endswith("order_id") and isinstance(value, int) and value > self._last_known_order_id)
        }


def average_price(notional: int, quantity: int, instrument: Instrument) -> str:
    """Notional by quantity in the instrument's price: exact where that needs few decimals, else rounded to so many."""
    decimals = instrument.price_decimals
    exact = (Decimal(notional) / Decimal(quantity)).scaleb(-decimals)
    rounded = round(exact, decimals + EXTRA_DECIMALS)
    text = f"{rounded:f}"
    surplus = len(text) - len(text.rstrip("0"))
    return text[: len(text) - min(surplus, EXTRA_DECIMALS)].rstrip(".")


# ---------------------------------------------------------------- from what nodes tell, an exchange


def exchange_of(view: MarketView) -> Exchange:
    """An exchange whose books hold what the view shows: own orders whole, others as far as they are visible."""
    exchange = Exchange()
    additions = [_addition(instrument) for instrument in view.instruments]
    if additions:
        exchange.apply(1, Entry(0, (Run("view", 1, tuple(additions)),)))
    own = {int(order["order_id"]): order for order in view.orders}
    others = _name_besides({str(order["account"]) for order in view.orders})
    resting = {symbol: _resting(book, own, others, exchange.instruments[symbol]) for symbol, book in view.books.items()}
    at_rest = {order.order_id for orders in resting.values() for order in orders}
    elsewhere = [
        _own_order(order, exchange.instruments[order["symbol"]])
        for order_id, order in own.items()
        if order_id not in at_rest
    ]
    waiting = [order for order in elsewhere if order.is_live and _waits_out_of_sight(order)]
    _register(exchange, [order for orders in resting.values() for order in orders] + waiting, elsewhere)
    for symbol, orders in resting.items():
        book = exchange.books[symbol]
        for order in orders:
            assert order.price is not None, "the book shows orders with a price"
            book.side_of(order.side).add_at(order.price, order)
        if symbol in view.last_prices:
            book.last_price = _units(view.last_prices[symbol], book.instrument.price_decimals)
    for order in waiting:
        book = exchange.books[order.symbol]
        if order.status is OrderStatus.UNTRIGGERED:
            await_trigger(order, book)
        else:
            book.side_of(order.side).unpriced.append(order)
    _set_statuses(exchange, view.instruments)
    return exchange


def _addition(instrument: Mapping[str, Any]) -> Command:
    return command_from_fields(
        "add_instrument", {name: value for name, value in instrument.items() if name != "status"}
    )


def _name_besides(names: set[str]) -> str:
    """A name for whoever is behind the orders of others: none of these."""
    return next(name for number in range(len(names) + 1) if (name := f"others-{number}") not in names)


def _resting(
    book: Mapping[str, Any], own: Mapping[int, Mapping[str, Any]], others: str, instrument: Instrument
) -> list[Order]:
    """The orders of a level 3 book, in priority."""
    orders = []
    for side, rows in ((Side.BUY, book["bids"]), (Side.SELL, book["asks"])):
        for row in rows:
            known = own.get(int(row["order_id"]))
            if known is not None and known["status"] == OrderStatus.OPEN.label:
                orders.append(_own_order(known, instrument))
                continue
            order_id = int(row["order_id"])
            price = _units(row["price"], instrument.price_decimals)
            quantity = _units(row["quantity"], instrument.quantity_decimals)
            limit = (OrderType.LIMIT, TimeInForce.GTC, False)
            orders.append(Order(order_id, str(order_id), others, instrument.symbol, side, *limit, price, quantity))
    return orders


def _own_order(json: Mapping[str, Any], instrument: Instrument) -> Order:
    """An order of which everything is known, as it stands."""
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals

    def optional(name: str, decimals: int) -> int | None:
        return None if json.get(name) is None else _units(json[name], decimals)

    order = Order(
        int(json["order_id"]),
        str(json["client_order_id"]),
        str(json["account"]),
        instrument.symbol,
        _member(Side, json["side"]),
        _member(OrderType, json["order_type"]),
        _member(TimeInForce, json["time_in_force"]),
        bool(json.get("post_only", False)),
        optional("price", prices),
        _units(json["quantity"], quantities),
        optional("stop_price", prices),
        optional("display_quantity", quantities),
        json.get("expire_time"),
        _member(SelfTradePrevention, json.get("self_trade_prevention", SelfTradePrevention.NONE.label)),
    )
    order.filled_quantity = _units(json["filled_quantity"], quantities)
    order.leaves_quantity = _units(json["leaves_quantity"], quantities)
    order.notional = _units(json["notional"], prices + quantities)
    order.status = _member(OrderStatus, json["status"])
    visible = optional("visible_quantity", quantities)
    if visible is not None and order.status is OrderStatus.OPEN:
        order.hidden_quantity = order.leaves_quantity - visible
    return order


def _waits_out_of_sight(order: Order) -> bool:
    """A stop, or an order that gathers for an auction without a price. Any other live one has left the book by now."""
    return order.status is OrderStatus.UNTRIGGERED or order.price is None


def _register(exchange: Exchange, waiting: Iterable[Order], elsewhere: Iterable[Order]) -> None:
    registry = exchange.registry
    closed = [order for order in elsewhere if not order.is_live]
    for order in sorted([*waiting, *closed], key=lambda order: order.order_id):
        account = registry.account(order.account)
        registry.last_order_id = order.order_id
        if order.is_live:
            registry.add(order)
        else:
            registry.orders[order.order_id] = order
            registry.remember_closed(account, order)


def _set_statuses(exchange: Exchange, instruments: Iterable[Mapping[str, Any]]) -> None:
    changes = tuple(
        SetStatus(str(instrument["symbol"]), _member(TradingStatus, instrument["status"]))
        for instrument in instruments
        if instrument["status"] != TradingStatus.TRADING.label
    )
    if changes:
        exchange.apply(exchange.log_index + 1, Entry(0, (Run("status", 1, changes),)))


def _member(kind: type[Member], label: str) -> Member:
    return next(member for member in kind if member.label == label)


def _units(text: str, decimals: int) -> int:
    return int(Decimal(text).scaleb(decimals))


# ---------------------------------------------------------------- in words


def in_words(outcome: Mapping[str, Any]) -> str:
    """`would trade 3 at an average of 100.2533, and 2 would wait at 100.30 behind 7`."""
    if outcome["status"] == "rejected":
        detail = f": {outcome['detail']}" if outcome.get("detail") else ""
        return f"would be refused, {outcome['reason']}{detail}"
    if outcome["events"][0].get("duplicate"):
        return f"is known already: order {outcome['order']['order_id']} is {outcome['order']['status']}"
    if "traded_quantity" not in outcome:
        from cli.render import event_line

        return "would be done: " + "; ".join(event_line(event) for event in outcome["events"])
    return ", and ".join(_parts_of_order(outcome))


def _parts_of_order(outcome: Mapping[str, Any]) -> list[str]:
    order = outcome["order"]
    parts = []
    if Decimal(outcome["traded_quantity"]):
        parts.append(f"would trade {outcome['traded_quantity']} at an average of {outcome['average_price']}")
    if order["status"] == OrderStatus.UNTRIGGERED.label:
        parts.append(f"would wait until a trade at {order['stop_price']} triggers it")
    elif Decimal(outcome["waiting_quantity"]):
        place = f"at {order['price']}" if order.get("price") is not None else "for the auction"
        behind = outcome.get("quantity_ahead", "0")
        ahead = f" behind {behind}" if Decimal(behind) else " as the first there"
        parts.append(f"{outcome['waiting_quantity']} would wait {place}{ahead}")
    elif order["status"] != OrderStatus.FILLED.label:
        reason = outcome["events"][-1].get("reason")
        left = Decimal(order["quantity"]) - Decimal(order["filled_quantity"])
        parts.append(f"{left} would be canceled" + (f" ({reason})" if reason else ""))
    return parts
