"""The engine is a pure function of the log: nothing in its source could make two nodes differ."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import raftbook.engine

ENGINE = Path(raftbook.engine.__file__).parent
SOURCES = sorted(ENGINE.rglob("*.py"))
BANNED_MODULES = {
    *("time", "random", "asyncio", "logging", "os", "socket", "threading", "uuid"),
    *("datetime", "secrets", "multiprocessing", "concurrent", "subprocess", "select", "math", "statistics", "pathlib"),
}
BANNED_CALLS = {"float", "id", "hash", "open", "print", "input", "set", "frozenset", "globals", "vars", "eval", "exec"}
PROJECT_ROOT = ENGINE.parents[1]


def impurities(source: str) -> list[str]:
    """What in this source is not pure, each with its line."""
    return [
        f"line {node.lineno}: {fault}" for node in ast.walk(ast.parse(source)) if (fault := fault_of(node)) is not None
    ]


def fault_of(node: ast.AST) -> str | None:
    match node:
        case ast.Import(names=names):
            for alias in names:
                if (fault := fault_of_import(alias.name)) is not None:
                    return fault
        case ast.ImportFrom(module=module, level=level):
            return "relative import" if level else fault_of_import(module)
        case ast.Constant(value=float() | complex()):
            return "a float"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return "true division gives a float"
        case ast.Set() | ast.SetComp():
            return "a set, whose order depends on the hash seed"
        case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
            return f"{name}()"
        case ast.Name(id="Any"):
            return "Any"
        case ast.Yield() | ast.Global() | ast.Nonlocal() | ast.AsyncFunctionDef():
            return None if isinstance(node, ast.Yield) else type(node).__name__
    return None


def fault_of_import(module: str) -> str | None:
    root = module.partition(".")[0]
    if root == "raftbook":
        return None if module.startswith("raftbook.engine") else f"import of {module}"
    if root == "sortedcontainers" or module in ("msgspec", "msgspec.structs"):
        return None  # Data structures and nothing more.
    if root in BANNED_MODULES or (root not in sys.stdlib_module_names and root != "__future__"):
        return f"import of {module}"
    return None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_is_pure(path: Path):
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from random import Random",
        "from raftbook.codec import decode_entry",
        "import cbor2",
        "from . import types",
        "x = 0.5",
        "x = a / b",
        "x /= 2",
        "x = float(y)",
        "for x in {1, 2}: pass",
        "x = {y for y in z}",
        "x = sorted(set(y))",
        "x: Any = 1",
        "open('f')",
    ],
)
def test_the_scan_finds_what_it_looks_for(source: str):
    assert impurities(source) != []


DIGEST_PROGRAM = """
import hashlib
from raftbook.engine import Entry, Exchange, Run
from raftbook.simulation.workload import OrderFlow

flow = OrderFlow(7, symbols=("ACME", "BTC", "ETH"), accounts=("alice", "bob", "carol"))
exchange, digest = Exchange(closed_orders_kept=100), hashlib.sha256()
commands = [*flow.instruments(), *(next(flow) for _ in range(5_000))]
for index, first in enumerate(range(0, len(commands), 10), start=1):
    batch = tuple(commands[first:first + 10])
    digest.update(repr(exchange.apply(index, Entry(index, (Run("n1.1", first + 1, batch),)))).encode())
digest.update(repr(exchange.to_snapshot()).encode())
exchange.check()
print(digest.hexdigest())
"""


def test_one_log_gives_one_digest_under_every_hash_seed():
    digests = [
        subprocess.run(
            [sys.executable, "-c", DIGEST_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "2", "4294967295")
    ]
    assert len(digests[0]) == 65
    assert digests == digests[:1] * 4
