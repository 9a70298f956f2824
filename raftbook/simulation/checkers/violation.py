"""What a checker reports, and the one way to write a checker: a generator of findings."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftbook.simulation.history import Attempt, Dot, History

    Checker = Callable[[History], list["Violation"]]

_EVIDENCE_SHOWN: Final = 2_000
"""Characters of each piece of evidence that are printed: an execution can have hundreds of trades."""


class Violation(NamedTuple):
    """A broken promise. `checker` is the name of the function that found it, `evidence` whatever shows it."""

    checker: str
    sentence: str
    evidence: tuple[object, ...] = ()

    def __str__(self) -> str:
        evidence = [str(piece)[:_EVIDENCE_SHOWN] for piece in self.evidence]
        return "\n    ".join([f"{self.checker}: {self.sentence}", *evidence])


class Finding(NamedTuple):
    sentence: str
    evidence: tuple[object, ...] = ()


def checker(find: Callable[[History], Iterator[Finding]]) -> Checker:
    """A checker that reports, under its own name, what `find` finds."""

    @wraps(find)
    def check(history: History) -> list[Violation]:
        return [Violation(find.__name__, sentence, evidence) for sentence, evidence in find(history)]

    return check


def dot_name(dot: Dot) -> str:
    return f"{dot[0]}/{dot[1]}"


def attempt_name(attempt: Attempt) -> str:
    """The attempt in a sentence: whose it is, where it went, and what it became there."""
    what = type(attempt.command).__name__
    key = "" if attempt.key is None else f" {attempt.key[1]!r}"
    dot = "" if attempt.dot is None else f" as {dot_name(attempt.dot)}"
    return f"{attempt.client}'s {what}{key} at {attempt.node_id}{dot}"


def node_names(node_ids: set[str] | frozenset[str]) -> str:
    """Sorted, so that the sentence does not depend on the hash seed."""
    return ", ".join(sorted(node_ids)) or "no node"
