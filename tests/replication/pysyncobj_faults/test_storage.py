"""Files, and what a loss of power, a full disk or a flipped bit makes of them: stock PySyncObj's, and raftbook's."""

from __future__ import annotations

import pytest

from raftbook.errors import StorageError
from raftbook.replication.disk import FileDisk
from raftbook.replication.messages import VoteReply, VoteRequest
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from tests.replication.pysyncobj_faults.limits import files_of_at_most
from tests.replication.pysyncobj_faults.scenarios import run
from tests.replication.test_raft_node import Recorder, entries_of, make_cluster


class TestNoSync:
    """Row 4: nothing is ever synced."""

    def test_stock_pysyncobj_acknowledges_what_is_on_nobodys_disk(self):
        outcome = run("stock_storage.no_sync")
        # What is counted would be seen.
        assert outcome["control"] == {"fsync": 1, "fdatasync": 1, "flush": 1, "open": 1}
        assert outcome["acknowledged"] == 10
        assert outcome["syncs"] == {}

    @pytest.mark.parametrize("seed", range(10))
    def test_raftbook_has_it_when_all_lose_their_power_at_once(self, seed):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            index = leader.propose(b"order")
            cluster.wait(lambda: leader.raft.applied_index >= index)
            for node in cluster.nodes.values():
                node.lose_power()
            for node in cluster.nodes.values():
                node.start()
            cluster.settle()
            assert all(entries_of(node) == [b"order"] for node in cluster.nodes.values())


class TestTornVote:
    """Row 5: term and vote are not synced, and a torn file of them is read as term 0."""

    def test_stock_pysyncobj_votes_twice_in_one_term(self):
        outcome = run("stock_storage.torn_meta_file")
        assert outcome["terms"] == [0, 5, 0, 5]
        assert outcome["votes"] == [["B", 5], ["C", 5]]

    @pytest.mark.parametrize("seed", range(10))
    def test_raftbook_remembers_a_vote_that_it_gave(self, seed):
        with make_cluster(seed, member_count=5) as cluster:
            leader = cluster.settle()
            voter, first, second, _other = cluster.others(leader)
            leader.kill()
            # Nobody else stands for election.
            recorder = Recorder(cluster, lambda _sender, _receiver, message: not isinstance(message, VoteRequest))
            cluster.run_for(2.0)
            term, last_index = voter.raft.term + 5, voter.status.last_index
            request = VoteRequest(term, last_index + 1, term - 1, pre_vote=False, handed_over=False)
            voter.raft.received(first.node_id, request)
            cluster.wait(lambda: recorder.of(VoteReply, sender=voter.node_id))
            voter.lose_power()
            voter.start()
            cluster.wait(lambda: second.node_id in cluster.network.connected(voter.node_id))
            cluster.run_for(2.0)
            assert voter.raft.term == term
            voter.raft.received(second.node_id, request)
            cluster.run_for(0.1)
            given = [reply for reply in recorder.of(VoteReply, sender=voter.node_id) if not reply.pre_vote]
            assert given == [VoteReply(term, granted=True, pre_vote=False)]


class TestFlippedBit:
    """Row 7: there is no checksum that anybody looks at."""

    def test_stock_pysyncobj_executes_another_order_than_it_acknowledged(self):
        outcome = run("stock_storage.flipped_bit")
        assert outcome["acknowledged"] == ["sell 100 at 5000"]
        assert outcome["kept"] == ["sell 900 at 5000"]
        assert outcome["errors"] == []

    def test_stock_pysyncobj_loads_a_damaged_dump_as_another_state(self):
        assert run("stock_storage.altered_dump") == {"loaded": True, "as_it_was": False}


class TestLargeLog:
    """Row 7: offsets have 32 bits."""

    def test_stock_pysyncobj_executes_what_no_restart_finds(self):
        outcome = run("stock_storage.beyond_4_gib")
        assert outcome["errors"] == ["error"]  # struct.error
        assert outcome["executed"] == ["small log", "large log 0", "large log 1", "large log 2"]
        assert outcome["kept"] == ["small log"]


class TestCompaction:
    """Row 8: compaction writes the journal anew in its place."""

    def test_stock_pysyncobj_loses_what_it_acknowledged_when_it_is_killed_meanwhile(self):
        outcome = run("stock_storage.killed_while_compacting")
        assert outcome["killed"]
        assert outcome["acknowledged"] == 2000
        assert outcome["kept"] < 1000

    @pytest.mark.parametrize("loses_power", [False, True])
    def test_raftbook_loses_nothing_wherever_it_is_killed(self, loses_power):
        ended_by_itself = False
        crash_in = 0
        while not ended_by_itself:
            with make_cluster(seed=crash_in, member_count=1) as cluster:
                node = cluster.wait_for_leader()
                entries = [b"%d" % number for number in range(50)]
                index = [node.propose(entry) for entry in entries][-1]
                cluster.wait_applied(index)
                digest = node.state.chain_digest
                node.crash_in, node.crash_loses_power = crash_in, loses_power
                node.take_snapshot()
                cluster.run_for(1.0)
                ended_by_itself = node.is_running
                if not ended_by_itself:
                    node.start()
                    cluster.wait_for_leader()
                    cluster.wait(lambda node=node, index=index: node.state.index >= index)
                    assert set(cluster.checks.history.digests[index]) == {digest}
            crash_in += 1
        # At the least the snapshot, its name, its folder and the segments that go.
        assert crash_in > 5


class TestFullDisk:
    """Row 9: a journal that is a memory map of a sparse file, and memory that is ahead of it."""

    def test_followers_of_stock_pysyncobj_acknowledge_what_their_disks_did_not_take(self):
        outcome = run("stock_storage.full_disks_of_followers")
        assert "[Errno 27] File too large" in outcome["refused"]
        assert len(outcome["acknowledged"]) == 10
        assert len(outcome["kept"]) < 10

    def test_stock_pysyncobj_dies_of_a_store_to_its_journal(self):
        outcome = run("stock_storage.full_disk_of_memory_map")
        if "refusal" in outcome:
            pytest.skip(f"this machine gives no mount namespace, and so no small disk: {outcome['refusal']}")
        assert outcome["killed_by"] == "SIGBUS"
        assert outcome["acknowledged"] > 50

    def test_raftbook_promises_nothing_that_the_disk_did_not_take(self, tmp_path):
        disk, identity = FileDisk(tmp_path), Identity("c", "n1")
        log, _recovered = WriteAheadLog.open(disk, identity)
        for index in range(1, 11):
            log.append(index, 1, bytes(1000))
            batch = log.take_batch()
            assert batch is not None
            with files_of_at_most(5500):
                try:
                    log.write_batch(batch)
                except StorageError as error:
                    refusal = str(error)
                    break
            log.mark_durable(batch)
        assert "File too large" in refusal
        assert log.durable_index == index - 1 > 1
        with pytest.raises(AssertionError, match="failed"):
            log.write_batch(batch)
        _log, recovered = WriteAheadLog.open(disk, identity)
        assert [entry[0] for entry in recovered.entries] == list(range(1, log.durable_index + 1))
        disk.close()
