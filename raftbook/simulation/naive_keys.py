"""The oracle's API keys: a list in the order of their creation, searched from end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine import EventKind, KeyEvent, KeyRecord, Reason, Role
from raftbook.simulation.naive_terms import refuse_unless

if TYPE_CHECKING:
    from raftbook.engine import CreateKey, RevokeKey
    from raftbook.simulation.naive_records import NaiveRecords


class NaiveKeys:
    """`keys` as they stand."""

    def __init__(self, records: NaiveRecords, most_keys: int) -> None:
        self.records = records
        self.most_keys = most_keys
        self.keys: list[KeyRecord] = []

    def create(self, command: CreateKey) -> None:
        for key in self.keys:
            same = key.key_id == command.key_id or key.public_key == command.public_key
            refuse_unless(not same, Reason.KEY_EXISTS)
        if command.role is Role.ADMIN:
            refuse_unless(command.accounts == ("*",), Reason.INVALID_KEY)
        if command.role is Role.TRADE:
            refuse_unless(len(command.accounts) > 0, Reason.INVALID_KEY)
        if len(self.keys) == self.most_keys:
            revoked = [(key.revoked_at, place) for place, key in enumerate(self.keys) if key.revoked_at is not None]
            refuse_unless(len(revoked) > 0, Reason.TOO_MANY_KEYS)
            _, first = min(revoked)
            self.keys.pop(first)
        self.keys.append(
            KeyRecord(
                key_id=command.key_id,
                name=command.name,
                role=command.role,
                accounts=command.accounts,
                public_key=command.public_key,
                created_at=self.records.time,
                revoked_at=None,
            )
        )
        self._tell(EventKind.KEY_CREATED, self.keys[-1])

    def revoke(self, command: RevokeKey) -> None:
        places = [place for place, key in enumerate(self.keys) if key.key_id == command.key_id]
        refuse_unless(len(places) == 1, Reason.UNKNOWN_KEY)
        [place] = places
        key = self.keys[place]
        if key.revoked_at is None:
            good_admins = [other for other in self.keys if other.role is Role.ADMIN and other.revoked_at is None]
            refuse_unless(good_admins != [key], Reason.LAST_ADMIN_KEY)
            key = self.keys[place] = key._replace(revoked_at=self.records.time)
        self._tell(EventKind.KEY_REVOKED, key)

    def _tell(self, kind: EventKind, key: KeyRecord) -> None:
        self.records.events.append(KeyEvent(kind, self.records.log_index, self.records.time, key))
