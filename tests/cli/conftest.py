"""Fixtures for the command line: `raftbook` as a process, and a cluster to talk to."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from cli.local_cluster import LocalCluster
from tests.cli.command_line import PROJECT_ROOT, SMALL_RESERVE, Finished, environment


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
def cluster(tmp_path_factory):
    """Three nodes with a leader; shared by the tests of a module, so each uses an account or a symbol of its own."""
    with LocalCluster(tmp_path_factory.mktemp("cluster"), limits=SMALL_RESERVE) as running:
        running.start()
        asyncio.run(running.wait_for_leader(deadline_s=60))
        yield running
