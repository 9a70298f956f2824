"""What every test may use: where the real order flow is, how Hypothesis runs, and the option `--rewrite`."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

from cli import local_cluster

PROJECT_ROOT = Path(__file__).resolve().parent.parent

# A shared or busy machine makes single examples slow without making them wrong. In CI this keeps Hypothesis' own
# profile, which draws the same examples on every run.
settings.register_profile("raftbook", parent=settings.default, deadline=None)
settings.load_profile("raftbook")

# Each worker has ports of its own: what one has chosen and a node does not listen at yet, another would take.
MOST_WORKERS = 8
worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
local_cluster.LISTENING_PORTS = local_cluster.LISTENING_PORTS[int(worker) % MOST_WORKERS :: MOST_WORKERS]


def pytest_addoption(parser: pytest.Parser) -> None:
    # Declared here because pytest reads options before it reads the folders below.
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the expected output of tests/engine/scripts/*.txt anew; read the diff before you commit it",
    )


@pytest.fixture(autouse=True)
def logs_as_they_were():
    """A node that starts in a test's process logs to wherever standard error leads then, and not beyond the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def order_flow_data() -> Path:
    """The folder with the real order flow; a test that needs it skips where it is absent, and fails in CI."""
    named = os.environ.get("RAFTBOOK_TEST_DATA")
    folder = Path(named) if named else PROJECT_ROOT.parent / "shared" / "data"
    if (folder / "AMZN_flow_5.csv.gz").is_file():
        return folder
    message = f"no order flow in {folder}: put it there, or name its folder in RAFTBOOK_TEST_DATA"
    if named or os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
