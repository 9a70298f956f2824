"""The check at the end of every test, on a true record that was falsified: it must see each lie."""

from __future__ import annotations

import asyncio
import copy

import pytest
from msgspec.structs import replace

from raftbook.engine import AddInstrument, Entry, Exchange, NewOrder, Number, OrderType, Run, Side, TimeInForce
from raftbook.engine.commands import Tick
from tests.system.clients import Attempt, Clients, Record, new_order
from tests.system.log_checks import (
    ExecutedCommand,
    check_against_logs,
    check_order,
    check_real_time_order,
    check_records,
)
from tests.system.system_cluster import SystemCluster


@pytest.fixture(scope="module")
def true_record(tmp_path_factory):
    """(records, log) of a single node that clients traded at; one order was entered twice."""

    async def trade(cluster):
        await cluster.start_and_elect()
        async with Clients(cluster) as clients:
            async with clients.trading():
                await clients.progress(100)
            for _ in range(2):
                await clients.enter("n1", new_order("alice", "twice", "buy", "90.00"))
            (log,) = await check_against_logs(cluster, clients)
            return clients.records, log

    with SystemCluster(tmp_path_factory.mktemp("true"), node_count=1) as cluster:
        return asyncio.run(trade(cluster))


@pytest.fixture
def records(true_record):
    return copy.deepcopy(true_record[0])


@pytest.fixture
def log(true_record):
    return true_record[1]


def first(records, op="new", status="accepted"):
    return next(r for r in records if r.command["op"] == op and r.report["status"] == status)


def test_the_truth_is_accepted(records, log):
    check_records(records, log)
    check_real_time_order(records)


def test_an_order_that_the_log_lost(records, log):
    executed = log.executed
    lost = next(place for place, one in enumerate(executed) if one.execution.order is not None)
    with pytest.raises(AssertionError, match="lost what was reported"):
        check_records(records, log._replace(executed=executed[:lost] + executed[lost + 1 :]))


def test_an_order_that_the_log_holds_twice(records, log):
    twice = next(one for one in log.executed if one.execution.order is not None)
    again = twice._replace(execution=replace(twice.execution, sequence=10**6))
    with pytest.raises(AssertionError, match="executed more often than sent"):
        check_records(records, log._replace(executed=[*log.executed, again]))


def test_an_order_that_was_sent_twice_and_entered_twice(records, log):
    """As often as it was sent, but the second time it should have been recognised."""
    entered = next(one for one in log.executed if getattr(one.command, "client_order_id", None) == "twice")
    executed = [
        one._replace(execution=replace(one.execution, events=entered.execution.events))
        if getattr(one.command, "client_order_id", None) == "twice"
        else one
        for one in log.executed
    ]
    with pytest.raises(AssertionError, match="no order is entered twice"):
        check_records(records, log._replace(executed=executed))


def test_an_order_that_nobody_sent(records, log):
    records.remove(first(records))
    with pytest.raises(AssertionError, match="nobody sent"):
        check_records(records, log)


def test_an_order_that_was_sent_otherwise(records, log):
    first(records).command["quantity"] = "77"
    with pytest.raises(AssertionError, match="is not what was sent"):
        check_records(records, log)


def test_an_order_that_was_sent_to_another_node(records, log):
    first(records).attempts[0].node_id = "n2"
    with pytest.raises(AssertionError, match="executed more often than sent"):
        check_records(records, log)


def test_an_order_whose_node_said_that_it_took_nothing(records, log):
    first(records).attempts[0].outcome = "refused"
    with pytest.raises(AssertionError, match="executed more often than sent"):
        check_records(records, log)


@pytest.mark.parametrize("op", ["new", "cancel"])
@pytest.mark.parametrize("field", ["log_index", "timestamp", "status", "order", "events"])
def test_a_report_that_says_something_else(records, log, op, field):
    first(records, op).report[field] = None
    with pytest.raises(AssertionError, match="says otherwise"):
        check_records(records, log)


