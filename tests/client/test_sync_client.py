"""The client without await, against a server in another thread; also where a loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
import threading

import pytest

import raftbook
from raftbook.client import SyncClient
from raftbook.errors import ConfigError, UnreachableError
from tests.client.commands import new
from tests.client.two_nodes import PATIENCE_S, two_nodes
from tests.support.sample_orders import ACME, sell


@pytest.fixture(scope="module")
def served():
    """Two nodes in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = two_nodes()
    nodes = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(PATIENCE_S)
    with raftbook.connect(nodes.first) as client:
        client.add_instrument(ACME)
    yield nodes
    asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_day_of_one_order(served):
    with raftbook.connect(served.first) as client:
        assert client.urls == served.urls
        report = client.submit(new("a1"))
        assert report["status"] == "accepted"
        assert client.order(account="alice", client_order_id="a1", at_least=client.log_index) == report["order"]
        assert client.replace("alice", client_order_id="a1", quantity="4")["order"]["quantity"] == "4"
        client.submit_many([{"op": "new", **sell("b1", quantity="1")}])
        assert client.trades("ACME")[0]["quantity"] == "1"
        assert client.book("ACME")["bids"] == [["100.25", "3"]]
        assert client.book("ACME", level=3, depth=1)["bids"][0]["quantity"] == "3"
        assert client.cancel("alice", client_order_id="a1")["order"]["status"] == "canceled"
        assert client.cancel_all("alice")["status"] == "accepted"
        assert client.orders(account="alice") == []
        assert client.set_status("ACME", "auction")["status"] == "accepted"
        assert client.uncross("ACME")["status"] == "accepted"
        assert client.instruments()[0]["symbol"] == "ACME"
        assert client.tickers()["tickers"][0]["symbol"] == "ACME"
        assert client.cluster()["leader"] == client.node()["leader"]
        assert client.verify().compared_index is not None


def test_a_feed_and_a_book_are_followed(served):
    with (
        raftbook.connect(served.first) as client,
        client.local_book("ACME", level=3) as book,
        client.feed("book", "ACME") as feed,
        client.own_orders("dave") as own,
    ):
        snapshot = next(feed)
        next(own)
        client.submit(new("d1", account="dave", price="50.00", quantity="2"))
        assert next(feed)["sequence"] == snapshot["sequence"] + 1 == feed.position
        assert next(own)["events"][0]["client_order_id"] == "d1"
        assert feed.url == served.first
        book.wait_until(lambda book: book.sequence == feed.position, timeout_s=PATIENCE_S)
        assert book.bids == [("50.00", "2")]
        assert (book.top.bid, book.asks, book.symbol) == (("50.00", "2"), [], "ACME")
        with pytest.raises(TimeoutError):
            book.changed(timeout_s=0.01)
        feed.close()
        assert list(feed) == []


async def test_it_runs_where_a_loop_runs_already(served):
    with raftbook.connect(served.second) as client:
        assert client.url == served.second
        assert client.submit(new("n1", account="nina"))["status"] == "accepted"


def test_where_no_node_answers_connecting_fails_and_leaves_no_thread():
    before = threading.active_count()
    with pytest.raises(UnreachableError):
        raftbook.connect("http://127.0.0.1:1")
    assert threading.active_count() == before
    with pytest.raises(ConfigError):
        SyncClient("nonsense")


def test_a_closed_client_says_so(served):
    client = raftbook.connect(served.first)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.cluster()


def test_what_the_package_does_not_have_it_does_not_give():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        raftbook.nonsense  # noqa: B018 (the access is the test)
