"""Order entry over the stream: commands in the order of their frames, each answered when it is executed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from raftbook.errors import BusyError, NotHeldError, ProblemError, RaftbookError
from raftbook.gateway.disclosure import report_json
from raftbook.gateway.responses import problem_of
from raftbook.gateway.stream_requests import NO_REQUEST_ID
from raftbook.gateway.websocket_frames import Encoding, text_frame
from raftbook.json_format import report_text, report_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.gateway.caller import Caller
    from raftbook.gateway.service import Report, Service
    from raftbook.gateway.stream_access import StreamAccess
    from raftbook.gateway.stream_connection import StreamConnection
    from raftbook.gateway.stream_requests import CommandRequest
    from raftbook.json_format import Json

_log = structlog.get_logger()


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
        self._arrived: list[CommandRequest] = []
        """To be handed over in this turn."""
        self._waiting: dict[int, tuple[CommandRequest, float]] = {}
        """Those that the node has, by their sequence, and until when, on the loop's clock, they wait for reports."""
        self._reported: list[tuple[CommandRequest, Report]] = []
        """To be answered in this turn."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def outstanding(self) -> int:
        return len(self._arrived) + len(self._waiting) + len(self._reported)

    @property
    def room(self) -> int:
        """How many more commands may be submitted at once; 0 where `ready` would not return at once."""
        service = self._service
        if not service.has_joined or service.draining:
            return 0
        return max(0, self._max_outstanding - self.outstanding)

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

    def submit(self, request: CommandRequest) -> None:
        """Hand the command to the node in this turn of the loop; its answer follows."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._arrived.append(request)

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        if not self._enter(arrived):
            # Not all of them fit: as many as do, in their order.
            for request in arrived:
                self._enter([request])
        self._connection.flush()

    def _enter(self, requests: list[CommandRequest]) -> bool:
        """Whether they are dealt with; False where several at once were refused."""
        try:
            # In the turn since they were allowed the key may have been revoked.
            self._access.check_current()
            first_sequence = self._service.enter([request.command for request in requests], self._take_reports)
        except RaftbookError as error:
            if len(requests) == 1:
                self._answer(requests[0], {"error": error_json(error)})
            return len(requests) == 1
        except Exception:  # noqa: BLE001 (as in HTTP: logged whole, and told without the inside)
            _log.exception("unexpected error", path="/v1/stream")
            for request in requests:
                self._answer(request, {"error": error_json(internal_error())})
            return True
        now = asyncio.get_running_loop().time()
        soonest = float("inf")
        for sequence, request in enumerate(requests, first_sequence):
            wait_s = request.wait_s
            if wait_s > 0:
                self._waiting[sequence] = (request, now + wait_s)
                soonest = min(soonest, wait_s)
            else:
                self._answer_pending(sequence, request)
        if soonest != float("inf"):
            self._wake_at(now + soonest)
        return True

    # What was executed.

    def _take_reports(self, reports: Sequence[Report]) -> None:
        waiting, reported = self._waiting, self._reported
        if not reported:
            # The node goes on with the log first.
            asyncio.get_running_loop().call_soon(self._tell)
        for report in reports:
            waiter = waiting.pop(report.sequence, None)
            if waiter is not None:
                reported.append((waiter[0], report))

    def _tell(self) -> None:
        reported, self._reported = self._reported, []
        reader, instruments = self._access.reader, self._service.state.exchange.instruments
        sees_all = reader.sees_all
        for request, report in reported:
            try:
                execution = report.execution
                if sees_all and execution is not None and request.encoding is Encoding.JSON:
                    text = report_text(report.origin, report.sequence, execution, instruments)
                    if text is not None:
                        self._connection.queue(_answer_frame(request.request_id, text))
                        continue
                result = self._result(report, reader)
            except Exception:  # noqa: BLE001 (what cannot be told ends nothing but this answer)
                _log.exception("unexpected error", path="/v1/stream")
                result = {"error": error_json(internal_error())}
            self._answer(request, result)
        self._connection.flush()

    def _result(self, report: Report, reader: Caller) -> Json:
        if report.execution is None:
            return {"error": error_json(NotHeldError.of_report(report.origin, report.sequence))}
        return {"report": report_json(self._service, report, reader)}

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
        overdue = [(sequence, request) for sequence, (request, until) in self._waiting.items() if until <= now]
        for sequence, request in overdue:
            del self._waiting[sequence]
            self._answer_pending(sequence, request)
        if self._waiting:
            self._wake_at(min(until for _request, until in self._waiting.values()))
        self._connection.flush()

    def _answer_pending(self, sequence: int, request: CommandRequest) -> None:
        self._service.stop_waiting(sequence)
        pending = report_to_json(self._service.origin, sequence, None, self._service.state.exchange.instruments)
        self._answer(request, {"report": pending})

    def _answer(self, request: CommandRequest, answer: Json) -> None:
        """Let it wait for `flush`."""
        message = {"request_id": shown_request_id(request.request_id), **answer}
        self._connection.queue(request.encoding.frame(message))

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


def _answer_frame(request_id: object, report: str) -> bytes:
    """What `_answer` makes of a report, which is JSON already."""
    shown = request_id if isinstance(request_id, msgspec.Raw) else b"null"
    return text_frame(b'{"request_id":%b,"report":%b}' % (shown, report.encode()))


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
