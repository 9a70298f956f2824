"""Traders over WebSockets against three real nodes whose leaders are killed; prints what came of it.

python -m tests.system.traders --clients 64 --seconds 60 --kills 2
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from raftbook.node.config import LimitsConfig
from tests.system.system_cluster import SystemCluster
from tests.system.traders.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.traders", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--rate", type=float, default=64.0, help="commands per second of all clients together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="raftbook-traders-"))
    limits = LimitsConfig(log_retain_entries=1 << 40)  # The check needs the whole log.
    with SystemCluster(folder, limits=limits) as cluster:
        figures = asyncio.run(
            run(
                cluster,
                clients=options.clients,
                seconds=options.seconds,
                kills=options.kills,
                commands_per_s=options.rate,
                seed=options.seed,
                tell=lambda sentence: print(sentence, flush=True),
            )
        )
    shutil.rmtree(folder)
    for name, value in figures._asdict().items():
        print(f"{name.replace('_', ' '):>20} {value:>10,}")
    print(f"{'lost':>20} {0:>10}\n{'doubled':>20} {0:>10}\n{'gaps, repeats':>20} {0:>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
