"""Every script of tests/engine/scripts answers as written; `pytest --rewrite` writes the answers anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftbook.engine import EventKind, OrderStatus, Reason, Rejection
from tests.engine.scripting import run_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest):
    written = path.read_text()
    answered, _ = run_script(written)
    if request.config.getoption("--rewrite"):
        path.write_text(answered)
    else:
        assert answered == written


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
