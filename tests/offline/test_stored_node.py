"""A node's folder read without its node: what the log holds, the state at any index, and what is damaged."""

from __future__ import annotations

import shutil

import pytest

from raftbook.codec import decode_command
from raftbook.engine.commands import CancelOrder, Malformed, Tick
from raftbook.engine.types import TimeInForce
from raftbook.errors import DamagedLogError, NotHeldError, SnapshotError
from raftbook.offline import (
    EntryKind,
    LogEntry,
    StoredNode,
    entry_to_json,
    events_to_json,
    node_to_json,
    state_to_json,
)
from raftbook.replication.log_records import HEADER_BYTES
from raftbook.replication.raft_core import REGULAR_COMMAND
from tests.offline.written_node import ACME, NO_OP, ORIGIN, START_TIME, STEP_NS, WrittenNode, order


@pytest.fixture
def written(tmp_path):
    node = WrittenNode(tmp_path / "data" / "n1", segment_size_bytes=2_000)
    yield node
    node.close()


@pytest.fixture
def trading(written):
    """Orders in several segments, some of which have traded: a no-op, the instrument, and entries 3 to 42."""
    written.append(NO_OP)
    written.enter(ACME)
    written.enter_orders(40)
    assert len(list(written.folder.glob("log-*"))) > 2
    assert written.state.exchange.journal.last_trade_id > 0
    return written


def flip(path, offset, bit=0):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(bytes(data))


def states_of(written, node, indexes):
    """Every state is rebuilt on its own, and is the one that the node had."""
    for index in indexes:
        replay = node.replay(index)
        state = replay.finish()
        assert (state.index, state.chain_digest.hex()) == (index, written.digests[index])
        assert state.state_digest() == written.state_digests[index]
        assert state.exchange.log_index <= index


class TestEntries:
    def test_each_kind_says_what_it_is(self, written):
        written.append(NO_OP)
        written.enter(ACME)
        written.enter(order("a1"), CancelOrder("alice", None, "a1"))
        written.enter(Tick())
        written.enter()
        written.append(REGULAR_COMMAND + b"no entry")
        with StoredNode.open(written.folder) as node:
            decoded = [entry.decode() for entry in node.entries()]
        kinds = [entry.kind for entry in decoded]
        assert kinds == ["no_op", "commands", "commands", "tick", "empty", "unreadable"]
        times = [entry.timestamp for entry in decoded]
        assert times == [None, *(START_TIME + index * STEP_NS for index in (2, 3, 4, 5)), None]
        (run,) = decoded[2].runs
        assert (run.origin, run.first_sequence) == (ORIGIN, 2)
        assert run.commands == (order("a1"), CancelOrder("alice", None, "a1"))

    def test_an_entry_as_json_holds_commands_as_they_were_sent(self, written):
        written.enter(ACME)
        index = written.enter(order("a1"), b"no command")
        with StoredNode.open(written.folder) as node:
            (json,) = map(entry_to_json, node.entries(index, index))
        sent = {"op": "new", "symbol": "ACME", "account": "alice", "client_order_id": "a1", "side": "buy"}
        sent |= {"order_type": "limit", "time_in_force": "gtc", "price": "100", "quantity": "5"}
        malformed = decode_command(b"no command")
        assert isinstance(malformed, Malformed)
        assert json == {
            "log_index": 2,
            "term": 1,
            "kind": "commands",
            "timestamp": START_TIME + 2 * STEP_NS,
            "size_bytes": 65,
            "commands": [
                {"origin": ORIGIN, "origin_sequence": 2, "command": sent},
                {"origin": ORIGIN, "origin_sequence": 3, "command": {"detail": malformed.detail}},
            ],
        }

    def test_a_part_is_what_was_asked_for(self, trading):
        with StoredNode.open(trading.folder) as node:
            assert [entry.log_index for entry in node.entries()] == list(range(1, 43))
            assert [entry.log_index for entry in node.entries(5, 7)] == [5, 6, 7]
            assert [entry.log_index for entry in node.entries(41)] == [41, 42]
            for first, last in ((0, None), (43, None), (1, 43), (None, 43)):
                with pytest.raises(NotHeldError, match="holds entries 1 to 42, not"):
                    node.entries(first, last)

    def test_what_was_replaced_by_another_leader_is_not_there(self, trading):
        trading.log.truncate_from(40)
        trading.term = 2
        trading.log.record_vote(2, "n3")
        trading.log.append(40, 2, NO_OP)
        trading.flush()
        with StoredNode.open(trading.folder) as node:
            assert (node.last_index, node.term, node.voted_for, node.is_voter) == (40, 2, "n3", True)
            assert list(node.entries(40)) == [LogEntry(40, 2, NO_OP)]
            assert node.replay().finish().chain_digest.hex() == trading.digests[39]

    def test_a_new_log_holds_none(self, written):
        with StoredNode.open(written.folder) as node:
            assert list(node.entries()) == []
            assert node.replay().finish().index == node.last_index == 0
            with pytest.raises(NotHeldError, match="holds no entries, not 1 to 1"):
                node.entries(1, 1)


