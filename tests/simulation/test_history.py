"""A history leaves nothing out because it looks wrong: contradictions are kept, with the processes that caused them."""

from __future__ import annotations

from raftbook.engine import Execution
from raftbook.engine.types import NO_ORIGIN
from raftbook.simulation.history import Decided, History, SeenEffects, SeenExecution

ENTRY = Decided(1, b"an entry")


def execution(origin, sequence, *, timestamp=1):
    return Execution(origin, sequence, 1, timestamp, accepted=True, order=None, events=())


def told(*processes_and_executions):
    """A history of the entry at index 1, which each (node id, life) has applied with these executions."""
    history = History(("n1", "n2", "n3"))
    for node_id, life, executions in processes_and_executions:
        history.entry_applied(node_id, life, 1, ENTRY, executions, b"digest", ["n1", "n2"])
    return history


def test_what_an_entry_did_by_itself_stands_beside_what_its_submissions_led_to():
    before, submitted, behind = execution(NO_ORIGIN, 0), execution("n1.1", 7), execution(NO_ORIGIN, 0, timestamp=2)
    history = told(("n1", 0, [before, submitted, behind]), ("n2", 3, [before, submitted, behind]))
    seen_in = [("n1", 0), ("n2", 3)]
    assert history.effects == {1: [SeenEffects((before, behind), seen_in)]}
    assert history.executions == {("n1.1", 7): [SeenExecution(submitted, seen_in)]}


def test_an_entry_that_did_something_at_one_node_alone_is_told_from_the_same_at_the_others():
    effect = execution(NO_ORIGIN, 0)
    history = told(("n1", 0, [effect]), ("n2", 0, []), ("n3", 0, [effect]))
    assert history.effects == {
        1: [SeenEffects((effect,), [("n1", 0), ("n3", 0)]), SeenEffects((), [("n2", 0)])],
    }


def test_two_results_of_one_submission_are_both_kept():
    first, second = execution("n1.1", 1), execution("n1.1", 1, timestamp=2)
    history = told(("n1", 0, [first]), ("n2", 0, [second]), ("n3", 0, [first]))
    assert history.executions == {
        ("n1.1", 1): [SeenExecution(first, [("n1", 0), ("n3", 0)]), SeenExecution(second, [("n2", 0)])],
    }
