"""What a finished command left, and the environment in which commands run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from raftbook.node.config import LimitsConfig

PROJECT_ROOT = Path(__file__).resolve().parents[2]

SMALL_RESERVE = LimitsConfig(storage_reserve_bytes=1 << 20)
"""For clusters whose folders stay for a while after the tests."""


class Finished(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)

    @property
    def json_lines(self):
        return [json.loads(line) for line in self.stdout.splitlines()]


def environment(**variables):
    """Ours without what would change the command line's mind, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
    return {**kept, **variables}
