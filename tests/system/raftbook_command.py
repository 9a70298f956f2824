"""The command line as a user runs it: as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from cli.local_cluster import PROJECT_FOLDER
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path


def command_of(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli", *arguments]


def environment() -> dict[str, str]:
    """Ours without what would win over the options and configurations of the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
    return {**kept, "PYTHONPATH": str(PROJECT_FOLDER)}


def raftbook(*arguments: str, folder: Path, deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Runs to its end in `folder`; whatever it is, it is over after `deadline_s`."""
    return subprocess.run(
        command_of(*arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )
