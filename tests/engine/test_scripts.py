"""Every script of tests/engine/scripts answers as written; `pytest --rewrite` writes the answers anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from raftbook.engine import (
    EventKind,
    OrderStatus,
    OrderType,
    Reason,
    Rejection,
    SelfTradePrevention,
    TimeInForce,
    TradingStatus,
)
from raftbook.engine.types import NO_ORIGIN
from raftbook.simulation.naive_exchange import NaiveExchange
from tests.engine.scripting import Session, run_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest):
    written = path.read_text()
    answered, _ = run_script(written)
    if request.config.getoption("--rewrite"):
        path.write_text(answered)
    else:
        assert answered == written


class BesideTheOracle(Session):
    """What the engine answers, the oracle answers as well; it only leaves out the words of a refusal."""

    def start(self, **limits):
        super().start(**limits)
        self.oracle = NaiveExchange(**limits)

    def apply_entry(self, log_index, entry):
        executions = super().apply_entry(log_index, entry)
        assert [without_details(execution) for execution in executions] == self.oracle.apply(log_index, entry)
        return executions


def without_details(execution):
    events = (replace(event, detail=None) if isinstance(event, Rejection) else event for event in execution.events)
    return replace(execution, events=tuple(events))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_oracle_answers_the_same(path: Path):
    """What is written in a script is then not only what the engine happened to answer when it was rewritten."""
    run_script(path.read_text(), BesideTheOracle())


@pytest.fixture(scope="module")
def all_events():
    return [event for path in SCRIPTS for execution in run_script(path.read_text())[1] for event in execution.events]


def test_the_scripts_reach_every_reason(all_events):
    reached = {getattr(event, "reason", None) for event in all_events}
    assert [reason for reason in Reason if reason not in reached] == []


def test_the_scripts_reach_every_kind_of_event_and_each_kind_of_refusal_for_lateness(all_events):
    reached = {event.kind for event in all_events}
    assert [kind for kind in EventKind if kind not in reached] == []
    late = {
        event.kind for event in all_events if isinstance(event, Rejection) and event.reason is Reason.SUBMISSION_EXPIRED
    }
    assert late == {kind for kind in EventKind if kind.label.endswith("_rejected")}


def test_the_scripts_reach_every_status_of_an_order_that_exists(all_events):
    reached = {event.order.status for event in all_events if getattr(event, "order", None) is not None}
    assert reached == set(OrderStatus) - {OrderStatus.REJECTED}


def test_the_scripts_reach_every_trading_status_and_refuse_orders_in_each(all_events):
    reached = {event.status for event in all_events if event.kind is EventKind.STATUS_CHANGED}
    assert [status for status in TradingStatus if status not in reached] == []
    refused = {event.reason for event in all_events if event.kind is EventKind.ORDER_REJECTED}
    assert {Reason.INSTRUMENT_HALTED, Reason.INSTRUMENT_CLOSED, Reason.INSTRUMENT_IN_AUCTION} <= refused


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("order_type", OrderType),
        ("time_in_force", TimeInForce),
        ("self_trade_prevention", SelfTradePrevention),
    ],
)
def test_the_scripts_accept_and_cancel_orders_of_every_kind(all_events, field, values):
    for kind in (EventKind.ORDER_ACCEPTED, EventKind.ORDER_CANCELED):
        reached = {getattr(event.order, field) for event in all_events if event.kind is kind}
        assert [value for value in values if value not in reached] == []


def test_the_scripts_refuse_orders_of_every_type_and_time_in_force(all_events):
    refused = [event.command for event in all_events if event.kind is EventKind.ORDER_REJECTED]
    order_types = {order.order_type for order in refused}
    assert [order_type for order_type in OrderType if order_type not in order_types] == []
    times_in_force = {order.time_in_force for order in refused}
    assert [time_in_force for time_in_force in TimeInForce if time_in_force not in times_in_force] == []


def test_the_scripts_let_time_and_auctions_speak_without_a_submission():
    executions = [execution for path in SCRIPTS for execution in run_script(path.read_text())[1]]
    reached = {event.kind for execution in executions if execution.origin == NO_ORIGIN for event in execution.events}
    assert reached == {EventKind.ORDER_CANCELED, EventKind.INDICATIVE_CHANGED}


def test_the_scripts_repeat_every_refusal_that_is_remembered(all_events):
    refusals = [event for event in all_events if isinstance(event, Rejection)]
    reached = {event.reason for event in refusals if event.kind is EventKind.ORDER_REJECTED}
    repeated = {event.reason for event in refusals if event.duplicate}
    assert repeated == reached - {Reason.SUBMISSION_EXPIRED, Reason.DUPLICATE_CLIENT_ORDER_ID}


def test_per_symbol_sequences_have_no_gaps():
    for path in SCRIPTS:
        last = {}
        for execution in run_script(path.read_text())[1]:
            for event in execution.events:
                if getattr(event, "sequence", None) is not None:
                    assert event.sequence == last.get(event.symbol, 0) + 1
                    last[event.symbol] = event.sequence
