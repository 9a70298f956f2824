"""Rules that hold for every command alike, and for entries as wholes, held one by one."""

from __future__ import annotations

from typing import get_args

import pytest

import raftbook.engine.exchange
from raftbook.engine import (
    CancelAll,
    CancelOrder,
    Command,
    Entry,
    Malformed,
    Reason,
    Rejection,
    ReplaceOrder,
    RevokeKey,
    Role,
    Run,
    SetStatus,
    Side,
    Tick,
    TradingStatus,
    Uncross,
)
from tests.engine.exchanges import ACME, ONE, exchange_with, limit, new_key
from tests.support.compiled import replaces_names

NOW = 100

COMMANDS = (
    limit("alice", "a2", Side.BUY, 100, 5),
    CancelOrder("alice", None, "a1"),
    CancelAll("alice", "ACME"),
    ReplaceOrder("alice", None, "a1", None, ONE),
    ACME._replace(symbol="NEW"),
    SetStatus("ACME", TradingStatus.HALTED),
    Uncross("ACME"),
    Tick(),
    new_key("newkey01"),
    RevokeKey("oldkey01"),
)
"""One of every kind that can be late; each would be accepted, but for the uncross."""

REFUSED = (
    (limit("alice", "a2", Side.BUY, 100, 5)._replace(symbol="NONE"), Reason.UNKNOWN_SYMBOL),
    (limit("alice", "a1", Side.BUY, 100, 6), Reason.DUPLICATE_CLIENT_ORDER_ID),
    (CancelOrder("alice", None, "none"), Reason.UNKNOWN_ORDER),
    (CancelOrder("bob", 1, None), Reason.UNKNOWN_ORDER),
    (CancelAll("alice", "NONE"), Reason.UNKNOWN_SYMBOL),
    (CancelAll("alice", "SHUT"), Reason.INSTRUMENT_CLOSED),
    (ReplaceOrder("alice", None, "none", None, ONE), Reason.UNKNOWN_ORDER),
    (ReplaceOrder("alice", None, "a1", None, None), Reason.INVALID_ORDER),
    (ACME, Reason.INSTRUMENT_EXISTS),
    (ACME._replace(symbol="NEW", price_decimals=19), Reason.INVALID_INSTRUMENT),
    (SetStatus("NONE", TradingStatus.HALTED), Reason.UNKNOWN_SYMBOL),
    (Uncross("NONE"), Reason.UNKNOWN_SYMBOL),
    (Uncross("ACME"), Reason.NOT_IN_AUCTION),
    (new_key("oldkey01"), Reason.KEY_EXISTS),
    (new_key("newkey01", Role.TRADE), Reason.INVALID_KEY),
    (RevokeKey("nosuch01"), Reason.UNKNOWN_KEY),
    (RevokeKey("admin001"), Reason.LAST_ADMIN_KEY),
    (Malformed("no such bytes"), Reason.MALFORMED),
)


def exchange_now():
    """ACME trades, alice bids in it, SHUT is closed, and time has come to NOW."""
    shut = ACME._replace(symbol="SHUT")
    exchange = exchange_with(
        limit("alice", "a1", Side.BUY, 100, 5),
        shut,
        SetStatus("SHUT", TradingStatus.CLOSED),
        new_key("oldkey01"),
        new_key("admin001", Role.ADMIN, "*"),
    )
    exchange.apply(2, Entry(NOW, ()))
    return exchange


def answer(exchange, *commands):
    """The executions of these commands, in an entry of their own."""
    run = Run("n1.1", exchange.watermarks["n1.1"] + 1, commands)
    return exchange.apply(exchange.log_index + 1, Entry(NOW, (run,)))


def kind_of(command):
    return type(command).__name__


def test_no_kind_of_command_is_forgotten_here():
    assert {type(command) for command in COMMANDS} == set(get_args(Command)) - {Malformed}
    assert {type(command) for command, _ in REFUSED} == set(get_args(Command)) - {Tick}


@pytest.mark.parametrize("command", COMMANDS, ids=kind_of)
def test_every_command_is_late_a_nanosecond_after_its_not_after_and_carried_out_until_then(command):
    late = command._replace(not_after=NOW - 1)
    [execution] = answer(exchange_now(), late)
    [event] = execution.events
    assert isinstance(event, Rejection)
    assert (event.reason, event.command) == (Reason.SUBMISSION_EXPIRED, late)

    [execution] = answer(exchange_now(), command._replace(not_after=NOW))
    assert execution.events[0].reason is Reason.NOT_IN_AUCTION if kind_of(command) == "Uncross" else execution.accepted


@pytest.mark.parametrize(("command", "reason"), REFUSED, ids=lambda value: getattr(value, "value", kind_of(value)))
def test_a_refusal_says_what_was_refused(command, reason):
    exchange = exchange_now()
    orders = exchange.orders(open_only=False)
    [execution] = answer(exchange, command)
    [event] = execution.events
    assert isinstance(event, Rejection)
    assert (event.reason, event.command) == (reason, command)
    assert not execution.accepted
    assert event.timestamp == execution.timestamp == NOW
    assert event.log_index == execution.log_index == 3
    assert exchange.orders(open_only=False) == orders


def test_a_run_that_is_passed_over_does_not_keep_back_those_behind_it():
    exchange = exchange_now()
    again, gap, new = Run("n1.1", 1, (Tick(),)), Run("n1.1", 9, (Tick(),)), Run("n2.1", 1, (Tick(),))
    executions = exchange.apply(3, Entry(NOW, (again, gap, new)))
    assert [(execution.origin, execution.sequence) for execution in executions] == [("n2.1", 1)]


@replaces_names
def test_an_auction_in_which_nothing_happened_or_was_only_refused_is_not_calculated_again(monkeypatch):
    exchange = exchange_now()
    answer(exchange, ACME._replace(symbol="CALL"), SetStatus("CALL", TradingStatus.AUCTION))
    calculated = []
    indication = raftbook.engine.exchange.indication
    monkeypatch.setattr(
        raftbook.engine.exchange, "indication", lambda book: calculated.append(book.symbol) or indication(book)
    )
    for _ in range(3):
        answer(exchange, Tick(), limit("alice", f"a{exchange.log_index}", Side.BUY, 100, 5))
        answer(exchange, ACME._replace(symbol="CALL"))
    assert calculated == []
    bid = limit("alice", "call", Side.BUY, 100, 5)._replace(symbol="CALL")
    answer(exchange, ACME._replace(symbol="CALL"), bid, ACME._replace(symbol="CALL"))
    assert calculated == ["CALL"]
