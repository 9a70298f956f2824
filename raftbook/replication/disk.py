"""The node's folder as a handful of file operations.

`Disk` is what the write-ahead log and the snapshot store know of a file system: flat names in one folder,
bytes that grow at the end, and two kinds of sync. `FileDisk` is the real one; the simulator has another that
loses and tears what was not synced. Who only reads gets along with a `ReadableDisk`, such as that of
read_only_disk.py. The contract between them is POSIX's, read strictly:

- bytes that were appended or cut are durable only after `sync` of that file; until then a crash may keep any
  part of them, in any order, and leave holes of other bytes;
- a name that was created, renamed or removed is durable only after `sync_directory`; a rename is atomic.

After a failed `sync` nothing is known about the file (Linux may drop the dirty pages and report success the
next time), so whoever gets a StorageError from a write or a sync ends the process. The next process may read what never
got to the disk, and a sync would not tell it so: what nobody has vouched for it writes anew, to another file. Names are
different, since file systems keep them in a journal: after a failed `sync_directory` a later one that succeeds is to be
believed. A full disk is the exception to it all: StorageFullError says that nothing was done.

**The reserve** is a file that holds nothing but room. What a node must be able to write also on a full disk, its term,
its vote and what it has begun, is written with `may_use_reserve`: then the reserve gives up as much as is missing. It
shrinks by little at a time, so that what filled the disk cannot take it all at once; storage_space.py says when it is
taken back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from raftbook.errors import DataFolderError, StorageError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Durability = Literal["fsync", "os"]

RESERVE_STEP_BYTES: Final = 1024 * 1024
"""What the reserve gives up at a time, unless more is missing."""

_LOCK_NAME: Final = "lock"
_RESERVE_NAME: Final = "reserve"
_BLOCK_BYTES: Final = 512
"""The unit of `st_blocks`, whatever the file system's own blocks are."""

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_ALLOCATION: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""How a file system says that it cannot allocate without writing."""

_ADVICE: Final = {
    errno.ENOSPC: "free some space on that disk, then start the node again",
    errno.EDQUOT: "raise the disk quota of this user, then start the node again",
    errno.EACCES: "let the user who runs the node read and write this folder",
    errno.EPERM: "let the user who runs the node read and write this folder",
    errno.EROFS: "mount that file system for writing, or choose another data_dir",
    errno.EIO: "that disk is failing; move the node to another one and run `raftbook node rebuild`",
    errno.ENOENT: "the file was removed by someone else; run `raftbook node rebuild`",
    errno.ENOTDIR: "choose a data_dir that is a folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def refusal(action: str, place: object, error: OSError) -> StorageError:
    """What an operator is told when the operating system refuses to `action` the file or folder `place`."""
    advice = _ADVICE.get(error.errno or 0, "check that disk and folder, then start the node again")
    kind = StorageFullError if error.errno in _NO_ROOM else StorageError
    return kind(f"cannot {action} {place}: {error.strerror}; {advice}")


class ReadableDisk(Protocol):
    """The files of one folder, to read. Names are plain file names; every failure is a StorageError."""

    def path(self, name: str) -> str:
        """How to name this file to an operator."""
        ...

    def names(self) -> list[str]:
        """Every file of the folder, sorted; without the lock and the reserve."""
        ...

    def size(self, name: str) -> int:
        """Length in bytes."""
        ...

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        """Up to `size_bytes` from `offset` on; to the end where it is None. Short only at the end."""
        ...


class Disk(ReadableDisk, Protocol):
    """A folder that belongs to a node: what it reads there, and what it changes."""

    def create(self, name: str, *, may_use_reserve: bool = False) -> None:
        """Makes an empty file, which must not exist yet. StorageFullError: there is none."""
        ...

    def append(self, name: str, data: bytes, *, may_use_reserve: bool = False) -> None:
        """Writes all of `data` behind the end of an existing file.

        StorageFullError: there was no room, and the file has the length that it had. A crash may have come before
        that, so part of `data` can be found there then, as of any append that was not synced.
        """
        ...

    def sync(self, name: str) -> None:
        """Returns when the file's bytes and length are durable."""
        ...

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name, atomically, replacing what had it."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, which must exist."""
        ...

    def sync_directory(self) -> None:
        """Returns when every creation, rename and removal so far is durable."""
        ...

    def free_bytes(self) -> int:
        """Space that the node may still fill, the reserve not counted."""
        ...

    def reserve(self, size_bytes: int) -> None:
        """Makes the reserve so large, or leaves it as it is where there is no room for that."""
        ...

    def reserve_bytes(self) -> int:
        """What the reserve holds now."""
        ...

    def lock(self) -> None:
        """Takes the folder for this process. DataFolderError where another process has it."""
        ...

    def close(self) -> None:
        """Gives the folder and every open file back."""
        ...


