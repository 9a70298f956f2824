"""Who may connect, and what his bytes can do: stock PySyncObj's faults, and raftbook there. Real sockets."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys

import pytest

from raftbook.replication.messages import AppendEntries
from tests.replication.pysyncobj_faults.scenarios import PROJECT_ROOT, run
from tests.replication.test_raft_node import entries_of, make_cluster


class _Bomb:
    def __reduce__(self):
        return (os._exit, (99,))


class TestPickle:
    """Row 13: bytes of strangers, of the log and of every other file are unpickled, and so may do anything."""

    def test_stock_pysyncobj_runs_what_it_is_sent_and_what_it_reads(self):
        outcome = run("stock_sockets.unpickled")
        assert outcome["executed_from"] == ["connection", "dump", "log", "term and vote"]

    def test_to_raftbook_a_pickle_in_the_log_is_bytes_like_any_other(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            bomb = pickle.dumps(_Bomb())
            cluster.wait_applied(leader.propose(bomb))
            assert all(entries_of(node) == [bomb] for node in cluster.nodes.values())

    def test_an_entry_of_every_kind_that_the_core_knows_is_passed_over_or_handed_on(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            index = leader.status.last_index
            for kind in range(256):
                term = leader.raft.term
                entries = ((term, bytes([kind]) + pickle.dumps(_Bomb())),)
                follower.raft.received(leader.node_id, AppendEntries(term, index, term, index, entries))
                index += 1
            assert follower.status.last_index == index
            leader.kill()
            cluster.others(leader, follower)[0].kill()
            follower.raft._core.raise_commit_index(index)
            cluster.checks.needs_durability = False
            cluster.run_for(0.5)
            assert follower.raft.applied_index == index
            assert len(follower.applied) == 1

    def test_nothing_of_raftbook_unpickles_or_evaluates(self):
        banned = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "eval", "exec", "__import__"}
        for path in sorted((PROJECT_ROOT / "raftbook").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names: set[str] = set()
                if isinstance(node, ast.Import):
                    names = {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names = {(node.module or "").partition(".")[0]} | {alias.name for alias in node.names}
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    names = {node.func.id}
                assert not names & banned, f"{path}:{node.lineno} uses {names & banned}"


class TestStrangers:
    """Row 14: a node is who it says it is, and so is an administrator."""

    def test_stock_pysyncobj_executes_the_order_of_a_stranger_who_says_that_he_leads(self):
        outcome = run("stock_sockets.self_declared_peer")
        assert outcome == {"believed": True, "leader": "localhost:9", "executed": ["forged order"]}

    def test_stock_pysyncobj_shows_a_stranger_the_log_and_adds_a_member_at_his_wish(self):
        outcome = run("stock_sockets.served_strangers")
        assert outcome["readers_saw"] >= 1
        assert outcome["members"] == ["localhost:9"]
        assert outcome["executed"] == ["secret order"]


class TestConnections:
    """Row 15: connections that nobody uses."""

    def test_those_of_stock_pysyncobj_never_expire(self):
        outcome = run("stock_sockets.idle_connections")
        assert outcome["kept"] == outcome["connections"]

    def test_stock_pysyncobj_listens_no_more_once_it_had_no_descriptor_left(self):
        outcome = run("stock_sockets.no_descriptor_left")
        assert outcome["accepted"] > 5
        assert outcome["left"] == 0
        assert outcome["refused"]
        assert outcome["ready"]

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_raftbook_listens_on(self, loop):
        command = [sys.executable, "-m", "tests.replication.pysyncobj_faults.flooded_transport", loop]
        result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == "out of descriptors: True, connected afterwards: True"
