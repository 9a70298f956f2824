"""How the tests run the command line: in this process where that is enough, as a process where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.local_cluster import LocalCluster

PROJECT_ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def raftbook():
    """Runs `raftbook ARGUMENTS…` as a user's process."""

    def run(*arguments, input="", timeout=60, **variables):  # noqa: A002 (the name that subprocess.run has)
        finished = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=PROJECT_ROOT,
            env=environment(**variables),
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory):
    """Three nodes with a leader; shared by the tests of a module, so each uses accounts of its own."""
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start()
        await running.wait_for_leader(deadline_s=60)
        yield running
