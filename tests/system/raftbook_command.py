"""The command line as a user runs it: as a process of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cli.local_cluster import PROJECT_FOLDER
from tests.support.prepared_processes import run_prepared
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def command_of(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli", *arguments]


def environment() -> dict[str, str]:
    """Ours without what would win over the options and configurations of the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
    return {**kept, "PYTHONPATH": str(PROJECT_FOLDER)}


def raftbook(*arguments: str, folder: Path, deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Runs to its end in `folder`; whatever it is, it is over after `deadline_s`."""
    return run_prepared(list(arguments), folder=folder, environment=environment(), text="", timeout_s=deadline_s)
