"""The table "who may import whom" of raftbook/ARCHITECTURE.md, held against every import in the code."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def allowed_imports() -> dict[str, set[str]]:
    """Unit -> what it may import, as the table says."""
    text = (PROJECT_ROOT / "raftbook" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_/]+)` \|(.*)\|$", text, flags=re.MULTILINE)
    return {unit: set(re.findall(r"`([a-z0-9_]+)`", row)) for unit, row in rows}


def unit_of(module: str) -> str:
    """`raftbook.engine.types` -> `engine`; whatever is not raftbook's -> its top-level package."""
    first, *rest = module.split(".")
    return rest[0] if first == "raftbook" and rest else first


def imports_of(source: str) -> Iterator[str]:
    """The units that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (unit_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "raftbook":
                yield from (alias.name for alias in node.names if alias.name != "__version__")
            else:
                yield unit_of(str(node.module))


def forbidden(file: Path, allowed: dict[str, set[str]]) -> set[str]:
    relative = file.relative_to(PROJECT_ROOT).with_suffix("")
    parts = relative.parts[1:] if relative.parts[0] == "raftbook" else relative.parts
    own = parts[0]
    permitted = {own} | allowed.get(own, set()) | allowed.get("/".join(parts), set())
    return set(imports_of(file.read_text(encoding="utf-8"))) - permitted - sys.stdlib_module_names - {"__future__"}


FILES = [file for folder in ("raftbook", "cli") for file in sorted((PROJECT_ROOT / folder).rglob("*.py"))]


def test_there_is_code_and_a_table_to_compare():
    assert len(FILES) > 30
    assert {"engine", "replication/raft_core", "cli"} <= allowed_imports().keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT_ROOT)))
def test_a_file_imports_only_what_the_table_allows(file: Path):
    assert forbidden(file, allowed_imports()) == set()


def test_a_row_for_nothing_is_a_mistake_in_the_table():
    for unit in allowed_imports():
        path = PROJECT_ROOT / unit if unit == "cli" else PROJECT_ROOT / "raftbook" / unit
        assert path.is_dir() or path.with_suffix(".py").is_file(), unit


@pytest.mark.parametrize(
    ("source", "units"),
    [
        ("from raftbook.engine.types import Side", {"engine"}),
        ("from raftbook import codec", {"codec"}),
        ("from raftbook import __version__", set()),
        ("def f():\n    import pysyncobj.syncobj as s", {"pysyncobj"}),
        ("if x:\n    from cli.main import app", {"cli"}),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, units: set[str]):
    assert set(imports_of(source)) == units
