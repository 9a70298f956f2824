"""Who sends a request, or holds a connection, and what it may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import CancelAll, CancelOrder, NewOrder, ReplaceOrder
from raftbook.engine.types import ALL_ACCOUNTS, Role
from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from raftbook.engine.api_keys import KeyRecord
    from raftbook.engine.commands import Command

_SCOPE_KEY: Final = "raftbook.caller"


class Caller:
    """The checks raise a 403 problem. `record` None: no keys are required, and everybody may do everything."""

    __slots__ = ("_count_requests", "check_current", "record")

    def __init__(
        self,
        record: KeyRecord | None,
        count_requests: Callable[[int], None] = lambda _count: None,
        check_current: Callable[[], object] = lambda: None,
    ) -> None:
        """`count_requests` is told of what is asked beyond the one request that was counted already.

        `check_current` raises a 401 problem where the key was revoked meanwhile: for whoever waits with a request.
        """
        self.record = record
        self._count_requests = count_requests
        self.check_current = check_current

    @property
    def sees_all(self) -> bool:
        """Whose orders it sees does not matter."""
        return self.record is None or ALL_ACCOUNTS in self.record.accounts

    @property
    def accounts(self) -> tuple[str, ...]:
        """Those that it is for, where it does not see all."""
        return () if self.record is None else self.record.accounts

    def is_for(self, account: str) -> bool:
        return self.record is None or self.record.is_for(account)

    def check_role(self, role: Role) -> None:
        """May it do what needs this role?"""
        record = self.record
        if record is not None and record.role < role:
            article = "an" if role is Role.ADMIN else "a"
            raise _forbidden(
                f"key {record.key_id} ({record.name}) is a {record.role.label} key; this needs {article} {role.label} "
                "key, which an admin makes with `raftbook account create`"
            )

    def check_account(self, account: str) -> None:
        """Is it for this account?"""
        record = self.record
        if record is not None and not record.is_for(account):
            accounts = ", ".join(record.accounts) or "no account"
            raise _forbidden(
                f"key {record.key_id} ({record.name}) is for {accounts}, not for {account}; use the key of that account"
            )

    def check_command(self, command: Command) -> None:
        """May it submit this?"""
        if self.record is None:
            return
        if isinstance(command, NewOrder | CancelOrder | CancelAll | ReplaceOrder):
            self.check_role(Role.TRADE)
            self.check_account(command.account)
        else:
            self.check_role(Role.ADMIN)

    def count_commands(self, count: int) -> None:
        """A request with so many commands is as many requests."""
        if count > 1:
            self._count_requests(count - 1)

    def keep_in(self, scope: Scope) -> None:
        scope[_SCOPE_KEY] = self


def caller_of(scope: Scope) -> Caller:
    """Who sent this request. A KeyError is a route that nobody guards: a programmer's mistake."""
    caller = scope[_SCOPE_KEY]
    assert isinstance(caller, Caller)
    return caller


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(403, "forbidden", detail)


def key_id_in(scope: Scope) -> str | None:
    """The key of a request that was let in with one."""
    caller = scope.get(_SCOPE_KEY)
    return caller.record.key_id if isinstance(caller, Caller) and caller.record is not None else None
