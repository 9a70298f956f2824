"""Do all nodes hold the same state? Real servers that agree, differ, or do not answer."""

from __future__ import annotations

import httpx
import pytest

from raftbook.client import RaftbookClient
from raftbook.gateway import make_app
from raftbook.verification import NodeDigests, judge
from tests.client.commands import new, numbered
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME
from tests.support.server import free_listener, serve, url_of


@pytest.fixture
async def three_nodes():
    """Three servers of one cluster; (clients' URL, services)."""
    listeners = [free_listener() for _ in range(3)]
    addresses = [url_of(listener).removeprefix("http://") for listener in listeners]
    services = [DirectService(make_config(*addresses), node_id) for node_id in ("n1", "n2", "n3")]
    async with (
        serve(make_app(services[0]), listeners[0]) as url,
        serve(make_app(services[1]), listeners[1]),
        serve(make_app(services[2]), listeners[2]),
    ):
        for node in services:
            await _apply(node, ACME, *numbered(5))
        yield url, services


async def _apply(service, instrument, *commands):
    transport = httpx.ASGITransport(make_app(service))
    async with RaftbookClient("http://localhost", transport=transport) as client:
        if instrument:
            await client.add_instrument(instrument)
        for command in commands:
            await client.submit(command)


async def test_nodes_that_agree_are_found_to_agree(three_nodes):
    url, services = three_nodes
    await _apply(services[1], None, new("later"))  # One is ahead; they are compared where all have been.

    async with RaftbookClient(url) as client:
        result = await client.verify()

    assert result.agree
    assert result.compared_index == 6
    assert [node.node_id for node in result.nodes] == ["n1", "n2", "n3"]
    assert (result.odd, result.missing) == ((), ())
    assert result.nodes[0].state_digest == result.nodes[2].state_digest != result.nodes[1].state_digest


async def test_the_node_that_differs_is_named(three_nodes):
    url, services = three_nodes
    await _apply(services[0], None, new("same"), new("same too"))
    await _apply(services[1], None, new("other"), new("same too"))
    await _apply(services[2], None, new("same"), new("same too"))

    async with RaftbookClient(url) as client:
        result = await client.verify()

    assert not result.agree
    assert result.odd == ("n2",)


async def test_a_node_that_does_not_answer_is_missing_and_not_odd():
    listeners = [free_listener() for _ in range(2)]
    addresses = [url_of(listener).removeprefix("http://") for listener in listeners]
    listeners[1].close()
    service = DirectService(make_config(*addresses))
    async with serve(make_app(service), listeners[0]) as url, RaftbookClient(url) as client:
        await client.add_instrument(ACME)
        result = await client.verify()

    assert result.missing == ("n2",)
    assert result.odd == ()
    assert not result.agree, "one node alone agrees with nobody"
    assert "no node answers" in result.nodes[1].problem


def digests(node_id, chain, state=None, state_index=9):
    return NodeDigests(node_id, f"http://{node_id}", 9, chain, state_index if state else None, state)


@pytest.mark.parametrize(
    ("nodes", "odd"),
    [
        ([digests("n1", "x"), digests("n2", "x"), digests("n3", "x")], ()),
        ([digests("n1", "x"), digests("n2", "y"), digests("n3", "x")], ("n2",)),
        ([digests("n1", "x"), digests("n2", "y")], ("n1", "n2")),
        ([digests("n1", "x"), digests("n2", "y"), digests("n3", "z")], ("n1", "n2", "n3")),
        ([digests("n1", "x", "s"), digests("n2", "x", "t"), digests("n3", "x", "s")], ("n2",)),
        ([digests("n1", "x", "s", 9), digests("n2", "x", "t", 10), digests("n3", "x", "s", 9)], ()),
        ([digests("n1", "x"), digests("n2", None), digests("n3", "x")], ()),
    ],
)
def test_the_odd_ones_are_those_outside_the_majority(nodes, odd):
    assert judge(9, nodes).odd == odd


@pytest.mark.parametrize(
    ("nodes", "agree"),
    [
        ([digests("n1", None)], False),
        ([digests("n1", "x")], True),
        ([digests("n1", "x"), digests("n2", None), digests("n3", None)], False),
        ([digests("n1", "x"), digests("n2", "x"), digests("n3", None)], True),
    ],
    ids=["none", "the only one there is", "one of three", "two of three"],
)
def test_agreement_takes_two_where_there_are_two(nodes, agree):
    assert judge(9, nodes).agree is agree