class FileDisk:
    """A folder of the real file system, made where it is missing.

    `durability` "fsync" makes `sync` mean what it says; with "os" both syncs do nothing, so the node survives
    being killed but not a loss of power. Files are readable by their owner alone (mode 0600).

    Not for concurrent use of the same name; different names may be used from different threads. The reserve belongs to
    one thread: the one that writes with `may_use_reserve`.
    """

    def __init__(self, folder: Path | str, durability: Durability = "fsync") -> None:
        self._folder = Path(folder)
        self._durable = durability == "fsync"
        self._descriptors: dict[str, int] = {}
        self._lock_descriptor: int | None = None
        with self._explained("create the folder", None):
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        self._reserve_bytes = self._found_reserve_bytes()
        _DISKS.add(self)

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def names(self) -> list[str]:
        with self._explained("list", None):
            files = [entry.name for entry in os.scandir(self._folder) if entry.is_file()]
            return sorted(name for name in files if name not in (_LOCK_NAME, _RESERVE_NAME))

    def size(self, name: str) -> int:
        with self._explained("read", name):
            return self._at(name).stat().st_size

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        with self._explained("read", name), self._at(name).open("rb") as file:
            file.seek(offset)
            return file.read(-1 if size_bytes is None else size_bytes)

    def create(self, name: str, *, may_use_reserve: bool = False) -> None:
        def make() -> None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptors[name] = os.open(self._at(name), flags, _FILE_MODE)

        with self._explained("create", name):
            self._make_room_for(make, lambda: 0, may_use_reserve=may_use_reserve)

    def append(self, name: str, data: bytes, *, may_use_reserve: bool = False) -> None:
        # Nearly always one write does, and an order waits for it; without the machinery around it takes half as long.
        try:
            size_bytes = os.write(self._open(name), data)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise refusal("write", self._at(name), error) from error
            size_bytes = 0
        if size_bytes < len(data):
            self._append_rest(name, data, size_bytes, may_use_reserve=may_use_reserve)

    def _append_rest(self, name: str, data: bytes, written_bytes: int, *, may_use_reserve: bool) -> None:
        left = memoryview(data)[written_bytes:]

        def write() -> None:
            nonlocal left
            # A write may be cut short by a signal or a disk that is nearly full; the next one tells which.
            while left:
                left = left[os.write(descriptor, left) :]

        with self._explained("write", name):
            descriptor = self._open(name)
            try:
                self._make_room_for(write, lambda: len(left), may_use_reserve=may_use_reserve)
            except OSError as error:
                if error.errno in _NO_ROOM and len(left) < len(data):
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - (len(data) - len(left)))
                raise

    def sync(self, name: str) -> None:
        if self._durable:
            try:
                os.fdatasync(self._open(name))
            except OSError as error:
                raise refusal("sync", self._at(name), error) from error

    def truncate(self, name: str, size_bytes: int) -> None:
        with self._explained("cut", name):
            os.ftruncate(self._open(name), size_bytes)

    def rename(self, old: str, new: str) -> None:
        with self._explained("rename", old):
            self._at(old).rename(self._at(new))
        self._forget(new)
        if old in self._descriptors:
            self._descriptors[new] = self._descriptors.pop(old)

    def remove(self, name: str) -> None:
        with self._explained("remove", name):
            self._at(name).unlink()
        self._forget(name)

    def sync_directory(self) -> None:
        if not self._durable:
            return
        with self._explained("sync the folder", None):
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def free_bytes(self) -> int:
        with self._explained("measure", None):
            statistics = os.statvfs(self._folder)
            return statistics.f_bavail * statistics.f_frsize

    def reserve(self, size_bytes: int) -> None:
        held_bytes = self._reserve_bytes
        if size_bytes == held_bytes:
            return
        with self._explained("allocate", _RESERVE_NAME):
            descriptor = os.open(self._at(_RESERVE_NAME), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            try:
                os.ftruncate(descriptor, min(size_bytes, held_bytes))
                if size_bytes > held_bytes and not _allocate(descriptor, held_bytes, size_bytes):
                    os.ftruncate(descriptor, held_bytes)
                self._reserve_bytes = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)

    def reserve_bytes(self) -> int:
        return self._reserve_bytes

    def _found_reserve_bytes(self) -> int:
        """What the last process left. Of a copy that has holes, only what really takes up room."""
        try:
            status = self._at(_RESERVE_NAME).stat()
        except FileNotFoundError:
            return 0
        return min(status.st_size, status.st_blocks * _BLOCK_BYTES)

    def _make_room_for(
        self, operation: Callable[[], None], missing_bytes: Callable[[], int], *, may_use_reserve: bool
    ) -> None:
        """Repeats `operation` for as long as the disk is full and the reserve has something to give."""
        while True:
            try:
                operation()
            except OSError as error:
                if error.errno not in _NO_ROOM or not may_use_reserve or not self._reserve_bytes:
                    raise
                self.reserve(max(0, self._reserve_bytes - max(missing_bytes(), RESERVE_STEP_BYTES)))
            else:
                return

    def lock(self) -> None:
        assert self._lock_descriptor is None, "the folder is already locked by this object"
        with self._explained("lock", _LOCK_NAME):
            descriptor = os.open(self._at(_LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise DataFolderError(
                    f"{self._folder} is in use by another process{f' ({holder})' if holder else ''}; "
                    "stop that one, or give this node another --data-dir"
                ) from None
            # Of fixed length, so that a full disk has room for it from the second start on.
            os.pwrite(descriptor, b"%-10d\n" % os.getpid(), 0)
            self._lock_descriptor = descriptor

    def close(self) -> None:
        for name in list(self._descriptors):
            self._forget(name)
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def _at(self, name: str) -> Path:
        assert name == Path(name).name, f"{name!r} is not a plain file name"
        return self._folder / name

    def _open(self, name: str) -> int:
        if name not in self._descriptors:
            self._descriptors[name] = os.open(self._at(name), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        return self._descriptors[name]

    def _forget(self, name: str) -> None:
        descriptor = self._descriptors.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    @contextmanager
    def _explained(self, action: str, name: str | None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refusal(action, self._folder if name is None else self._folder / name, error) from error


def _allocate(descriptor: int, start: int, end: int) -> bool:
    """Takes up the room of the bytes from `start` to `end` of a file; False where there is none."""
    try:
        try:
            os.posix_fallocate(descriptor, start, end - start)
        except OSError as error:
            if error.errno not in _NO_ALLOCATION:
                raise
            while start < end:
                start += os.pwrite(descriptor, bytes(min(end - start, RESERVE_STEP_BYTES)), start)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        return False
    return True


_DISKS: Final[weakref.WeakSet[FileDisk]] = weakref.WeakSet()


def _forget_descriptors_in_child() -> None:
    """A child that writes a snapshot opens what it needs by itself, and has closed whatever it inherited.

    Above all the lock, which lives as long as any process that inherited it, and would keep a restarted node out of its
    folder after the parent was killed. Closing the copies leaves the parent's own.
    """
    for disk in _DISKS:
        disk.close()


os.register_at_fork(after_in_child=_forget_descriptors_in_child)
