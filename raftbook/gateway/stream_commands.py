"""Order entry over the stream: commands in the order of their frames, each answered when it is executed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from raftbook.errors import BusyError, ProblemError, RaftbookError
from raftbook.gateway.disclosure import report_json
from raftbook.gateway.responses import problem_of
from raftbook.gateway.stream_requests import NO_REQUEST_ID

if TYPE_CHECKING:
    from raftbook.engine.commands import Command
    from raftbook.gateway.service import Service
    from raftbook.gateway.stream_access import StreamAccess
    from raftbook.gateway.stream_connection import StreamConnection
    from raftbook.gateway.stream_requests import CommandRequest, Request
    from raftbook.json_format import Json

_log = structlog.get_logger()


class OrderEntry:
    """The commands of one connection that are not answered yet; there are at most `max_outstanding` of them."""

    def __init__(
        self, service: Service, access: StreamAccess, connection: StreamConnection, max_outstanding: int
    ) -> None:
        self._service = service
        self._access = access
        self._connection = connection
        self._max_outstanding = max_outstanding
        self._tasks: dict[asyncio.Task[None], None] = {}

    @property
    def outstanding(self) -> int:
        return len(self._tasks)

    async def submit(self, request: Request, submission: CommandRequest) -> None:
        """Hand the command to the node; its answer follows. Returns when the next one may be handed over.

        Raises:
            RaftbookError: it was not taken.
        """
        if len(self._tasks) >= self._max_outstanding:
            raise BusyError(f"{len(self._tasks)} commands of this connection have no answer yet; wait for some")
        if self._service.draining:
            raise ProblemError(
                503, "draining", "the node is shutting down and takes nothing new; use another node", retry_after_s=1.0
            )
        await self._service.wait_joined(timeout_s=submission.wait_s)
        # Tasks begin in the order in which they are made, and each enters its command before it waits for anything.
        task = asyncio.create_task(self._answer(request, submission.command, submission.wait_s))
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]

    async def _answer(self, request: Request, command: Command, wait_s: float) -> None:
        try:
            (report,) = await self._service.submit([command], wait_s=wait_s)
            answer: Json = {"report": report_json(self._service, report, self._access.reader)}
        except RaftbookError as error:
            answer = {"error": error_json(error)}
        except Exception:  # noqa: BLE001 (as in HTTP: logged whole, and told without the inside)
            _log.exception("unexpected error", path="/v1/stream", op=request.op)
            answer = {"error": error_json(internal_error())}
        self._connection.say({"request_id": shown_request_id(request.request_id), **answer}, request.encoding)

    async def close(self) -> None:
        """The client is gone: what it has entered is executed, and nobody waits for it any more."""
        await asyncio.sleep(0)  # Those that have just been made enter their commands.
        for task in tuple(self._tasks):
            task.cancel()


def shown_request_id(request_id: object) -> object:
    return None if request_id is NO_REQUEST_ID else request_id


def internal_error() -> ProblemError:
    return ProblemError(500, "internal_error", "the node met a fault of its own; its log has the particulars")


def error_json(error: RaftbookError) -> Json:
    """The members of the problem document that HTTP would answer with."""
    problem = problem_of(error)
    json: Json = {"status": problem.status, "code": problem.code, "title": problem.title, "detail": problem.detail}
    if problem.retry_after_s is not None:
        json["retry_after_s"] = problem.retry_after_s
    return json | problem.members
