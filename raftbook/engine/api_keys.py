"""API keys: who may ask a node for what, as the log has it. The exchange keeps them and never asks them.

Whether a request is its key's owner's, and whether the key allows it, is decided where the request enters, before there
is a command (gateway/access.py). Here stands what every node must know alike for that.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import ALL_ACCOUNTS, MOST_KEYS, EventKind, Reason, Role

if TYPE_CHECKING:
    from raftbook.engine.commands import CreateKey, RevokeKey
    from raftbook.engine.exchange import Exchange

_KEY_REJECTED: Final = EventKind.KEY_REJECTED


class KeyRecord(NamedTuple):
    """One API key without its secret. Times are log time (ns); `revoked_at` is None while the key is good.

    `accounts` are those that it is for, in rising order, or ALL_ACCOUNTS alone.
    """

    key_id: str
    name: str
    role: Role
    accounts: tuple[str, ...]
    public_key: str
    created_at: int
    revoked_at: int | None = None

    def is_for(self, account: str) -> bool:
        """Is the key for this account? O(its accounts)."""
        return account in self.accounts or ALL_ACCOUNTS in self.accounts


class ApiKeys:
    """`records` by key id, as they were created. `most_keys` bounds them; only tests set it.

    `changes` counts what became of the keys since this object was made, for whoever watches them; it is no state.
    """

    __slots__ = ("changes", "key_ids", "most_keys", "records")

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        assert most_keys > 0, "a key can be created"
        self.most_keys = most_keys
        self.changes = 0
        self.records: dict[str, KeyRecord] = {}
        self.key_ids: dict[str, str] = {}
        """Public key -> key id."""

    def add(self, record: KeyRecord) -> None:
        """Also in the place of an earlier record of the same key."""
        self.records[record.key_id] = record
        self.key_ids[record.public_key] = record.key_id
        self.changes += 1

    def remove(self, record: KeyRecord) -> None:
        del self.records[record.key_id]
        del self.key_ids[record.public_key]
        self.changes += 1

    def first_revoked(self) -> KeyRecord | None:
        """Of the revoked keys the one that was revoked first, then the one created first. O(keys)."""
        revoked = [record for record in self.records.values() if record.revoked_at is not None]
        return min(revoked, key=attrgetter("revoked_at"), default=None)

    def is_last_admin(self, record: KeyRecord) -> bool:
        """Would nobody be left who may create keys, if this one were revoked? O(keys)."""
        return record.role is Role.ADMIN and not any(
            other.role is Role.ADMIN and other.revoked_at is None and other is not record
            for other in self.records.values()
        )


def create_key(exchange: Exchange, command: CreateKey) -> None:
    """O(1), and O(keys) where there are as many as there may be."""
    keys, journal = exchange.api_keys, exchange.journal
    if exchange.is_late(command.not_after):
        journal.rejected(_KEY_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, None)
        return
    if command.key_id in keys.records or command.public_key in keys.key_ids:
        detail = "another key has this id or this public key; make a new key"
        journal.rejected(_KEY_REJECTED, command, Reason.KEY_EXISTS, detail, None)
        return
    fault = fault_of_accounts(command.role, command.accounts)
    if fault is not None:
        journal.rejected(_KEY_REJECTED, command, Reason.INVALID_KEY, fault, None)
        return
    if len(keys.records) >= keys.most_keys:
        first_revoked = keys.first_revoked()
        if first_revoked is None:
            detail = f"there are {keys.most_keys} keys that are not revoked; revoke one that is not needed"
            journal.rejected(_KEY_REJECTED, command, Reason.TOO_MANY_KEYS, detail, None)
            return
        keys.remove(first_revoked)
    key_id, name, role, accounts, public_key, _ = command
    record = KeyRecord(key_id, name, role, accounts, public_key, journal.time)
    keys.add(record)
    journal.key_changed(EventKind.KEY_CREATED, record)


def fault_of_accounts(role: Role, accounts: tuple[str, ...]) -> str | None:
    """Why a key of this role cannot have these accounts, None if it can."""
    if role is Role.ADMIN and accounts != (ALL_ACCOUNTS,):
        return "an admin key is for all accounts"
    if role is Role.TRADE and not accounts:
        return "a trade key needs at least one account to trade for"
    return None


def revoke_key(exchange: Exchange, command: RevokeKey) -> None:
    """To revoke a key again is no error, and changes nothing. O(1); O(keys) for an admin key."""
    keys, journal = exchange.api_keys, exchange.journal
    record = keys.records.get(command.key_id)
    if exchange.is_late(command.not_after):
        journal.rejected(_KEY_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, None)
    elif record is None:
        journal.rejected(_KEY_REJECTED, command, Reason.UNKNOWN_KEY, None, None)
    elif record.revoked_at is not None:
        journal.key_changed(EventKind.KEY_REVOKED, record)
    elif keys.is_last_admin(record):
        detail = "nobody could create keys any more; create another admin key first"
        journal.rejected(_KEY_REJECTED, command, Reason.LAST_ADMIN_KEY, detail, None)
    else:
        record = record._replace(revoked_at=journal.time)
        keys.add(record)
        journal.key_changed(EventKind.KEY_REVOKED, record)