class TestStates:
    def test_every_state_is_rebuilt_from_the_log_alone(self, trading):
        with StoredNode.open(trading.folder) as node:
            assert node.rebuildable_indexes() == [(0, 42)]
            states_of(trading, node, range(43))

    def test_a_replay_begins_at_the_newest_snapshot_at_or_below(self, written):
        written.enter(ACME)
        written.enter_orders(9)
        first = written.snapshot()
        written.enter_orders(10)
        second = written.snapshot()
        written.enter_orders(10)
        with StoredNode.open(written.folder) as node:
            assert (first, second, node.last_index, node.known_committed_index) == (10, 20, 30, 20)
            begun = {index: node.replay(index).begin_index for index in (9, 10, 19, 20, 21, 30)}
            assert begun == {9: 0, 10: 10, 19: 10, 20: 20, 21: 20, 30: 20}
            assert node.replay(30, after=15).begin_index == 10
            assert node.replay(30, after=0).begin_index == 0
            assert node.replay(15, after=25).begin_index == 10
            states_of(written, node, range(31))

    def test_a_compacted_log_gives_what_it_still_can(self, written):
        written.enter(ACME)
        written.enter_orders(29)
        written.snapshot()
        written.enter_orders(30)
        written.snapshot()
        written.log.compact(50)
        written.enter_orders(10)
        assert written.path("log", 0).name != "log-0000000000000001"
        with StoredNode.open(written.folder) as node:
            assert (node.base_index, node.first_index, node.last_index) == (50, 51, 70)
            assert node.rebuildable_indexes() == [(30, 30), (60, 70)]
            states_of(written, node, [30, *range(60, 71)])
            for index in (29, 31, 59, 71):
                with pytest.raises(NotHeldError, match=rf"state at {index} cannot .* only those at 30 and 60 to 70"):
                    node.replay(index)
            with pytest.raises(NotHeldError, match="the states from 55 to 65 cannot"):
                node.replay(65, after=55)

    def test_what_a_replay_executes_is_told_on_the_way(self, trading):
        with StoredNode.open(trading.folder) as node:
            replay = node.replay()
            events = [
                event
                for _, executions in replay
                for event in events_to_json(executions, replay.state.exchange.instruments)
            ]
        assert replay.command_count == 41
        assert events[0]["event"] == "instrument_added"
        trades = [event for event in events if event["event"] == "trade"]
        assert [trade["trade_id"] for trade in trades] == list(range(1, len(trades) + 1))
        assert {(event["origin"], event["log_index"] - event["origin_sequence"]) for event in events} == {(ORIGIN, 1)}
        json = state_to_json(replay)
        exchange = trading.state.exchange
        assert json == {
            "log_index": 42,
            "timestamp": START_TIME + 42 * STEP_NS,
            "digest": trading.digests[42],
            "state_digest": trading.state_digests[42],
            "instruments": 1,
            "orders": len(exchange.orders()),
            "known_orders": 40,
            "trades": len(trades),
            "accounts": 1,
            "replayed_from": 0,
            "replayed_commands": 41,
        }

    def test_what_an_entry_did_by_itself_is_nobodys_submission(self, written):
        """Orders expire before the first command of an entry, and in one without any."""
        written.append(NO_OP)
        written.enter(ACME)
        expiring = [order(name)._replace(time_in_force=TimeInForce.GTD) for name in ("early", "late")]
        times = [START_TIME + index * STEP_NS for index in (4, 5)]
        written.enter(*(one._replace(expire_time=at) for one, at in zip(expiring, times, strict=True)))
        written.enter(Tick())
        written.enter()
        with StoredNode.open(written.folder) as node:
            assert [entry.decode().kind for entry in node.entries(4)] == [EntryKind.TICK, EntryKind.EMPTY]
            replay = node.replay()
            found = [
                (
                    event["log_index"],
                    event["event"],
                    event.get("client_order_id"),
                    event["origin"],
                    event["origin_sequence"],
                )
                for entry, executions in replay
                for event in events_to_json(executions, replay.state.exchange.instruments)
                if entry.log_index >= 4
            ]
        assert found == [
            (4, "order_canceled", "early", None, None),
            (4, "ticked", None, ORIGIN, 4),
            (5, "order_canceled", "late", None, None),
        ]
        assert replay.command_count == 4
        assert replay.state.chain_digest.hex() == written.digests[5]

    def test_a_snapshot_from_a_peer_supersedes_the_log_until_the_log_says_so(self, tmp_path, trading):
        """A crash came between the snapshot and the log's record of it; the node would start with the snapshot."""
        leader = WrittenNode(tmp_path / "leader")
        leader.term = 2
        leader.enter(ACME)
        leader.enter_orders(59)
        leader.snapshot()
        leader.close()
        shutil.copy(leader.path("snapshot"), trading.folder)
        with StoredNode.open(trading.folder) as node:
            assert (node.last_index, node.end_index, node.rebuildable_indexes()) == (42, 60, [(0, 42), (60, 60)])
            assert node.replay().finish().chain_digest.hex() == leader.digests[60]
            states_of(trading, node, [41, 42])
            with pytest.raises(NotHeldError):
                node.replay(50)

    def test_a_snapshot_that_contradicts_the_log_is_not_gone_on_from(self, tmp_path, trading):
        leader = WrittenNode(tmp_path / "leader")
        leader.term = 2
        leader.enter(ACME)
        leader.enter_orders(19)
        leader.snapshot()
        leader.close()
        shutil.copy(leader.path("snapshot"), trading.folder)
        with StoredNode.open(trading.folder) as node:
            assert node.end_index == 20
            assert node.replay().finish().chain_digest.hex() == leader.digests[20]
            assert node.replay(42).begin_index == 0
            states_of(trading, node, [19, 21, 42])


