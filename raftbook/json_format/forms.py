"""The JSON object of each command as msgspec checks it, and the command that it says.

A field that is `null` counts as absent. `account` is "default" where it is absent. A new order is `limit` and `gtc`
unless it says otherwise; a market order without a time in force is `ioc`, an order with an `expire_time` is `gtd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    CreateKey,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, Number, OrderType, TimeInForce, TradingStatus
from raftbook.json_format import fields
from raftbook.json_format.schema_types import (
    Account,
    ClientOrderId,
    Count,
    Decimals,
    KeyAccounts,
    KeyId,
    KeyName,
    NewDisplayQuantity,
    NewQuantity,
    OptionalDisplayQuantity,
    OptionalLimit,
    OptionalPercent,
    OptionalPrice,
    OptionalStep,
    OptionalStopPrice,
    OrderId,
    OrderTypeWord,
    PublicKey,
    Quantity,
    RoleWord,
    SelfTradePreventionWord,
    SideWord,
    StatusBehindAuctionWord,
    StatusWord,
    Symbol,
    Time,
    TimeInForceWord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NewOrderForm(msgspec.Struct, tag_field="op", tag="new", forbid_unknown_fields=True):
    symbol: Symbol
    side: SideWord
    quantity: Quantity
    account: Account | None = None
    client_order_id: ClientOrderId | None = None
    order_type: OrderTypeWord | None = None
    time_in_force: TimeInForceWord | None = None
    price: OptionalPrice = UNSET
    post_only: bool | None = None
    display_quantity: OptionalDisplayQuantity = UNSET
    stop_price: OptionalStopPrice = UNSET
    expire_time: Time | None = None
    self_trade_prevention: SelfTradePreventionWord | None = None
    not_after: Time | None = None

    def to_command(self, generate_client_order_id: Callable[[], str] | None) -> NewOrder:
        client_order_id = self.client_order_id
        if client_order_id is None:
            if generate_client_order_id is None:
                raise fields.invalid("client_order_id", "missing")
            client_order_id = generate_client_order_id()
        order_type = (
            OrderType.LIMIT
            if self.order_type is None
            else fields.member("order_type", fields.ORDER_TYPES, self.order_type)
        )
        return NewOrder(
            fields.symbol(self.symbol),
            fields.account(self.account),
            fields.identifier("client_order_id", client_order_id),
            fields.member("side", fields.SIDES, self.side),
            order_type,
            self._time_in_force(order_type),
            fields.optional_number("price", self.price),
            fields.number("quantity", self.quantity),
            self.post_only or False,
            fields.optional_time("not_after", self.not_after),
            fields.optional_number("stop_price", self.stop_price),
            fields.optional_number("display_quantity", self.display_quantity),
            fields.optional_time("expire_time", self.expire_time),
            fields.optional_self_trade_prevention(self.self_trade_prevention),
        )

    def _time_in_force(self, order_type: OrderType) -> TimeInForce:
        if self.time_in_force is not None:
            return fields.member("time_in_force", fields.TIMES_IN_FORCE, self.time_in_force)
        if self.expire_time is not None:
            return TimeInForce.GTD
        return TimeInForce.IOC if order_type is OrderType.MARKET else TimeInForce.GTC


class CancelOrderForm(msgspec.Struct, tag_field="op", tag="cancel", forbid_unknown_fields=True):
    account: Account | None = None
    order_id: OrderId | None = None
    client_order_id: ClientOrderId | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> CancelOrder:
        return CancelOrder(
            fields.account(self.account),
            *fields.order_name(self.order_id, self.client_order_id),
            fields.optional_time("not_after", self.not_after),
        )


class CancelAllForm(msgspec.Struct, tag_field="op", tag="cancel_all", forbid_unknown_fields=True):
    account: Account | None = None
    symbol: Symbol | None = None
    side: SideWord | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> CancelAll:
        return CancelAll(
            fields.account(self.account),
            None if self.symbol is None else fields.symbol(self.symbol),
            None if self.side is None else fields.member("side", fields.SIDES, self.side),
            fields.optional_time("not_after", self.not_after),
        )


class ReplaceOrderForm(msgspec.Struct, tag_field="op", tag="replace", forbid_unknown_fields=True):
    account: Account | None = None
    order_id: OrderId | None = None
    client_order_id: ClientOrderId | None = None
    price: OptionalPrice = UNSET
    quantity: NewQuantity = UNSET
    display_quantity: NewDisplayQuantity = UNSET
    stop_price: OptionalStopPrice = UNSET
    expire_time: Time | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> ReplaceOrder:
        return ReplaceOrder(
            fields.account(self.account),
            *fields.order_name(self.order_id, self.client_order_id),
            fields.optional_number("price", self.price),
            fields.optional_number("quantity", self.quantity, lowest=0),  # To nothing: a replace that cancels.
            fields.optional_time("not_after", self.not_after),
            fields.optional_number("stop_price", self.stop_price),
            fields.optional_number("display_quantity", self.display_quantity, lowest=0),  # Shows the whole order.
            fields.optional_time("expire_time", self.expire_time),
        )


class AddInstrumentForm(msgspec.Struct, tag_field="op", tag="add_instrument", forbid_unknown_fields=True):
    """`tick_size` and `lot_size` are the smallest step where they are absent."""

    symbol: Symbol
    price_decimals: Decimals
    quantity_decimals: Decimals
    tick_size: OptionalStep = UNSET
    lot_size: OptionalStep = UNSET
    min_quantity: OptionalLimit = UNSET
    max_quantity: OptionalLimit = UNSET
    min_notional: OptionalLimit = UNSET
    price_band: OptionalPercent = UNSET
    market_protection: OptionalPercent = UNSET
    max_open_orders: Count | None = None
    self_trade_prevention: SelfTradePreventionWord | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> AddInstrument:
        price_decimals = fields.integer("price_decimals", self.price_decimals, 0, MAX_DECIMALS)
        quantity_decimals = fields.integer("quantity_decimals", self.quantity_decimals, 0, MAX_DECIMALS)
        most_orders = self.max_open_orders
        return AddInstrument(
            fields.symbol(self.symbol),
            price_decimals,
            quantity_decimals,
            fields.optional_number("tick_size", self.tick_size) or Number(1, price_decimals),
            fields.optional_number("lot_size", self.lot_size) or Number(1, quantity_decimals),
            fields.optional_time("not_after", self.not_after),
            fields.optional_number("min_quantity", self.min_quantity),
            fields.optional_number("max_quantity", self.max_quantity),
            fields.optional_number("min_notional", self.min_notional),
            fields.optional_number("price_band", self.price_band),
            fields.optional_number("market_protection", self.market_protection),
            None if most_orders is None else fields.integer("max_open_orders", most_orders, 1, MAX_INTEGER),
            fields.optional_self_trade_prevention(self.self_trade_prevention),
        )


class SetStatusForm(msgspec.Struct, tag_field="op", tag="set_status", forbid_unknown_fields=True):
    symbol: Symbol
    status: StatusWord
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> SetStatus:
        return SetStatus(
            fields.symbol(self.symbol),
            fields.member("status", fields.STATUSES, self.status),
            fields.optional_time("not_after", self.not_after),
        )


class UncrossForm(msgspec.Struct, tag_field="op", tag="uncross", forbid_unknown_fields=True):
    symbol: Symbol
    status: StatusBehindAuctionWord | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> Uncross:
        status = TradingStatus.TRADING
        if self.status is not None:
            status = fields.member("status", fields.STATUSES_BEHIND_AUCTION, self.status)
        return Uncross(fields.symbol(self.symbol), status, fields.optional_time("not_after", self.not_after))


class TickForm(msgspec.Struct, tag_field="op", tag="tick", forbid_unknown_fields=True):
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> Tick:
        return Tick(fields.optional_time("not_after", self.not_after))


class CreateKeyForm(msgspec.Struct, tag_field="op", tag="create_key", forbid_unknown_fields=True):
    """`accounts` may be left out of an admin key, which is for all."""

    key_id: KeyId
    name: KeyName
    role: RoleWord
    public_key: PublicKey
    accounts: KeyAccounts | None = None
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> CreateKey:
        role = fields.member("role", fields.ROLES, self.role)
        return CreateKey(
            fields.key_id(self.key_id),
            fields.key_name(self.name),
            role,
            fields.accounts(self.accounts, role),
            fields.public_key(self.public_key),
            fields.optional_time("not_after", self.not_after),
        )


class RevokeKeyForm(msgspec.Struct, tag_field="op", tag="revoke_key", forbid_unknown_fields=True):
    key_id: KeyId
    not_after: Time | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> RevokeKey:
        return RevokeKey(fields.key_id(self.key_id), fields.optional_time("not_after", self.not_after))


Form = (
    NewOrderForm
    | CancelOrderForm
    | CancelAllForm
    | ReplaceOrderForm
    | AddInstrumentForm
    | SetStatusForm
    | UncrossForm
    | TickForm
    | CreateKeyForm
    | RevokeKeyForm
)

FORMS: Final[Mapping[str, type[Form]]] = {
    "new": NewOrderForm,
    "cancel": CancelOrderForm,
    "cancel_all": CancelAllForm,
    "replace": ReplaceOrderForm,
    "add_instrument": AddInstrumentForm,
    "set_status": SetStatusForm,
    "uncross": UncrossForm,
    "tick": TickForm,
    "create_key": CreateKeyForm,
    "revoke_key": RevokeKeyForm,
}
"""`op` -> its form."""

OPERATIONS: Final = tuple(FORMS)
"""The values of `op`."""
