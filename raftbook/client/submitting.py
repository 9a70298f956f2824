"""Handing commands to nodes over HTTP, until they are answered for good; delivery.py decides what may be sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec

from raftbook.client.http import Answer, HttpExchange, LostAnswerError, unexpected_answer
from raftbook.client.nodes import Nodes, another_may_serve, failure_of_all, may_have_been_taken
from raftbook.errors import OutcomeUnknownError, ProblemError, RaftbookError, UnreachableError
from raftbook.pipelining import named_order_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from raftbook.client.delivery import Delivery
    from raftbook.client.documents import Report

_T = TypeVar("_T")

ATTEMPT_WAIT_S: Final = 2.0
"""How long one node may take to execute a command before another one is asked: longer than electing a leader takes."""
ANSWER_S: Final = 1.5
"""What a node that was asked to wait so long may take beyond it, before its answer counts as lost."""
ROUND_PAUSE_S: Final = 0.05
"""After a round in which no node could do anything."""


async def when_not_busy(send: Callable[[], Awaitable[_T]], timeout_s: float) -> _T:
    """What `send` returns. As long as 429 is the answer (nothing was taken), it is tried again for `timeout_s`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    while True:
        try:
            return await send()
        except ProblemError as problem:
            pause_s = problem.retry_after_s or 0.1
            if problem.status != 429 or clock() + pause_s > deadline:
                raise
            await asyncio.sleep(pause_s)


class Submitting:
    """`told` hears every answer of a node."""

    def __init__(self, http: HttpExchange, nodes: Nodes, *, timeout_s: float, told: Callable[[Answer], None]) -> None:
        self._http = http
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._told = told

    async def send_once(
        self, documents: Sequence[Mapping[str, object]], *, wait_s: float, busy_timeout_s: float
    ) -> list[Report]:
        """See RaftbookClient.submit_once."""
        refusals: list[RaftbookError] = []
        for url in self._nodes.round():
            try:
                return await self._post(url, documents, wait_s, busy_timeout_s, self._timeout_s)
            except LostAnswerError as error:
                self._nodes.move_on(url)
                raise OutcomeUnknownError(
                    f"the answer of {url} to {len(documents)} command(s) is lost ({error}): they may be executed or "
                    "not; submit orders again with the same client order ids, each is executed once",
                    positions=range(len(documents)),
                    client_order_ids=named_order_ids(documents),
                ) from error
            except (UnreachableError, ProblemError) as error:
                if not another_may_serve(error):
                    raise
                refusals.append(error)
            self._nodes.move_on(url)
        raise failure_of_all(refusals)

    async def deliver(self, delivery: Delivery, *, wait_s: float) -> list[Report]:
        """See RaftbookClient.submit_many."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        refusals: list[RaftbookError] = []
        cause = f"nothing was executed in {wait_s:g} s; is there a leader?"
        while delivery.undecided:
            url = self._nodes.current
            left_s = max(0.0, deadline - clock())
            try:
                if not await self._attempt(url, delivery, min(ATTEMPT_WAIT_S, left_s)):
                    break
                refusals.clear()
            except LostAnswerError as error:
                cause = str(error)
            except (UnreachableError, ProblemError) as error:
                if not another_may_serve(error):
                    if delivery.is_in_doubt:
                        raise delivery.outcome_unknown(str(error)) from error
                    raise
                cause = str(error)
                refusals.append(error)
            if not delivery.undecided:
                break
            self._nodes.move_on(url)
            if len(refusals) >= len(self._nodes):
                if not delivery.is_in_doubt:
                    raise failure_of_all(refusals)
                await asyncio.sleep(ROUND_PAUSE_S)
            if clock() >= deadline:
                break
        if delivery.undecided:
            raise delivery.outcome_unknown(cause)
        return delivery.reports()

    async def _attempt(self, url: str, delivery: Delivery, wait_s: float) -> bool:
        """One request to one node; False where nothing can be done any more but to tell of the doubt.

        Where there is no other node to go to, what is pending is waited for; otherwise only what is not to be repeated.
        """
        if pending := delivery.to_follow(with_repeatable=len(self._nodes) == 1):
            await self._follow(url, delivery, pending[0], wait_s)
            return True
        positions = delivery.to_send
        if not positions:
            return False
        documents = [delivery.documents[position] for position in positions]
        try:
            answer_s = min(self._timeout_s, ANSWER_S)
            reports = await self._post(url, documents, wait_s, self._timeout_s, answer_s)
        except LostAnswerError:
            delivery.lost(positions)
            raise
        delivery.answered(positions, reports)
        return True

    async def _follow(self, url: str, delivery: Delivery, pending: Report, wait_s: float) -> None:
        """Asks the node about a submission that some node took; where it does not know, only its order is in doubt."""
        path = f"/v1/submissions/{pending['origin']}/{pending['origin_sequence']}"
        parameters = {"count": "1", "wait_s": f"{wait_s:.3f}"}
        try:
            answer = await self._http.request(url, "GET", path, parameters, timeout_s=wait_s + ANSWER_S)
        except (UnreachableError, LostAnswerError, ProblemError):
            delivery.lost_sight()
            await asyncio.sleep(ROUND_PAUSE_S)
            return
        self._told(answer)
        delivery.followed(_reports(answer, 1)[0])

    async def _post(
        self,
        url: str,
        documents: Sequence[Mapping[str, object]],
        wait_s: float,
        busy_timeout_s: float,
        answer_s: float,
    ) -> list[Report]:
        """LostAnswerError also where a node answers, but so that its commands may have been taken."""
        content = msgspec.json.encode(documents)
        parameters = {"wait_s": f"{wait_s:.3f}"} if wait_s > 0 else {"wait": "pending"}

        async def post() -> Answer:
            return await self._http.request(
                url, "POST", "/v1/commands", parameters, content, timeout_s=wait_s + answer_s
            )

        try:
            answer = await when_not_busy(post, busy_timeout_s)
        except ProblemError as problem:
            if may_have_been_taken(problem):
                raise LostAnswerError(f"{url} answered {problem.code}: {problem}") from problem
            raise
        self._told(answer)
        return _reports(answer, len(documents))


def _reports(answer: Answer, count: int) -> list[Report]:
    """ProblemError where the answer is no array of so many reports."""
    try:
        documents = msgspec.convert(answer.document, list[dict[str, object]])
    except msgspec.ValidationError:
        documents = []
    if len(documents) != count or not all("status" in document for document in documents):
        raise unexpected_answer(answer.url, 200)
    return cast("list[Report]", documents)
