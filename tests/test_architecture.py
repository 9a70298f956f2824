"""Who may import whom, and what may not be imported at all: the table of ARCHITECTURE.md held against the code."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

ENGINE = "raftbook.engine"
CODEC = "raftbook.codec"
ERRORS = "raftbook.errors"
INTAKE = "raftbook.intake"
JSON_FORMAT = "raftbook.json_format"
MARKET_DATA = "raftbook.market_data"
FEED = "raftbook.feed"
STATE_MACHINE = "raftbook.state_machine"
REPLICATION = "raftbook.replication"
MEMBER = "raftbook.member"
NODE = "raftbook.node"
SECURITY = "raftbook.security"
SIGNING = "raftbook.security.signing"
SHARD_MAP = "raftbook.sharding.shard_map"
SHARD_BATCHES = "raftbook.sharding.batches"
# What a client is made of; cli and simulation may use it too.
CLIENT = ("raftbook.client", "raftbook.pipelining", "raftbook.verification")
HTTP_SERVER = (
    "raftbook.node.http_protocol",
    "raftbook.node.websocket_protocol",
    "raftbook.node.connection_table",
    "raftbook.node.body_budget",
)
CORE = (ENGINE, CODEC, ERRORS, INTAKE, JSON_FORMAT, MARKET_DATA, STATE_MACHINE)

MAY_IMPORT = {
    ERRORS: (),
    ENGINE: (),
    INTAKE: (ENGINE, ERRORS),
    MARKET_DATA: (ENGINE, ERRORS),
    CODEC: (ENGINE, INTAKE, ERRORS),
    JSON_FORMAT: (MARKET_DATA, ENGINE, ERRORS),
    FEED: (MARKET_DATA, JSON_FORMAT, ENGINE, ERRORS),
    STATE_MACHINE: (CODEC, ENGINE, ERRORS),
    SECURITY: (ENGINE, ERRORS),
    SIGNING: (ENGINE, ERRORS),
    REPLICATION: (CODEC, INTAKE, ENGINE, ERRORS),
    MEMBER: (REPLICATION, *CORE),
    NODE: (MEMBER, REPLICATION, FEED, SECURITY, *CORE),
    # The one place where a whole node is put together, its gateway included.
    "raftbook.node.runner": (NODE, MEMBER, REPLICATION, "raftbook.gateway", SECURITY, *CORE),
    "raftbook.node.http_server": (*HTTP_SERVER, "raftbook.node.config", REPLICATION, "raftbook.gateway", ERRORS),
    "raftbook.node.http_protocol": (
        "raftbook.node.config",
        "raftbook.node.websocket_protocol",
        "raftbook.node.body_budget",
        "raftbook.gateway",
        ERRORS,
    ),
    "raftbook.gateway": ("raftbook.node.service", "raftbook.node.config", FEED, SECURITY, *CORE),
    **dict.fromkeys(
        CLIENT, (ENGINE, CODEC, ERRORS, JSON_FORMAT, MARKET_DATA, SIGNING, "raftbook.security.tls", *CLIENT)
    ),
    SHARD_MAP: ("raftbook.gateway.query", JSON_FORMAT, ENGINE, ERRORS),
    SHARD_BATCHES: (SHARD_MAP, "raftbook.gateway.submissions", JSON_FORMAT, ERRORS),
    "raftbook.sharding": (
        *("raftbook.gateway", NODE, "raftbook.replication.listening", "raftbook.security.tls"),
        *(FEED, *CLIENT, *CORE),
    ),
    "raftbook.offline": (REPLICATION, *CORE),
    "raftbook.simulation": (MEMBER, REPLICATION, *CLIENT, *CORE),
    "cli.bench.stock_node": (),
    "cli": (
        NODE,
        MEMBER,
        REPLICATION,
        SECURITY,
        "raftbook.gateway",
        "raftbook.simulation",
        "raftbook.sharding",
        "raftbook.offline",
        *CLIENT,
        *CORE,
    ),
}
"""Unit -> what it may import of raftbook besides itself. A module belongs to the longest name that it starts with."""

THIRD_PARTY = {
    ERRORS: (),
    ENGINE: ("msgspec", "sortedcontainers"),
    INTAKE: (),
    MARKET_DATA: ("msgspec", "sortedcontainers"),
    CODEC: ("cbor2", "msgspec"),
    JSON_FORMAT: ("msgspec",),
    STATE_MACHINE: ("msgspec",),
    FEED: (),
    SIGNING: ("cryptography",),
    SHARD_MAP: ("msgspec",),
    SHARD_BATCHES: (),
}
"""What the inner units may import from elsewhere; the shells are free, but for what is banned below."""

PURE = (ENGINE, INTAKE, MARKET_DATA, FEED, CODEC, JSON_FORMAT, STATE_MACHINE, SIGNING, SHARD_MAP, SHARD_BATCHES)
PURE_STANDARD_LIBRARY = {
    "__future__",
    "base64",
    "bisect",
    "collections",
    "decimal",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "itertools",
    "math",
    "operator",
    "re",
    "struct",
    "typing",
}
"""No clock, randomness, files, sockets, threads, processes, logging or environment among them."""

IMPURE_BUILTINS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}

UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}


PYSYNCOBJ_IMPORTERS = (
    "raftbook.replication.raft_core",
    # Stock PySyncObj as the benchmark's yardstick: a script of its own process, which imports nothing of raftbook,
    # since raft_core changes PySyncObj for all of a process.
    "cli.bench.stock_node",
)


class Module(NamedTuple):
    name: str
    tree: ast.Module


def modules() -> list[Module]:
    found = []
    for folder in ("raftbook", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


MODULES = modules()
NAMES = {module.name for module in MODULES}


def imports_of(tree: ast.Module) -> list[str]:
    """The full names of all modules that are imported, at the top, in functions and for type checking alike."""
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports name the whole module"
            assert node.level == 0, "imports name the whole module"
            # `from raftbook import codec` imports a module, `from raftbook import __version__` a value.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            imported += [name if name in NAMES else node.module for name in names]
    return imported


def within(name: str, prefixes) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def unit_of(name: str) -> str | None:
    units = [unit for unit in MAY_IMPORT if within(name, [unit])]
    return max(units, key=len, default=None)


def forbidden_imports(name: str, tree: ast.Module) -> list[str]:
    """What a module imports against the table."""
    unit = unit_of(name)
    wrong = []
    for imported in imports_of(tree):
        top = imported.split(".", maxsplit=1)[0]
        if top in {"raftbook", "cli"}:
            # From the package itself comes the version, nothing else.
            allowed = imported == "raftbook" or within(imported, [unit, *MAY_IMPORT[unit]])
        elif top in UNPICKLERS:
            allowed = False
        elif top == "pysyncobj":
            allowed = name in PYSYNCOBJ_IMPORTERS
        elif top in sys.stdlib_module_names:
            allowed = unit not in PURE or top in PURE_STANDARD_LIBRARY
        else:
            allowed = top in THIRD_PARTY.get(unit, (top,))
        if not allowed:
            wrong.append(imported)
    return wrong


@pytest.mark.parametrize("module", MODULES, ids=[module.name for module in MODULES])
def test_a_module_imports_only_what_the_table_allows(module):
    if module.name == "raftbook":
        # The package itself holds the version, and hands out the client to whoever asks for it.
        assert {*imports_of(module.tree)} <= {"__future__", "typing", "raftbook.client"}
        return
    assert unit_of(module.name) is not None, f"{module.name} has no place in the table: say who may import whom"
    assert forbidden_imports(module.name, module.tree) == []


def test_every_unit_that_exists_is_checked():
    for unit in MAY_IMPORT:
        path = ROOT.joinpath(*unit.split("."))
        if path.is_dir() or path.with_suffix(".py").is_file():
            assert [name for name in NAMES if unit_of(name) == unit], unit
    checked = {unit_of(name) for name in NAMES}
    assert checked >= {ENGINE, INTAKE, CODEC, JSON_FORMAT, STATE_MACHINE, REPLICATION, NODE, "raftbook.gateway", "cli"}
    assert "raftbook.replication.raft_core" in NAMES


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("raftbook.engine.matching", "import time", ["time"]),
        ("raftbook.engine.matching", "from random import Random", ["random"]),
        ("raftbook.engine.matching", "def f():\n    import os.path", ["os.path"]),
        ("raftbook.engine.matching", "if TYPE_CHECKING:\n    from raftbook.codec import RawRun", ["raftbook.codec"]),
        ("raftbook.engine.matching", "from raftbook import codec, __version__", ["raftbook.codec"]),
        ("raftbook.engine.matching", "import cbor2", ["cbor2"]),
        ("raftbook.codec", "from raftbook.state_machine import StateMachine", ["raftbook.state_machine"]),
        ("raftbook.replication.transport", "import pysyncobj.node", ["pysyncobj.node"]),
        ("raftbook.replication.raft_core", "import pysyncobj.node", []),
        ("raftbook.replication.raft_core", "import pickle", ["pickle"]),
        ("cli.bench.stock_node", "from pysyncobj import SyncObj", []),
        ("cli.bench.stock_node", "from raftbook.codec import encode_command", ["raftbook.codec"]),
        ("cli.bench.stock_node", "from cli.errors import tell", ["cli.errors"]),
        ("cli.bench.stock", "from pysyncobj import SyncObj", ["pysyncobj"]),
        ("raftbook.gateway.orders", "from raftbook.member.replica import Replica", ["raftbook.member.replica"]),
        ("raftbook.gateway.orders", "from raftbook.node.service import NodeService", []),
        ("raftbook.node.service", "from raftbook.gateway import http_api", ["raftbook.gateway.http_api"]),
        ("raftbook.simulation.workload", "import raftbook.node", ["raftbook.node"]),
        ("raftbook.client", "from cli.main import app", ["cli.main"]),
        ("cli.main", "from marshal import loads", ["marshal"]),
    ],
)
def test_the_check_finds_what_is_forbidden(name, source, wrong):
    assert forbidden_imports(name, ast.parse(source)) == wrong


# --- Purity ----------------------------------------------------------------------------------------------------------


def impure_calls(tree: ast.Module) -> list[str]:
    return [
        f"line {node.lineno}: {node.func.id}()"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS
    ]


def inexact(tree: ast.Module) -> list[str]:
    """Floats, and what would make the result depend on addresses, hash seeds or the order within a set."""
    membership_tests = {
        id(operand)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for operator, operand in zip(node.ops, node.comparators, strict=True)
        if isinstance(operator, ast.In | ast.NotIn)
    }
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            wrong.append((node, "a float"))
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            wrong.append((node, "a division into a float"))
        elif isinstance(node, ast.Set | ast.SetComp) and id(node) not in membership_tests:
            wrong.append((node, "a set, which somebody could iterate over"))
        elif isinstance(node, ast.Name) and node.id in {"float", "set", "frozenset", "hash", "id"}:
            wrong.append((node, node.id))
    return [f"line {node.lineno}: {what}" for node, what in wrong]


PURE_MODULES = [module for module in MODULES if unit_of(module.name) in PURE]
ENGINE_MODULES = [module for module in MODULES if within(module.name, [ENGINE, INTAKE, MARKET_DATA])]


@pytest.mark.parametrize("module", PURE_MODULES, ids=[module.name for module in PURE_MODULES])
def test_the_core_does_no_input_or_output(module):
    assert impure_calls(module.tree) == []


@pytest.mark.parametrize("module", ENGINE_MODULES, ids=[module.name for module in ENGINE_MODULES])
def test_the_engine_has_no_floats_and_no_order_that_could_differ(module):
    assert inexact(module.tree) == []


@pytest.mark.parametrize(
    "source",
    ["x = 0.5", "x = a / b", "x /= 2", "float(x)", "for x in {1, 2}: pass", "set(x)", "{y for y in x}", "hash(x)"],
)
def test_the_check_finds_what_is_inexact(source):
    assert inexact(ast.parse(source))


def test_a_set_may_be_asked_what_it_contains():
    assert inexact(ast.parse("x in {1, 2}")) == []
    assert impure_calls(ast.parse("open(x)")) == ["line 1: open()"]
