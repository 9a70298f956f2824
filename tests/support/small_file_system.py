"""A file system of a few MiB, which a test can fill without harm to anybody. It needs root."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_file_system(folder: Path, size_bytes: int) -> Iterator[None]:
    """A tmpfs on `folder`, which is made where it is missing. Skips the test where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "raftbook-test", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, text=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"needs root to mount a tmpfs: disk full is not tested here ({reason.strip()})")
    try:
        yield
    finally:
        # Lazily: a child of a killed node may still hold a file for a moment.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free_bytes(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def fill(folder: Path, spare_bytes: int = 0) -> Path:
    """Others leave just so much. Returns the file that takes up the rest; remove it to empty the disk again."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(folder) - spare_bytes)
    return ballast
