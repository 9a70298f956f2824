"""The faults of PySyncObj 0.3.17, each shown on the stock library, and the same schedule on raftbook's nodes.

The first test of each pair is the negative control: should a later release mend the fault, it fails, and what
raftbook does about it can be looked at again.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raftbook.errors import ConfigError, ProtocolError
from raftbook.replication import raft_core
from raftbook.replication.messages import AppendEntries, AppendReply, SnapshotChunk
from raftbook.replication.raft_node import RaftSettings
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from tests.replication.test_raft_node import Recorder, entries_of

if TYPE_CHECKING:
    from raftbook.replication.ordered_log import StateReplica

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def stock(scenario: str) -> tuple[list[str], list[str]]:
    """What stock PySyncObj acknowledged on this schedule, and what of it was kept."""
    command = [sys.executable, "-m", "tests.replication.stock_pysyncobj", scenario]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    result = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    outcome = json.loads(result.stdout.splitlines()[-1])
    return outcome["acknowledged"], outcome["kept"]


def make_cluster(seed: int = 1, **settings: object) -> SimulatedCluster:
    return SimulatedCluster(seed=seed, settings=ClusterSettings(**settings))


class TestPipelinedAcknowledgements:
    """Rows 1 and 3: acknowledgements of a pipeline set the leader back, and its re-sends truncate."""

    @pytest.mark.parametrize("scenario", ["pipelined_acknowledgements", "slow_round_trip"])
    def test_stock_pysyncobj_loses_what_it_acknowledged(self, scenario):
        acknowledged, kept = stock(scenario)
        assert set(acknowledged) - set(kept)

    @pytest.mark.parametrize("round_trip_s", [0.001, 0.03, 0.2, 0.5])
    @pytest.mark.parametrize("seed", range(4))
    def test_raftbook_keeps_it(self, seed, round_trip_s):
        raft = RaftSettings(append_limit_bytes=64 * 1024)
        with make_cluster(seed, raft=raft, delay_s=(round_trip_s / 4, round_trip_s)) as cluster:
            leader = cluster.settle()
            slow = cluster.others(leader)[0]
            cluster.network.cut_off(slow.node_id)
            entries = [b"%d " % number + bytes(20_000) for number in range(12)]
            for entry in entries:
                leader.propose(entry)
                cluster.run_for(0.001)
            cluster.wait(lambda: entries_of(leader)[-1:] == entries[-1:])
            leader.lose_power()
            cluster.network.heal_all()
            cluster.wait_for_leader()
            cluster.wait(lambda: all(entries_of(node) == entries for node in cluster.running))


class TestSnapshotPath:
    """Row 2: a message of the snapshot path raises the commit index over a tail that nobody compared."""

    def test_stock_pysyncobj_acknowledges_orders_that_nobody_else_has(self):
        acknowledged, kept = stock("snapshot_path")
        assert acknowledged
        assert not set(acknowledged) & set(kept)

    def test_raftbook_replaces_them(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            cluster.network.cut_off(old.node_id)
            for number in range(5):
                old.propose(b"lost %d" % number)
            others = cluster.others(old)
            new = cluster.wait_for_leader(*(node.node_id for node in others))
            index = [new.propose(b"kept %d" % number) for number in range(100)][-1]
            cluster.wait_applied(index, *(node.node_id for node in others))
            cluster.run_for(3.0)
            new.take_snapshot()
            cluster.wait(lambda: new.status.base_index > old.status.last_index)
            cluster.network.heal_all()
            cluster.settle()
            assert old.restored_at == [index]
            assert [entry for entry in entries_of(old) if entry.startswith(b"lost")] == []

    def test_a_heartbeat_without_a_previous_entry_commits_nothing(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            cluster.network.cut_off(leader.node_id)
            index = leader.propose(b"uncommitted")
            new = cluster.wait_for_leader(*(node.node_id for node in cluster.others(leader)))
            leader.raft.received(new.node_id, AppendEntries(new.raft.term, 0, 0, index + 50, ()))
            leader.raft.tick()
            assert leader.status.commit_index < index


class TestStaleAcknowledgements:
    """Row 3: acknowledgements carry no term."""

    def test_stock_pysyncobj_counts_those_of_an_earlier_term(self):
        acknowledged, kept = stock("stale_acknowledgements")
        assert acknowledged
        assert not kept

    def test_raftbook_does_not(self):
        with make_cluster(member_count=5) as cluster:
            leader = cluster.settle()
            followers = cluster.others(leader)
            cluster.network.cut_off(leader.node_id)
            index = leader.propose(b"order")
            cluster.run_for(0.05)
            for follower in followers:
                stale = AppendReply(leader.raft.term - 1, index, index + 1, success=True, is_voter=True)
                leader.raft.received(follower.node_id, stale)
            leader.raft.tick()
            assert leader.leads
            assert leader.status.commit_index == index - 1


class TestCommitIndexPastTheLog:
    """Rows 4 and 6: the log's tail is lost with the power, the commit index beyond it is not."""

    def test_stock_pysyncobj_acknowledges_without_a_single_follower(self):
        acknowledged, kept = stock("commit_index_past_log")
        assert acknowledged
        assert not kept

    @pytest.mark.parametrize("seed", range(10))
    def test_raftbook_commits_nothing_alone(self, seed):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            for number in range(20):
                leader.propose(b"%d" % number)
                cluster.run_for(0.001)
            leader.lose_power()
            cluster.network.cut_off(leader.node_id)
            leader.start()
            cluster.run_for(5.0)
            assert leader.status.commit_index <= leader.status.last_index
            assert leader.applied == []
            cluster.network.heal_all()
            cluster.settle()