def test_an_order_id_that_differs(records, log):
    first(records).report["order"]["order_id"] += 1
    with pytest.raises(AssertionError, match="says otherwise"):
        check_records(records, log)


def test_a_report_of_another_submission(records, log):
    first(records).report["origin_sequence"] = 10**6
    with pytest.raises(AssertionError, match="lost what was reported"):
        check_records(records, log)


def test_a_command_that_was_never_settled(records, log):
    first(records).attempts[0].outcome = "unknown"
    with pytest.raises(AssertionError, match="never settled"):
        check_records(records, log)


def test_two_records_of_one_order(records, log):
    records.append(Record(dict(records[0].command), records[0].attempts))
    with pytest.raises(AssertionError):
        check_records(records, log)


def test_a_tick_that_nobody_asked_for(records, log):
    tick = log.executed[-1]._replace(command=Tick(1))
    with pytest.raises(AssertionError, match="1 ticks for 0 linearizable reads"):
        check_records(records, log._replace(executed=[*log.executed, tick]))


# --- An order that was refused, and entered by a copy that was never answered ----------------------------------------

ALLOWED_UNTIL = 10
"""The refused copy's `not_after`."""


def refused_and_entered(timestamp: int, log_index: int = 4, node_id: str = "n2", outcome: str = "unknown"):
    """Arguments of `check_order`: refused at n1 at index 2, then entered, while the attempt at n2 had this outcome."""
    exchange = Exchange()
    cent, share = Number(1, 2), Number(1, 0)
    acme = AddInstrument("ACME", 2, 0, cent, share)
    order = NewOrder("ACME", "a", "c", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(1, 0), share)
    early = order._replace(not_after=ALLOWED_UNTIL)
    late = order._replace(not_after=ALLOWED_UNTIL + 5)
    [refusal] = exchange.apply(2, Entry(1, (Run("n1.1", 1, (early,)),)))
    assert not refusal.accepted
    exchange.apply(3, Entry(ALLOWED_UNTIL + 1, (Run("n1.1", 2, (acme,)),)))
    [entry] = exchange.apply(4, Entry(ALLOWED_UNTIL + 1, (Run("n2.1", 1, (late,)),)))
    assert entry.accepted
    refused = ExecutedCommand(early, refusal)
    entered = ExecutedCommand(late, replace(entry, log_index=log_index, timestamp=timestamp, origin=f"{node_id}.1"))
    report = {"status": "rejected", "origin": "n1.1", "origin_sequence": 1}
    attempts = [Attempt("n1", 0.0, 1.0, "definite", report), Attempt("n2", 0.0, 1.0, outcome)]
    return Record({"op": "new"}, attempts), [entered], {("n1.1", 1): refused, (f"{node_id}.1", 1): entered}


def test_a_copy_that_was_never_answered_may_outlive_a_refusal():
    check_order(*refused_and_entered(timestamp=ALLOWED_UNTIL + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": ALLOWED_UNTIL},
        {"timestamp": ALLOWED_UNTIL + 1, "log_index": 1},
        {"timestamp": ALLOWED_UNTIL + 1, "node_id": "n3"},
        {"timestamp": ALLOWED_UNTIL + 1, "outcome": "refused"},
    ],
    ids=["while it is remembered", "before it", "from another node", "from one that took nothing"],
)
def test_no_copy_may_outlive_a_refusal(changes):
    with pytest.raises(AssertionError, match="refused, and yet in the log"):
        check_order(*refused_and_entered(**changes))


def test_an_order_that_was_sent_after_a_later_one_was_reported(records):
    last = records[-1].attempts[-1]
    early = first(records).attempts[0]
    early.sent_at, early.answered_at = last.answered_at + 1, last.answered_at + 2
    with pytest.raises(AssertionError, match="was reported, executed in entry"):
        check_real_time_order(records)
