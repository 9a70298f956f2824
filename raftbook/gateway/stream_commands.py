"""Order entry over the stream: commands in the order of their frames, each answered when it is executed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from raftbook.engine.commands import Command
from raftbook.errors import BusyError, NotHeldError, ProblemError, RaftbookError
from raftbook.gateway.disclosure import report_document, report_json
from raftbook.gateway.responses import problem_of
from raftbook.gateway.stream_requests import NO_REQUEST_ID
from raftbook.gateway.websocket_frames import Encoding
from raftbook.json_format import report_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.gateway.caller import Caller
    from raftbook.gateway.service import Report, Service
    from raftbook.gateway.stream_access import StreamAccess
    from raftbook.gateway.stream_connection import StreamConnection
    from raftbook.gateway.stream_requests import Request
    from raftbook.json_format import Json

_log = structlog.get_logger()


class _Command(NamedTuple):
    """`deadline` on the loop's clock: until then it waits for its report."""

    request_id: object
    encoding: Encoding
    command: Command
    wait_s: float
    deadline: float


class OrderEntry:
    """The commands of one connection that are not answered yet; there are at most `max_outstanding` of them.

    What comes in one turn of the loop is handed to the node at once, and what is executed in one turn is answered with
    one write. A command has no task, no future and no timer of its own.
    """

    def __init__(
        self, service: Service, access: StreamAccess, connection: StreamConnection, max_outstanding: int
    ) -> None:
        self._service = service
        self._access = access
        self._connection = connection
        self._max_outstanding = max_outstanding
        self._arrived: list[_Command] = []
        """To be handed over in this turn."""
        self._waiting: dict[int, _Command] = {}
        """Those that the node has, by their sequence."""
        self._reported: list[tuple[_Command, Report]] = []
        """To be answered in this turn."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def outstanding(self) -> int:
        return len(self._arrived) + len(self._waiting) + len(self._reported)

    @property
    def is_ready(self) -> bool:
        """`ready` would return at once."""
        service = self._service
        return service.has_joined and not service.draining and self.outstanding < self._max_outstanding

    async def ready(self, wait_s: float) -> None:
        """Returns when the node may take commands: whoever waits for that is judged behind it.

        Raises:
            RaftbookError: it takes none.
        """
        if self.outstanding >= self._max_outstanding:
            raise BusyError(f"{self.outstanding} commands of this connection have no answer yet; wait for some")
        if self._service.draining:
            raise ProblemError(
                503, "draining", "the node is shutting down and takes nothing new; use another node", retry_after_s=1.0
            )
        await self._service.wait_joined(timeout_s=wait_s)

    def submit(self, request: Request, command: Command, wait_s: float) -> None:
        """Hand the command to the node in this turn of the loop; its answer follows."""
        loop = asyncio.get_running_loop()
        if not self._arrived:
            loop.call_soon(self._hand_over)
        self._arrived.append(_Command(request.request_id, request.encoding, command, wait_s, loop.time() + wait_s))

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        if not self._enter(arrived):
            # Not all of them fit: as many as do, in their order.
            for command in arrived:
                self._enter([command])
        self._connection.flush()

    def _enter(self, commands: list[_Command]) -> bool:
        """Whether they are dealt with; False where several at once were refused."""
        try:
            # In the turn since they were allowed the key may have been revoked.
            self._access.check_current()
            first_sequence = self._service.enter([command.command for command in commands], self._take_report)
        except RaftbookError as error:
            if len(commands) == 1:
                self._answer(commands[0], {"error": error_json(error)})
            return len(commands) == 1
        except Exception:  # noqa: BLE001 (as in HTTP: logged whole, and told without the inside)
            _log.exception("unexpected error", path="/v1/stream")
            for command in commands:
                self._answer(command, {"error": error_json(internal_error())})
            return True
        for sequence, command in enumerate(commands, first_sequence):
            if command.wait_s > 0:
                self._waiting[sequence] = command
                self._wake_at(command.deadline)
            else:
                self._answer_pending(sequence, command)
        return True

    # What was executed.

    def _take_report(self, report: Report) -> None:
        command = self._waiting.pop(report.sequence, None)
        if command is None:
            return
        if not self._reported:
            # The node goes on with the log first.
            asyncio.get_running_loop().call_soon(self._tell)
        self._reported.append((command, report))

    def _tell(self) -> None:
        reported, self._reported = self._reported, []
        reader = self._access.reader
        for command, report in reported:
            write = report_document if command.encoding is Encoding.JSON else report_json
            self._answer(command, self._result(report, reader, write))
        self._connection.flush()

    def _result(self, report: Report, reader: Caller, write: Callable[[Service, Report, Caller], object]) -> Json:
        if report.execution is None:
            return {"error": error_json(NotHeldError.of_report(report.origin, report.sequence))}
        try:
            return {"report": write(self._service, report, reader)}
        except Exception:  # noqa: BLE001 (what cannot be told ends nothing but this answer)
            _log.exception("unexpected error", path="/v1/stream")
            return {"error": error_json(internal_error())}

    # What was not.

    def _wake_at(self, deadline: float) -> None:
        """One timer for all, which is seldom set: they mostly wait equally long."""
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._give_up)

    def _give_up(self) -> None:
        """Those whose time is over are pending."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        overdue = [(sequence, command) for sequence, command in self._waiting.items() if command.deadline <= now]
        for sequence, command in overdue:
            del self._waiting[sequence]
            self._answer_pending(sequence, command)
        if self._waiting:
            self._wake_at(min(command.deadline for command in self._waiting.values()))
        self._connection.flush()

    def _answer_pending(self, sequence: int, command: _Command) -> None:
        self._service.stop_waiting(sequence)
        pending = report_to_json(self._service.origin, sequence, None, self._service.state.exchange.instruments)
        self._answer(command, {"report": pending})

    def _answer(self, command: _Command, answer: Json) -> None:
        """Let it wait for `flush`."""
        message = {"request_id": shown_request_id(command.request_id), **answer}
        self._connection.queue(command.encoding.frame(message))

    def close(self) -> None:
        """The client is gone: what it has entered is executed, and nobody waits for it any more."""
        self._hand_over()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sequence in self._waiting:
            self._service.stop_waiting(sequence)
        self._waiting.clear()
        self._reported.clear()


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