class TestDamage:
    def test_a_torn_tail_is_none(self, trading):
        path = trading.path("log")
        with path.open("ab") as log:
            log.write(b"half a rec")
        with StoredNode.open(trading.folder) as node:
            assert (node.problems, node.last_index) == ([], 42)
            assert node.segments[-1].size_bytes - node.segments[-1].whole_bytes == len(b"half a rec")
            states_of(trading, node, [42])

    def test_a_log_cut_anywhere_in_its_last_segment_holds_what_stands_in_front(self, trading):
        path = trading.path("log")
        whole = path.read_bytes()
        lasts = []
        for size in range(len(whole), HEADER_BYTES + 200, -37):
            path.write_bytes(whole[:size])
            with StoredNode.open(trading.folder) as node:
                assert node.problems == []
                lasts.append(node.last_index)
                states_of(trading, node, [node.last_index])
        assert lasts[0] == 42
        assert lasts == sorted(lasts, reverse=True)
        assert lasts[-1] < 42

    @pytest.mark.parametrize("position", [0, 1, -1])
    def test_a_flipped_byte_is_named_and_what_stands_in_front_is_read(self, trading, position):
        path = trading.path("log", position)
        sound = path.read_bytes()
        for offset in range(0, len(sound) - HEADER_BYTES, 61):
            flip(path, offset, bit=offset % 8)
            with StoredNode.open(trading.folder) as node:
                assert node.damage is not None, offset
                assert (node.damage.path, node.damage.offset <= offset) == (str(path), True)
                (problem,) = node.problems
                assert f"{path} is damaged at byte {node.damage.offset}" in problem
                assert "raftbook node rebuild" in problem
                assert node.segments[-1].name == path.name
                assert [entry.log_index for entry in node.entries()] == list(range(1, node.last_index + 1))
                if node.identity is not None:
                    states_of(trading, node, [node.last_index])
                with pytest.raises(
                    DamagedLogError, match=r"the state at 42 cannot be rebuilt, only .*is damaged at byte"
                ):
                    node.replay(42)
            path.write_bytes(sound)

    def test_where_not_even_the_first_header_is_sound_there_is_nothing(self, trading):
        flip(trading.path("log", 0), 60)
        with StoredNode.open(trading.folder) as node:
            assert (node.identity, node.rebuildable_indexes(), list(node.entries())) == (None, [], [])
            with pytest.raises(DamagedLogError, match=r"only none: .* is damaged at byte 0"):
                node.replay()
            assert node_to_json(node)["damage"] == {"file": str(trading.path("log", 0)), "offset": 0}

    def test_a_missing_segment_is_told(self, trading):
        trading.path("log", 0).unlink()
        with StoredNode.open(trading.folder) as node:
            (problem,) = node.problems
            assert "are missing: segments before it were removed" in problem
            assert node.first_index > 1
            assert node.rebuildable_indexes() == []

    def test_a_damaged_snapshot_is_passed_over_and_told(self, trading):
        trading.snapshot()
        trading.enter_orders(5)
        trading.snapshot()
        trading.enter_orders(5)
        flip(trading.path("snapshot"), -1)
        with StoredNode.open(trading.folder) as node:
            assert node.problems == []
            assert node.replay(52).begin_index == 42
            states_of(trading, node, [46, 47, 52])
            (problem,) = node.problems
            assert f"{trading.path('snapshot')} is damaged: its body" in problem

    def test_a_damaged_snapshot_that_nothing_replaces_is_an_error(self, trading):
        trading.snapshot()
        trading.log.compact(42)
        trading.enter_orders(1)
        flip(trading.path("snapshot"), -1)
        with (
            StoredNode.open(trading.folder) as node,
            pytest.raises(SnapshotError, match="is damaged: its body does not have the digest"),
        ):
            node.replay()

    def test_a_snapshot_is_verified_to_its_end_when_that_is_asked(self, trading):
        trading.snapshot()
        trading.enter_orders(1)
        trading.snapshot()
        flip(trading.path("snapshot", 0), 3)
        flip(trading.path("snapshot", 1), -1)
        with StoredNode.open(trading.folder) as node:
            header, body = node.snapshots
            assert ("does not begin like a snapshot" in str(header.problem), body.problem) == (True, None)
            node.verify_snapshots()
            json = node_to_json(node)
        assert [snapshot["problem"] is None for snapshot in json["snapshots"]] == [False, False]
        assert json["problems"] == node.problems
        assert len(node.problems) == 2

    def test_a_log_that_begins_behind_every_snapshot_is_told(self, trading):
        trading.snapshot()
        trading.log.compact(42)
        trading.path("snapshot").unlink()
        with StoredNode.open(trading.folder) as node:
            (problem,) = node.problems
            assert "begins behind entry 42, but there is no snapshot" in problem

    def test_damage_is_believed_when_it_is_seen_twice(self, trading, monkeypatch):
        """As while a node starts and cuts a torn tail: what was read before the cut does not fit what comes behind."""
        path = trading.path("log", 1)
        flip(path, 100)
        open_once = StoredNode._open_once
        read = []

        def repaired_after_the_first(folder):
            read.append(open_once(folder))
            if len(read) == 1:
                flip(path, 100)
            return read[-1]

        monkeypatch.setattr(StoredNode, "_open_once", repaired_after_the_first)
        with StoredNode.open(trading.folder) as node:
            assert (node.problems, node.last_index) == ([], 42)
        assert [bool(node.problems) for node in read] == [True, False, False]
