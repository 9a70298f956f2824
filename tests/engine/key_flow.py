"""API keys created and revoked so densely that they run out: few ids, few public keys, hardly more keys than may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine import Command, CreateKey, RevokeKey, Role

if TYPE_CHECKING:
    from random import Random

MOST_KEYS: Final = 4
KEY_IDS: Final = tuple(f"key{number:05}" for number in range(7))
ACCOUNTS: Final = (("*",), ("*",), ("alice",), ("alice", "bob"), ())


class KeyFlow:
    """Everything that is drawn comes from `numbers`. Of `share` of the entries one command is about a key."""

    def __init__(self, numbers: Random, share: float) -> None:
        self.numbers = numbers
        self.share = share

    def commands(self, time: int) -> tuple[Command, ...]:
        """At most one, for the next entry."""
        return (self._command(time),) if self.numbers.random() < self.share else ()

    def _command(self, time: int) -> Command:
        key_id = self.numbers.choice(KEY_IDS)
        not_after = time + self.numbers.randrange(-2, 40) if self.numbers.random() < 0.2 else None
        if self.numbers.random() < 0.4:
            return RevokeKey(key_id, not_after)
        public_key = key_id if self.numbers.random() < 0.9 else self.numbers.choice(KEY_IDS)
        return CreateKey(
            key_id,
            name=self.numbers.choice(("desk", "ann@example.com")),
            role=self.numbers.choice(tuple(Role)),
            accounts=self.numbers.choice(ACCOUNTS),
            public_key=f"{public_key:A>42}A",
            not_after=not_after,
        )
