"""Raw log entries in, executions out: equal logs give equal digests and snapshots, whatever the bytes."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook import state_machine as module
from raftbook.codec import (
    RawRun,
    decode_entry,
    decode_snapshot,
    encode_command,
    encode_entry,
    encode_events,
    encode_snapshot,
)
from raftbook.engine.commands import AddInstrument, CancelOrder, NewOrder, ReplaceOrder, Tick
from raftbook.engine.events import Rejection, Trade
from raftbook.engine.types import EventKind, Number, OrderType, Reason, Side, TimeInForce
from raftbook.errors import SnapshotError
from raftbook.state_machine import TRADES_KEPT, StateMachine
from tests.support.compiled import replaces_names
from tests.support.strategies import raw_runs, timestamps

ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))


def new_order(client_order_id, side, price, quantity, account="alice"):
    return NewOrder(
        "ACME", account, client_order_id, side, OrderType.LIMIT, TimeInForce.GTC, Number(price, 2), Number(quantity, 0)
    )


class LogWriter:
    """Entries of one origin, one after the other."""

    def __init__(self):
        self.sequence = 1

    def entry(self, *commands, timestamp=1_000):
        raw_commands = tuple(command if isinstance(command, bytes) else encode_command(command) for command in commands)
        raw = encode_entry(timestamp, [RawRun("n1.1", self.sequence, raw_commands)])
        self.sequence += len(commands)
        return raw


def generated_log(seed, entries):
    """A seeded log of (index, raw entry): orders that trade, cancels, replaces, nonsense, and indexes left out."""
    chance = random.Random(seed)
    writer = LogWriter()
    log = [(1, writer.entry(ACME))]
    index = 1
    for number in range(entries):
        index += chance.choice((1, 1, 1, 2, 5))
        commands = []
        for item in range(chance.randrange(6)):
            name, account = f"o{number}-{item}", chance.choice(("alice", "bob"))
            earlier = f"o{chance.randrange(number + 1)}-{chance.randrange(6)}"
            price, quantity = chance.randrange(95, 106), chance.randrange(1, 20)
            commands.append(
                chance.choice(
                    (
                        new_order(name, chance.choice(tuple(Side)), price, quantity, account),
                        new_order(name, chance.choice(tuple(Side)), price, quantity, account),
                        CancelOrder(account, None, earlier),
                        ReplaceOrder(account, None, earlier, Number(price, 2), Number(quantity, 0)),
                        Tick(),
                        chance.randbytes(10),
                    )
                )
            )
        log.append((index, chance.randbytes(30) if chance.random() < 0.05 else writer.entry(*commands)))
    return log


def replayed(log, machine=None):
    machine = machine or StateMachine()
    for index, raw in log:
        machine.apply(index, raw)
    return machine


def test_a_trade_from_raw_entries():
    machine, writer = StateMachine(), LogWriter()
    machine.apply(1, writer.entry(ACME))
    (sell, buy) = machine.apply(
        2, writer.entry(new_order("s1", Side.SELL, 10025, 5), new_order("b1", Side.BUY, 10030, 3, "bob"))
    )
    assert (sell.sequence, buy.sequence) == (2, 3)
    trade = buy.events[1]
    assert isinstance(trade, Trade)
    assert (trade.price, trade.quantity, trade.maker_account, trade.taker_account) == (10025, 3, "alice", "bob")
    assert machine.exchange.depth("ACME") == ([], [(10025, 2)])
    assert machine.index == machine.exchange.log_index == 2
    assert machine.recent_trades("ACME") == [trade]
    machine.exchange.check()


def test_the_chain_is_made_as_its_definition_says():
    log = generated_log(1, 50)
    machine = StateMachine()
    chain = bytes(32)
    assert machine.digest_at(0) == chain.hex()
    for index, raw in log:
        events = [event for execution in machine.apply(index, raw) for event in execution.events]
        chain = blake2b(chain + index.to_bytes(8, "big") + encode_events(events), digest_size=32).digest()
        assert machine.chain_digest == chain
        assert machine.digest_at(index) == chain.hex()


def test_a_replay_gives_the_same_digests_and_the_same_snapshot():
    log = generated_log(2, 300)
    first, second = replayed(log), replayed(log)
    assert first.chain_digest == second.chain_digest
    assert first.state_digest() == second.state_digest()
    assert first.to_snapshot() == second.to_snapshot()
    assert first.recent_trades("ACME"), "a log without trades would prove little"


def test_one_other_quantity_changes_both_digests():
    one, other = LogWriter(), LogWriter()
    first = replayed([(1, one.entry(ACME)), (2, one.entry(new_order("s1", Side.SELL, 100, 5)))])
    second = replayed([(1, other.entry(ACME)), (2, other.entry(new_order("s1", Side.SELL, 100, 6)))])
    assert first.chain_digest != second.chain_digest
    assert first.state_digest() != second.state_digest()


def test_the_same_events_at_another_index_have_another_chain():
    raw = LogWriter().entry(Tick())
    assert replayed([(1, raw)]).chain_digest != replayed([(2, raw)]).chain_digest


@pytest.mark.parametrize("restart_after", [0, 1, 57, 199, 200])
def test_a_restored_snapshot_goes_on_as_if_it_had_never_stopped(restart_after):
    log = generated_log(3, 200)
    straight = replayed(log)
    stopped = replayed(log[:restart_after])
    restored = StateMachine.from_snapshot(stopped.to_snapshot())
    assert restored.to_snapshot() == stopped.to_snapshot()
    assert restored.index == stopped.index
    assert restored.state_digest() == stopped.state_digest()
    for index, raw in log[restart_after:]:
        assert restored.apply(index, raw) == stopped.apply(index, raw)
        assert restored.chain_digest == stopped.chain_digest
    assert restored.to_snapshot() == straight.to_snapshot()
    assert restored.recent_trades("ACME") == straight.recent_trades("ACME")
    restored.exchange.check()


def test_bytes_that_are_no_entry_take_their_index_and_execute_nothing():
    machine, writer = StateMachine(), LogWriter()
    machine.apply(1, writer.entry(ACME, timestamp=500))
    state, chain = machine.state_digest(), machine.chain_digest
    assert machine.apply(2, b"nonsense") == []
    assert machine.index == 2
    assert machine.state_digest() == state
    assert machine.exchange.time == 500
    assert machine.chain_digest != chain


def test_bytes_that_are_no_command_are_answered_in_their_place():
    machine, writer = StateMachine(), LogWriter()
    first, second, third = machine.apply(1, writer.entry(b"\xff", ACME, b""))
    assert not first.accepted
    assert isinstance(first.events[0], Rejection)
    assert first.events[0].kind is EventKind.COMMAND_REJECTED
    assert first.events[0].reason is Reason.MALFORMED
    assert second.accepted
    assert not third.accepted


@given(
    st.lists(st.binary(max_size=60) | st.builds(encode_entry, timestamps, st.lists(raw_runs, max_size=3)), max_size=6)
)
def test_any_bytes_in_the_log_give_the_same_answer_on_every_node(raws):
    log = list(enumerate(raws, 1))
    first, second = replayed(log), replayed(log)
    assert first.to_snapshot() == second.to_snapshot()
    assert StateMachine.from_snapshot(first.to_snapshot()).to_snapshot() == first.to_snapshot()
    first.exchange.check()


def test_an_entry_that_was_never_encoded_gives_what_its_bytes_give():
    encoded, plain = StateMachine(), StateMachine()
    for index, raw in generated_log(4, 40):
        entry = decode_entry(raw)
        if entry is not None:
            assert plain.apply_entry(index, entry) == encoded.apply(index, raw)
    assert plain.to_snapshot() == encoded.to_snapshot()


def test_an_index_that_does_not_rise_is_a_programmers_mistake():
    machine = replayed([(5, LogWriter().entry(Tick()))])
    for index in (5, 4):
        with pytest.raises(AssertionError):
            machine.apply(index, b"")
    with pytest.raises(AssertionError):
        machine.advance(4)


# --- Digests by index ------------------------------------------------------------------------------------------------


def test_the_digest_of_an_index_without_an_entry_is_that_of_the_entry_before():
    machine, writer = StateMachine(), LogWriter()
    machine.apply(3, writer.entry(Tick()))
    at_3 = machine.chain_digest.hex()
    machine.apply(7, writer.entry(Tick()))
    at_7 = machine.chain_digest.hex()
    assert [machine.digest_at(index) for index in range(9)] == [bytes(32).hex()] * 3 + [at_3] * 4 + [at_7, None]
    machine.advance(9)
    assert machine.index == 9
    assert machine.digest_at(9) == at_7
    assert machine.digest_at(10) is None
    with pytest.raises(AssertionError):
        machine.apply(9, b"")
    machine.apply(10, b"")
    assert machine.digest_at(10) not in {None, at_7}


def test_a_snapshot_remembers_how_far_it_advanced():
    machine = replayed([(3, LogWriter().entry(Tick()))])
    machine.advance(9)
    restored = StateMachine.from_snapshot(machine.to_snapshot())
    assert restored.index == 9
    assert restored.digest_at(9) == machine.digest_at(9)
    assert restored.digest_at(8) is None, "what came before the snapshot is not known"


@replaces_names
def test_at_least_the_configured_number_of_digests_is_kept(monkeypatch):
    monkeypatch.setattr(module, "DIGESTS_KEPT", 10)
    machine, digests = StateMachine(), {}
    for index in range(1, 60):
        machine.apply(index, b"")
        digests[index] = machine.chain_digest.hex()
        for back in range(max(1, index - 9), index + 1):
            assert machine.digest_at(back) == digests[back]
    assert machine.digest_at(30) is None
    assert len(machine._digests) <= 20


# --- Recent trades ---------------------------------------------------------------------------------------------------


def trading_machine(trades):
    machine, writer = StateMachine(), LogWriter()
    machine.apply(1, writer.entry(ACME))
    for number in range(trades):
        pair = (new_order(f"s{number}", Side.SELL, 100, 1), new_order(f"b{number}", Side.BUY, 100, 1))
        machine.apply(number + 2, writer.entry(*pair))
    return machine


def test_recent_trades_by_number_and_by_count():
    machine = trading_machine(10)

    def ids(*arguments):
        return [trade.trade_id for trade in machine.recent_trades("ACME", *arguments)]

    assert ids() == list(range(1, 11))
    assert ids(None, 3) == [8, 9, 10]
    assert ids(4) == [4, 5, 6, 7, 8, 9, 10]
    assert ids(4, 2) == [4, 5]
    assert ids(11) == []
    assert ids(None, 0) == []
    assert ids(None, 50) == list(range(1, 11))
    assert machine.recent_trades("NONE", None, 5) == []


def test_only_the_last_trades_are_kept_and_a_snapshot_holds_them():
    machine = trading_machine(TRADES_KEPT + 5)
    trades = machine.recent_trades("ACME")
    assert [trade.trade_id for trade in trades] == list(range(6, TRADES_KEPT + 6))
    restored = StateMachine.from_snapshot(machine.to_snapshot())
    assert restored.recent_trades("ACME") == trades
    assert all(type(trade) is Trade and type(trade.taker_side) is Side for trade in restored.recent_trades("ACME"))


# --- Snapshots that are none -----------------------------------------------------------------------------------------


def test_a_damaged_snapshot_is_refused():
    raw = trading_machine(3).to_snapshot()
    for damaged in (b"", raw[:-1], raw + b"\x00", raw[:50] + bytes((raw[50] ^ 1,)) + raw[51:]):
        with pytest.raises(SnapshotError):
            StateMachine.from_snapshot(damaged)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 1),
        (0, 3),
        (1, -1),
        (1, True),
        (1, 2**63),
        (1, 3),  # Less than the exchange's own log index.
        (2, b"short"),
        (2, "0" * 32),
        (3, None),
        (3, [["ACME"]]),
        (3, [["ACME", []], ["ACME", []]]),
        (3, [["ACME", [[3]]]]),
        (3, [["ACME", [[99, "ACME", 1, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 1, False]]]]),
        (3, [["ACME", [[3, "ACME", 1, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 9, False]]]]),
        (3, [["ACME", [[3, "OTHER", 1, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 1, False]]]]),
        (3, [["ACME", [[3, "ACME", True, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 1, False]]]]),
        (3, [["ACME", [[3, "ACME", 1, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 1, 0]]]]),
        (3, [["ACME", [[3, "ACME", 1, 1, 1, 1, 1, 1, 1, "a", "b", 1, "c", "d", 1]]]]),
        (4, None),
        (4, []),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(position, value):
    fields = decode_snapshot(trading_machine(3).to_snapshot())
    StateMachine.from_snapshot(encode_snapshot(fields))
    fields[position] = value
    with pytest.raises(SnapshotError):
        StateMachine.from_snapshot(encode_snapshot(fields))
