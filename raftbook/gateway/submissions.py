"""From commands to answers: what every handler that changes the book has in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from raftbook.errors import InvalidCommandError, ProblemError
from raftbook.gateway import problem_codes
from raftbook.gateway.disclosure import report_json
from raftbook.gateway.endpoint import Access, Answer, Body, endpoint
from raftbook.gateway.query import SUBMIT_PARAMETERS, Parameter
from raftbook.gateway.responses import LOG_INDEX_HEADER, problem_response
from raftbook.json_format.answers import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.responses import Response

    from raftbook.engine.commands import Command
    from raftbook.gateway.caller import Caller
    from raftbook.gateway.service import Report as ServiceReport
    from raftbook.gateway.service import Service
    from raftbook.json_format import Json

_HandlerT = TypeVar("_HandlerT", bound="Callable[..., Awaitable[Answer | Response]]")


def command_endpoint(
    method: str, path: str, body: Body | None, *, access: Access, tag: str, query: Sequence[Parameter] = ()
) -> Callable[[_HandlerT], _HandlerT]:
    """An endpoint that submits one command: see `endpoint` and `submit_one`."""
    return endpoint(
        method,
        path,
        query=(*query, *SUBMIT_PARAMETERS),
        body=body,
        answers={200: Report, 202: Report},
        problems=(
            problem_codes.SUBMITTING,
            problem_codes.ONE_COMMAND,
            *(() if body is None else (problem_codes.WITH_BODY,)),
        ),
        access=access,
        tag=tag,
        headers={"Location": "Of a report that is pending: where to ask again."},
    )


async def submit(
    service: Service, caller: Caller, commands: Sequence[Command], wait_s: float
) -> Sequence[ServiceReport]:
    """Hands `commands` to the node; a 503 problem where it is on its way out, or not quite there yet."""
    if service.draining:
        raise ProblemError(
            503, "draining", "the node is shutting down and takes nothing new; use another node", retry_after_s=1.0
        )
    clock = asyncio.get_running_loop().time
    began_at = clock()
    if not service.has_joined:
        await service.wait_joined(timeout_s=wait_s)
        # What the node has learned since it looked at the key counts as well.
        caller.check_current()
    return await service.submit(commands, wait_s=max(0.0, wait_s - (clock() - began_at)))


async def submit_one(service: Service, caller: Caller, command: Command, wait_s: float) -> Answer | Response:
    """The answer to a single command; a 403 problem where the caller may not submit it.

    200 with the report where it was accepted, 409 where the engine refused it, 202 where the client did not want
    to wait, 503 `outcome_unknown` where it waited in vain; all of them hold the report.
    """
    caller.check_command(command)
    (report,) = await submit(service, caller, [command], wait_s)
    return answer_to_one(report_json(service, report, caller), service.state.index, wait_s)


def answer_to_one(document: Json, log_index: int | None, wait_s: float) -> Answer | Response:
    """The answer that a single command's report is, after waiting `wait_s` for it: see `submit_one`."""
    headers = {} if log_index is None else {LOG_INDEX_HEADER: str(log_index)}
    if document["status"] == "pending":
        where = str(document["next"])
        if wait_s == 0:
            return Answer(document, log_index, 202, {"Location": where})
        problem = ProblemError(
            503,
            "outcome_unknown",
            f"not executed after {wait_s:g} s, and not refused either; ask again at {where}, or submit it again with "
            "the same client_order_id",
            members={"report": document},
            retry_after_s=1.0,
        )
        return problem_response(problem, {**headers, "Location": where})
    if document["status"] == "accepted":
        return Answer(document, log_index)
    reason = str(document["reason"])
    detail = str(document.get("detail", f"refused: {reason.replace('_', ' ')}"))
    problem = ProblemError(409, reason, detail, members={"report": document})
    return problem_response(problem, headers)


def refused_report(error: InvalidCommandError | ProblemError) -> Json:
    """The report of an element that is no command, or not this caller's to submit: it got no place in the log."""
    return {
        "status": "rejected",
        "origin": None,
        "origin_sequence": None,
        "log_index": None,
        "order": None,
        "events": [],
        "reason": error.code,
        "detail": str(error),
        "field": error.field if isinstance(error, InvalidCommandError) else None,
    }
