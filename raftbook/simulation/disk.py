"""A disk in memory that keeps what was synced apart from what was not, and fails as real disks do.

Everything is decided by switches, or by the `Random` that is handed in, so one seed gives one disk:

| what happens | how |
|---|---|
| the power goes; unsynced work is lost, whole or in parts, torn at any byte | `fail_after`, then `lose_power` |
| the process is killed before a certain operation; nothing is lost | `on_operation` raises |
| the disk is full: a write is cut short | `capacity_bytes` |
| an operation fails with an I/O error | `error_after` |
| after a failed sync, what it should have written is gone, though the next sync succeeds | the same, `drop_caches` |
| a bit flips at rest | `rot` |
| files are replaced, or vanish | `put`, `vanish` |
"""

from __future__ import annotations

import copy
import errno
import os
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from raftbook.replication.disk import RESERVE_STEP_BYTES, refusal
from raftbook.simulation.inode import Inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from raftbook.errors import StorageError

Operation = Literal["create", "append", "sync", "truncate", "rename", "remove", "sync_directory"]

_BOUNDLESS_BYTES: Final = 1 << 40


class PowerLossError(Exception):
    """The power went in the middle of an operation; only `lose_power` brings the disk back."""


class SimulatedDisk:
    """Implements raftbook.replication.disk.Disk.

    After `fail_after` further operations that change something, the next raises PowerLossError, having done its
    work (which is not synced) or not. `lose_power` then decides by the seed what of the unsynced work survives: each
    write whole, not at all, in some of its parts, or torn at a byte; each change of a name done or not.
    """

    def __init__(self) -> None:
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self._name_changes: list[_NameChange] = []
        self._reserve_bytes = 0
        self.fail_after: int | None = None
        self.capacity_bytes: int | None = None
        """What all files and the reserve may take up; None for more than anybody needs. May change at any time."""
        self.error_after: dict[Operation, int] = {}
        """How many more operations of a kind succeed before one fails with an I/O error, once."""
        self.on_operation: Callable[[Operation, str], None] | None = None
        """Called before each operation that changes something, with its file's name; "" for sync_directory.

        What it raises passes through, and the operation is not done: this is how a process is killed here.
        """
        self.operation_counts: Counter[Operation] = Counter()
        """How many operations were begun, the failed ones among them."""
        self.sync_count = 0

    # What goes wrong.

    def lose_power(self, random: Random) -> None:
        """The power is back: `random` decides what of the unsynced work has survived."""
        self.fail_after = None
        names = dict(self._durable_names)
        for change in self._name_changes:
            if random.random() >= 0.5:
                _rename(names, change)
        self._names, self._durable_names, self._name_changes = names, dict(names), []
        # In the order of the names, so that one seed tears one way.
        for name in sorted(names):
            names[name].lose_power(random)

    def drop_caches(self) -> None:
        """What the operating system may do at any time, and shows only after a failed sync: its bytes are gone."""
        for inode in self._names.values():
            inode.read_again()

    def rot(self, random: Random, names: Iterable[str], *, share: float = 1.0) -> str | None:
        """Flips one bit at rest in one of these files, within that share of it from its beginning; says which.

        None where none of them has a durable byte there.
        """
        held = {name: self._names[name] for name in sorted(names) if name in self._names}
        candidates = [name for name, inode in held.items() if int(len(inode.durable) * share)]
        if not candidates:
            return None
        name = random.choice(candidates)
        inode = self._names[name]
        position, bit = random.randrange(int(len(inode.durable) * share)), random.randrange(8)
        inode.flip(position, bit)
        return f"bit {bit} of byte {position} of {self.path(name)} flipped"

    def put(self, name: str, data: bytes) -> None:
        """Replaces a file behind everyone's back: damage."""
        self._names[name] = self._durable_names[name] = Inode.of(data)

    def vanish(self, name: str) -> None:
        """Takes a file away behind everyone's back."""
        del self._names[name]
        self._durable_names.pop(name, None)

    # For those who look on.

    def clone(self) -> SimulatedDisk:
        """A disk in the same state, with the same switches, which nobody watches. O(bytes)."""
        watcher, self.on_operation = self.on_operation, None
        try:
            return copy.deepcopy(self)
        finally:
            self.on_operation = watcher

    def contents(self) -> dict[str, bytes]:
        """Every file as a reader sees it."""
        return {name: bytes(inode.current) for name, inode in self._names.items()}

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

    def create(self, name: str, *, may_use_reserve: bool = False) -> None:
        assert name not in self._names
        if self._fails("create", name):
            raise self._refusal("create", name, errno.EIO)
        # A file as such takes up nothing here, but a disk without any room has none for its name either.
        if self._room_for(1, may_use_reserve=may_use_reserve) < 1:
            raise self._refusal("create", name, errno.ENOSPC)
        inode = self._names[name] = Inode()
        self._name_changes.append((name, name, inode))
        self._spend()

    def append(self, name: str, data: bytes, *, may_use_reserve: bool = False) -> None:
        inode = self._names[name]
        if self._fails("append", name):
            inode.append(data[: len(data) // 2])
            raise self._refusal("write", name, errno.EIO)
        room_bytes = self._room_for(len(data), may_use_reserve=may_use_reserve)
        if room_bytes < len(data):
            size_bytes = len(inode.current)
            inode.append(data[:room_bytes])
            inode.cut(size_bytes)
            self._spend()
            raise self._refusal("write", name, errno.ENOSPC)
        inode.append(data)
        self._spend()

    def sync(self, name: str) -> None:
        if self._fails("sync", name):
            self._names[name].fail_sync()
            raise self._refusal("sync", name, errno.EIO)
        self._spend()
        self._names[name].sync()
        self.sync_count += 1

    def truncate(self, name: str, size_bytes: int) -> None:
        if self._fails("truncate", name):
            raise self._refusal("cut", name, errno.EIO)
        self._names[name].cut(size_bytes)
        self._spend()

    def rename(self, old: str, new: str) -> None:
        if self._fails("rename", old):
            raise self._refusal("rename", old, errno.EIO)
        inode = self._names[new] = self._names.pop(old)
        self._name_changes.append((old, new, inode))
        self._spend()

    def remove(self, name: str) -> None:
        if self._fails("remove", name):
            raise self._refusal("remove", name, errno.EIO)
        del self._names[name]
        self._name_changes.append((name, None, None))
        self._spend()

    def sync_directory(self) -> None:
        if self._fails("sync_directory", ""):
            # Unlike the bytes of a file, names are in a journal: either they get to the disk later, or nothing does.
            raise self._refusal("sync the folder", "", errno.EIO)
        self._spend()
        for change in self._name_changes:
            _rename(self._durable_names, change)
        self._name_changes.clear()

    def free_bytes(self) -> int:
        if self.capacity_bytes is None:
            return _BOUNDLESS_BYTES
        used_bytes = self._reserve_bytes + sum(len(inode.current) for inode in self._names.values())
        return max(0, self.capacity_bytes - used_bytes)

    def reserve(self, size_bytes: int) -> None:
        if size_bytes - self._reserve_bytes <= self.free_bytes():
            self._reserve_bytes = size_bytes

    def reserve_bytes(self) -> int:
        return self._reserve_bytes

    def lock(self) -> None:
        pass

    def close(self) -> None:
        pass

    # ----------------------------------------------------------------

    def _fails(self, operation: Operation, name: str) -> bool:
        """An operation begins; whether it is to fail."""
        self.operation_counts[operation] += 1
        if self.on_operation is not None:
            self.on_operation(operation, name)
        if operation not in self.error_after:
            return False
        self.error_after[operation] -= 1
        if self.error_after[operation] >= 0:
            return False
        del self.error_after[operation]
        return True

    def _spend(self) -> None:
        if self.fail_after is not None:
            if self.fail_after <= 0:
                raise PowerLossError
            self.fail_after -= 1

    def _room_for(self, size_bytes: int, *, may_use_reserve: bool) -> int:
        """How much there is room for, up to `size_bytes`; the reserve gives up what is missing, if it may."""
        while (missing_bytes := size_bytes - self.free_bytes()) > 0 and may_use_reserve and self._reserve_bytes:
            self._reserve_bytes = max(0, self._reserve_bytes - max(missing_bytes, RESERVE_STEP_BYTES))
        return min(size_bytes, size_bytes - missing_bytes)

    def _refusal(self, action: str, name: str, number: int) -> StorageError:
        return refusal(action, self.path(name), OSError(number, os.strerror(number)))


_NameChange = tuple[str, str | None, Inode | None]
"""(name, new name, file): created, where both names are the same; removed, where there is no new one."""


def _rename(names: dict[str, Inode], change: _NameChange) -> None:
    old, new, inode = change
    if new is None:
        names.pop(old, None)
    elif inode is not None:
        if names.get(old) is inode:
            names.pop(old)
        names[new] = inode
