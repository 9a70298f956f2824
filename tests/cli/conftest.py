"""Fixtures for the command line: `raftbook` as a process, and a cluster to talk to."""

from __future__ import annotations

import asyncio

import pytest

from tests.cli.command_line import PROJECT_ROOT, SMALL_RESERVE, Finished, environment
from tests.support.prepared_processes import PreparedCluster, run_prepared


@pytest.fixture
def raftbook():
    """Runs `raftbook ARGUMENTS…` as a user's process."""

    def run(*arguments, input="", timeout=60, **variables):  # noqa: A002 (the name that subprocess.run has)
        finished = run_prepared(
            list(arguments), folder=PROJECT_ROOT, environment=environment(**variables), text=input, timeout_s=timeout
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three nodes with a leader; shared by the tests of a module, so each uses an account or a symbol of its own."""
    with PreparedCluster(tmp_path_factory.mktemp("cluster"), limits=SMALL_RESERVE) as running:
        running.start()
        asyncio.run(running.wait_for_leader(deadline_s=60))
        yield running
