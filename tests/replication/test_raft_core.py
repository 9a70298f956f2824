"""PySyncObj's version and private names: what the node looks for when it starts is what it uses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pysyncobj import SyncObj

from raftbook.errors import ConfigError
from raftbook.replication import raft_core
from raftbook.simulation.cluster import SimulatedCluster


def test_the_names_that_are_looked_for_are_those_that_the_file_uses():
    tree = ast.parse(Path(raft_core.__file__).read_text())
    (core,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Core"]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in core.body if isinstance(node, ast.FunctionDef)}
    inherited = {name for name in vars(SyncObj) if name.startswith("_") and not name.endswith("__")}
    used = {name for name in names if name.startswith("_SyncObj__") or name in inherited}
    assert len(used) > 20
    assert sorted([*raft_core._PRIVATE_ATTRIBUTES, *raft_core._PRIVATE_METHODS]) == sorted(used)


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(raft_core, "version", lambda _name: "0.3.18")
    with pytest.raises(ConfigError, match=r"pip install pysyncobj==0\.3\.17"):
        raft_core.check_version()


def test_a_missing_private_name_is_refused(monkeypatch):
    monkeypatch.setattr(raft_core, "_PRIVATE_ATTRIBUTES", ("_SyncObj__raftState", "_SyncObj__gone"))
    with SimulatedCluster(seed=1, start=False) as cluster:
        node = cluster.nodes["n1"]
        assert not node.start()
        assert isinstance(node.failure, ConfigError)
        assert "gone" in str(node.failure)
