"""Which ends of a node are explained, and which are finds."""

from __future__ import annotations

import msgspec
import pytest

from tests.system.chaos.node_exits import Life, judge

STARTED = '{"cluster": "system", "event": "node started", "level": "info"}\n'
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\n'


def halt(error):
    return STARTED + f'{{"error": {msgspec.json.encode(error).decode()}, "event": "node halts"}}\n'


SYNC_FAILED = halt("StorageError: cannot sync /data/log-1: Input/output error; that disk is failing")
DIVERGED = halt("StateDivergedError: n1 differs from the others at entry 7")
ASSERTION = halt("AssertionError: commit went back") + TRACEBACK + "AssertionError: commit went back\n"
REFUSED = "raftbook: cannot write /data/lock: No space left on device; free some space on that disk\n"
CHILD_FAILED = STARTED + TRACEBACK + "OSError: [Errno 28] No space left on device\n"


def life(**known):
    return Life(1, 0, **known)


@pytest.mark.parametrize(
    ("known", "exit_code", "log", "reason"),
    [
        ({"was_killed": True}, -9, STARTED, None),
        ({"was_told_to_stop": True}, 0, STARTED, None),
        ({"was_told_to_stop": True}, -15, "", None),
        ({"had_disk_fault": True}, 70, SYNC_FAILED, "halted (cannot sync)"),
        ({"had_disk_fault": True, "was_told_to_stop": True}, 70, SYNC_FAILED, "halted (cannot sync)"),
        ({"had_disk_fault": True}, 1, REFUSED, "refused to start (cannot write)"),
        ({"had_disk_fault": True, "was_killed": True}, -9, CHILD_FAILED, None),
    ],
)
def test_an_end_that_is_explained(known, exit_code, log, reason):
    verdict = judge(life(**known), exit_code, log)
    assert verdict.violation is None
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("known", "exit_code", "log", "violation"),
    [
        ({}, -9, STARTED, "killed by somebody else"),
        ({}, 0, STARTED, "nobody had told it to"),
        ({}, -15, "", "SIGTERM ended it"),
        ({"was_told_to_stop": True}, -15, STARTED, "SIGTERM ended it"),
        ({}, 70, SYNC_FAILED, "without a fault that explains it: StorageError: cannot sync"),
        ({"had_disk_fault": True}, 70, STARTED, "did not say why"),
        ({"had_disk_fault": True}, 70, DIVERGED, "without a fault that explains it: StateDivergedError"),
        ({"had_disk_fault": True}, 70, ASSERTION, "AssertionError: commit went back"),
        ({}, 1, REFUSED, "refused to start without a fault"),
        ({"had_disk_fault": True}, 1, "", "did not say why"),
        ({"had_disk_fault": True}, 2, STARTED, "no exit code that a node has"),
        ({"had_disk_fault": True}, -6, STARTED, "no exit code that a node has"),
        ({"was_killed": True}, -9, CHILD_FAILED, "an exception nobody expected: OSError"),
        ({"had_disk_fault": True, "was_killed": True}, -9, TRACEBACK + "KeyError: 3\n", "nobody expected: KeyError"),
    ],
)
def test_an_end_that_is_a_find(known, exit_code, log, violation):
    verdict = judge(life(**known), exit_code, log)
    assert verdict.violation is not None
    assert violation in verdict.violation
    assert f"exit code {exit_code}" in verdict.violation
