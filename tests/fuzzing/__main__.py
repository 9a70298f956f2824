"""Tries the HTTP interface of a real node with all that its OpenAPI document allows, and much that it does not.

    python -m tests.fuzzing [OPTIONS OF schemathesis run]

A node process is started, given a book, and left to schemathesis with every check it has; exit code 0: it found
nothing. `--seed N` makes a run again what it was.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from cli.local_cluster import PROJECT_FOLDER, LocalCluster
from tests.support.sample_orders import order

FOLDER = Path(__file__).resolve().parent
LOG_TAIL_LINES = 30


def fuzz(arguments: list[str], folder: Path) -> int:
    """The exit code of schemathesis; 1 also where the node logged what it should not, or did not end in order."""
    with LocalCluster(folder, node_count=1) as cluster:
        cluster.start()
        asyncio.run(cluster.wait_for_leader(deadline_s=20))
        url = cluster.url("n1")
        httpx.post(f"{url}/v1/orders", json=order("a1")).raise_for_status()
        code = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(FOLDER / "schemathesis.toml"), "run", f"{url}/openapi.json", *arguments),
            ],
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzzing.hooks", "PYTHONPATH": str(PROJECT_FOLDER)},
            check=False,
        ).returncode
        ended = asyncio.run(cluster.terminate())
        faults = [line for line in cluster.log_path("n1").read_text().splitlines() if '"level": "error"' in line]
    for line in faults[:LOG_TAIL_LINES]:
        print(line)
    if faults or ended != {"n1": 0}:
        print(f"the node logged {len(faults)} errors, and ended with {ended['n1']}")
        return 1
    return code


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="raftbook-fuzz-") as temporary:
        sys.exit(fuzz(sys.argv[1:], Path(temporary)))
