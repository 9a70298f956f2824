"""Real processes and real sockets: a cluster in a folder of its own, on ports of its own, ended whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.system_cluster import SystemCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG_TAIL_LINES = 30
FOLDER = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., SystemCluster]]:
    """Makes clusters that are not started yet. Shows the ends of the nodes' logs where the test failed."""
    clusters: list[SystemCluster] = []

    def make(**options) -> SystemCluster:
        cluster = SystemCluster(tmp_path / f"cluster-{len(clusters)}", **options)
        clusters.append(cluster)
        return cluster

    try:
        yield make
    finally:
        for cluster in clusters:
            cluster.close()
            for node_id in cluster.node_ids:
                if cluster.log_path(node_id).exists():
                    lines = cluster.log_path(node_id).read_text(errors="replace").splitlines()
                    print(f"---- the log of {node_id} ends:", *lines[-LOG_TAIL_LINES:], sep="\n")
