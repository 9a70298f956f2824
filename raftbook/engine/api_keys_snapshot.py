"""The API keys as plain values, and back: their part of a snapshot (snapshot.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.snapshot_fields import read_integer, read_length, read_list, read_member, read_text, read_time
from raftbook.engine.types import (
    ALL_ACCOUNTS,
    IDENTIFIER_PATTERN,
    KEY_ID_PATTERN,
    KEY_NAME_PATTERN,
    MOST_ACCOUNTS_OF_KEY,
    MOST_KEYS,
    PUBLIC_KEY_PATTERN,
    Role,
)

if TYPE_CHECKING:
    from raftbook.engine.api_keys import ApiKeys
    from raftbook.engine.snapshot_fields import PlainValue


def keys_to_list(keys: ApiKeys) -> list[PlainValue]:
    """O(keys)."""
    return [keys.most_keys, [_key_to_list(record) for record in keys.records.values()]]


def _key_to_list(record: KeyRecord) -> list[PlainValue]:
    return [
        record.key_id,
        record.name,
        int(record.role),
        list(record.accounts),
        record.public_key,
        record.created_at,
        record.revoked_at,
    ]


def restore_keys(keys: ApiKeys, data: object) -> None:
    """Fill new `keys` with those of a snapshot. ValueError for whatever is none."""
    most_keys, items = read_length(read_list(data, "keys"), 2, "keys")
    keys.most_keys = read_integer(most_keys, "most_keys", low=1)
    for item in read_list(items, "keys"):
        record = _restore_key(item)
        if record.key_id in keys.records or record.public_key in keys.key_ids:
            raise ValueError(f"snapshot: key {record.key_id}, or its public key, occurs twice")
        keys.add(record)
    if not keys.records and keys.most_keys == MOST_KEYS:
        raise ValueError("snapshot: where there are no keys, nothing is said of them")


def _restore_key(data: object) -> KeyRecord:
    fields = read_length(read_list(data, "key"), 7, "key")
    return KeyRecord(
        read_text(fields[0], KEY_ID_PATTERN, "key_id"),
        read_text(fields[1], KEY_NAME_PATTERN, "name"),
        read_member(Role, fields[2], "role"),
        _restore_accounts(fields[3]),
        read_text(fields[4], PUBLIC_KEY_PATTERN, "public_key"),
        read_integer(fields[5], "created_at"),
        read_time(fields[6], "revoked_at"),
    )


def _restore_accounts(data: object) -> tuple[str, ...]:
    accounts = read_list(data, "accounts")
    if list(accounts) == [ALL_ACCOUNTS]:
        return (ALL_ACCOUNTS,)
    if len(accounts) > MOST_ACCOUNTS_OF_KEY:
        raise ValueError(f"snapshot: a key has {len(accounts)} accounts, more than {MOST_ACCOUNTS_OF_KEY}")
    return tuple(read_text(account, IDENTIFIER_PATTERN, "account") for account in accounts)
