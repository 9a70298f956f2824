"""What the oracle remembers of refused new orders, and when a new order is the copy of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from raftbook.engine import OrderType, SelfTradePrevention, Side, TimeInForce
from raftbook.simulation.naive_terms import RefusedError

if TYPE_CHECKING:
    from raftbook.engine import NewOrder, Number, Reason
    from raftbook.simulation.naive_records import NaiveRecords


class EnteredOrder(NamedTuple):
    """Everything that a new order says but its `not_after`, its numbers by their value."""

    account: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: Fraction | None
    quantity: Fraction | None
    stop_price: Fraction | None
    display_quantity: Fraction | None
    expire_time: int | None
    mode: SelfTradePrevention | None


def as_entered(command: NewOrder) -> EnteredOrder:
    """What must be the same in two orders of one client order id, for the later to be a copy of the earlier."""
    return EnteredOrder(
        command.account,
        command.client_order_id,
        command.symbol,
        command.side,
        command.order_type,
        command.time_in_force,
        command.post_only,
        _value(command.price),
        _value(command.quantity),
        _value(command.stop_price),
        _value(command.display_quantity),
        command.expire_time,
        command.self_trade_prevention,
    )


def _value(number: Number | None) -> Fraction | None:
    return None if number is None else Fraction(number.mantissa, 10**number.decimals)


@dataclass(slots=True, eq=False)
class NaiveRefusal:
    """A refused new order, remembered as long as log time is not beyond `last_moment`."""

    command: NewOrder
    reason: Reason
    last_moment: int

    def names(self, command: NewOrder) -> bool:
        return (self.command.account, self.command.client_order_id) == (command.account, command.client_order_id)


class NaiveRefusals:
    """`refusals`, the oldest first; of each account no more than closed orders are kept of it."""

    def __init__(self, records: NaiveRecords) -> None:
        self.records = records
        self.refusals: list[NaiveRefusal] = []

    def refuse_again(self, command: NewOrder) -> None:
        """A copy of an order that was refused, while the time of any copy answered so far has not passed."""
        for refusal in self._unexpired():
            if refusal.names(command) and as_entered(refusal.command) == as_entered(command):
                if command.not_after is not None:
                    refusal.last_moment = max(refusal.last_moment, command.not_after)
                raise RefusedError(refusal.reason, duplicate=True)

    def remember(self, command: NewOrder, reason: Reason) -> None:
        if command.not_after is not None:
            refusals = self._unexpired()
            account = [other for other in refusals if other.command.account == command.account]
            others = [other for other in refusals if other.command.account != command.account]
            latest = [*account, NaiveRefusal(command, reason, command.not_after)][-self.records.closed_orders_kept :]
            self.refusals = others + latest

    def forget(self, command: NewOrder) -> None:
        """An order was accepted: from now on its own record is what copies are held against."""
        self.refusals = [refusal for refusal in self.refusals if not refusal.names(command)]

    def _unexpired(self) -> list[NaiveRefusal]:
        return [refusal for refusal in self.refusals if self.records.time <= refusal.last_moment]
