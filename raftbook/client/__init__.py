"""A client of a whole cluster: commands with definite answers, reads, feeds that survive their node, a live book.

    async with RaftbookClient("http://127.0.0.1:8101") as client:       # learns the other nodes by itself
        order = {"op": "new", "symbol": "ACME", "account": "alice", "side": "buy", "price": "100.25", "quantity": "5"}
        report = await client.submit(order)
        book = await client.book("ACME", depth=5, at_least=report["log_index"])

Commands are dicts in the JSON form or values of raftbook.engine.commands; answers are the JSON documents as dicts,
whose keys documents.py names. A report whose `status` is "rejected" is an answer like any other; an exception means
that there was none.

    documents.py        the documents, as types
    client.py           RaftbookClient: commands and reads over HTTP, at whichever node serves
    delivery.py         PURE: what may be sent again when an answer is lost, and what is done about the rest
    submitting.py       carries a delivery from node to node
    session.py          order entry over a WebSocket
    feed.py             a feed that survives its node; continuity.py, PURE: does a message follow what came before?
    local_book.py       PURE: a book kept from a feed; live_book.py: one that keeps itself
    sync_client.py      all of it without `await`, for scripts and notebooks
    nodes.py            PURE: which nodes there are, and which one serves
    http.py             one request to one node
    stream_connection.py    one WebSocket to one node
    reasons.py          PURE: why a node could not be talked to, in words
    authentication.py   API keys: a bearer token, or a signature on each request

Errors, all of raftbook/errors.py: UnreachableError (no node answers; nothing was sent), OutcomeUnknownError (commands
have no definite answer; orders are safe to submit again under the same client order ids), ProblemError (any other
refusal).
"""

from __future__ import annotations

from raftbook.client.addresses import DEFAULT_URL
from raftbook.client.client import DEFAULT_WAIT_S, RaftbookClient
from raftbook.client.documents import (
    Book,
    BookOrder,
    Cluster,
    ClusterNode,
    Event,
    FeedMessage,
    Instrument,
    Node,
    Order,
    OrderBook,
    Report,
    Ticker,
    Tickers,
    Trade,
)
from raftbook.client.feed import Feed
from raftbook.client.live_book import LiveBook
from raftbook.client.local_book import Level, LocalBook, Top
from raftbook.client.session import Session
from raftbook.client.sync_client import SyncBook, SyncClient, SyncFeed, connect

__all__ = [
    "DEFAULT_URL",
    "DEFAULT_WAIT_S",
    "Book",
    "BookOrder",
    "Cluster",
    "ClusterNode",
    "Event",
    "Feed",
    "FeedMessage",
    "Instrument",
    "Level",
    "LiveBook",
    "LocalBook",
    "Node",
    "Order",
    "OrderBook",
    "RaftbookClient",
    "Report",
    "Session",
    "SyncBook",
    "SyncClient",
    "SyncFeed",
    "Ticker",
    "Tickers",
    "Top",
    "Trade",
    "connect",
]
