"""Several nodes: what a client does when the one that it uses dies, leaves, lags or hangs."""

from __future__ import annotations

import asyncio
import time

import pytest

from raftbook.client import RaftbookClient, submitting
from raftbook.errors import NoQuorumError, OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.gateway import make_app
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME
from tests.support.server import free_listener, serve, url_of


async def test_the_other_nodes_are_learned_from_the_first(client, nodes):
    assert client.urls == (nodes.first,)
    await client.book("ACME")
    assert client.urls == nodes.urls


@pytest.mark.parametrize("form", ["several", "list", "commas"])
async def test_nodes_may_be_named_in_any_form(nodes, form):
    urls = {"several": nodes.urls, "list": [list(nodes.urls)], "commas": [", ".join(nodes.urls)]}[form]
    nodes.kill_first()
    async with RaftbookClient(*urls) as client:
        assert (await client.submit(new("a1")))["status"] == "accepted"
        assert client.url == nodes.second


async def test_reads_and_orders_go_on_at_the_next_node_and_stay_there(client, nodes):
    await client.submit(new("a1"))
    nodes.kill_first()

    assert (await client.book("ACME"))["bids"] == [["100.25", "5"]]
    assert (await client.submit(new("a2")))["status"] == "accepted"
    assert client.url == nodes.second
    nodes.link.heal()
    assert len(await client.orders(account="alice")) == 2
    assert client.url == nodes.second, "a node that serves is not left"


async def test_where_nobody_answers_the_error_names_every_node():
    listeners = [free_listener(), free_listener()]
    urls = [url_of(listener) for listener in listeners]
    for listener in listeners:
        listener.close()
    async with RaftbookClient(*urls) as client:
        for attempt in (client.book("ACME"), client.submit(new("a1"))):
            with pytest.raises(UnreachableError, match=r"no node answers at .*, .*; start one with") as caught:
                await attempt
            assert list(caught.value.reasons) == urls


@pytest.fixture
async def lagging_and_ready():
    """Two nodes of one cluster, of which the first is not fit to take orders; (client, first, second)."""
    listeners = [free_listener(), free_listener()]
    addresses = [url_of(listener).removeprefix("http://") for listener in listeners]
    first, second = (DirectService(make_config(*addresses), node_id) for node_id in ("n1", "n2"))
    async with (
        serve(make_app(first), listeners[0]) as url,
        serve(make_app(second), listeners[1]) as second_url,
        RaftbookClient(second_url) as setup,
        RaftbookClient(url) as client,
    ):
        await setup.add_instrument(ACME)
        yield client, first, second


@pytest.mark.parametrize("state", ["draining", "is_behind"])
async def test_a_node_that_takes_nothing_is_passed_over(lagging_and_ready, state):
    client, first, second = lagging_and_ready
    setattr(first, state, True)

    assert (await client.submit(new("a1")))["status"] == "accepted"
    assert (await client.submit_once([new("a2")], wait_s=1))[0]["status"] == "accepted"
    assert (first.taken, second.taken) == (0, 3)


async def test_a_read_that_one_node_cannot_serve_is_served_by_another(lagging_and_ready, monkeypatch):
    client, first, second = lagging_and_ready

    async def no_quorum(*, timeout_s):
        raise NoQuorumError("no majority answers")

    monkeypatch.setattr(first, "barrier", no_quorum)

    assert await client.orders(account="alice", consistency="linearizable") == []
    assert second.state.index > 1


async def test_where_all_refuse_the_reason_is_told(lagging_and_ready):
    client, first, second = lagging_and_ready
    first.draining = second.draining = True
    with pytest.raises(ProblemError) as caught:
        await client.submit(new("a1"))
    assert caught.value.code == "draining"


# ---------------------------------------------------------------- answers that are lost


async def test_an_order_whose_node_does_not_execute_it_is_executed_once_by_another(lagging_and_ready, monkeypatch):
    """As if the first were cut off from its peers."""
    monkeypatch.setattr(submitting, "ATTEMPT_WAIT_S", 0.2)
    client, first, second = lagging_and_ready
    first.stall()

    report = await client.submit(new("a1"), wait_s=10)

    assert report["status"] == "accepted"
    assert (first.taken, second.state.exchange.order_by_client_id("alice", "a1").order_id) == (1, 1)


