"""A local book that keeps itself up to date.

async with client.local_book("ACME") as book:
    while book.top.bid is None:
        await book.changed()
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raftbook.client.local_book import LocalBook
from raftbook.errors import SequenceGapError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import Self

    from raftbook.client.feed import Feed


class LiveBook(LocalBook):
    """A LocalBook and the task that feeds it, from the entry of the context to its end.

    It may be read at any time between two awaits of the reader, and is then as it was after some event. On entering
    the context its first snapshot is waited for. Where the feed ends for good, `changed` raises why.
    """

    def __init__(self, symbol: str, feed: Feed) -> None:
        super().__init__(symbol)
        self._feed = feed
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def url(self) -> str | None:
        """Of the node that feeds it; None while another one is looked for."""
        return self._feed.url

    @property
    def problem(self) -> str | None:
        """Why there is none."""
        return self._feed.problem

    @property
    def resumptions(self) -> int:
        """How often it went on at another node, or on another connection."""
        return self._feed.resumptions

    async def __aenter__(self) -> Self:
        try:
            self.apply(await anext(self._feed))
        except BaseException:
            await self._feed.aclose()
            raise
        self._task = asyncio.create_task(self._follow(), name=f"local book of {self.symbol}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._feed.aclose()

    async def changed(self) -> None:
        """Returns after the next change, of which there may have been several by then."""
        assert self._task is not None, "a live book lives in `async with`"
        event = self._changed
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not event.is_set():
            await self._task
            raise UnreachableError(f"the feed of {self.symbol} has ended: it was closed, or its client was")

    async def changes(self) -> AsyncIterator[Self]:
        """The book itself, as it is now and then after each change; changes that come meanwhile are passed over."""
        seen = -1
        while True:
            if self.sequence == seen:
                await self.changed()
            seen = self.sequence
            yield self

    async def wait_until(self, condition: Callable[[Self], bool]) -> None:
        """Returns when `condition` holds of the book; bound it with asyncio.timeout."""
        while not condition(self):
            await self.changed()

    async def _follow(self) -> None:
        async for message in self._feed:
            try:
                self.apply(message)
            except SequenceGapError:
                # What the feed says cannot be; begin again with a whole book.
                await self._feed.resubscribe()
                continue
            self._changed.set()
            self._changed = asyncio.Event()
