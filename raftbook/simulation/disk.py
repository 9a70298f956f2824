"""A disk in memory that keeps what was synced apart from what was not, and can lose power."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class PowerLossError(Exception):
    """The power went in the middle of an operation; only `lose_power` brings the disk back."""


@dataclass
class _Inode:
    durable: bytes = b""
    current: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes (offset, bytes) and cuts (size, None) since the last sync."""


class SimulatedDisk:
    """Implements raftbook.replication.disk.Disk.

    After `fail_after` further operations that change something, the next raises PowerLossError, having done its
    work (which is not synced) or not. `lose_power` then decides by the seed what of the unsynced work survives: each
    write whole, not at all, in some of its parts, or torn at a byte; each change of a name done or not.
    """

    def __init__(self) -> None:
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._name_changes: list[tuple[str, str | None, _Inode | None]] = []
        self.fail_after: int | None = None
        self.sync_count = 0

    def lose_power(self, random: Random) -> None:
        self.fail_after = None
        names = dict(self._durable_names)
        for old, new, inode in self._name_changes:
            if random.random() < 0.5:
                continue
            if new is None:
                names.pop(old, None)
            elif inode is not None:
                if names.get(old) is inode:
                    names.pop(old)
                names[new] = inode
        self._names, self._durable_names, self._name_changes = names, dict(names), []
        # In the order of the names, so that one seed tears one way.
        for name in sorted(names):
            _tear(names[name], random)

    def clone(self) -> SimulatedDisk:
        return copy.deepcopy(self)

    def contents(self) -> dict[str, bytes]:
        return {name: bytes(inode.current) for name, inode in self._names.items()}

    def put(self, name: str, data: bytes) -> None:
        """Replaces a file behind everyone's back: damage."""
        self._names[name] = self._durable_names[name] = _Inode(data, bytearray(data))

    def vanish(self, name: str) -> None:
        del self._names[name]
        self._durable_names.pop(name, None)

    # raftbook.replication.disk.Disk

    def path(self, name: str) -> str:
        return f"/simulated/{name}"

    def names(self) -> list[str]:
        return sorted(self._names)

    def size(self, name: str) -> int:
        return len(self._names[name].current)

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        end = None if size_bytes is None else offset + size_bytes
        return bytes(self._names[name].current[offset:end])

    def create(self, name: str) -> None:
        assert name not in self._names
        inode = self._names[name] = _Inode()
        self._name_changes.append((name, name, inode))
        self._spend()

    def append(self, name: str, data: bytes) -> None:
        inode = self._names[name]
        inode.unsynced.append((len(inode.current), data))
        inode.current += data
        self._spend()

    def sync(self, name: str) -> None:
        self._spend()
        inode = self._names[name]
        inode.durable = bytes(inode.current)
        inode.unsynced.clear()
        self.sync_count += 1

    def truncate(self, name: str, size_bytes: int) -> None:
        inode = self._names[name]
        inode.unsynced.append((size_bytes, None))
        del inode.current[size_bytes:]
        self._spend()

    def rename(self, old: str, new: str) -> None:
        inode = self._names[new] = self._names.pop(old)
        self._name_changes.append((old, new, inode))
        self._spend()

    def remove(self, name: str) -> None:
        del self._names[name]
        self._name_changes.append((name, None, None))
        self._spend()

    def sync_directory(self) -> None:
        self._spend()
        self._durable_names, self._name_changes = dict(self._names), []

    def free_bytes(self) -> int:
        return 1 << 40

    def lock(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _spend(self) -> None:
        if self.fail_after is not None:
            if self.fail_after <= 0:
                raise PowerLossError
            self.fail_after -= 1


def _tear(inode: _Inode, random: Random) -> None:
    data = bytearray(inode.durable)
    for offset, written in inode.unsynced:
        if written is None:
            if random.random() < 0.5:
                del data[offset:]
            continue
        for start, end in _surviving_parts(len(written), random):
            if len(data) < offset + end:
                # Space that was reserved and never written reads as zeros.
                data += bytes(offset + end - len(data))
            data[offset + start : offset + end] = written[start:end]
    inode.durable, inode.current, inode.unsynced = bytes(data), data, []


def _surviving_parts(size: int, random: Random) -> list[tuple[int, int]]:
    fate = random.randrange(4)
    if fate == 0 or size == 0:
        return []
    if fate == 1:
        return [(0, size)]
    if fate == 2:
        return [(0, random.randrange(size))]
    cuts = sorted({0, size, *(random.randrange(size) for _ in range(4))})
    return [part for part in pairwise(cuts) if random.random() < 0.6]
