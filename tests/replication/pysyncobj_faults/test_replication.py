"""Entries and snapshots on their way from the leader to its followers: stock PySyncObj's faults, and raftbook there."""

from __future__ import annotations

import pytest

from raftbook.replication.messages import AppendEntries, AppendReply, SnapshotChunk, SnapshotReply
from raftbook.replication.raft_node import RaftSettings
from tests.replication.pysyncobj_faults.scenarios import run
from tests.replication.test_raft_node import Recorder, entries_of, make_cluster


class TestPipelinedAcknowledgements:
    """Row 1: acknowledgements of a pipeline set the leader back, and its re-sends truncate."""

    @pytest.mark.parametrize(
        "scenario", ["stock_replication.pipelined_acknowledgements", "stock_replication.slow_round_trip"]
    )
    def test_stock_pysyncobj_loses_what_it_acknowledged(self, scenario):
        outcome = run(scenario)
        assert set(outcome["acknowledged"]) - set(outcome["kept"])

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
        outcome = run("stock_replication.snapshot_path")
        assert outcome["acknowledged"]
        assert not set(outcome["acknowledged"]) & set(outcome["kept"])

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
        outcome = run("stock_replication.stale_acknowledgements")
        assert outcome["acknowledged"]
        assert not outcome["kept"]

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
    """Row 6: the log's tail is lost with the power, the commit index beyond it is not."""

    def test_stock_pysyncobj_acknowledges_without_a_single_follower(self):
        outcome = run("stock_replication.commit_index_past_log")
        assert outcome["acknowledged"]
        assert not outcome["kept"]

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

    def test_stock_pysyncobj_acknowledges_an_order_for_a_follower_that_could_not_load_it(self):
        outcome = run("stock_replication.bad_snapshot")
        assert outcome["damaged_snapshots"]
        assert outcome["claimed_beyond_the_leaders_log"]
        assert outcome["acknowledged"]
        assert not outcome["kept"]

    def test_raftbook_gives_it_up_and_changes_nothing(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            before = (follower.status, follower.state.chain_digest)
            recorder = Recorder(cluster)
            chunk = SnapshotChunk(leader.raft.term, 10**6, leader.raft.term, 4, bytes(32), 0, b"data")
            follower.run(lambda: follower.on_message(leader.node_id, chunk))
            assert follower.is_running
            assert (follower.status, follower.state.chain_digest) == before
            assert follower.restored_at == []
            assert recorder.of(AppendReply, sender=follower.node_id) == []
            last_reply = recorder.of(SnapshotReply, sender=follower.node_id)[-1]
            assert (last_reply.index, last_reply.received_bytes) == (10**6, 0)
            cluster.settle()


class TestLargeEntries:
    """Row 19: which piece of a large entry is the last is asked of the wrong length."""

    def test_stock_pysyncobj_fails_on_a_healthy_order(self):
        outcome = run("stock_replication.premature_finish")
        assert outcome["marks"][0] == "start"
        assert outcome["marks"].count("finish") > 1
        assert len(outcome["errors"]) == outcome["marks"].count("finish") - 1

    def test_with_raftbook_it_arrives_whole(self):
        with make_cluster(raft=RaftSettings(append_limit_bytes=64 * 1024)) as cluster:
            leader = cluster.settle()
            sizes = (65_535, 65_536, 65_537, 256_000, 500_000)
            entries = [bytes([number]) * size for number, size in enumerate(sizes)]
            index = [leader.propose(entry) for entry in entries][-1]
            cluster.wait_applied(index)
            assert all(entries_of(node) == entries for node in cluster.nodes.values())


class TestFarBehind:
    """Row 19: for a follower that is far behind, every send copies the whole log from there on."""

    def test_stock_pysyncobj_copies_all_of_it_again_and_again(self):
        outcome = run("stock_replication.whole_log_in_every_send")
        assert outcome["caught_up"]
        assert outcome["copied"][0] >= outcome["behind"]
        assert sum(outcome["copied"]) > 10 * outcome["behind"]

    def test_raftbook_sends_bounded_pieces_within_a_window(self):
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


class TestOrderOfSends:
    """Row 21: peers stand in a set, so the order of messages depends on the hash seed."""

    def test_stock_pysyncobj_writes_in_another_order_under_another_hash_seed(self):
        orders = [tuple(run("stock_replication.order_of_sends", hash_seed=seed)["sent"]) for seed in range(4)]
        assert {frozenset(order) for order in orders} == {frozenset("BCDE")}
        assert len(set(orders)) > 1


class TestSnapshotUnderWay:
    """Row 22: while a snapshot is being written, a leader has none to send to a follower that needs one."""

    def test_stock_pysyncobj_sends_empty_messages_until_the_clock_stops_it(self):
        outcome = run("stock_replication.empty_snapshot_messages")
        assert outcome["messages_of_one_tick"] == outcome["of_these_empty_snapshots"] > 1000
        assert outcome["tick_s"] > 0.1

    def test_raftbook_sends_the_one_before(self, monkeypatch):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.kill()
            for _round in range(2):
                index = [leader.propose(b"%d" % number) for number in range(50)][-1]
                cluster.wait_applied(index)
                leader.take_snapshot()
                cluster.wait(lambda: leader.status.base_index > follower.status.last_index)
                # From here on the writing of a snapshot does not come to its end.
                monkeypatch.setattr(leader._writers, "_write_snapshot", lambda *_what: None)
            assert leader._writers._snapshot_under_way is not None
            recorder = Recorder(cluster)
            follower.start()
            cluster.wait_applied(index)
            chunks = recorder.of(SnapshotChunk, receiver=follower.node_id)
            assert follower.restored_at
            assert len(chunks) == 1
            assert all(chunk.data for chunk in chunks)
