"""The bytes of one simulated file: what a reader sees, and what of it would survive a loss of power."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

_Write = tuple[int, bytes | None]
"""(offset, bytes), or (size, None) for a cut."""


@dataclass(slots=True)
class Inode:
    """`current` is what a reader sees; `durable` is on the disk; `unsynced` is on the way from one to the other.

    As a rule `current` is `durable` with `unsynced` written over it. After a failed sync it is not: Linux counts the
    pages as clean, though they never reached the disk, and no later sync brings them there.
    """

    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    unsynced: list[_Write] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> Inode:
        """A file that has been on the disk for long."""
        return cls(bytearray(data), bytearray(data))

    def append(self, data: bytes) -> None:
        """Unsynced, like every change."""
        self.unsynced.append((len(self.current), data))
        self.current += data

    def cut(self, size_bytes: int) -> None:
        self.unsynced.append((size_bytes, None))
        del self.current[size_bytes:]

    def sync(self) -> None:
        """What was written since the last sync, failed or not, is durable. O(bytes written since)."""
        _replay(self.durable, self.unsynced)
        self.unsynced.clear()

    def fail_sync(self) -> None:
        """What was written since the last sync never gets to the disk; a reader still sees it."""
        self.unsynced.clear()

    def read_again(self) -> None:
        """The cache is dropped: a reader sees what is on the disk, and what is still on its way there."""
        self.current = bytearray(self.durable)
        _replay(self.current, self.unsynced)

    def lose_power(self, random: Random) -> None:
        """Of each unsynced write survives all, nothing, its beginning, or some of its parts."""
        for offset, written in self.unsynced:
            if written is None:
                if random.random() < 0.5:
                    del self.durable[offset:]
                continue
            survived = _surviving_parts(len(written), random)
            _replay(self.durable, [(offset + start, written[start:end]) for start, end in survived])
        self.unsynced.clear()
        self.current = bytearray(self.durable)

    def flip(self, position: int, bit: int) -> None:
        """Alters a bit at rest; a reader sees it at once, unless that byte has been cut off meanwhile."""
        self.durable[position] ^= 1 << bit
        if position < len(self.current):
            self.current[position] ^= 1 << bit


def _replay(data: bytearray, writes: Iterable[_Write]) -> None:
    for offset, written in writes:
        if written is None:
            del data[offset:]
            continue
        if len(data) < offset:
            # Space that was taken and never written reads as zeros.
            data += bytes(offset - len(data))
        data[offset : offset + len(written)] = written


def _surviving_parts(size_bytes: int, random: Random) -> list[tuple[int, int]]:
    fate = random.randrange(4)
    if fate == 0 or size_bytes == 0:
        return []
    if fate == 1:
        return [(0, size_bytes)]
    if fate == 2:
        return [(0, random.randrange(size_bytes))]
    cuts = sorted({0, size_bytes, *(random.randrange(size_bytes) for _ in range(4))})
    return [part for part in pairwise(cuts) if random.random() < 0.6]
