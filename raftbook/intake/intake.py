"""The intake's state and its one operation: merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from raftbook.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Delta(NamedTuple):
    """Consecutive submissions of one origin, the first of them with `first_sequence`."""

    origin: str
    first_sequence: int
    raw_commands: tuple[bytes, ...]


class IntakeLimits(NamedTuple):
    """What the intake holds at the most.

    `max_items` and `max_bytes` bound what this node takes from its own clients, `account_max_items` what it takes
    for one account of theirs. What arrives from other nodes is bounded by `peer_max_items` and `peer_max_bytes`.
    """

    max_items: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    account_max_items: int = 50_000
    peer_max_items: int = 400_000
    peer_max_bytes: int = 256 * 1024 * 1024


class Intake:
    """One node's intake. `origin` is the name under which this start of the node numbers its own submissions.

    Adding and dropping are O(1) a submission; `delta` is O(submissions returned + origins), and O(pending) where an
    origin's submissions have a gap.
    """

    def __init__(self, origin: str, limits: IntakeLimits | None = None) -> None:
        self.origin = origin
        self._limits = limits or IntakeLimits()
        self._pending: dict[str, dict[int, bytes]] = {}
        self._highest: dict[str, int] = {}
        """The highest sequence of each origin that was ever pending; it still is, unless the watermark covers it."""
        self._watermarks: dict[str, int] = {}
        self._last_sequence = 0
        self._own_bytes = 0
        self._own_accounts: dict[int, str] = {}
        self._account_items: dict[str, int] = {}
        """By account: how many of this node's own submissions wait. No zeros."""
        self._peer_items = 0
        self._peer_bytes = 0
        self.taken = 0
        """How many submissions were ever taken in: while it is the same, there is none that was not there before."""

    # What it holds.

    def __len__(self) -> int:
        return len(self._own_accounts) + self._peer_items

    @property
    def holds_own(self) -> bool:
        """Submissions of this node's own wait."""
        return bool(self._own_accounts)

    @property
    def size_bytes(self) -> int:
        return self._own_bytes + self._peer_bytes

    @property
    def last_sequence(self) -> int:
        """The sequence of this node's newest submission; 0 before the first."""
        return self._last_sequence

    def state(self) -> tuple[dict[str, dict[int, bytes]], dict[str, int]]:
        """The whole CRDT state, as a copy: pending submissions by origin and sequence, and the version vector."""
        return {origin: dict(items) for origin, items in self._pending.items() if items}, dict(self._watermarks)

    def origins(self) -> list[str]:
        """The origins with pending submissions, in the order of their names."""
        return sorted(origin for origin, items in self._pending.items() if items)

    def oldest(self) -> dict[str, int]:
        """The lowest pending sequence of each origin that has one. O(origins), where sequences came in order."""
        return {
            origin: min(items) if origin != self.origin else next(iter(items))
            for origin, items in self._pending.items()
            if items
        }

    # What changes it.

    def submit(self, submissions: Sequence[tuple[str, bytes]]) -> int:
        """Give this node's own submissions, (account, raw command) each, the next dots; all of them or none.

        Returns the sequence of the first.

        Raises:
            BusyError: they do not fit within the limits; nothing was taken.
        """
        size_bytes = sum(len(raw) for _account, raw in submissions)
        if len(self._own_accounts) + len(submissions) > self._limits.max_items:
            raise BusyError(f"{len(self._own_accounts)} submissions wait to be ordered on this node; try again shortly")
        if self._own_bytes + size_bytes > self._limits.max_bytes:
            raise BusyError(f"{self._own_bytes} bytes wait to be ordered on this node; try again shortly")
        items = self._account_items
        new_items: dict[str, int] = {}
        for account, _raw in submissions:
            new_items[account] = new_items.get(account, items.get(account, 0)) + 1
        for account, count in new_items.items():
            if count > self._limits.account_max_items:
                message = f"{items.get(account, 0)} submissions of account {account} wait; try again shortly"
                raise BusyError(message)
        first_sequence = self._last_sequence + 1
        pending = self._pending.setdefault(self.origin, {})
        for sequence, (account, raw) in enumerate(submissions, start=first_sequence):
            pending[sequence] = raw
            self._own_accounts[sequence] = account
        items.update(new_items)
        self._own_bytes += size_bytes
        self._last_sequence += len(submissions)
        self.taken += len(submissions)
        self._highest[self.origin] = self._last_sequence
        return first_sequence

    def merge(self, delta: Delta) -> int:
        """Take in what another node knows; returns how many submissions were taken.

        What is held, or done with, is passed over. What does not fit within the limits is left out: its origin, or
        whoever else holds it, offers it again.
        """
        if delta.origin == self.origin:
            return 0
        watermark = self._watermarks.get(delta.origin, 0)
        pending = self._pending.setdefault(delta.origin, {})
        taken = 0
        for sequence, raw in enumerate(delta.raw_commands, start=delta.first_sequence):
            if sequence <= watermark or sequence in pending:
                continue
            if not self._has_peer_room(len(raw)):
                self._make_peer_room(delta.origin, sequence)
                if not self._has_peer_room(len(raw)):
                    break
            pending[sequence] = raw
            self._highest[delta.origin] = max(sequence, self._highest.get(delta.origin, 0))
            self._peer_items += 1
            self._peer_bytes += len(raw)
            taken += 1
        self.taken += taken
        return taken

    def _has_peer_room(self, size_bytes: int) -> bool:
        return (
            self._peer_items < self._limits.peer_max_items
            and self._peer_bytes + size_bytes <= self._limits.peer_max_bytes
        )

    def _make_peer_room(self, origin: str, sequence: int) -> None:
        """Leave out what cannot be executed before `sequence` of `origin`, or for want of one before it at all.

        Else a full intake that lacks the first submission of each origin would never get it. O(pending); it frees half
        of what an origin has, so it is not needed for each submission.
        """
        victim = origin if any(held > sequence for held in self._pending[origin]) else self._origin_with_gap(origin)
        if victim is None:
            return
        items = self._pending[victim]
        held = sorted(items)
        left = [number for number in held[len(held) // 2 :] if victim != origin or number > sequence]
        for number in left:
            self._forget(victim, number, len(items.pop(number)))
        self._highest[victim] = max(items, default=self._watermarks.get(victim, 0))

    def _origin_with_gap(self, other_than: str) -> str | None:
        for origin in self.origins():
            lowest = min(self._pending[origin])
            if origin not in (other_than, self.origin) and lowest > self._watermarks.get(origin, 0) + 1:
                return origin
        return None

    def advance(self, origin: str, watermark: int) -> None:
        """Everything of `origin` up to `watermark` has been executed: drop it, and never take it in again."""
        before = self._watermarks.get(origin, 0)
        if watermark <= before:
            return
        self._watermarks[origin] = watermark
        pending = self._pending.get(origin)
        if not pending:
            return
        if watermark - before <= len(pending):
            done: Iterable[int] = range(before + 1, watermark + 1)
        else:
            done = [sequence for sequence in pending if sequence <= watermark]
        for sequence in done:
            raw = pending.pop(sequence, None)
            if raw is not None:
                self._forget(origin, sequence, len(raw))

    def _forget(self, origin: str, sequence: int, size_bytes: int) -> None:
        if origin == self.origin:
            account = self._own_accounts.pop(sequence)
            self._account_items[account] -= 1
            if not self._account_items[account]:
                del self._account_items[account]
            self._own_bytes -= size_bytes
        else:
            self._peer_items -= 1
            self._peer_bytes -= size_bytes

    # What is read from it.

    def run(self, origin: str, first_sequence: int, max_items: int, max_bytes: int) -> tuple[bytes, ...]:
        """Consecutive pending commands of `origin` from `first_sequence` on, at least one if that one is pending."""
        pending = self._pending.get(origin, {})
        commands: list[bytes] = []
        size_bytes = 0
        sequence = first_sequence
        while len(commands) < max_items and (raw := pending.get(sequence)) is not None:
            size_bytes += len(raw)
            if size_bytes > max_bytes and commands:
                break
            commands.append(raw)
            sequence += 1
        return tuple(commands)

    def delta(self, known: Mapping[str, int], max_items: int, max_bytes: int) -> list[Delta]:
        """Pending submissions above `known` (origin -> sequence that the receiver has), oldest first of each origin."""
        deltas: list[Delta] = []
        for origin in self.origins():
            start = max(known.get(origin, 0), self._watermarks.get(origin, 0)) + 1
            if start > self._highest[origin]:
                continue
            pending = self._pending[origin]
            if start not in pending:
                start = min(sequence for sequence in pending if sequence > start)
            commands = self.run(origin, start, max_items, max_bytes)
            deltas.append(Delta(origin, start, commands))
            max_items -= len(commands)
            max_bytes -= sum(len(raw) for raw in commands)
            if max_items <= 0 or max_bytes <= 0:
                break
        return deltas
