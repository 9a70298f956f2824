"""Who waits for what: submitters for their reports, readers for an index. Also the recent executions, to be asked for.

Everything happens on the node's loop, and everything is bounded: of executions the newest `reports_kept` are held, and
what is left of the run in which the oldest of them came; there are no more waiters than requests in progress.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.events import Execution
from raftbook.engine.types import NO_ORIGIN
from raftbook.errors import NotHeldError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from raftbook.state_machine import StateMachine


class Report(NamedTuple):
    """What became of one submission; `execution` is None while it is pending."""

    origin: str
    sequence: int
    execution: Execution | None


_ReportWaiter = tuple[int, int, int, "asyncio.Future[list[Report]]"]
"""(last sequence, ticket, first sequence, future); tickets keep futures from being compared."""


_ORIGIN: Final = attrgetter("origin")


class Publisher:
    """Takes executions in as the log is applied, and wakes whoever waits for them. O(log waiters) an entry."""

    def __init__(self, reports_kept: int) -> None:
        self._reports_kept = reports_kept
        self._executions: dict[str, dict[int, Execution]] = {}
        self._runs: deque[tuple[str, tuple[int, ...]]] = deque()
        self._held_count = 0
        self._report_waiters: dict[str, list[_ReportWaiter]] = {}
        self._listeners: dict[str, dict[int, Callable[[Sequence[Report]], None]]] = {}
        self._index_waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0

    # What the log tells.

    def executed(self, executions: list[Execution], watermarks: Mapping[str, int]) -> None:
        """An entry has been applied; `watermarks` are the state's, the last executed sequence of each origin.

        What the entry did by itself (NO_ORIGIN) answers nobody.
        """
        for origin, group in groupby(executions, key=_ORIGIN):
            if origin == NO_ORIGIN:
                continue
            run = {execution.sequence: execution for execution in group}
            self._executions.setdefault(origin, {}).update(run)
            self._runs.append((origin, tuple(run)))
            self._held_count += len(run)
            if origin in self._listeners:
                self._tell(origin, run.items())
        for origin in list(self._report_waiters):
            self._wake_submitters(origin, watermarks.get(origin, 0))
        while self._runs and self._held_count - len(self._runs[0][1]) >= self._reports_kept:
            self._forget_oldest_run()

    def applied(self, index: int) -> None:
        while self._index_waiters and self._index_waiters[0][0] <= index:
            future = heapq.heappop(self._index_waiters)[2]
            if not future.done():
                future.set_result(None)

    def decoded(self, state: StateMachine) -> None: ...

    def restored(self, watermarks: Mapping[str, int]) -> None:
        """The state was replaced by a snapshot: some executions happened without being seen here."""
        for origin in list(self._report_waiters):
            self._wake_submitters(origin, watermarks.get(origin, 0))
        for origin, listeners in list(self._listeners.items()):
            watermark = watermarks.get(origin, 0)
            self._tell(origin, [(sequence, None) for sequence in listeners if sequence <= watermark])

    def _tell(self, origin: str, executions: Iterable[tuple[int, Execution | None]]) -> None:
        """What is in a row of one listener's it hears at once."""
        listeners = self._listeners[origin]
        told: Callable[[Sequence[Report]], None] | None = None
        reports: list[Report] = []
        for sequence, execution in executions:
            listener = listeners.pop(sequence, None)
            if listener is None:
                continue
            if listener is not told:
                if told is not None:
                    told(reports)
                told, reports = listener, []
            reports.append(Report(origin, sequence, execution))
        if told is not None:
            told(reports)
        if not listeners:
            del self._listeners[origin]

    def _forget_oldest_run(self) -> None:
        origin, sequences = self._runs.popleft()
        held = self._executions[origin]
        for sequence in sequences:
            del held[sequence]
        if not held:
            del self._executions[origin]
        self._held_count -= len(sequences)

    def _wake_submitters(self, origin: str, watermark: int) -> None:
        waiters = self._report_waiters.get(origin)
        while waiters and waiters[0][0] <= watermark:
            last_sequence, _ticket, first_sequence, future = heapq.heappop(waiters)
            if not future.done():
                future.set_result(self.reports(origin, first_sequence, last_sequence - first_sequence + 1))
        if waiters is not None and not waiters:
            del self._report_waiters[origin]

    # What others ask for.

    def reports(self, origin: str, first_sequence: int, count: int) -> list[Report]:
        """What is known now of `count` submissions, whether it is anything or not."""
        held = self._executions.get(origin, {})
        sequences = range(first_sequence, first_sequence + count)
        return [Report(origin, sequence, held.get(sequence)) for sequence in sequences]

    def listen(
        self, origin: str, first_sequence: int, count: int, listener: Callable[[Sequence[Report]], None]
    ) -> None:
        """`listener` is called with the reports of `count` submissions, which are not executed yet, as they are: with
        those of an entry together, and once for each submission.

        Its execution is None where a snapshot has it, so that it is not held here. Without a task, a future or a timer
        for each: that is what most orders come by. The listener must not raise.
        """
        listeners = self._listeners.setdefault(origin, {})
        for sequence in range(first_sequence, first_sequence + count):
            listeners[sequence] = listener

    def stop_listening(self, origin: str, sequence: int) -> None:
        """Nobody waits for this one any more."""
        listeners = self._listeners.get(origin)
        if listeners is not None and listeners.pop(sequence, None) is not None and not listeners:
            del self._listeners[origin]

    async def wait_for_reports(
        self, origin: str, first_sequence: int, count: int, *, watermark: Callable[[], int], wait_s: float
    ) -> list[Report]:
        """The reports of consecutive submissions: when all are executed, or as they are after `wait_s`.

        `watermark` tells the last sequence of `origin` that is executed.

        Raises:
            NotHeldError: one was executed so long ago, or behind a snapshot, that its report is not held here.
        """
        last_sequence = first_sequence + count - 1
        if last_sequence > watermark() and wait_s > 0:
            future: asyncio.Future[list[Report]] = asyncio.get_running_loop().create_future()
            self._tickets += 1
            waiters = self._report_waiters.setdefault(origin, [])
            waiter = (last_sequence, self._tickets, first_sequence, future)
            heapq.heappush(waiters, waiter)
            try:
                done, _ = await asyncio.wait((future,), timeout=wait_s)
            finally:
                if not future.done():
                    self._give_up(origin, waiter)
            if done:
                return self._all_held(future.result())
        reports = self.reports(origin, first_sequence, count)
        executed = self._all_held(reports[: max(0, watermark() - first_sequence + 1)])
        return executed + reports[len(executed) :]

    def _give_up(self, origin: str, waiter: _ReportWaiter) -> None:
        """Forget who no longer waits, so that requests for what never comes leave nothing behind. O(waiters)."""
        waiters = self._report_waiters[origin]
        waiters.remove(waiter)
        heapq.heapify(waiters)
        if not waiters:
            del self._report_waiters[origin]

    def _all_held(self, reports: list[Report]) -> list[Report]:
        for origin, sequence, execution in reports:
            if execution is None:
                raise NotHeldError.of_report(origin, sequence)
        return reports

    async def wait_for_index(self, index: int, *, applied_index: int, timeout_s: float) -> None:
        """Returns when the log is applied up to `index`.

        Raises:
            NotReadyError: it is not after `timeout_s`.
        """
        if index <= applied_index:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        waiter = (index, self._tickets, future)
        heapq.heappush(self._index_waiters, waiter)
        try:
            done, _ = await asyncio.wait((future,), timeout=timeout_s)
        finally:
            if not future.done():
                self._index_waiters.remove(waiter)
                heapq.heapify(self._index_waiters)
        if not done:
            raise NotReadyError(
                f"log index {index} is not applied on this node after {timeout_s:g} s; it is at {applied_index} at the "
                "least: ask again, or ask another node"
            )
