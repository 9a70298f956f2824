"""Members that catch up: by snapshot, with an empty disk, as learners. In a cluster of real nodes in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.errors import SnapshotError
from raftbook.replication import snapshot_transfer
from raftbook.replication.elections import Ballot, Standing
from raftbook.replication.installation import Installation
from raftbook.replication.messages import AppendEntries, SnapshotChunk, SnapshotReply
from raftbook.replication.raft_node import RaftSettings
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from tests.replication.test_raft_node import Recorder

if TYPE_CHECKING:
    from raftbook.simulation.node import SimulatedNode


def make_cluster(seed: int = 1, **settings: object) -> SimulatedCluster:
    return SimulatedCluster(seed=seed, settings=ClusterSettings(**settings))


def fill(cluster: SimulatedCluster, leader: SimulatedNode, count: int = 40) -> int:
    """Entries that those who run have applied; returns the last index."""
    index = [leader.propose(b"entry %d" % number) for number in range(count)][-1]
    cluster.wait_applied(index)
    return index


def compact(cluster: SimulatedCluster, node: SimulatedNode) -> None:
    """A snapshot of the present state, and a log that begins near it."""
    index = node.raft.applied_index
    node.take_snapshot()
    retain_entries = cluster.settings.retain_entries
    cluster.wait(lambda: node.status.base_index >= index - retain_entries)


class TestSnapshots:
    def test_one_for_which_there_was_no_room_is_sent_again(self):
        """Found by the simulator: the room came back before the member had said that it had none."""
        with make_cluster(storage_margin_bytes=0) as cluster:
            leader = cluster.settle()
            away = cluster.others(leader)[0]
            away.kill()
            fill(cluster, leader)
            compact(cluster, leader)
            used_bytes = sum(len(data) for data in away.disk.contents().values())
            away.disk.capacity_bytes = used_bytes + 100
            away.start()
            cluster.wait(lambda: away.raft.lacks_room_bytes > 0)
            assert not away.member.storage_full
            away.disk.capacity_bytes = None
            cluster.wait(lambda: bool(away.restored_at), timeout_s=snapshot_transfer.REPEAT_AFTER_S + 1.0)
            cluster.settle()

    def test_a_member_that_lags_behind_the_log_catches_up_by_snapshot(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.kill()
            fill(cluster, leader)
            compact(cluster, leader)
            index = leader.propose(b"after")
            follower.start()
            cluster.wait_applied(index)
            assert follower.restored_at == [index - 1]
            assert [entry for _index, entry in follower.applied] == [b"after"]
            cluster.settle()

    def test_an_empty_member_catches_up_by_snapshot_and_votes_again(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            index = fill(cluster, leader)
            compact(cluster, leader)
            follower = cluster.others(leader)[0]
            follower.lose_power()
            follower.wipe()
            follower.start()
            cluster.wait(lambda: follower.restored_at == [index])
            cluster.settle()
            assert follower.is_voter

    def test_entries_behind_the_snapshot_that_a_member_holds_are_kept(self):
        with make_cluster(retain_entries=0) as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            index = fill(cluster, leader)
            leader.take_snapshot()
            cluster.run_for(0.5)
            last = fill(cluster, leader)
            info = leader._folder.snapshots.latest()
            assert info is not None
            chunk = SnapshotChunk(
                leader.raft.term,
                info.index,
                info.term,
                info.size_bytes,
                info.digest,
                0,
                leader._folder.snapshots.load(info),
            )
            assert info.index == index
            follower.raft.received(leader.node_id, chunk)
            assert follower.status.last_index == last
            assert follower.restored_at == []

    def test_power_lost_between_the_snapshot_and_the_logs_record_of_it(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.kill()
            index = fill(cluster, leader)
            compact(cluster, leader)
            follower.start()
            follower.stall_disk()
            cluster.wait(lambda: follower.restored_at == [index])
            follower.lose_power()
            follower.start()
            assert follower.raft.applied_index == index
            cluster.settle()

    def test_a_transfer_of_many_chunks_sends_each_once(self, monkeypatch):
        """Heartbeats to an empty log are acknowledged at index 0; that must not start the transfer anew."""
        monkeypatch.setattr(snapshot_transfer, "CHUNK_BYTES", 16)
        monkeypatch.setattr(snapshot_transfer, "WINDOW_BYTES", 48)
        with make_cluster(delay_s=(0.04, 0.06)) as cluster:
            leader = cluster.settle()
            index = fill(cluster, leader)
            compact(cluster, leader)
            follower = cluster.others(leader)[0]
            follower.kill()
            follower.wipe()
            recorder = Recorder(cluster)
            follower.start()
            cluster.wait(lambda: follower.restored_at == [index])
            cluster.settle()
            chunks = recorder.of(SnapshotChunk)
            assert len(chunks) > 5
            assert len({chunk.offset for chunk in chunks}) == len(chunks)
            heartbeats = [message for message in recorder.of(AppendEntries) if message.previous_index == 0]
            assert len(heartbeats) < 100

    def test_a_transfer_goes_on_with_a_newer_snapshot_when_its_own_is_gone(self, monkeypatch):
        monkeypatch.setattr(snapshot_transfer, "CHUNK_BYTES", 16)
        monkeypatch.setattr(snapshot_transfer, "WINDOW_BYTES", 16)
        with make_cluster(retain_entries=0) as cluster:
            leader = cluster.settle()
            fill(cluster, leader)
            compact(cluster, leader)
            follower = cluster.others(leader)[0]
            follower.kill()
            follower.wipe()
            held_back: list[str] = []

            def hold_back(sender: str, _receiver: str, message: object) -> bool:
                if isinstance(message, SnapshotReply) and len(held_back) < 1:
                    held_back.append(sender)
                    return False
                return True

            Recorder(cluster, hold_back)
            follower.start()
            cluster.wait(lambda: bool(held_back))
            for _ in range(3):
                index = leader.propose(b"more")
                cluster.wait_applied(index, leader.node_id)
                leader.take_snapshot()
                cluster.wait(lambda index=index: leader._folder.snapshots.latest().index == index)
            leader.raft.received(follower.node_id, SnapshotReply(leader.raft.term, _first_offered(leader), 16))
            cluster.wait(lambda: bool(follower.restored_at))
            cluster.settle()

    def test_an_own_snapshot_that_comes_late_leaves_the_leaders_in_place(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            early = fill(cluster, leader, 5)
            follower.kill()
            index = fill(cluster, leader)
            compact(cluster, leader)
            follower.start()
            cluster.wait(lambda: follower.restored_at == [index])
            assert follower.raft.compact(early, 10**9, 5) == index
            cluster.settle()


def _first_offered(leader: SimulatedNode) -> int:
    (transfer,) = leader.raft._sender._outgoing.values()
    return transfer.info.index


class TestInstallation:
    """A snapshot from the leader takes a while to be prepared; the member goes on meanwhile."""

    LONG = 3.0

    def begin(self, cluster: SimulatedCluster) -> tuple[SimulatedNode, SimulatedNode, Installation]:
        """(leader, follower, its installation), which has just begun."""
        leader = cluster.settle()
        fill(cluster, leader)
        compact(cluster, leader)
        follower = cluster.others(leader)[0]
        follower.kill()
        follower.wipe()
        follower.start()
        cluster.wait(lambda: follower.raft.installation is not None)
        installation = follower.raft.installation
        assert installation is not None
        assert follower.restored_at == []
        return leader, follower, installation

    def test_the_member_stays_connected_and_follows_and_the_cluster_goes_on(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            leader, follower, installation = self.begin(cluster)
            index = leader.propose(b"meanwhile")
            cluster.wait_applied(index, leader.node_id)
            assert follower.raft.installation is installation
            assert follower.raft.leader == leader.node_id
            cluster.wait(lambda: bool(follower.restored_at))
            assert follower.restored_at == [installation.info.index]
            cluster.wait_applied(index)
            cluster.settle()
            assert follower.is_voter

    def test_what_comes_again_of_it_is_not_written_again(self):
        # So long that the connection is there again before it is over.
        longest_s = 20 * self.LONG
        with make_cluster(longest_installation_s=longest_s) as cluster:
            leader, follower, installation = self.begin(cluster)
            recorder = Recorder(cluster)
            cluster.network.break_connection(leader.node_id, follower.node_id)
            cluster.wait(lambda: bool(recorder.of(SnapshotChunk)))
            cluster.wait(lambda: bool(follower.restored_at), timeout_s=longest_s)
            assert follower.restored_at == [installation.info.index]
            assert all(reply.received_bytes == installation.info.size_bytes for reply in recorder.of(SnapshotReply))
            cluster.settle()

    def test_what_comes_after_it_is_kept_until_it_is_over(self):
        """Else it would need the next one by then, and so on for as long as there is a load."""
        with make_cluster(longest_installation_s=self.LONG, retain_entries=0) as cluster:
            leader, follower, installation = self.begin(cluster)
            while not follower.restored_at:
                cluster.wait_applied(leader.propose(b"meanwhile"), leader.node_id)
                leader.take_snapshot()
                cluster.run_for(0.3)
            cluster.settle()
            assert follower.restored_at == [installation.info.index]
            leader.propose(b"more")
            cluster.settle()
            leader.take_snapshot()
            cluster.wait(lambda: leader.status.base_index == leader.status.last_index)

    def test_its_leader_may_die(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            leader, follower, _installation = self.begin(cluster)
            leader.kill()
            cluster.run_for(self.LONG)
            leader.start()
            cluster.settle()
            assert follower.restored_at

    def test_it_is_given_up_where_the_log_has_come_as_far(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            fill(cluster, leader)
            info = leader._folder.snapshots.write(
                leader.raft.applied_index, leader.raft.term, leader.state.to_snapshot()
            )
            installation = Installation(info, follower._folder.snapshots, follower.state.from_snapshot)
            follower._folder.snapshots.write(info.index, info.term, leader.state.to_snapshot())
            follower._folder.snapshots.accept(info.index, info.term)
            follower.raft._installation = installation
            last = follower.status.last_index
            follower.member.install(installation)
            assert follower.restored_at == []
            assert follower.status.last_index == last
            cluster.settle()

    def test_one_with_another_digest_is_sent_again(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            _leader, follower, installation = self.begin(cluster)
            (name,) = (name for name in follower.disk.names() if name.startswith("incoming"))
            data = follower.disk.read(name)
            follower.disk.put(name, data[:-1] + bytes([data[-1] ^ 1]))
            cluster.wait(lambda: follower.raft.installation not in (installation, None))
            assert follower.restored_at == []
            cluster.wait(lambda: bool(follower.restored_at))
            assert cluster.protocol_errors == 0
            cluster.settle()

    def test_one_whose_state_is_wrong_though_its_digest_is_right_halts_the_member(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            _leader, follower, installation = self.begin(cluster)

            def decode(_body: bytes) -> object:
                raise SnapshotError("the snapshot contradicts itself")

            installation._decode = decode
            cluster.wait(lambda: not follower.is_running)
            assert "contradicts itself" in str(follower.failure)
            follower.start()
            cluster.settle()

    def test_another_snapshot_waits_until_it_is_over(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            leader, follower, installation = self.begin(cluster)
            other = SnapshotChunk(leader.raft.term, installation.info.index + 7, 1, 100, bytes(32), 0, bytes(10))
            recorder = Recorder(cluster)
            follower.raft.received(leader.node_id, other)
            assert follower.raft.installation is installation
            cluster.wait(lambda: bool(follower.restored_at))
            assert [reply for reply in recorder.of(SnapshotReply) if reply.index == other.index] == []
            cluster.settle()

    def test_power_lost_while_it_is_prepared(self):
        with make_cluster(longest_installation_s=self.LONG) as cluster:
            _leader, follower, _installation = self.begin(cluster)
            follower.lose_power()
            follower.start()
            assert follower.raft.installation is None
            cluster.wait(lambda: bool(follower.restored_at))
            cluster.settle()


class TestLearners:
    def test_a_member_with_an_empty_disk_does_not_count_towards_a_commit(self):
        raft = RaftSettings(fallback_timeout_s=30.0)
        with make_cluster(raft=raft) as cluster:
            leader = cluster.settle()
            wiped, other = cluster.others(leader)
            fill(cluster, leader)
            wiped.kill()
            wiped.wipe()
            cluster.network.cut_off(other.node_id)
            wiped.start()
            index = leader.propose(b"must not be committed by the forgetful one")
            cluster.wait(lambda: wiped.status.durable_index == index)
            cluster.run_for(2.0)
            assert leader.leads
            assert leader.status.commit_index == index - 1
            assert not wiped.is_voter
            cluster.network.heal_all()
            cluster.settle()

    def test_a_stale_leader_commits_nothing_with_the_help_of_a_member_that_forgot_its_successor(self):
        raft = RaftSettings(fallback_timeout_s=30.0)
        with make_cluster(raft=raft) as cluster:
            stale = cluster.settle()
            wiped, other = cluster.others(stale)
            fill(cluster, stale)
            cluster.network.cut_off(stale.node_id)
            leader = cluster.wait_for_leader(wiped.node_id, other.node_id)
            decided = leader.propose(b"decided with the help of the disk that is lost")
            cluster.wait_applied(decided, wiped.node_id, other.node_id)
            cluster.network.cut_off(wiped.node_id, other.node_id)
            wiped.kill()
            wiped.wipe()
            # What is under way from its last life must not tell of the later term.
            cluster.run_for(3.0)
            wiped.start()
            cluster.network.heal(stale.node_id, wiped.node_id)
            cluster.network.heal(wiped.node_id, stale.node_id)
            index = stale.propose(b"of the stale leader")
            cluster.wait(lambda: wiped.status.durable_index >= index)
            cluster.run_for(2.0)
            assert stale.leads
            assert stale.status.commit_index < index
            assert not wiped.is_voter
            cluster.network.heal_all()
            cluster.settle()
            assert b"of the stale leader" not in [entry for _index, entry in stale.applied]

    def test_a_member_with_an_empty_disk_does_not_vote(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            wiped, other = cluster.others(leader)
            fill(cluster, leader)
            leader.kill()
            wiped.kill()
            wiped.wipe()
            wiped.start()
            cluster.run_for(10.0)
            assert not other.leads
            assert not wiped.leads
            leader.start()
            cluster.settle()
            assert wiped.is_voter

    def test_two_of_five_may_lose_their_disks_at_once(self):
        with make_cluster(member_count=5) as cluster:
            leader = cluster.settle()
            index = fill(cluster, leader)
            for node in cluster.others(leader)[:2]:
                node.lose_power()
                node.wipe()
                node.start()
            cluster.settle()
            assert all(node.raft.applied_index > index for node in cluster.nodes.values())

    def test_a_learner_that_became_a_voter_is_one_after_a_restart(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.kill()
            follower.wipe()
            follower.start()
            cluster.settle()
            cluster.run_for(0.1)
            follower.lose_power()
            follower.start()
            assert follower.is_voter


class TestStanding:
    """A learner that hears leader "a" of term 3; its entries up to 10 may be from before the learner's loss."""

    def test_an_entry_proposed_later_and_committed_makes_a_voter(self):
        standing = Standing(3, is_voter=False, is_empty=True)
        standing.leader_heard("a", 3, 10)
        standing.leader_heard("a", 3, 12)
        assert standing.caught_up_with(10, 3, 3) is None
        assert standing.caught_up_with(11, 3, 3) == "a"

    def test_an_entry_of_an_earlier_term_proves_nothing(self):
        standing = Standing(3, is_voter=False, is_empty=True)
        standing.leader_heard("a", 3, 10)
        assert standing.caught_up_with(11, 2, 3) is None

    def test_what_a_stale_leader_had_does_not_bound_what_its_successor_committed(self):
        standing = Standing(3, is_voter=False, is_empty=True)
        standing.leader_heard("a", 3, 10)
        standing.leader_heard("b", 5, 100)
        assert standing.caught_up_with(60, 5, 5) is None
        assert standing.caught_up_with(101, 5, 5) == "b"

    def test_a_lost_connection_begins_anew(self):
        standing = Standing(3, is_voter=False, is_empty=True)
        standing.leader_heard("a", 3, 10)
        standing.leader_lost()
        assert standing.caught_up_with(11, 3, 3) is None
        standing.leader_heard("a", 3, 20)
        assert standing.caught_up_with(20, 3, 3) is None
        assert standing.caught_up_with(21, 3, 3) == "a"

    def test_a_term_without_its_leader_proves_nothing(self):
        standing = Standing(3, is_voter=False, is_empty=True)
        standing.leader_heard("a", 3, 10)
        assert standing.caught_up_with(11, 3, 4) is None

    @pytest.mark.parametrize(("member_count", "fresh_peers"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
    def test_a_majority_that_has_decided_nothing_founds_a_cluster(self, member_count, fresh_peers):
        standing = Standing(member_count, is_voter=False, is_empty=True)
        for peer in range(fresh_peers):
            assert not standing.founds_cluster
            standing.greeted(f"p{peer}", peer_is_fresh=True)
        assert standing.founds_cluster

    def test_who_holds_entries_founds_nothing(self):
        standing = Standing(3, is_voter=False, is_empty=False)
        for peer in ("a", "b"):
            standing.greeted(peer, peer_is_fresh=True)
        assert not standing.founds_cluster

    def test_a_peer_or_a_leader_that_has_decided_something_forbids_founding(self):
        for forbid in (lambda s: s.greeted("b", peer_is_fresh=False), lambda s: s.leader_heard("b", 1, 1)):
            standing = Standing(3, is_voter=False, is_empty=True)
            standing.greeted("a", peer_is_fresh=True)
            forbid(standing)
            assert not standing.founds_cluster


def test_a_ballot_counts_each_voter_once_and_only_for_its_term():
    ballot = Ballot(5)
    assert not ballot.is_won
    ballot.open(7, "a")
    assert ballot.count("b", 7)
    assert not ballot.count("b", 7)
    assert not ballot.count("a", 7)
    assert not ballot.count("c", 6)
    assert not ballot.is_won
    assert ballot.count("c", 7)
    assert ballot.is_won
    ballot.close()
    assert not ballot.is_won
