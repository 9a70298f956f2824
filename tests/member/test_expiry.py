"""When log time passes by itself: an order expires, and nothing else is to be ordered."""

from __future__ import annotations

import random

import pytest

from raftbook.codec import encode_command, split_entry
from raftbook.engine.commands import AddInstrument, CancelOrder, NewOrder, Tick
from raftbook.engine.types import NO_ORIGIN, Number, OrderStatus, OrderType, Side, TimeInForce
from raftbook.member.member import Member, MemberSettings
from raftbook.member.storage_folder import StorageFolder
from raftbook.replication.raft_core import use_clock
from raftbook.replication.sequencer import SequencerLimits
from raftbook.simulation.disk import SimulatedDisk

START_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))


def order(name, expire_time=None):
    """A buy that rests."""
    time_in_force = TimeInForce.GTC if expire_time is None else TimeInForce.GTD
    return NewOrder(
        *("ACME", "alice", name, Side.BUY, OrderType.LIMIT, time_in_force, Number(100, 0), Number(1, 0)),
        expire_time=expire_time,
    )


class Alone:
    """No peer, so that it leads; the test moves its clocks and its disk."""

    connected = ()

    now_s = 100.0
    """One process has one such clock, so there is one such node at a time."""

    def __init__(self, **limits):
        self.wall_ns = START_NS
        self.is_disk_stalled = False
        self.executions = []
        self._folder = StorageFolder(SimulatedDisk(), "alone", "n1", START_NS)
        self.member = Member(
            node_id="n1",
            members=("n1",),
            folder=self._folder,
            transport=self,
            observer=self,
            clock=lambda: Alone.now_s,
            wall_clock_ns=lambda: self.wall_ns,
            random_source=random.Random(1),
            settings=MemberSettings(founding_commands=(encode_command(ACME),), sequencer=SequencerLimits(**limits)),
        )

    def send(self, peer, message):
        raise AssertionError("there is nobody else")

    def send_many(self, peers, message):
        return peers

    def flush(self):
        pass

    def executed(self, executions, watermarks):
        self.executions += executions

    def applied(self, index):
        pass

    def pass_time(self, duration_s, wall_s=None):
        """In steps of ten milliseconds; on the wall clock `wall_s` pass, where that is given."""
        for _ in range(round(duration_s * 100)):
            Alone.now_s += 0.01
            self.wall_ns += 10_000_000 if wall_s is None else round(wall_s / duration_s * 10_000_000)
            self.step()

    def step(self):
        is_more_to_do = True
        while is_more_to_do:
            is_more_to_do = self.member.step()
            batch = None if self.is_disk_stalled else self._folder.wal.take_batch()
            if batch is not None:
                self._folder.wal.write_batch(batch)
                self._folder.wal.mark_durable(batch)
                self.member.synced()
                is_more_to_do = True

    def enter(self, *commands):
        self.member.submit(commands)
        self.step()

    @property
    def last_index(self):
        return self.member.status.last_index

    def entry(self, index):
        """(timestamp, runs) of an entry in its log."""
        return split_entry(self._folder.journal.command_at(index)[1:])

    def statuses(self):
        return {known.client_order_id: known.status for known in self.member.state.exchange.orders(open_only=False)}


@pytest.fixture
def make_node(monkeypatch):
    """A leader whose instrument is there."""
    monkeypatch.setattr(Alone, "now_s", 100.0)
    before = use_clock(lambda: Alone.now_s)

    def make(**limits):
        node = Alone(**limits)
        node.pass_time(2.0)
        assert node.member.state.exchange.instruments
        return node

    yield make
    use_clock(before)


def test_an_expiry_that_is_due_is_logged_and_nothing_before_it(make_node):
    node = make_node()
    expire_time = node.wall_ns + 3 * SECOND_NS
    node.enter(order("gone", expire_time), order("stays"))
    index = node.last_index
    node.pass_time(2.98)
    assert (node.wall_ns, node.last_index) == (expire_time - 20_000_000, index)
    node.pass_time(0.03)
    assert node.last_index == index + 1
    assert node.entry(node.last_index) == (expire_time, ())
    assert node.statuses() == {"gone": OrderStatus.EXPIRED, "stays": OrderStatus.OPEN}
    assert [execution.origin for execution in node.executions][-1] == NO_ORIGIN
    node.pass_time(10.0)
    assert node.last_index == index + 1


