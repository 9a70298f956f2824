"""What ends a session or a feed, and what does not: over connections that are scripted, without a network."""

from __future__ import annotations

import asyncio

import pytest

from raftbook.client import feed as feed_module
from raftbook.client.authentication import Authenticator
from raftbook.client.feed import Feed
from raftbook.client.http import HttpExchange
from raftbook.client.nodes import Nodes
from raftbook.client.session import Session
from raftbook.client.stream_connection import OpenStreams, StreamEndedError, Streams, problem_of_message
from raftbook.errors import InvalidCommandError, OutcomeUnknownError, ProblemError, UnreachableError

PATIENCE_S = 5.0
SNAPSHOT = {"channel": "book", "type": "snapshot", "symbol": "A", "sequence": 5}
UPDATE = {"channel": "book", "type": "update", "symbol": "A", "sequence": 6}


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(PATIENCE_S):
        yield


class Connection:
    """Says what is put into `incoming`; an exception there is raised."""

    def __init__(self, *messages):
        self.url = "http://n1"
        self.sent = []
        self.has_sent = asyncio.Event()
        self.incoming = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)

    async def send(self, document):
        self.sent.append(document)
        self.has_sent.set()

    async def receive(self):
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        if isinstance(message, float):
            await asyncio.sleep(message)
            raise StreamEndedError("gone")
        return message

    async def close(self):
        pass


class ScriptedStreams(Streams):
    """Opens what was scripted, in order: a connection, or an exception."""

    def __init__(self, *openings):
        http = HttpExchange(Authenticator(None), None, None)
        super().__init__(http, Nodes(["http://n1"]), None, "json", asyncio.sleep, OpenStreams())
        self.openings = list(openings)

    async def open(self):
        opening = self.openings.pop(0)
        if isinstance(opening, Exception):
            raise opening
        return opening


def report(number):
    return {"request_id": number, "report": {"status": "accepted"}}


async def test_an_answer_in_the_turn_in_which_its_owner_gives_up_ends_nothing():
    connection = Connection()
    async with Session(ScriptedStreams(connection)) as session:
        canceled = session.send({"op": "new", "client_order_id": "a"})
        await connection.has_sent.wait()
        connection.incoming.put_nowait(report(1))
        canceled.cancel()
        await asyncio.sleep(0)
        answer = session.send({"op": "new", "client_order_id": "b"})
        connection.incoming.put_nowait(report(2))
        assert (await answer)["status"] == "accepted"


async def test_what_no_frame_can_say_is_refused_at_once_and_alone():
    connection = Connection(report(1))
    async with Session(ScriptedStreams(connection)) as session:
        with pytest.raises(InvalidCommandError, match="cannot be written as json"):
            session.send({"op": "new", "client_order_id": "a", "quantity": object()})
        connection.incoming.put_nowait(report(1))
        assert (await session.send({"op": "new", "client_order_id": "b"}))["status"] == "accepted"


async def test_a_misspelt_operation_fails_alone():
    connection = Connection()
    async with Session(ScriptedStreams(connection)) as session:
        order, misspelt = session.send({"op": "new", "client_order_id": "a"}), session.send({"op": "nwe"})
        await connection.has_sent.wait()
        connection.incoming.put_nowait({"type": "error", "code": "malformed", "detail": "op", "request_id": 2})
        connection.incoming.put_nowait(report(1))
        with pytest.raises(ProblemError) as caught:
            await misspelt
        assert caught.value.code == "malformed"
        assert (await order)["status"] == "accepted"


async def test_a_fault_of_the_client_s_own_settles_all_commands_and_is_raised():
    connection = Connection()
    session = await Session(ScriptedStreams(connection)).__aenter__()
    answer = session.send({"op": "new", "client_order_id": "a"})
    await connection.has_sent.wait()
    connection.incoming.put_nowait(ZeroDivisionError("a fault"))
    with pytest.raises(OutcomeUnknownError):
        await answer
    with pytest.raises(ZeroDivisionError):
        session.send({"op": "new", "client_order_id": "b"})
    with pytest.raises(ZeroDivisionError):
        await session.__aexit__(None, None, None)


async def test_a_session_waits_where_it_is_told_that_it_asks_too_often():
    first, second = Connection(StreamEndedError("gone")), Connection(report(1))
    limited = ProblemError(429, "rate_limited", "slower", retry_after_s=0.01)
    async with Session(ScriptedStreams(first, limited, second)) as session:
        assert (await session.send({"op": "new", "client_order_id": "a"}))["status"] == "accepted"


async def test_a_session_whose_client_is_closed_ends():
    ended = StreamEndedError("this client is closed")
    async with Session(ScriptedStreams(Connection(StreamEndedError("gone")), ended)) as session:
        while session._failure is None:  # noqa: ASYNC110 (bounded by in_time)
            await asyncio.sleep(0.001)
        with pytest.raises(UnreachableError, match="client is closed"):
            session.send({"op": "new", "client_order_id": "a"})


def book_feed(*openings, patience_s=1.0):
    return Feed(ScriptedStreams(*openings), {"channel": "book", "symbol": "A"}, reconnect_timeout_s=patience_s)


async def test_a_quiet_market_s_feed_survives_a_second_loss_long_after_the_first(monkeypatch):
    monkeypatch.setattr(feed_module, "STEADY_S", 0.1)
    feed = book_feed(Connection(SNAPSHOT, 0.0), Connection(0.4), Connection(UPDATE), patience_s=0.3)
    assert [(await anext(feed))["sequence"] for _ in range(2)] == [5, 6]


async def test_a_feed_waits_where_it_is_told_that_it_asks_too_often():
    assert problem_of_message({"type": "error", "code": "rate_limited"}).status == 429
    feed = book_feed(
        Connection(SNAPSHOT, 0.0),
        ProblemError(429, "rate_limited", "slower", retry_after_s=0.01),
        Connection({"type": "error", "code": "rate_limited", "detail": "slower"}),
        Connection(UPDATE),
    )
    assert [(await anext(feed))["sequence"] for _ in range(2)] == [5, 6]


async def test_a_feed_of_a_connection_that_has_too_many_ends():
    with pytest.raises(ProblemError, match="unsubscribe some"):
        await anext(
            book_feed(Connection({"type": "error", "code": "too_many_subscriptions", "detail": "unsubscribe some"}))
        )


async def test_a_feed_whose_client_is_closed_ends():
    feed = book_feed(Connection(SNAPSHOT, 0.0), StreamEndedError("this client is closed"))
    assert [message["sequence"] async for message in feed] == [5]


async def test_a_closed_client_opens_no_connection():
    all_open = OpenStreams()
    await all_open.aclose()
    streams = Streams(
        HttpExchange(Authenticator(None), None, None), Nodes(["http://n1"]), None, "json", asyncio.sleep, all_open
    )
    with pytest.raises(StreamEndedError, match="client is closed"):
        await streams.open()
