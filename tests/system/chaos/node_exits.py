"""Why did a node end? Each end must be explained: by us, or by the node itself, in its log, with a reason that fits.

A node that halts keeps its promise, where something made it halt. Nothing here makes an assertion fail, or two nodes
differ, so a node that says so has found a bug; one that says nothing has one as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from raftbook.node.runner import EXIT_DONE, EXIT_HALTED, EXIT_REFUSED

KILLED: Final = -9
TERMINATED: Final = -15
TAIL_LINES: Final = 12
STARTED: Final = '"event": "node started"'

_HALT: Final = '"event": "node halts"'
_REFUSAL: Final = "raftbook: cannot "
_TRACEBACK: Final = "Traceback (most recent call last):"
_OF_DISK: Final = re.compile(r"(raftbook\.errors\.\w*Storage\w*|OSError)\b")
_ACTION: Final = re.compile(r"cannot (sync the folder|\w+)")


@dataclass(slots=True)
class Life:
    """One process of a node, from its start on; `log_offset` is where its part of the log begins."""

    number: int
    log_offset: int
    was_killed: bool = False
    was_told_to_stop: bool = False
    had_disk_fault: bool = False
    is_judged: bool = False


@dataclass(slots=True)
class Verdict:
    """`reason` in a few words, where the node ended by itself; `violation` where it should not have, or not so."""

    reason: str | None = None
    violation: str | None = None


def judge(life: Life, exit_code: int, log: str) -> Verdict:
    """`log` is what the process wrote. Pure."""
    violation = _wrong_exit(life, exit_code, log) or _wrong_traceback(life, log)
    if violation is not None:
        tail = "\n".join(log.splitlines()[-TAIL_LINES:])
        return Verdict(violation=f"exit code {exit_code}: {violation}; its log ends:\n{tail}")
    if exit_code in (EXIT_HALTED, EXIT_REFUSED):
        said = _halt_error(log) if exit_code == EXIT_HALTED else _refusal(log)
        action = _ACTION.search(said or "")
        verb = "halted" if exit_code == EXIT_HALTED else "refused to start"
        return Verdict(reason=f"{verb} ({action[0] if action else said})")
    return Verdict()


def _wrong_exit(life: Life, exit_code: int, log: str) -> str | None:
    if exit_code == KILLED:
        return None if life.was_killed else "killed by somebody else"
    if exit_code == TERMINATED:
        # Its handler of SIGTERM stands when it says that it has started.
        has_started = STARTED in log
        return None if life.was_told_to_stop and not has_started else "SIGTERM ended it, not the node itself"
    if exit_code == EXIT_DONE:
        return None if life.was_told_to_stop else "it stopped, though nobody had told it to"
    if exit_code == EXIT_HALTED:
        error = _halt_error(log)
        if error is None:
            return "it halted and did not say why"
        of_disk = error.startswith(("StorageError: ", "StorageFullError: "))
        return None if of_disk and life.had_disk_fault else f"it halted without a fault that explains it: {error}"
    if exit_code == EXIT_REFUSED:
        refusal = _refusal(log)
        if refusal is None:
            return "it refused to start and did not say why"
        return None if life.had_disk_fault else f"it refused to start without a fault that explains it: {refusal}"
    return "no exit code that a node has"


def _halt_error(log: str) -> str | None:
    halts = [line for line in log.splitlines() if _HALT in line]
    return str(msgspec.json.decode(halts[-1])["error"]) if halts else None


def _refusal(log: str) -> str | None:
    return next((line for line in reversed(log.splitlines()) if line.startswith(_REFUSAL)), None)


def _wrong_traceback(life: Life, log: str) -> str | None:
    """A disk that fails may end a child that writes a snapshot, which has no other way to tell. Nothing else may."""
    for block in log.split(_TRACEBACK)[1:]:
        raised = next((line for line in block.splitlines() if line and not line.startswith(" ")), "")
        if not (life.had_disk_fault and _OF_DISK.match(raised)):
            return f"an exception nobody expected: {raised}"
    return None
