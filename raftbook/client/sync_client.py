"""The client without `await`: for scripts, and for notebooks, where a loop runs already.

    import raftbook

    with raftbook.connect("http://127.0.0.1:8101") as client:
        report = client.submit({"op": "new", "symbol": "ACME", "side": "buy", "price": "100.25", "quantity": "5"})
        for message in client.feed("trades", "ACME"):
            ...

The asynchronous client runs on a loop of its own, in a thread; every call here waits for one there. It may be used from
several threads at once.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from raftbook.client.client import DEFAULT_WAIT_S, RaftbookClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self, Unpack

    from raftbook.client.documents import (
        Book,
        Changes,
        Cluster,
        FeedMessage,
        Instrument,
        Node,
        Order,
        OrderBook,
        ReadOptions,
        Report,
        Tickers,
        Trade,
    )
    from raftbook.client.feed import Feed
    from raftbook.client.live_book import LiveBook
    from raftbook.client.local_book import Level, Top
    from raftbook.client.stream_connection import Encoding
    from raftbook.pipelining import CommandLike
    from raftbook.verification import Verification

_T = TypeVar("_T")


class _LoopThread:
    """An event loop in a thread of its own, until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raftbook client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` returns or raises. Where the wait is interrupted, as by Ctrl-C, the work is canceled."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class SyncFeed:
    """An iterator over the messages of a feed; it ends with the client, or with `close`."""

    def __init__(self, thread: _LoopThread, feed: Feed) -> None:
        self._thread = thread
        self._feed = feed

    def __iter__(self) -> Iterator[FeedMessage]:
        return self

    def __next__(self) -> FeedMessage:
        try:
            return self._thread.run(_next(self._feed))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str | None:
        """Of the node that feeds it; None while another one is looked for."""
        return self._feed.url

    @property
    def position(self) -> int | None:
        """The sequence of the last message: `from_sequence` of a feed that goes on behind it."""
        return self._feed.position

    def close(self) -> None:
        self._thread.run(self._feed.aclose())


class SyncBook:
    """A book that keeps itself up to date inside `with`. Each look at it is consistent in itself."""

    def __init__(self, thread: _LoopThread, book: LiveBook) -> None:
        self._thread = thread
        self._book = book

    def __enter__(self) -> Self:
        self._thread.run(self._book.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._book.__aexit__(None, None, None))

    @property
    def symbol(self) -> str:
        return self._book.symbol

    @property
    def sequence(self) -> int:
        """Of the last event that is in it."""
        return self._book.sequence

    @property
    def bids(self) -> list[Level]:
        """Best first."""
        return self.depth()[0]

    @property
    def asks(self) -> list[Level]:
        """Best first."""
        return self.depth()[1]

    @property
    def top(self) -> Top:
        return self._look(lambda book: book.top)

    def depth(self, limit: int | None = None) -> tuple[list[Level], list[Level]]:
        """(bids, asks) at the same moment, the best `limit` levels or all, best first."""
        return self._look(lambda book: book.depth(limit))

    def wait_until(self, condition: Callable[[LiveBook], bool], timeout_s: float | None = None) -> None:
        """Returns when `condition` holds of the book; TimeoutError after `timeout_s`."""

        async def wait() -> None:
            async with asyncio.timeout(timeout_s):
                await self._book.wait_until(condition)

        self._thread.run(wait())

    def changed(self, timeout_s: float | None = None) -> None:
        """Returns after the next change; TimeoutError after `timeout_s`."""

        async def wait() -> None:
            async with asyncio.timeout(timeout_s):
                await self._book.changed()

        self._thread.run(wait())

    def _look(self, read: Callable[[LiveBook], _T]) -> _T:
        """On the loop that changes the book."""

        async def look() -> _T:
            return read(self._book)

        return self._thread.run(look())


class SyncClient:
    """RaftbookClient, which says what each of this does; close it with `close` or as a context manager."""

    def __init__(
        self,
        *urls: str | Iterable[str],
        api_key: str | None = None,
        timeout_s: float = 10.0,
        ca_file: Path | str | None = None,
        certificate_file: Path | str | None = None,
        key_file: Path | str | None = None,
        encoding: Encoding = "json",
    ) -> None:
        self._client = RaftbookClient(
            *urls,
            api_key=api_key,
            timeout_s=timeout_s,
            ca_file=ca_file,
            certificate_file=certificate_file,
            key_file=key_file,
            encoding=encoding,
        )
        self._thread = _LoopThread()
        self._feeds: list[Feed] = []
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all feeds, and the thread. Once more does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for feed in self._feeds:
            self._thread.run(feed.aclose())
        self._thread.run(self._client.aclose())
        self._thread.stop()

    @property
    def url(self) -> str:
        """Of the node that the client talks to now."""
        return self._client.url

    @property
    def urls(self) -> tuple[str, ...]:
        return self._client.urls

    @property
    def log_index(self) -> int:
        """The highest that an answer named; pass it as `at_least` to read your own writes at any node."""
        return self._client.log_index

    # ---------------------------------------------------------------- submissions

    def submit(self, command: CommandLike, *, wait_s: float = DEFAULT_WAIT_S) -> Report:
        return self._thread.run(self._client.submit(command, wait_s=wait_s))

    def submit_many(self, commands: Sequence[CommandLike], *, wait_s: float = DEFAULT_WAIT_S) -> list[Report]:
        return self._thread.run(self._client.submit_many(commands, wait_s=wait_s))

    def cancel(self, account: str, *, client_order_id: str | None = None, order_id: int | None = None) -> Report:
        return self._thread.run(self._client.cancel(account, client_order_id=client_order_id, order_id=order_id))

    def cancel_all(self, account: str, *, symbol: str | None = None, side: str | None = None) -> Report:
        return self._thread.run(self._client.cancel_all(account, symbol=symbol, side=side))

    def replace(
        self,
        account: str,
        *,
        client_order_id: str | None = None,
        order_id: int | None = None,
        **changes: Unpack[Changes],
    ) -> Report:
        return self._thread.run(
            self._client.replace(account, client_order_id=client_order_id, order_id=order_id, **changes)
        )

    def add_instrument(self, instrument: CommandLike) -> Report:
        return self._thread.run(self._client.add_instrument(instrument))

    def set_status(self, symbol: str, status: str) -> Report:
        return self._thread.run(self._client.set_status(symbol, status))

    def uncross(self, symbol: str, status: str = "trading") -> Report:
        return self._thread.run(self._client.uncross(symbol, status))

    # ---------------------------------------------------------------- reads

    def order(
        self,
        *,
        order_id: int | None = None,
        account: str | None = None,
        client_order_id: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> Order:
        return self._thread.run(
            self._client.order(order_id=order_id, account=account, client_order_id=client_order_id, **read)
        )

    def orders(
        self,
        *,
        account: str | None = None,
        symbol: str | None = None,
        side: str | None = None,
        status: str | None = None,
        **read: Unpack[ReadOptions],
    ) -> list[Order]:
        return self._thread.run(self._client.orders(account=account, symbol=symbol, side=side, status=status, **read))

    @overload
    def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[2] = 2, **read: Unpack[ReadOptions]
    ) -> Book: ...

    @overload
    def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[3], **read: Unpack[ReadOptions]
    ) -> OrderBook: ...

    def book(
        self, symbol: str, *, depth: int | None = None, level: Literal[2, 3] = 2, **read: Unpack[ReadOptions]
    ) -> Book | OrderBook:
        if level == 2:
            return self._thread.run(self._client.book(symbol, depth=depth, **read))
        return self._thread.run(self._client.book(symbol, depth=depth, level=level, **read))

    def trades(
        self,
        symbol: str,
        *,
        from_trade_id: int | None = None,
        limit: int | None = None,
        **read: Unpack[ReadOptions],
    ) -> list[Trade]:
        return self._thread.run(self._client.trades(symbol, from_trade_id=from_trade_id, limit=limit, **read))

    def instruments(self, **read: Unpack[ReadOptions]) -> list[Instrument]:
        return self._thread.run(self._client.instruments(**read))

    def tickers(self, **read: Unpack[ReadOptions]) -> Tickers:
        return self._thread.run(self._client.tickers(**read))

    def cluster(self) -> Cluster:
        return self._thread.run(self._client.cluster())

    def node(self, *, digest_at: int | None = None, state_digest: bool = False) -> Node:
        return self._thread.run(self._client.node(digest_at=digest_at, state_digest=state_digest))

    def verify(self) -> Verification:
        return self._thread.run(self._client.verify())

    # ---------------------------------------------------------------- streams

    def feed(
        self,
        channel: Literal["book", "l3", "trades"],
        symbol: str,
        *,
        from_sequence: int | None = None,
        interval_ms: int | None = None,
    ) -> SyncFeed:
        return self._fed(self._client.feed(channel, symbol, from_sequence=from_sequence, interval_ms=interval_ms))

    def own_orders(self, account: str, *, symbol: str | None = None, from_sequence: int | None = None) -> SyncFeed:
        return self._fed(self._client.own_orders(account, symbol=symbol, from_sequence=from_sequence))

    def local_book(self, symbol: str, *, level: Literal[2, 3] = 2, interval_ms: int | None = None) -> SyncBook:
        return SyncBook(self._thread, self._client.local_book(symbol, level=level, interval_ms=interval_ms))

    def _fed(self, feed: Feed) -> SyncFeed:
        self._feeds.append(feed)
        return SyncFeed(self._thread, feed)


def connect(
    *urls: str | Iterable[str],
    api_key: str | None = None,
    timeout_s: float = 10.0,
    ca_file: Path | str | None = None,
    certificate_file: Path | str | None = None,
    key_file: Path | str | None = None,
    encoding: Encoding = "json",
) -> SyncClient:
    """A client without `await`, once a node has answered. The parameters are RaftbookClient's.

    Raises UnreachableError where none does, ConfigError where a parameter is of no use.
    """
    client = SyncClient(
        *urls,
        api_key=api_key,
        timeout_s=timeout_s,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
        encoding=encoding,
    )
    try:
        client.cluster()
    except BaseException:
        client.close()
        raise
    return client


async def _next(feed: AsyncIterator[FeedMessage]) -> FeedMessage:
    return await anext(feed)
