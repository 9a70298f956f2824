"""A small disk of its own, which can be filled without harm to anybody; for mounts of our own alone."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE: Final = "64m"


@contextmanager
def mount_tmpfs(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "chaos", str(folder)], check=True)
    try:
        yield
    finally:
        # Lazily: a child of a killed node may still hold a file for a moment.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
