"""PySyncObj's private names: those that the node looks for when it starts are those that it uses."""

from __future__ import annotations

import ast
from pathlib import Path

from pysyncobj import SyncObj

from raftbook.replication import raft_core


def test_the_names_that_are_looked_for_are_those_that_the_file_uses():
    tree = ast.parse(Path(raft_core.__file__).read_text())
    (core,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Core"]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in core.body if isinstance(node, ast.FunctionDef)}
    inherited = {name for name in vars(SyncObj) if name.startswith("_") and not name.endswith("__")}
    used = {name for name in names if name.startswith("_SyncObj__") or name in inherited}
    assert len(used) > 20
    assert sorted([*raft_core._PRIVATE_ATTRIBUTES, *raft_core._PRIVATE_METHODS]) == sorted(used)
