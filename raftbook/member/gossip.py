"""How submissions travel to the leader: which part of the intake to send to whom, as a pure decision.

The direct way is enough almost always: whatever a node's intake holds goes to the leader at once. What is not
executed after `SPREAD_AFTER_S` (there is no leader, or this node cannot reach it) goes to every peer, and they pass
it on; so a submission gets through wherever any path leads to the leader. What is not executed `REPEAT_AFTER_S`
later is sent again, since the receiver may have had no room for it.

Merging is idempotent, so sending too often costs bytes and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.intake import Delta, Intake

SPREAD_AFTER_S: Final = 0.25
REPEAT_AFTER_S: Final = 1.0

DELTA_ITEMS: Final = 4096
DELTA_BYTES: Final = 512 * 1024
DELTAS_AT_ONCE: Final = 16


class Gossip:
    """What each peer was sent on the present connection."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sent: dict[str, dict[str, int]] = {}
        self._held_before: dict[str, int] = {}
        self._reviewed_at = float("-inf")
        self._repeated_at = float("-inf")
        self._overdue = False

    def connected(self, peer: str) -> None:
        self._sent[peer] = {}

    def disconnected(self, peer: str) -> None:
        self._sent.pop(peer, None)

    def review(self, now: float) -> None:
        """Look from time to time at what does not get through: call it often, it does something seldom."""
        if now - self._reviewed_at < SPREAD_AFTER_S:
            return
        held = self._intake.oldest()
        self._overdue = any(self._held_before.get(origin) == first for origin, first in held.items())
        self._held_before = held
        self._reviewed_at = now
        if not self._overdue:
            self._repeated_at = now
        elif now - self._repeated_at >= REPEAT_AFTER_S:
            self._repeated_at = now
            for sent in self._sent.values():
                sent.clear()

    def due(self, leader: str | None) -> Iterator[tuple[str, list[Delta]]]:
        """(peer, deltas) to send now, in pieces that fit a message. `leader` is a peer, or None if there is none."""
        peers = sorted(self._sent) if self._overdue or leader is None else [leader]
        for peer in peers:
            sent = self._sent.get(peer)
            if sent is None:
                continue
            for _ in range(DELTAS_AT_ONCE):
                deltas = self._intake.delta(sent, DELTA_ITEMS, DELTA_BYTES)
                if not deltas:
                    break
                for delta in deltas:
                    sent[delta.origin] = delta.first_sequence + len(delta.raw_commands) - 1
                yield peer, deltas
