"""Runs a scenario of stock PySyncObj (`stock_*.py`) in a process of its own, and brings back what came of it.

A scenario is a function without arguments that returns what JSON can say; its name is `module.function`. By hand:

    python -m tests.replication.pysyncobj_faults.scenarios stock_storage.flipped_bit
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT_ROOT = Path(__file__).resolve().parents[3]


def run(scenario: str, *, hash_seed: int = 0) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", __name__, scenario],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, f"{scenario} ended with {result.returncode}:\n{result.stderr}"
    outcome: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return outcome


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    module, _, function = sys.argv[1].partition(".")
    scenario = getattr(importlib.import_module(f"{__spec__.parent}.{module}"), function)
    print(json.dumps(scenario()))
