"""Every order that the exchange still knows: the open ones, and each account's most recently closed ones.

A closed order is kept so that a repeated submission is recognised and answered (rule 12 of the matching
semantics), until the account has closed CLOSED_ORDERS_KEPT more; then it is forgotten, and its client order
id is free again. Whatever happens here costs O(1) per order.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from raftbook.engine.expiry import Expiries
from raftbook.engine.types import CLOSED_ORDERS_KEPT, MAX_INTEGER, OrderStatus, Side

if TYPE_CHECKING:
    from raftbook.engine.order import Order


class Account:
    """One account's orders: the live ones in order-id order, and in `closing_order` the closed ones as they closed.

    `open_orders` holds the untriggered too. `open_counts` has their number for the symbols that limit it.
    """

    __slots__ = ("closed_orders", "closing_order", "name", "open_counts", "open_orders")

    def __init__(self, name: str) -> None:
        self.name = name
        self.open_orders: dict[str, Order] = {}
        self.closed_orders: dict[str, Order] = {}
        self.closing_order: deque[Order] = deque()
        self.open_counts: dict[str, int] = {}


class OrderRegistry:
    """Orders by id, and by account and client order id.

    `orders` is in order-id order, `expiries` holds those that end in time, `limited_symbols` the instruments with
    `max_open_orders`. `forgotten_net_quantity` holds, per symbol, what forgotten orders had
    bought minus what they had sold, modulo 2**63: with it, bought = sold can be checked for ever.
    """

    __slots__ = (
        "accounts",
        "closed_orders_kept",
        "expiries",
        "forgotten_net_quantity",
        "last_order_id",
        "limited_symbols",
        "orders",
    )

    def __init__(self, closed_orders_kept: int = CLOSED_ORDERS_KEPT) -> None:
        assert closed_orders_kept > 0, "an order must outlive the command that closes it"
        self.closed_orders_kept = closed_orders_kept
        self.last_order_id = 0
        self.orders: dict[int, Order] = {}
        self.accounts: dict[str, Account] = {}
        self.forgotten_net_quantity: dict[str, int] = {}
        self.expiries = Expiries()
        self.limited_symbols: dict[str, int] = {}

    def find(self, account_name: str, client_order_id: str) -> Order | None:
        """The account's open or remembered order of this client order id."""
        account = self.accounts.get(account_name)
        if account is None:
            return None
        return account.open_orders.get(client_order_id) or account.closed_orders.get(client_order_id)

    def find_named(self, account_name: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        """The order that a cancel or replace names, if it is this account's: nobody learns of another's orders."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return order if order is not None and order.account == account_name else None
        return self.find(account_name, client_order_id) if client_order_id is not None else None

    def open_orders(self, account_name: str) -> list[Order]:
        """The account's live orders, in order-id order; a list of its own. O(their number)."""
        account = self.accounts.get(account_name)
        return [] if account is None else list(account.open_orders.values())

    def known_orders(self, account_name: str) -> list[Order]:
        """The account's open and remembered orders, in order-id order. O(n log n) for their number n."""
        account = self.accounts.get(account_name)
        if account is None:
            return []
        return sorted([*account.open_orders.values(), *account.closing_order], key=attrgetter("order_id"))

    def account(self, name: str) -> Account:
        """The account of this name, opened if it is new."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(name)
        return account

    def add(self, order: Order) -> None:
        """Take in a live order. Orders come in order-id order."""
        self.orders[order.order_id] = order
        account = self.accounts[order.account]
        account.open_orders[order.client_order_id] = order
        if order.expire_time is not None:
            self.expiries.add(order)
        if self.limited_symbols and order.symbol in self.limited_symbols:
            account.open_counts[order.symbol] = account.open_counts.get(order.symbol, 0) + 1

    def close(self, order: Order, status: OrderStatus) -> None:
        """The order has ended: what is left of it is canceled. Forgets the account's oldest beyond the limit."""
        order.status = status
        order.leaves_quantity = order.hidden_quantity = 0
        account = self.accounts[order.account]
        del account.open_orders[order.client_order_id]
        if order.expire_time is not None:
            self.expiries.discard(order)
        if self.limited_symbols and order.symbol in self.limited_symbols:
            self._count_out(account, order.symbol)
        self.remember_closed(account, order)
        if len(account.closing_order) > self.closed_orders_kept:
            self._forget(account, account.closing_order.popleft())

    def has_too_many_open(self, account_name: str, symbol: str) -> bool:
        """Has the account as many live orders in this instrument as it may have? O(1)."""
        limit = self.limited_symbols.get(symbol)
        account = self.accounts.get(account_name)
        return limit is not None and account is not None and account.open_counts.get(symbol, 0) >= limit

    @staticmethod
    def _count_out(account: Account, symbol: str) -> None:
        account.open_counts[symbol] -= 1
        if account.open_counts[symbol] == 0:
            del account.open_counts[symbol]

    def remember_closed(self, account: Account, order: Order) -> None:
        account.closed_orders[order.client_order_id] = order
        account.closing_order.append(order)

    def _forget(self, account: Account, order: Order) -> None:
        del account.closed_orders[order.client_order_id]
        del self.orders[order.order_id]
        net = order.filled_quantity if order.side is Side.BUY else -order.filled_quantity
        so_far = self.forgotten_net_quantity.get(order.symbol, 0)
        self.forgotten_net_quantity[order.symbol] = (so_far + net) & MAX_INTEGER
