"""Did a cluster keep its promise? The checkers say so of a history (history.py), without having seen it happen.

Every answer carries its log index, so nothing has to be searched for: each checker goes through the history once.

| the promise | held by |
|---|---|
| An order reported as accepted is on the disks of a majority; | `check_durable_on_majority` |
| it is executed exactly once, | `check_executed_once`, `check_numbered_once` |
| at the log index in its report, on every node, for ever, | `check_answered_in_every_log` |
| with the result in its report; | `check_answers_are_the_logs` |
| however often it is entered, it makes one order. | `check_one_order_per_client_order_id` |
| If A's report arrived before B was sent, A's index is lower. | `check_real_time_order` |
| What a node refused to take is not executed, | `check_refused_not_executed` |
| nor is anything that nobody sent, or sent otherwise. | `check_only_what_was_submitted` |
| A `pending` order is executed at most once, | `check_executed_once` |
| and never after its `not_after`. | `check_never_late` |
| Every node's state at an index is identical, | `check_one_state_per_index` |
| and it is what the matching semantics say, | `check_serial_replay`, `check_books` |
| since there is one log: a term has one leader, | `check_one_leader_per_term` |
| logs that share an entry share all before it, | `check_log_matching` |
| an index that was applied never holds another entry, | `check_one_entry_per_index` |
| and what is committed stays so. | `check_commit_index_never_falls` |

Two sentences of the promise are no matter of a history's end, and so the runner's to check: that a node which cannot
keep the promise stops, and that with a majority up and connected orders commit again within the stated time.

Each checker looks at one thing and takes the rest for granted, so a broken history is told by the fewest of them that
have something to say about it. tests/simulation/test_checkers.py holds a lie for every one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.simulation.checkers.answers import (
    check_answered_in_every_log,
    check_answers_are_the_logs,
    check_executed_once,
    check_never_late,
    check_numbered_once,
    check_one_order_per_client_order_id,
    check_only_what_was_submitted,
    check_real_time_order,
    check_refused_not_executed,
)
from raftbook.simulation.checkers.ordered_log import (
    check_commit_index_never_falls,
    check_durable_on_majority,
    check_log_matching,
    check_one_entry_per_index,
    check_one_leader_per_term,
)
from raftbook.simulation.checkers.states import check_books, check_one_state_per_index, check_serial_replay
from raftbook.simulation.checkers.violation import Violation

if TYPE_CHECKING:
    from raftbook.simulation.checkers.violation import Checker
    from raftbook.simulation.history import History

CHECKERS: Final[tuple[Checker, ...]] = (
    # The log first: when it is broken, all else is a consequence.
    check_one_leader_per_term,
    check_log_matching,
    check_one_entry_per_index,
    check_commit_index_never_falls,
    check_durable_on_majority,
    check_one_state_per_index,
    check_numbered_once,
    check_executed_once,
    check_answered_in_every_log,
    check_answers_are_the_logs,
    check_real_time_order,
    check_refused_not_executed,
    check_only_what_was_submitted,
    check_never_late,
    check_one_order_per_client_order_id,
    check_books,
    check_serial_replay,
)


def check_all(history: History) -> list[Violation]:
    """Every violation that any checker finds; an empty list is what all of this is about.

    O(n log n) in the size of the history, but for the serial replay by the oracle.
    """
    return [violation for check in CHECKERS for violation in check(history)]


__all__ = [
    "CHECKERS",
    "Violation",
    "check_all",
    "check_answered_in_every_log",
    "check_answers_are_the_logs",
    "check_books",
    "check_commit_index_never_falls",
    "check_durable_on_majority",
    "check_executed_once",
    "check_log_matching",
    "check_never_late",
    "check_numbered_once",
    "check_one_entry_per_index",
    "check_one_leader_per_term",
    "check_one_order_per_client_order_id",
    "check_one_state_per_index",
    "check_only_what_was_submitted",
    "check_real_time_order",
    "check_refused_not_executed",
    "check_serial_replay",
]