class TestBadSnapshot:
    """Row 10: a snapshot that does not load is swallowed, and answered with success."""

    def test_one_that_is_not_what_was_announced_ends_the_connection_and_changes_nothing(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            before = (follower.status, follower.state.chain_digest)
            recorder = Recorder(cluster)
            chunk = SnapshotChunk(leader.raft.term, 10**6, leader.raft.term, 4, bytes(32), 0, b"data")
            with pytest.raises(ProtocolError, match="not what it announced"):
                follower.raft.received(leader.node_id, chunk)
            assert (follower.status, follower.state.chain_digest) == before
            assert recorder.of(AppendReply, sender=follower.node_id) == []
            cluster.settle()


class TestExceptionInApply:
    """Row 11: an exception while an entry is applied is retried for ever, or the entry runs twice."""

    def test_it_reaches_whoever_drives_the_node(self, monkeypatch):
        with make_cluster(member_count=1) as cluster:
            (node,) = cluster.nodes.values()
            cluster.wait_for_leader()
            monkeypatch.setattr(node, "replica_apply", lambda _replica, _index, _entry: 1 / 0)
            node.propose(b"boom")
            with pytest.raises(ZeroDivisionError):
                cluster.run_for(1.0)


class _Bomb:
    def __reduce__(self):
        return (os._exit, (99,))


class TestPickle:
    """Row 13: bytes from the network and from the log are unpickled."""

    def test_a_pickle_in_the_log_is_bytes_like_any_other(self):
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


class TestLargeEntriesAndLongLogs:
    """Rows 19 and 20: entries beyond the batch size, a follower far behind, a long replay."""

    def test_an_entry_larger_than_an_append_arrives_whole(self):
        with make_cluster(raft=RaftSettings(append_limit_bytes=64 * 1024)) as cluster:
            leader = cluster.settle()
            entries = [bytes([number]) * size for number, size in enumerate((65_535, 65_536, 65_537, 500_000))]
            index = [leader.propose(entry) for entry in entries][-1]
            cluster.wait_applied(index)
            assert all(entries_of(node) == entries for node in cluster.nodes.values())

    def test_a_follower_far_behind_is_sent_bounded_pieces_within_a_window(self):
        raft = RaftSettings(append_limit_bytes=1000, window_bytes=5000)
        with make_cluster(raft=raft) as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.kill()
            index = [leader.propose(b"x" * 100) for _ in range(300)][-1]
            cluster.wait_applied(index)
            recorder = Recorder(cluster)
            follower.start()
            cluster.wait_applied(index)
            appends = [m for m in recorder.of(AppendEntries, receiver=follower.node_id) if m.entries]
            assert len(appends) > 30
            assert all(sum(len(command) for _term, command in m.entries) <= 1000 for m in appends)

    def test_a_long_replay_leaves_room_for_heartbeats(self):
        with make_cluster(member_count=1, raft=RaftSettings(apply_slice_s=0.02)) as cluster:
            (node,) = cluster.nodes.values()
            cluster.wait_for_leader()
            for number in range(100):
                node.propose(b"%d" % number)
            cluster.settle()
            node.restart()
            apply = node.replica_apply
            longest = 0

            def slow_apply(replica: StateReplica, index: int, entry: bytes) -> None:
                cluster.scheduler.now += 0.003
                apply(replica, index, entry)

            node.replica_apply = slow_apply
            tick = node.raft.tick

            def watched_tick() -> None:
                nonlocal longest
                before = len(node.applied)
                tick()
                longest = max(longest, len(node.applied) - before)

            node.raft.tick = watched_tick
            cluster.wait(lambda: len(node.applied) == 100)
            # Winning the election is two ticks in one.
            assert 1 <= longest <= 2 * 7


class TestVersion:
    def test_another_version_is_refused(self, monkeypatch):
        monkeypatch.setattr(raft_core, "version", lambda _name: "0.3.18")
        with pytest.raises(ConfigError, match=r"pip install pysyncobj==0\.3\.17"):
            raft_core.check_version()

    def test_a_missing_private_name_is_refused(self, monkeypatch):
        monkeypatch.setattr(raft_core, "_PRIVATE_ATTRIBUTES", ("_SyncObj__raftState", "_SyncObj__gone"))
        with SimulatedCluster(seed=1, start=False) as cluster:
            node = cluster.nodes["n1"]
            assert not node.start()
            assert isinstance(node.failure, ConfigError)
            assert "gone" in str(node.failure)
