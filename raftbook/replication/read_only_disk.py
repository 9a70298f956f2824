"""A node's files as they are at one moment, to read: also while their node goes on writing them.

All files are opened when the disk is, and their lengths noted. From then on it does not matter what the node does:
what it appends lies behind the noted length, and a file that it removes or replaces stays readable through its
descriptor. That the names belong together is made sure by listing the folder again when all are open: where
something came or went meanwhile, all is opened anew.

Nothing is created, locked or written, so a copy on a file system that is mounted read-only will do.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

_OPENING_ATTEMPTS: Final = 50
"""Names change when a segment is begun, or a snapshot is done: seconds apart, where opening takes microseconds."""


class _OpenFile(NamedTuple):
    descriptor: int
    size_bytes: int


class ReadOnlyDisk:
    """A ReadableDisk over the files of `folder` whose names are `wanted`. Give its descriptors back with `close`.

    Safe for concurrent use.
    """

    def __init__(self, folder: Path | str, wanted: Callable[[str], bool]) -> None:
        """Opens the files.

        Raises:
            StorageError: the folder or a file in it cannot be read, or its names never stand still.
        """
        self._folder = Path(folder)
        self._wanted = wanted
        self._files: dict[str, _OpenFile] = {}
        try:
            for _ in range(_OPENING_ATTEMPTS):
                names = self._list()
                if self._open_all(names) and self._list() == names:
                    return
                self.close()
        except OSError as error:
            self.close()
            raise self._refusal(error) from error
        raise StorageError(f"the files in {folder} come and go too fast to be read together; read a copy of the folder")

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def names(self) -> list[str]:
        return list(self._files)

    def size(self, name: str) -> int:
        return self._files[name].size_bytes

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        descriptor, noted_bytes = self._files[name]
        end = noted_bytes if size_bytes is None else min(noted_bytes, offset + size_bytes)
        pieces = []
        try:
            while offset < end and (piece := os.pread(descriptor, end - offset, offset)):
                pieces.append(piece)
                offset += len(piece)
        except OSError as error:
            raise self._refusal(error, name) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        while self._files:
            _, file = self._files.popitem()
            os.close(file.descriptor)

    def _list(self) -> list[str]:
        with os.scandir(self._folder) as found:
            return sorted(entry.name for entry in found if self._wanted(entry.name) and entry.is_file())

    def _open_all(self, names: list[str]) -> bool:
        """False where one has gone since it was listed."""
        with contextlib.suppress(FileNotFoundError):
            for name in names:
                descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
                self._files[name] = _OpenFile(descriptor, os.fstat(descriptor).st_size)
            return True
        return False

    def _refusal(self, error: OSError, name: str = "") -> StorageError:
        place = error.filename or self._folder / name
        return StorageError(f"cannot read {place}: {error.strerror}; check that it is there, and who may read it")