def test_orders_that_expire_together_expire_in_one_entry_and_others_later(make_node):
    node = make_node()
    first, second = node.wall_ns + SECOND_NS, node.wall_ns + 2 * SECOND_NS
    node.enter(order("a", first), order("b", second), order("c", first))
    index = node.last_index
    node.pass_time(1.5)
    assert node.last_index == index + 1
    assert node.statuses() == {"a": OrderStatus.EXPIRED, "b": OrderStatus.OPEN, "c": OrderStatus.EXPIRED}
    node.pass_time(1.0)
    assert node.last_index == index + 2
    assert node.statuses()["b"] is OrderStatus.EXPIRED


def test_what_waits_to_be_ordered_moves_log_time_by_itself(make_node):
    node = make_node()
    node.enter(order("gone", node.wall_ns + SECOND_NS))
    index = node.last_index
    node.wall_ns += 5 * SECOND_NS
    node.enter(Tick())
    assert node.last_index == index + 1
    assert [len(run.raw_commands) for run in node.entry(node.last_index)[1]] == [1]
    assert node.statuses() == {"gone": OrderStatus.EXPIRED}


def test_while_an_entry_is_under_way_there_is_no_other_however_late_it_gets(make_node):
    """Also where several may be under way, and where its time is one before the expiry."""
    node = make_node(max_in_flight=8)
    node.enter(order("gone", node.wall_ns + SECOND_NS))
    index = node.last_index
    node.is_disk_stalled = True
    node.enter(Tick())
    node.pass_time(5.0)
    assert node.last_index == index + 1
    assert node.statuses() == {"gone": OrderStatus.OPEN}
    node.is_disk_stalled = False
    node.pass_time(0.02)
    assert node.last_index == index + 2, "now that it is known that the tick came too early for it"
    assert node.statuses() == {"gone": OrderStatus.EXPIRED}


def test_an_expiry_that_is_under_way_is_logged_once_however_long_it_takes(make_node):
    node = make_node()
    node.enter(order("gone", node.wall_ns + SECOND_NS))
    index = node.last_index
    node.is_disk_stalled = True
    node.pass_time(20.0)
    assert node.last_index == index + 1
    node.is_disk_stalled = False
    node.pass_time(1.0)
    assert node.last_index == index + 1
    assert node.statuses() == {"gone": OrderStatus.EXPIRED}


def test_a_leader_whose_clock_is_behind_log_time_logs_nothing_before_it_gets_to_the_expiry(make_node):
    node = make_node()
    true_ns = node.wall_ns
    node.wall_ns += 60 * SECOND_NS
    node.enter(order("gone", node.wall_ns + SECOND_NS))
    assert node.member.state.exchange.time == true_ns + 60 * SECOND_NS
    index = node.last_index
    node.wall_ns = true_ns
    node.pass_time(60.0)
    assert node.last_index == index
    node.pass_time(2.0)
    assert node.last_index == index + 1
    assert node.statuses() == {"gone": OrderStatus.EXPIRED}


def test_a_clock_that_stands_still_logs_nothing(make_node):
    node = make_node()
    node.enter(order("stays", node.wall_ns + SECOND_NS))
    index = node.last_index
    node.pass_time(10.0, wall_s=0.0)
    assert node.last_index == index


def test_nothing_is_logged_for_an_order_that_is_gone_already(make_node):
    node = make_node()
    node.enter(order("gone", node.wall_ns + SECOND_NS))
    node.enter(CancelOrder("alice", None, "gone"))
    index = node.last_index
    node.pass_time(5.0)
    assert node.last_index == index


def test_a_node_that_does_nothing_logs_nothing(make_node):
    node = make_node()
    node.enter(order("stays"))
    index = node.last_index
    node.pass_time(60.0)
    assert node.last_index == index
