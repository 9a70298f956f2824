"""The checkers on the truth, and on lies: each sees what it is for, and stays silent about the rest."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from raftbook.codec import split_entry
from raftbook.engine import Exchange, matching
from raftbook.engine.order_book import PriceLevel
from raftbook.simulation import checkers as all_checkers
from raftbook.simulation.checkers import CHECKERS, check_all
from raftbook.simulation.history import Decided, History
from tests.simulation.honest_history import honest_history, run_log
from tests.simulation.lies import LIES
from tests.support.compiled import replaces_names

SEED = 3


def assert_reported(history: History, checkers: set[str], sentence: str) -> None:
    """Those checkers report something, no others do, and one of them says it in words that help."""
    violations = check_all(history)
    everything = "\n".join(map(str, violations[:20]))
    assert {violation.checker for violation in violations} == checkers, everything
    assert any(re.search(sentence, violation.sentence) for violation in violations), everything


# --- The truth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exotic_share", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(15))
def test_an_honest_history_is_believed(seed, exotic_share):
    assert check_all(honest_history(seed, exotic_share=exotic_share)) == []


def test_a_history_in_which_nothing_was_submitted_is_believed():
    history = History(("n1", "n2", "n3"))
    run_log(history, {1: Decided(1, None), 2: Decided(1, None)})
    assert check_all(history) == []


def test_honest_histories_hold_what_could_be_mistaken_for_a_lie():
    seen: Counter[str] = Counter()
    for seed in range(8):
        history = honest_history(seed, submission_count=180, exotic_share=0.5 * (seed % 2))
        in_the_log: Counter[tuple[str, int]] = Counter()
        for _, decided in history.decided():
            for run in () if decided.entry is None else split_entry(decided.entry)[1]:
                in_the_log.update((run.origin, run.first_sequence + n) for n in range(len(run.raw_commands)))
        for attempt in history.attempts:
            executed = attempt.dot in history.executions
            seen["executed, and never answered"] += executed and attempt.execution is None
            seen["lost with its node"] += attempt.dot is not None and not executed
            seen["twice in the log, and executed once"] += executed and in_the_log[attempt.dot] > 1
            seen["refused"] += attempt.refused
        executions = [one.execution for [one] in history.executions.values()]
        for [effects] in history.effects.values():
            executions += effects.executions
            seen["an entry did something by itself"] += bool(effects.executions)
        for [one] in history.executions.values():
            seen["executed by two lives of a node"] += len(one.seen_in) > len({node_id for node_id, _ in one.seen_in})
        for event in (event for execution in executions for event in execution.events):
            seen[event.kind.label] += 1
            seen["copy of an order"] += getattr(event, "duplicate", False)
            seen[str(getattr(event, "reason", None))] += 1
    for what in (
        *("executed, and never answered", "lost with its node", "twice in the log, and executed once", "refused"),
        *("executed by two lives of a node", "trade", "order_replaced", "order_canceled", "ticked"),
        *("copy of an order", "submission_expired", "duplicate_client_order_id"),
        *("an entry did something by itself", "expired", "order_triggered", "auction_uncrossed", "indicative_changed"),
    ):
        assert seen[what] > 1, f"{what}: {seen}"


# --- Lies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_reported_by_those_whom_it_concerns_and_by_no_others(name):
    tell, checkers, sentence, exotic_share = LIES[name]
    history = honest_history(SEED, exotic_share=exotic_share)
    tell(history)
    assert_reported(history, checkers, sentence)


def test_every_checker_is_told_a_lie_and_all_checkers_are_called():
    names = {check.__name__ for check in CHECKERS}
    assert set().union(*(lie.checkers for lie in LIES.values())) == names
    found = {name for name, _ in inspect.getmembers(all_checkers, callable) if name.startswith("check_")}
    assert found - {"check_all"} == names
    assert all(name in all_checkers.__doc__ for name in names), "the promise says which checker holds what"


def test_a_violation_names_its_checker_and_shows_its_evidence():
    history = honest_history(SEED)
    LIES["a_number_given_twice"].tell(history)
    [violation] = check_all(history)
    first, *evidence = str(violation).splitlines()
    assert first == f"check_numbered_once: {violation.sentence}"
    assert "client-9" in first
    assert len(evidence) == len(violation.evidence) == 2


# --- Engines with a fault, that all nodes share ----------------------------------------------------------------------


@pytest.fixture
def run_again():
    """Executes the log of an honest history again, with an engine that has a fault by now; nobody was told anything."""
    history = honest_history(SEED, submission_count=600)
    for attempt in history.attempts:
        attempt.answered_at = attempt.execution = None

    def run() -> History:
        run_log(history, dict(history.decided()))
        return history

    return run


@replaces_names
def test_an_engine_that_executes_what_comes_late(run_again, monkeypatch):
    monkeypatch.setattr(Exchange, "is_late", lambda self, command: False)
    assert_reported(run_again(), {"check_never_late", "check_serial_replay"}, "after its not_after")


@replaces_names
def test_an_engine_that_executes_what_a_second_leader_repeats(run_again, monkeypatch):
    apply = Exchange.apply

    def forgetful_apply(self, log_index, entry):
        for run in entry.runs:
            if run.first_sequence <= self.watermarks.get(run.origin, 0):
                self.watermarks[run.origin] = run.first_sequence - 1
        return apply(self, log_index, entry)

    monkeypatch.setattr(Exchange, "apply", forgetful_apply)
    history = run_again()
    for attempt in history.attempts:  # Who was answered at the first time was told the truth.
        if attempt.dot in history.executions:
            attempt.execution = history.executions[attempt.dot][0].execution
    sentence = r"was executed at index \d+ and at \d+; its place is"
    assert_reported(history, {"check_executed_once", "check_serial_replay"}, sentence)


@replaces_names
def test_an_engine_that_fills_in_part_what_must_be_filled_at_once(run_again, monkeypatch):
    monkeypatch.setattr(matching, "_can_fill", lambda *arguments: True)
    assert_reported(run_again(), {"check_serial_replay"}, "trades; serial execution makes 0")


@replaces_names
def test_an_engine_whose_levels_do_not_follow_their_orders(run_again, monkeypatch):
    remove = PriceLevel.remove

    def remove_order_alone(self, order):
        quantity = self.quantity
        remove(self, order)
        self.quantity = quantity

    monkeypatch.setattr(PriceLevel, "remove", remove_order_alone)
    assert_reported(run_again(), {"check_books"}, "the sums are those over its orders")
