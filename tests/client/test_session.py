"""Order entry over a WebSocket: in order, answered for good, executed once."""

from __future__ import annotations

import asyncio

import pytest

from raftbook.client import RaftbookClient, session
from raftbook.errors import BusyError, InvalidCommandError, OutcomeUnknownError, ProblemError, UnreachableError
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S, two_nodes
from tests.support.sample_orders import ACME


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(PATIENCE_S):
        yield


@pytest.mark.parametrize("encoding", ["json", "cbor"])
async def test_commands_are_executed_in_the_order_in_which_they_were_handed_in(nodes, encoding):
    async with RaftbookClient(nodes.first, encoding=encoding) as client, client.session() as entry:
        answers = [entry.send(command) for command in [*numbered(100), {"op": "cancel_all", "account": "alice"}]]
        reports = await asyncio.gather(*answers)
        assert entry.outstanding == 0
    assert [report["order"]["order_id"] for report in reports[:100]] == list(range(1, 101))
    assert reports[100]["events"][-1]["canceled_count"] == 100


async def test_refusals_are_answers_and_what_is_no_command_is_an_error(client, nodes):
    async with client.session() as entry:
        assert (await entry.submit(new("a1", symbol="NOPE")))["reason"] == "unknown_symbol"
        with pytest.raises(ProblemError) as caught:
            await entry.submit(new("a1", price="abc"))
        assert (caught.value.code, caught.value.members["field"]) == ("malformed", "price")
        assert (await entry.submit(new("a1")))["status"] == "accepted"


async def test_a_command_that_is_none_disturbs_no_other(client, nodes):
    """Nor does one that no frame can hold, or one whose owner has given up when its answer comes."""
    async with client.session() as entry:
        nodes.service.stall()
        others = [entry.send(command) for command in numbered(3)]
        misspelt = entry.send({"op": "nwe", "symbol": "ACME"})
        with pytest.raises(InvalidCommandError):
            entry.send(new("a9") | {"quantity": object()})
        with pytest.raises(ProblemError) as caught:
            await misspelt
        assert caught.value.code == "malformed"
        others[0].cancel()
        nodes.service.resume()
        assert [(await other)["status"] for other in others[1:]] == ["accepted"] * 2
        assert (await entry.submit(new("last")))["status"] == "accepted"


async def test_what_a_dead_node_left_unanswered_is_executed_once_in_its_order_at_another(client, nodes):
    async with client.session() as entry:
        await entry.submit(new("first"))
        nodes.service.stall()
        answers = [entry.send(command) for command in numbered(20)]
        await nodes.service.has_taken(22)
        nodes.kill_first()
        await nodes.service.has_taken(42)
        nodes.service.resume()
        reports = await asyncio.gather(*answers)
        assert (entry.url, entry.reconnections) == (nodes.second, 1)

    assert [report["duplicate"] for report in reports] == [True] * 20
    assert [report["order"]["order_id"] for report in reports] == list(range(2, 22))
    assert [report["origin_sequence"] for report in reports] == list(range(23, 43)), "the copies went in that order"
    assert (await client.book("ACME"))["bids"] == [["100.25", "105"]]


async def test_what_must_not_run_twice_is_in_doubt_and_the_rest_is_not(client, nodes):
    async with client.session() as entry:
        await entry.submit(new("a0"))
        nodes.service.stall()
        replacing = entry.send({"op": "replace", "account": "alice", "client_order_id": "a0", "quantity": "9"})
        ordering = entry.send(new("a1"))
        await nodes.service.has_taken(4)
        nodes.kill_first()
        await nodes.service.has_taken(5)
        nodes.service.resume()
        with pytest.raises(OutcomeUnknownError, match="look at what they were to change"):
            await replacing
        assert (await ordering)["duplicate"] is True
    assert nodes.service.taken == 5


async def test_a_node_that_executes_nothing_is_left_for_another(client, nodes, monkeypatch):
    monkeypatch.setattr(session, "ATTEMPT_WAIT_S", 0.1)
    await client.book("ACME")
    async with client.session() as entry:
        nodes.service.stall()
        answer = entry.send(new("a1"), wait_s=10)
        await nodes.service.has_taken(3)
        nodes.service.resume()
        assert (await answer)["status"] == "accepted"
        assert entry.reconnections >= 1
    assert (await client.book("ACME"))["bids"] == [["100.25", "5"]]


async def test_a_busy_node_is_asked_again(client, nodes):
    async with client.session() as entry:
        nodes.service.busy_answers = 3
        assert (await entry.submit(new("a1")))["status"] == "accepted"
    assert nodes.service.busy_answers == 0


async def test_a_node_that_drains_answers_what_it_took_and_the_rest_goes_on(client, nodes):
    async with client.session() as entry:
        await entry.submit(new("a1"))
        nodes.service.draining = True
        answer = entry.send(new("a2"))
        while entry.reconnections == 0:  # noqa: ASYNC110 (bounded by in_time)
            await asyncio.sleep(0.01)
        nodes.service.draining = False
        assert "duplicate" not in await answer


async def test_without_an_answer_in_time_the_outcome_is_unknown(client, nodes):
    async with client.session() as entry:
        nodes.service.stall()
        with pytest.raises(OutcomeUnknownError) as caught:
            await entry.submit(new("a1"), wait_s=0.2)
        assert caught.value.client_order_ids == ("a1",)
        assert entry.outstanding == 0


async def test_what_could_not_be_sent_was_not_executed(client, nodes):
    async with client.at(nodes.first).session() as entry:
        nodes.kill_first()
        while entry.url is not None:  # noqa: ASYNC110 (bounded by in_time)
            await asyncio.sleep(0.01)
        with pytest.raises(UnreachableError, match="could not be sent in time"):
            await entry.submit(new("a1"), wait_s=0.1)
    assert nodes.service.taken == 1


async def test_no_more_are_under_way_than_was_asked_for(client, nodes):
    async with client.session(max_outstanding=3) as entry:
        nodes.service.stall()
        answers = [entry.send(command) for command in numbered(3)]
        with pytest.raises(BusyError, match="3 commands"):
            entry.send(new("a3"))
        waiting = asyncio.create_task(entry.submit(new("a3")))
        await nodes.service.has_taken(4)
        assert not waiting.done()
        nodes.service.resume()
        assert (await waiting)["status"] == "accepted"
        assert all(answer.done() for answer in answers)


async def test_more_than_the_node_takes_at_once_are_all_executed():
    async with two_nodes(max_outstanding_per_connection=5) as nodes, RaftbookClient(nodes.second) as client:
        await client.add_instrument(ACME)
        async with client.session() as entry:
            reports = await asyncio.gather(*(entry.send(command) for command in numbered(40)))
    assert {report["status"] for report in reports} == {"accepted"}


async def test_leaving_waits_for_all_answers(client, nodes):
    async with client.session() as entry:
        answers = [entry.send(command) for command in numbered(10)]
    assert [answer.result()["status"] for answer in answers] == ["accepted"] * 10


async def test_leaving_with_an_error_waits_for_nothing(client, nodes):
    nodes.service.stall()
    entry = client.session()
    await entry.__aenter__()
    answer = entry.send(new("b1"))
    error = RuntimeError("mine")
    await entry.__aexit__(RuntimeError, error, None)
    assert answer.cancelled()


async def test_where_no_node_answers_a_session_does_not_open(client, nodes):
    nodes.kill_first()
    with pytest.raises(UnreachableError):
        async with client.at(nodes.first).session():
            pass
