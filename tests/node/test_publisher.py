"""Who waits for reports and indexes is woken at the right moment, or told the truth when the time is over."""

from __future__ import annotations

import asyncio

import pytest

from raftbook.engine.events import Execution
from raftbook.engine.types import NO_ORIGIN
from raftbook.errors import NotHeldError, NotReadyError
from raftbook.node.publisher import Publisher, Report


class Node:
    """A publisher and the watermarks of the state beside it."""

    def __init__(self, reports_kept: int = 100) -> None:
        self.publisher = Publisher(reports_kept)
        self.watermarks: dict[str, int] = {}

    def execute(self, origin: str, *sequences: int) -> list[Execution]:
        executions = [Execution(origin, sequence, 1, 1, accepted=True, order=None, events=()) for sequence in sequences]
        self.watermarks[origin] = sequences[-1]
        self.publisher.executed(executions, self.watermarks)
        return executions

    def wait(self, origin: str, first: int, count: int, wait_s: float = 5.0) -> asyncio.Task[list[Report]]:
        return asyncio.ensure_future(
            self.publisher.wait_for_reports(
                origin, first, count, watermark=lambda: self.watermarks.get(origin, 0), wait_s=wait_s
            )
        )


async def test_reports_come_when_the_last_submission_is_executed():
    node = Node()
    waiting = node.wait("a", 1, 3)
    await asyncio.sleep(0)
    node.execute("a", 1, 2)
    await asyncio.sleep(0)
    assert not waiting.done()
    node.execute("b", 1, 2, 3)
    node.execute("a", 3)
    assert [(report.sequence, report.execution is not None) for report in await waiting] == [
        (1, True),
        (2, True),
        (3, True),
    ]


async def test_what_is_executed_already_is_answered_at_once():
    node = Node()
    executions = node.execute("a", 1, 2)
    assert await node.wait("a", 1, 2) == [Report("a", 1, executions[0]), Report("a", 2, executions[1])]


async def test_what_is_pending_when_the_time_is_over_says_so():
    node = Node()
    (executed,) = node.execute("a", 1)
    assert await node.wait("a", 1, 2, wait_s=0.01) == [Report("a", 1, executed), Report("a", 2, None)]
    assert await node.wait("a", 1, 2, wait_s=0.0) == [Report("a", 1, executed), Report("a", 2, None)]


async def test_an_executed_submission_that_is_no_longer_held_is_never_called_pending():
    node = Node(reports_kept=2)
    node.execute("a", 1)
    node.execute("a", 2, 3)
    for wait_s in (0.0, 0.01):
        with pytest.raises(NotHeldError, match="a/1"):
            await node.wait("a", 1, 4, wait_s=wait_s)
    waiting = node.wait("b", 1, 2, wait_s=0.05)
    await asyncio.sleep(0)
    node.execute("b", 1)
    node.execute("a", 4, 5)
    with pytest.raises(NotHeldError, match="b/1"):
        await waiting


async def test_a_snapshot_wakes_those_whose_executions_it_covers():
    node = Node()
    covered, later = node.wait("a", 1, 1), node.wait("a", 2, 1)
    await asyncio.sleep(0)
    node.watermarks["a"] = 1
    node.publisher.restored(node.watermarks)
    with pytest.raises(NotHeldError):
        await covered
    assert not later.done()
    (executed,) = node.execute("a", 2)
    assert await later == [Report("a", 2, executed)]


async def test_runs_of_one_origin_that_are_apart_in_an_entry_are_reported_together():
    node = Node()
    waiting = node.wait("a", 1, 2)
    await asyncio.sleep(0)
    places = [("a", 1), ("b", 1), ("a", 2)]
    executions = [Execution(*place, 1, 1, accepted=True, order=None, events=()) for place in places]
    node.watermarks.update(a=2, b=1)
    node.publisher.executed(executions, node.watermarks)
    assert [report.execution for report in await waiting] == [executions[0], executions[2]]


async def test_what_an_entry_did_by_itself_answers_nobody_and_is_not_kept():
    node = Node(reports_kept=2)
    waiting = node.wait("a", 1, 1)
    await asyncio.sleep(0)
    places = [(NO_ORIGIN, 0), ("a", 1), (NO_ORIGIN, 0)]
    for _ in range(10):
        executions = [Execution(*place, 1, 1, accepted=True, order=None, events=()) for place in places]
        node.watermarks["a"] = 1
        node.publisher.executed(executions, node.watermarks)
    assert await waiting == [Report("a", 1, executions[1])]
    assert node.publisher.reports(NO_ORIGIN, 0, 1) == [Report(NO_ORIGIN, 0, None)]


def test_a_listener_is_told_of_each_submission_once_as_it_is_executed():
    node, told = Node(), []
    node.publisher.listen("a", 1, 3, told.extend)
    node.execute("b", 1, 2)
    (first,) = node.execute("a", 1)
    assert told == [Report("a", 1, first)]
    node.publisher.stop_listening("a", 2)
    _, third = node.execute("a", 2, 3)
    assert told[1:] == [Report("a", 3, third)]
    assert node.publisher._listeners == {}
    node.publisher.stop_listening("a", 3)


def test_a_listener_is_told_what_a_snapshot_covers_without_its_execution():
    node, told = Node(), []
    node.publisher.listen("a", 1, 3, told.extend)
    node.publisher.restored({"a": 2})
    assert told == [Report("a", 1, None), Report("a", 2, None)]
    (third,) = node.execute("a", 3)
    assert told[2:] == [Report("a", 3, third)]
    assert node.publisher._listeners == {}


async def test_only_the_newest_reports_are_kept():
    node = Node(reports_kept=10)
    for sequence in range(1, 101):
        node.execute("a", sequence)
    held = [report.sequence for report in node.publisher.reports("a", 1, 100) if report.execution is not None]
    assert held == list(range(91, 101))


async def test_a_run_is_forgotten_whole_when_the_newer_ones_are_enough():
    node = Node(reports_kept=10)
    node.execute("a", *range(1, 9))
    node.execute("b", *range(1, 10))
    assert all(report.execution for report in node.publisher.reports("a", 1, 8))
    node.execute("b", 10)
    assert not any(report.execution for report in node.publisher.reports("a", 1, 8))
    assert all(report.execution for report in node.publisher.reports("b", 1, 10))


async def test_an_index_is_waited_for():
    publisher = Publisher(1)
    await publisher.wait_for_index(5, applied_index=5, timeout_s=0.0)
    waiting = asyncio.ensure_future(publisher.wait_for_index(7, applied_index=5, timeout_s=5.0))
    await asyncio.sleep(0)
    publisher.applied(6)
    await asyncio.sleep(0)
    assert not waiting.done()
    publisher.applied(8)
    await waiting
    with pytest.raises(NotReadyError):
        await publisher.wait_for_index(9, applied_index=8, timeout_s=0.01)


async def test_who_gives_up_leaves_nothing_behind():
    node = Node()
    await node.wait("never", 1, 1, wait_s=0.001)
    abandoned = [node.wait("never", 1, 1) for _ in range(3)]
    await asyncio.sleep(0)
    for task in abandoned:
        task.cancel()
    await asyncio.gather(*abandoned, return_exceptions=True)
    with pytest.raises(NotReadyError):
        await node.publisher.wait_for_index(1, applied_index=0, timeout_s=0.001)
    assert node.publisher._report_waiters == {}
    assert node.publisher._index_waiters == []
