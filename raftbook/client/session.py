"""Order entry over a WebSocket: many commands under way, in order, each with a definite answer though nodes die.

    async with client.session() as session:
        report = await session.submit(order)
        answers = [session.send(order) for order in orders]         # pipelined, in this order
        reports = await asyncio.gather(*answers)

Where the connection is lost, the session goes to another node and sends what is unanswered again, in the order in
which it was handed in; delivery.py says what is not sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from raftbook.client.delivery import Delivery, is_definite, may_be_repeated, with_not_after
from raftbook.client.nodes import another_may_serve, asked_pause_s, may_have_been_taken, may_serve_later
from raftbook.client.stream_connection import StreamEndedError, pause, problem_of_message
from raftbook.client.submitting import ATTEMPT_WAIT_S
from raftbook.errors import BusyError, ProblemError, UnreachableError
from raftbook.pipelining import as_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from raftbook.client.documents import Report
    from raftbook.client.stream_connection import StreamConnection, Streams
    from raftbook.pipelining import CommandLike

DEFAULT_WAIT_S: Final = 6.0
MAX_OUTSTANDING: Final = 500
"""Commands without an answer; nodes take up to 1,000 on a connection."""
LEAVE_S: Final = 1.0
"""How long a node that takes nothing more may still answer what it took."""
MAX_WAIT_S: Final = 60.0


class _Command:
    """One command, until its future is done. `was_sent`: on the connection that is open now."""

    __slots__ = ("deadline", "delivery", "future", "number", "timer", "was_sent")

    def __init__(self, number: int, document: Mapping[str, object], deadline: float) -> None:
        self.number = number
        self.delivery = Delivery([document])
        self.future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self.deadline = deadline
        self.timer: asyncio.TimerHandle | None = None
        self.was_sent = False

    def request(self, left_s: float) -> dict[str, object]:
        """As a frame says it. Another node is asked soon, but only where that is allowed."""
        document = self.delivery.documents[0]
        longest_s = ATTEMPT_WAIT_S if may_be_repeated(document) else MAX_WAIT_S
        return {**document, "request_id": self.number, "wait_s": round(min(longest_s, max(0.0, left_s)), 3)}


class Session:
    """Opened by `async with`. On leaving the context what is unanswered is waited for, each for as long as its time."""

    def __init__(self, streams: Streams, *, max_outstanding: int = MAX_OUTSTANDING) -> None:
        self.url: str | None = None
        """Of the node that it is connected to; None while there is none."""
        self.reconnections = 0
        self._streams = streams
        self._max_outstanding = max_outstanding
        self._unanswered: dict[int, _Command] = {}
        self._unsent: deque[_Command] = deque()
        self._last_number = 0
        self._has_work = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_leaving = False
        self._problem = "it is not open"
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            connection = await self._streams.open()
        except StreamEndedError as error:
            raise UnreachableError(str(error)) from error
        self.url = connection.url
        self._task = asyncio.create_task(self._run(connection), name="order entry")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        if kind is None:
            await self.settled()
        self._task.cancel()
        await asyncio.wait((self._task,))
        for command in list(self._unanswered.values()):
            command.future.cancel()
            self._forget(command)
        if not self._task.cancelled() and (fault := self._task.exception()) is not None:
            raise fault

    @property
    def has_ended(self) -> bool:
        """Did something end it for good? What is handed in now is refused with the reason."""
        return self._failure is not None

    @property
    def outstanding(self) -> int:
        """Commands without an answer."""
        return len(self._unanswered)

    async def settled(self) -> None:
        """Returns when everything that was handed in before has an answer, or no time left for one."""
        if self._unanswered:
            await asyncio.wait([command.future for command in self._unanswered.values()])

    async def submit(self, command: CommandLike, *, wait_s: float = DEFAULT_WAIT_S) -> Report:
        """The definite report of one command. Waits for room first, where too many are unanswered.

        Raises:
            OutcomeUnknownError: there is none after `wait_s`.
            UnreachableError: no node could be reached in that time; nothing was sent.
            ProblemError: it was refused, and not taken.
        """
        while self.outstanding >= self._max_outstanding:
            self._has_room.clear()
            await self._has_room.wait()
        return await self.send(command, wait_s=wait_s)

    def send(self, command: CommandLike, *, wait_s: float = DEFAULT_WAIT_S) -> asyncio.Future[Report]:
        """Hands a command in behind all others; the future has what `submit` would return or raise.

        One that a node is too busy to take is sent again, behind what was handed in meanwhile.

        Raises:
            BusyError: `max_outstanding` commands are unanswered; nothing was handed in.
            InvalidCommandError: a field is of no kind that a frame can hold; nothing was handed in.
            RaftbookError: what ended the session for good.
        """
        assert self._task is not None, "a session lives in `async with`"
        if self._failure is not None:
            raise self._failure
        if len(self._unanswered) >= self._max_outstanding:
            raise BusyError(f"{len(self._unanswered)} commands of this session have no answer yet; wait for some")
        document = with_not_after(as_document(command), time.time_ns())
        self._streams.check_command(document)
        loop = asyncio.get_running_loop()
        self._last_number += 1
        entry = _Command(self._last_number, document, loop.time() + wait_s)
        entry.timer = loop.call_at(entry.deadline, self._expire, entry)
        entry.future.add_done_callback(lambda _: self._forget(entry))
        self._unanswered[entry.number] = entry
        self._unsent.append(entry)
        self._has_work.set()
        return entry.future

    # ---------------------------------------------------------------- the connection

    async def _run(self, connection: StreamConnection) -> None:
        """From connection to connection, until it is cancelled, nobody lets this client in, or the client is closed.

        Whatever ends it, no command is left without an answer, and none is taken afterwards.
        """
        try:
            while True:
                try:
                    await self._converse(connection)
                finally:
                    self.url = None
                    await connection.close()
                self._streams.move_on(connection.url)
                self._send_again()
                connection = await self._reconnect()
                self.reconnections += 1
        except ProblemError as problem:
            self._end(problem)
        except StreamEndedError as ended:
            self._end(UnreachableError(str(ended)))
        except Exception as fault:
            self._end(fault)
            raise

    def _end(self, failure: Exception) -> None:
        self._failure = failure
        for command in list(self._unanswered.values()):
            self._give_up(command, failure)

    async def _reconnect(self) -> StreamConnection:
        """Raises ProblemError where a node answers that no node would ever take this client.

        It tries for as long as the session lives: each command has a time of its own.
        """
        attempts = 0
        while True:
            try:
                return await self._streams.open()
            except (UnreachableError, ProblemError) as error:
                if not may_serve_later(error):
                    raise
                self._problem = str(error)
                asked_s = asked_pause_s(error, at_most_s=MAX_WAIT_S)
            attempts += 1
            await pause(attempts, at_least_s=asked_s)

    async def _converse(self, connection: StreamConnection) -> None:
        """Returns when the connection is of no use any more."""
        self.url = connection.url
        self._is_leaving = False
        self._has_work.set()
        sending = asyncio.create_task(self._send(connection))
        receiving = asyncio.create_task(self._receive(connection))
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            if self._is_leaving and not receiving.done():
                await asyncio.wait((receiving,), timeout=LEAVE_S)
        finally:
            sending.cancel()
            receiving.cancel()
            results = await asyncio.gather(sending, receiving, return_exceptions=True)
        for result in results:
            if isinstance(result, StreamEndedError):
                self._problem = str(result)
            elif isinstance(result, Exception):
                raise result

    async def _send(self, connection: StreamConnection) -> None:
        """Returns when the node is to be left."""
        clock = asyncio.get_running_loop().time
        while not self._is_leaving:
            while self._unsent and not self._is_leaving:
                command = self._unsent.popleft()
                if not command.future.done():
                    command.was_sent = True
                    await connection.send(command.request(command.deadline - clock()))
            self._has_work.clear()
            if not self._unsent and not self._is_leaving:
                await self._has_work.wait()

    async def _receive(self, connection: StreamConnection) -> None:
        """Returns when the node is to be left, and has answered all that it took."""
        while not (self._is_leaving and not any(command.was_sent for command in self._unanswered.values())):
            message = await connection.receive()
            if message.get("type") == "server_shutdown":
                self._leave(f"{connection.url} shuts down")
                continue
            number = message.get("request_id")
            command = self._unanswered.get(number) if isinstance(number, int) else None
            if message.get("type") == "error":
                if command is None:
                    raise problem_of_message(message)
                self._refused(command, problem_of_message(message))  # To the node it was no command at all.
            elif command is not None:
                self._take(command, message)

    def _leave(self, reason: str) -> None:
        self._problem = reason
        self._is_leaving = True
        self._has_work.set()

    # ---------------------------------------------------------------- answers

    def _take(self, command: _Command, message: Mapping[str, object]) -> None:
        """One answer to the copy that was sent on this connection."""
        report, error = message.get("report"), message.get("error")
        if isinstance(report, dict):
            self._reported(command, cast("Report", report))
        elif isinstance(error, dict):
            self._refused(command, problem_of_message(error))

    def _reported(self, command: _Command, report: Report) -> None:
        command.was_sent = False
        command.delivery.answered([0], [report])
        if command.future.done():
            return  # Given up by its owner, or its time is over, in this very turn of the loop.
        if is_definite(report):
            command.future.set_result(report)
        elif command.delivery.to_send:
            # This node does not get it ordered; perhaps it is cut off from the others.
            self._leave(f"{self.url} did not execute a command in {ATTEMPT_WAIT_S:g} s")
        else:
            self._give_up(command, UnreachableError("it was not executed in time"))

    def _refused(self, command: _Command, problem: ProblemError) -> None:
        command.was_sent = False
        if problem.status == 429:
            loop = asyncio.get_running_loop()
            loop.call_later(problem.retry_after_s or 0.1, self._send_later, command)
        elif another_may_serve(problem):
            self._leave(str(problem))
        elif may_have_been_taken(problem):
            command.delivery.lost([0])
            if command.delivery.to_send:
                self._leave(str(problem))
            else:
                self._give_up(command, problem)
        else:
            self._give_up(command, problem)

    def _send_later(self, command: _Command) -> None:
        """A node was too busy to take it."""
        if not command.future.done() and not command.was_sent and command not in self._unsent:
            self._unsent.append(command)
            self._has_work.set()

    def _send_again(self) -> None:
        """The connection is gone: what it left unanswered goes to the next node, or is in doubt for good."""
        self._unsent.clear()
        for command in list(self._unanswered.values()):
            if command.was_sent:
                command.was_sent = False
                command.delivery.lost([0])
            if command.delivery.to_send:
                self._unsent.append(command)
            else:
                self._give_up(command, UnreachableError(self._problem))

    def _expire(self, command: _Command) -> None:
        cause = UnreachableError(f"it could not be sent in time: {self._problem}")
        if command.was_sent:
            command.delivery.lost([0])
            cause = UnreachableError("nothing came in the time given")
        self._give_up(command, cause)

    def _give_up(self, command: _Command, error: Exception) -> None:
        if command.future.done():
            return
        if command.was_sent:
            command.delivery.lost([0])
        doubt = command.delivery.is_in_doubt
        command.future.set_exception(command.delivery.outcome_unknown(str(error)) if doubt else error)

    def _forget(self, command: _Command) -> None:
        if command.timer is not None:
            command.timer.cancel()
        self._unanswered.pop(command.number, None)
        self._has_room.set()