async def test_an_order_whose_node_dies_over_it_is_sent_again_and_executed_once(client, nodes):
    await client.book("ACME")  # So the client knows both.
    nodes.service.stall()
    answering = asyncio.create_task(client.submit_many(numbered(3)))
    await nodes.service.has_taken(4)  # The instrument, and the orders.
    nodes.kill_first()
    await nodes.service.has_taken(7)
    nodes.service.resume()

    reports = await answering

    assert [report["duplicate"] for report in reports] == [True] * 3
    assert (await client.book("ACME"))["bids"] == [["100.25", "15"]]


async def test_both_copies_carry_the_same_time(client, nodes):
    await client.book("ACME")
    entered = []
    submit = nodes.service.submit

    async def noted(commands, *, wait_s):
        entered.extend(commands)
        return await submit(commands, wait_s=wait_s)

    nodes.service.submit = noted
    nodes.service.stall()
    before = time.time_ns()
    answering = asyncio.create_task(client.submit(new("a1")))
    await nodes.service.has_taken(2)
    nodes.kill_first()
    await nodes.service.has_taken(3)
    nodes.service.resume()
    await answering

    assert entered[0] == entered[1]
    assert before + 4 * 10**9 < entered[0].not_after < time.time_ns() + 5 * 10**9


async def test_a_replace_whose_answer_is_lost_is_not_sent_again(client, nodes):
    await client.submit(new("a1"))
    nodes.service.stall()
    replacing = asyncio.create_task(client.replace("alice", client_order_id="a1", quantity="9"))
    await nodes.service.has_taken(3)
    nodes.kill_first()

    with pytest.raises(OutcomeUnknownError, match="look at what they were to change") as caught:
        await replacing

    nodes.service.resume()
    assert nodes.service.taken == 3
    assert caught.value.client_order_ids == ("a1",)


async def test_a_cancel_that_was_done_already_is_answered_with_the_order_as_it_stands(client, nodes):
    await client.submit(new("a1"))
    nodes.service.stall()
    canceling = asyncio.create_task(client.cancel("alice", client_order_id="a1"))
    await nodes.service.has_taken(3)
    nodes.kill_first()
    await nodes.service.has_taken(4)
    nodes.service.resume()

    report = await canceling

    assert (report["status"], report["reason"]) == ("rejected", "unknown_order")
    assert report["events"][0]["order"]["status"] == "canceled"


async def test_where_nobody_executes_anything_the_outcome_is_unknown_in_time(client, nodes):
    nodes.service.stall()
    began_at = time.monotonic()

    with pytest.raises(OutcomeUnknownError, match="1 of 1") as caught:
        await client.submit(new("a1"), wait_s=0.2)

    assert time.monotonic() - began_at < 5
    assert caught.value.reports[0]["status"] == "pending"
    assert caught.value.client_order_ids == ("a1",)


async def test_the_only_node_is_asked_for_what_is_pending_rather_than_sent_a_copy(nodes, client, monkeypatch):
    monkeypatch.setattr(submitting, "ATTEMPT_WAIT_S", 0.05)
    asked = asyncio.Event()
    submission = nodes.service.submission

    async def noted(*arguments, wait_s):
        if nodes.service.taken == 2:
            asked.set()
        return await submission(*arguments, wait_s=wait_s)

    nodes.service.stall()
    waiting = asyncio.create_task(client.at(nodes.second).submit(new("a1"), wait_s=10))
    await nodes.service.has_taken(2)
    monkeypatch.setattr(nodes.service, "submission", noted)
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    nodes.service.resume()

    report = await waiting

    assert report["status"] == "accepted"
    assert "duplicate" not in report
    assert nodes.service.taken == 2


async def test_an_order_that_was_refused_at_the_first_copy_stays_refused(client, nodes):
    await client.book("ACME")
    nodes.service.stall()
    answering = asyncio.create_task(client.submit(new("a1", quantity="0.5")))
    await nodes.service.has_taken(2)
    nodes.kill_first()
    await nodes.service.has_taken(3)
    nodes.service.resume()

    report = await answering

    assert (report["status"], report["reason"]) == ("rejected", "quantity_too_precise")
    assert report["duplicate"] is True
