"""The node's folder as a handful of file operations.

`Disk` is what the write-ahead log and the snapshot store know of a file system: flat names in one folder,
bytes that grow at the end, and two kinds of sync. `FileDisk` is the real one; the simulator has another that
loses and tears what was not synced. The contract between them is POSIX's, read strictly:

- bytes that were appended or cut are durable only after `sync` of that file; until then a crash may keep any
  part of them, in any order, and leave holes of other bytes;
- a name that was created, renamed or removed is durable only after `sync_directory`; a rename is atomic.

After a failed `sync` nothing is known about the file (Linux may drop the dirty pages and report success the
next time), so whoever gets a StorageError from a write or a sync ends the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from raftbook.errors import DataFolderError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Durability = Literal["fsync", "os"]

_LOCK_NAME: Final = "lock"
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700

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


class Disk(Protocol):
    """File operations within one folder. Names are plain file names; every failure is a StorageError."""

    def path(self, name: str) -> str:
        """How to name this file to an operator."""
        ...

    def names(self) -> list[str]:
        """Every file of the folder, sorted."""
        ...

    def size(self, name: str) -> int:
        """Length in bytes."""
        ...

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        """Up to `size_bytes` from `offset` on; to the end where it is None. Short only at the end."""
        ...

    def create(self, name: str) -> None:
        """Makes an empty file, which must not exist yet."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Writes all of `data` behind the end of an existing file."""
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
        """Space that the node may still fill."""
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

    Not for concurrent use of the same name; different names may be used from different threads.
    """

    def __init__(self, folder: Path | str, durability: Durability = "fsync") -> None:
        self._folder = Path(folder)
        self._durable = durability == "fsync"
        self._descriptors: dict[str, int] = {}
        self._lock_descriptor: int | None = None
        with self._explained("create the folder", None):
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        _DISKS.add(self)

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def names(self) -> list[str]:
        with self._explained("list", None):
            return sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file() and entry.name != "lock")

    def size(self, name: str) -> int:
        with self._explained("read", name):
            return self._at(name).stat().st_size

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        with self._explained("read", name), self._at(name).open("rb") as file:
            file.seek(offset)
            return file.read(-1 if size_bytes is None else size_bytes)

    def create(self, name: str) -> None:
        with self._explained("create", name):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptors[name] = os.open(self._at(name), flags, _FILE_MODE)

    def append(self, name: str, data: bytes) -> None:
        with self._explained("write", name):
            descriptor = self._open(name)
            written = os.write(descriptor, data)
            # A write may be cut short by a signal or a disk that is nearly full; the next one tells which.
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])

    def sync(self, name: str) -> None:
        if self._durable:
            with self._explained("sync", name):
                os.fdatasync(self._open(name))

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
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
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
            place = self._folder if name is None else self._folder / name
            advice = _ADVICE.get(error.errno or 0, "check that disk and folder, then start the node again")
            raise StorageError(f"cannot {action} {place}: {error.strerror}; {advice}") from error


_DISKS: Final[weakref.WeakSet[FileDisk]] = weakref.WeakSet()


def _release_locks_in_child() -> None:
    """A lock lives as long as any process that inherited it: a child that writes a snapshot must not keep a
    restarted node out of its folder after the parent was killed. Closing the copy leaves the parent's lock.
    """
    for disk in _DISKS:
        disk._release_lock()  # noqa: SLF001 - the other half of FileDisk.


os.register_at_fork(after_in_child=_release_locks_in_child)
