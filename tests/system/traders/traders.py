"""Traders as users write them: each enters orders over one WebSocket, and follows the book and its own orders.

All of it is the client library's work; a trader only wants something, and writes down what it was told.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

from raftbook.client import LocalBook, RaftbookClient
from tests.support.feed_followers import BookFollower, Level3Follower, OrdersFollower
from tests.system.clients import Attempt, Record
from tests.system.clients import Trader as Wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.client import Feed, FeedMessage, Session

    Document = dict[str, Any]

SYMBOL: Final = "ACME"
PATIENCE_S: Final = 30.0
"""For a definite answer, however many nodes die meanwhile."""


class Trader:
    """One client with an account of its own. Half of them keep their book by levels, half by orders; half use CBOR."""

    def __init__(self, number: int, urls: Sequence[str], *, seed: int, commands_per_s: float) -> None:
        self.account = f"trader-{number}"
        self.records: list[Record] = []
        self.book = LocalBook(SYMBOL)
        self.has_orders = number % 2 == 1
        self.book_messages = Level3Follower() if self.has_orders else BookFollower()
        self.order_messages = OrdersFollower()
        self.resumptions = 0
        self.reconnections = 0
        self._client = RaftbookClient(
            [*urls[number % len(urls) :], *urls[: number % len(urls)]], encoding="cbor" if number % 4 > 1 else "json"
        )
        self._random = random.Random(f"{seed}/{number}")
        self._wishes = Wishes(self.account, self._random, is_careful=False)
        self._pause_s = 1 / commands_per_s
        self._session: Session | None = None

    def waits_at(self, url: str) -> bool:
        """Has the node at `url` something of this trader's that it has not answered?"""
        return self._session is not None and self._session.url == url and self._session.outstanding > 0

    async def run(self, stop: asyncio.Event, finished: asyncio.Event) -> None:
        """Trades until `stop`, and follows its feeds until `finished`."""
        async with self._client as client:
            feeds = [client.feed("l3" if self.has_orders else "book", SYMBOL), client.own_orders(self.account)]
            # The snapshots come before the first order, so that each of its events is told in an update.
            self._take_book(await anext(feeds[0]))
            self._take_orders(await anext(feeds[1]))
            following = [
                asyncio.create_task(self._follow_book(feeds[0])),
                asyncio.create_task(self._follow_orders(feeds[1])),
            ]
            try:
                await self._trade(client, stop)
                waiting = asyncio.create_task(finished.wait())
                done, _ = await asyncio.wait((waiting, *following), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in following:
                    task.cancel()
                await asyncio.wait(following)
                self.resumptions = sum(feed.resumptions for feed in feeds)
                for feed in feeds:
                    await feed.aclose()

    async def _trade(self, client: RaftbookClient, stop: asyncio.Event) -> None:
        async with client.session() as session:
            self._session = session
            while not stop.is_set():
                # A few at once, so that a node that dies has some in its hands.
                count = self._random.randint(1, 4)
                await asyncio.gather(*(self._enter(session, command) for command in self._wishes.commands(count)))
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._pause_s * count)
            self.reconnections = session.reconnections

    async def _enter(self, session: Session, command: Document) -> None:
        record = Record(command)
        self.records.append(record)
        sent_at = time.monotonic()
        # PATIENCE_S is longer than the order may wait to be executed, so that even a late one gets its answer.
        report = await session.submit(command, wait_s=PATIENCE_S)
        node_id = (report["origin"] or "").partition(".")[0]
        record.attempts.append(Attempt(node_id, sent_at, time.monotonic(), "definite", report))
        self._wishes.told(command, report)

    async def _follow_book(self, feed: Feed) -> None:
        async for message in feed:
            self._take_book(message)

    async def _follow_orders(self, feed: Feed) -> None:
        async for message in feed:
            self._take_orders(message)

    def _take_book(self, message: FeedMessage) -> None:
        self.book_messages.take(dict(message))
        self.book.apply(message)

    def _take_orders(self, message: FeedMessage) -> None:
        self.order_messages.take(dict(message))
