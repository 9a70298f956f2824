"""Reading from whichever node answers, and what goes with every read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.client.http import HttpExchange, LostAnswerError, unexpected_answer
from raftbook.client.nodes import Nodes, another_may_serve, failure_of_all
from raftbook.client.submitting import when_not_busy
from raftbook.errors import ProblemError, RaftbookError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.client.documents import ReadOptions
    from raftbook.client.http import Answer

READ_WAIT_S: Final = 5.0
"""Nodes let a read wait so long for what it asks them to have applied."""
FAILOVER_TIMEOUT_S: Final = 3.0
"""For an answer to a read, where there are other nodes to ask."""


class Reading:
    """`told` hears every answer of a node."""

    def __init__(self, http: HttpExchange, nodes: Nodes, *, timeout_s: float, told: Callable[[Answer], None]) -> None:
        self._http = http
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._told = told

    async def anywhere(self, path: str, parameters: dict[str, str], wait_s: float) -> Answer:
        """The answer of the first node that gives one. Raises what happened at all of them."""
        nodes = self._nodes.round()
        failures: list[RaftbookError] = []
        for url in nodes:
            patience_s = self._timeout_s if len(failures) == len(nodes) - 1 else self._failover_timeout_s
            try:
                answer = await when_not_busy(
                    lambda url=url, patience_s=patience_s: self._http.request(  # type: ignore[misc]
                        url, "GET", path, parameters, timeout_s=patience_s + wait_s
                    ),
                    self._timeout_s,
                )
            except (UnreachableError, ProblemError) as error:
                if not another_may_serve(error):
                    raise
                failures.append(error)
            except LostAnswerError as error:
                failures.append(UnreachableError(f"{error}; is the node still running?", {url: str(error)}))
            else:
                self._told(answer)
                return answer
            self._nodes.move_on(url)
        raise failure_of_all(failures)

    @property
    def _failover_timeout_s(self) -> float:
        return min(self._timeout_s, FAILOVER_TIMEOUT_S)


def document_of(answer: Answer) -> object:
    if not isinstance(answer.document, dict):
        raise unexpected_answer(answer.url, 200)
    return answer.document


def documents_of(answer: Answer) -> object:
    try:
        return msgspec.convert(answer.document, list[dict[str, object]])
    except msgspec.ValidationError:
        raise unexpected_answer(answer.url, 200) from None


def read_parameters(read: ReadOptions) -> dict[str, str]:
    return given(consistency=read.get("consistency"), at_least=text(read.get("at_least")))


def read_wait_s(read: ReadOptions) -> float:
    """How long a node may let such a read wait for its own state."""
    return READ_WAIT_S if any(value is not None for value in read.values()) else 0.0


def given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}


def text(number: int | None) -> str | None:
    return None if number is None else str(number)
