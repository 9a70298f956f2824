"""Which nodes a client knows, and which one it talks to: it stays with one that answers, and moves on when it does not.

Pure: who answers is somebody else's to find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.errors import ProblemError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.errors import RaftbookError


class Nodes:
    """URLs in the order in which they became known; `current` is the one to talk to."""

    __slots__ = ("_current", "_urls")

    def __init__(self, urls: Sequence[str]) -> None:
        assert urls, "a client talks to at least one node"
        self._urls = list(dict.fromkeys(urls))
        self._current = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        return self._urls[self._current]

    def round(self) -> list[str]:
        """Every node once, from the current one on."""
        return self._urls[self._current :] + self._urls[: self._current]

    def learn(self, urls: Iterable[str]) -> None:
        """Further nodes of the cluster; those that are known already stay as they are."""
        self._urls += [url for url in dict.fromkeys(urls) if url not in self._urls]

    def move_on(self, failed: str) -> None:
        """`failed` does not serve now. Nothing changes where the current node is another one already: of several
        conversations that one node's end breaks, only the first moves on.
        """
        if failed == self.current:
            self._current = (self._current + 1) % len(self._urls)


def another_may_serve(error: RaftbookError) -> bool:
    """Is it this node that is at fault, so that another one may do what was asked? Nothing was taken by this one.

    503: draining, not caught up, no quorum on its side, too many connections. 507: its disk is full.
    """
    return isinstance(error, UnreachableError) or (isinstance(error, ProblemError) and error.status in (503, 507))


def may_serve_later(error: RaftbookError) -> bool:
    """Is it only now that this client is not served, here or anywhere? Nothing was taken.

    Of 429, `too_many_subscriptions` is about what the client has, which waiting does not change.
    """
    is_rate = isinstance(error, ProblemError) and error.status == 429 and error.code != "too_many_subscriptions"
    return is_rate or another_may_serve(error)


def asked_pause_s(error: RaftbookError, *, at_most_s: float) -> float:
    """For how long a node that answered so wants to be left alone."""
    asked_s = error.retry_after_s if isinstance(error, ProblemError) else None
    return min(asked_s or 0.0, at_most_s)


def may_have_been_taken(problem: ProblemError) -> bool:
    """Does this answer to commands leave open whether they were taken?

    `not_held` tells of reports that are no longer kept, so they had been taken; a fault of the node's own, or of
    something between it and the client, may come at any moment.
    """
    return problem.code == "not_held" or (problem.status >= 500 and not another_may_serve(problem))


def failure_of_all(failures: Sequence[RaftbookError]) -> RaftbookError:
    """The one error that tells what happened at all nodes: what one answered says more than that others did not."""
    assert failures, "somebody was asked"
    for failure in reversed(failures):
        if not isinstance(failure, UnreachableError):
            return failure
    if len(failures) == 1:
        return failures[0]
    reasons = {
        url: reason
        for failure in failures
        if isinstance(failure, UnreachableError)
        for url, reason in failure.reasons.items()
    }
    return unreachable(reasons)


def unreachable(reasons: dict[str, str]) -> UnreachableError:
    """No node answers: at which URL, and why."""
    where = ", ".join(f"{url} ({reason})" for url, reason in reasons.items())
    return UnreachableError(
        f"no node answers at {where}; start one with `raftbook node start --config FILE --id ID`, or name another one "
        "with --url or RAFTBOOK_URL",
        reasons,
    )
