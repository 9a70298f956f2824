"""Refused new orders, remembered so that no copy that is still under way overturns the answer.

A client enters an order again when its node died or did not answer. Each copy is a submission of its own, and the
log may bring them in any order. Were a refused order forgotten, the book might change and a late copy of it be
accepted: an order would rest that its owner believes refused. So a copy of a remembered order (same account,
client order id and content: all fields but `not_after`, and 100.5 is the same price as 100.50) is answered with
the same refusal and changes nothing. Other content under the id is a new order, and is judged as one.

**How long.** Until log time passes the latest `not_after` among the copies that were answered. A copy that comes
with a later one is answered too, so it prolongs the memory. When the memory ends, every copy that it has to hold
off is late, and log time never runs back. This is what holds:

    Once a submission is refused, no copy whose `not_after` is at most as late as its own is ever accepted.

Two refusals hold without memory. `submission_expired`: those copies are late already. (A later `not_after` makes it
a new attempt, which the client asks for by setting one.) `duplicate_client_order_id`: the order that holds the id is
itself remembered, for far longer than copies linger.

**What it cannot do.** The engine knows of no copy that it has not seen, so one with a later `not_after` than every
answered one may be accepted after the memory has ended. A client that gives all copies of an order one `not_after`
is therefore always safe. Where nodes fill it in, a fixed time after entry, the copies entered before the answered one
are held off as long as the nodes' clocks differ by less than the time between the attempts; one that was entered
after it has an answer of its own, and the last attempt's answer is the one that counts. Nothing bounds how long
copies without `not_after` may linger, so such an order is not remembered, and such a copy prolongs nothing. An account
that has more orders refused than its limit, all within their time, loses the oldest memory first. And an order
that is accepted with other content under the id ends the id's memories: from then on it is this order that keeps
copies out (`duplicate_client_order_id`).

O(1) to find, O(log remembered) to remember and to forget; whoever is never refused pays for none of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.commands import NewOrder
    from raftbook.engine.types import Reason


class RefusedOrder:
    """One refusal: `content` as `content_of` gives it, the answer, and the log time (ns) to which it is remembered.

    `number` counts up, so of two refusals the older has the lower one.
    """

    __slots__ = ("content", "detail", "not_after", "number", "reason")

    def __init__(self, content: NewOrder, reason: Reason, detail: str | None, not_after: int, number: int) -> None:
        self.content = content
        self.reason = reason
        self.detail = detail
        self.not_after = not_after
        self.number = number


class RefusedOrdersOfAccount:
    """One account's refused orders: by client order id and content, and by number, oldest first."""

    __slots__ = ("by_client_order_id", "oldest_first")

    def __init__(self) -> None:
        self.by_client_order_id: dict[str, dict[NewOrder, RefusedOrder]] = {}
        self.oldest_first: OrderedDict[int, RefusedOrder] = OrderedDict()


class SortedByExpiry(Protocol):
    """What is used here of sortedcontainers.SortedDict, which ships no type information."""

    def __len__(self) -> int: ...
    def __setitem__(self, key: tuple[int, int], refused: RefusedOrder, /) -> None: ...
    def __delitem__(self, key: tuple[int, int], /) -> None: ...
    def get(self, key: tuple[int, int], /) -> RefusedOrder | None: ...
    def peekitem(self, index: int, /) -> tuple[tuple[int, int], RefusedOrder]: ...


class RefusedOrders:
    """Every remembered refusal. `accounts` holds no account without one, so it is empty most of the time."""

    __slots__ = ("accounts", "by_expiry", "last_number")

    def __init__(self) -> None:
        self.accounts: dict[str, RefusedOrdersOfAccount] = {}
        # The keys are (not_after, number): clients choose `not_after`, so the older is not always the first to go.
        self.by_expiry: SortedByExpiry = SortedDict()
        self.last_number = 0

    def under_id(self, account_name: str, client_order_id: str) -> dict[NewOrder, RefusedOrder] | None:
        """The account's refusals under this client order id, by their content; None if there are none. O(1)."""
        account = self.accounts.get(account_name)
        return None if account is None else account.by_client_order_id.get(client_order_id)

    def remember(
        self, content: NewOrder, reason: Reason, detail: str | None, *, not_after: int, limit_per_account: int
    ) -> None:
        """Take in a refusal that is not there yet; the account's oldest goes if there are too many."""
        account = self.accounts.get(content.account)
        if account is None:
            account = self.accounts[content.account] = RefusedOrdersOfAccount()
        self.last_number += 1
        refused = RefusedOrder(content, reason, detail, not_after, self.last_number)
        account.by_client_order_id.setdefault(content.client_order_id, {})[content] = refused
        account.oldest_first[refused.number] = refused
        self.by_expiry[not_after, refused.number] = refused
        if len(account.oldest_first) > limit_per_account:
            self._forget(next(iter(account.oldest_first.values())))

    def prolong(self, refused: RefusedOrder, not_after: int | None) -> None:
        """A copy was answered; the refusal stands at least until its `not_after` has passed."""
        if not_after is not None and not_after > refused.not_after:
            del self.by_expiry[refused.not_after, refused.number]
            refused.not_after = not_after
            self.by_expiry[not_after, refused.number] = refused

    def forget_id(self, account_name: str, client_order_id: str) -> None:
        """An order took this client order id, which has refusals."""
        for refused in list(self.accounts[account_name].by_client_order_id[client_order_id].values()):
            self._forget(refused)

    def forget_expired(self, time: int) -> None:
        """Log time has come to `time` (ns). O(log remembered) for each that goes, O(1) where none does."""
        while self.by_expiry:
            (not_after, _), refused = self.by_expiry.peekitem(0)
            if not_after >= time:
                return
            self._forget(refused)

    def _forget(self, refused: RefusedOrder) -> None:
        content = refused.content
        account = self.accounts[content.account]
        under_id = account.by_client_order_id[content.client_order_id]
        del under_id[content]
        if not under_id:
            del account.by_client_order_id[content.client_order_id]
        del account.oldest_first[refused.number]
        if not account.oldest_first:
            del self.accounts[content.account]
        del self.by_expiry[refused.not_after, refused.number]

    def __iter__(self) -> Iterator[RefusedOrder]:
        """Every refusal, sorted by account, each account's oldest first. O(n)."""
        for _, account in sorted(self.accounts.items()):
            yield from account.oldest_first.values()


def content_of(command: NewOrder) -> NewOrder:
    """What copies of an order have in common: no `not_after`, numbers in lowest terms. O(1)."""
    price, stop_price, display_quantity = command.price, command.stop_price, command.display_quantity
    return command._replace(
        price=None if price is None else price.in_lowest_terms(),
        quantity=command.quantity.in_lowest_terms(),
        not_after=None,
        stop_price=None if stop_price is None else stop_price.in_lowest_terms(),
        display_quantity=None if display_quantity is None else display_quantity.in_lowest_terms(),
    )
