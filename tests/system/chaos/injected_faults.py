"""Faults inside a node's process, switched while it runs: a disk that fails, hangs or lies, a wall clock that is wrong.

A library of ours (injected_faults.c) is loaded before libc, and stands between the node and the system calls in
question. It was chosen over two that exist, both tried on Debian 12: libfaketime 0.9.10 lets sleeps on the monotonic
clock fail with EINVAL while the wall clock is set ahead; fiu-run's failing writes hit sockets as well as the log,
and it cannot delay a sync.
"""

from __future__ import annotations

import errno
import mmap
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_suffix(".c")
COMPILERS: Final = ("cc", "gcc", "clang")
FIELDS: Final = ("clock_offset_ns", "sync_delay_ns", "sync_error", "write_error", "is_torn", "is_lying")
"""Of `struct control`, each 8 bytes."""
_FIELD_BYTES: Final = 8
_NS: Final = 1_000_000_000


def compiler() -> str | None:
    return next((name for name in COMPILERS if shutil.which(name)), None)


def build_library(folder: Path) -> Path:
    """Compiles the library into `folder`. CalledProcessError, with the compiler's words on our stderr, if it fails."""
    name = compiler()
    assert name is not None, f"no C compiler; one of {', '.join(COMPILERS)} is needed"
    library = folder / "injected_faults.so"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run([name, *options], check=True)
    return library


class InjectedFaults:
    """The switches of one process, kept in `control_file`. They stay as they are when that process is started again."""

    def __init__(self, library: Path, control_file: Path, data_folder: Path) -> None:
        self.environment: dict[str, str] = {
            "LD_PRELOAD": str(library),
            "CHAOS_CONTROL": str(control_file),
            "CHAOS_FOLDER": str(data_folder.resolve()),
        }
        """What the process must be started with."""
        size_bytes = len(FIELDS) * _FIELD_BYTES
        control_file.write_bytes(bytes(size_bytes))
        with control_file.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), size_bytes)

    def _set(self, field: str, value: int) -> None:
        offset = FIELDS.index(field) * _FIELD_BYTES
        self._control[offset : offset + _FIELD_BYTES] = value.to_bytes(_FIELD_BYTES, "little", signed=True)

    def set_clock_ahead(self, offset_s: float) -> None:
        """The wall clock jumps to the true time plus `offset_s`. The monotonic clock stays true."""
        self._set("clock_offset_ns", round(offset_s * _NS))

    def delay_syncs(self, delay_s: float) -> None:
        """Each sync takes that much longer; 0 ends it."""
        self._set("sync_delay_ns", round(delay_s * _NS))

    def fail_syncs(self) -> None:
        """Each sync fails with EIO."""
        self._set("sync_error", errno.EIO)

    def fail_writes(self) -> None:
        """The next write is cut short, and those behind it fail with EIO."""
        self._set("is_torn", 0)
        self._set("write_error", errno.EIO)

    def lie(self) -> None:
        """Writes succeed and write nothing: what no log survives, so that a check can be seen to fail."""
        self._set("is_lying", 1)

    def heal_disk(self) -> None:
        """Nothing fails any more, and nothing is a lie."""
        for field in ("sync_error", "write_error", "is_lying"):
            self._set(field, 0)
