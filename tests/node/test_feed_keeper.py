"""The feed on a node follows what is applied, and those who wait for reports are answered before it is told."""

from __future__ import annotations

import asyncio
import sys

from raftbook.feed import Feed
from raftbook.json_format import command_from_fields
from raftbook.node.feed_keeper import FeedKeeper
from raftbook.state_machine import StateMachine
from tests.support.direct_service import DirectService
from tests.support.sample_orders import ACME, order
from tests.support.single_node import single_node


async def test_reports_come_first_and_what_a_turn_applies_is_told_once(tmp_path):
    async with single_node(tmp_path) as service:
        told: list[str] = []

        async def enter(name: str, op: str, fields: dict) -> None:
            [report] = await service.submit([command_from_fields(op, fields)], wait_s=10.0)
            assert report.execution.accepted
            told.append(name)

        await enter("instrument", "add_instrument", ACME)
        await asyncio.sleep(0.02)
        service.listen_to_feed(lambda: told.append(f"feed at {service.feed.sequence('ACME')}"))
        told.clear()
        await asyncio.gather(*(enter(f"report {number}", "new", order(f"b{number}")) for number in range(3)))
        async with asyncio.timeout(10):
            while told[-1] != "feed at 4":  # noqa: ASYNC110 (the list is all that there is)
                await asyncio.sleep(0.002)
        assert told == ["report 0", "report 1", "report 2", "feed at 4"]


async def test_the_feed_holds_all_that_is_applied_whenever_it_is_asked_for():
    service = DirectService()
    await service.submit([command_from_fields("add_instrument", ACME)], wait_s=1.0)
    await service.submit([command_from_fields("new", order())], wait_s=1.0)
    assert (service.feed.index, service.feed.sequence("ACME")) == (service.state.index, 2) == (2, 2)
    updates = service.feed.updates_after("ACME", 0)
    assert [(held.update.first_sequence, held.update.sequence) for held in updates] == [(1, 1), (2, 2)]


async def test_an_index_that_holds_nothing_is_passed_over():
    keeper = FeedKeeper(StateMachine, events_kept=10, run=lambda action: action())
    keeper.applied(1)
    keeper.executed([], {})
    keeper.applied(2)
    assert keeper.feed.index == 2


class TestSnapshotFromPeer:
    """Another thread prepares the feed of a state that is to come; to do so on the loop would hold up the node."""

    async def test_what_was_prepared_of_that_very_state_becomes_the_feed(self, monkeypatch):
        coming = await state_with_a_bid()
        states = [StateMachine()]
        keeper = FeedKeeper(lambda: states[-1], events_kept=10, run=lambda action: action())
        await asyncio.to_thread(keeper.decoded, coming)
        monkeypatch.delattr(Feed, "prepare")  # On the loop nothing is left to prepare.
        states.append(coming)
        keeper.restored({})
        assert (keeper.feed.index, keeper.feed.sequence("ACME")) == (coming.index, 2) == (2, 2)
        assert keeper.feed.market("ACME").level3.to_snapshot() == [[[1, 10025, 5]], []]

    async def test_what_was_prepared_of_a_state_that_does_not_come_is_forgotten(self):
        machine = StateMachine()
        keeper = FeedKeeper(lambda: machine, events_kept=10, run=lambda action: action())
        keeper.decoded(await state_with_a_bid())
        keeper.restored({})
        assert "ACME" not in keeper.feed

    async def test_what_was_prepared_of_a_state_that_the_log_overtakes_is_not_kept(self):
        machine, coming = StateMachine(), await state_with_a_bid()
        keeper = FeedKeeper(lambda: machine, events_kept=10, run=lambda action: action())
        keeper.decoded(coming)
        before = sys.getrefcount(coming)
        keeper.applied(coming.index - 1)
        assert sys.getrefcount(coming) == before
        keeper.applied(coming.index)
        assert sys.getrefcount(coming) == before - 1


async def state_with_a_bid() -> StateMachine:
    service = DirectService()
    await service.submit([command_from_fields("add_instrument", ACME)], wait_s=1.0)
    await service.submit([command_from_fields("new", order())], wait_s=1.0)
    return service.state
