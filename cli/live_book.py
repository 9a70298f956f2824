"""`raftbook book --watch`: the book as it changes, drawn again and again, or a JSON line for each change."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cli.ladder_view import LadderFrame, live_ladder
from cli.output import console, print_json
from cli.rates import Rate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from raftbook.client import LiveBook, RaftbookClient
    from raftbook.client.feed import Feed
    from raftbook.json_format import Json

FRAME_INTERVAL_S: Final = 0.1
"""As often as eyes can follow."""
TRADES_KEPT: Final = 100


async def print_book(client: RaftbookClient, symbol: str, depth: int) -> None:
    """A line for the book as it is, and one for each change of its best `depth` levels, until it is cancelled."""
    shown: Json | None = None
    async with client.local_book(symbol) as book:
        async for _ in book.changes():
            document = book_document(book, depth)
            content = {name: value for name, value in document.items() if name not in ("sequence", "log_index")}
            if content != shown:
                shown = content
                print_json(document)


def book_document(book: LiveBook, depth: int) -> Json:
    """As GET /v1/book has it, and with the sequence from which a feed could go on."""
    bids, asks = book.depth(depth)
    document: Json = {"book": book.symbol, "sequence": book.sequence, "log_index": book.log_index}
    document |= {"bids": [list(level) for level in bids], "asks": [list(level) for level in asks]}
    if book.status != "trading":
        document["status"] = book.status
    if book.indication is not None:
        document["indication"] = book.indication
    return document


async def watch_book(client: RaftbookClient, symbol: str, depth: int) -> None:
    """Draws the ladder on the whole terminal until it is cancelled, and leaves the last one behind."""
    from rich.live import Live

    screen = console()
    async with client.local_book(symbol) as book, client.feed("trades", symbol) as trades:
        ladder = LiveLadder(book, await node_names(client))
        following = asyncio.create_task(ladder.follow_trades(trades))
        try:
            with Live(console=screen, screen=True, auto_refresh=False) as live:
                await _draw(ladder, live, screen, depth, following)
        finally:
            following.cancel()
            await asyncio.wait((following,))
            _leave_behind(ladder.frame(time.monotonic()), screen, depth)


async def _draw(ladder: LiveLadder, live: Live, screen: Console, depth: int, following: asyncio.Task[None]) -> None:
    """Until a feed ends for good; raises why."""
    drawn: object = None
    while not following.done():
        frame, size = ladder.frame(time.monotonic()), screen.size
        if (frame, size) != drawn:
            drawn = (frame, size)
            live.update(live_ladder(frame, depth, size.width, size.height), refresh=True)
        await asyncio.sleep(FRAME_INTERVAL_S)
    await following


def _leave_behind(frame: LadderFrame, screen: Console, depth: int) -> None:
    from cli.render import ladder

    book = {"book": frame.symbol, "log_index": frame.log_index, "bids": frame.bids[:depth], "asks": frame.asks[:depth]}
    book |= {} if frame.status == "trading" else {"status": frame.status}
    screen.print(ladder(book))


async def node_names(client: RaftbookClient) -> dict[str, str]:
    """Address of the HTTP interface -> id of the node."""
    return {node["api_address"]: node["id"] for node in (await client.cluster())["nodes"]}


def node_title(url: str, names: dict[str, str]) -> str:
    """`n1 127.0.0.1:8101`."""
    address = urlsplit(url).netloc
    return f"{names[address]} {address}" if address in names else address


class LiveLadder:
    """What is to be drawn: a live book, the latest trades, and what happened to the connection."""

    def __init__(self, book: LiveBook, names: dict[str, str]) -> None:
        self._book = book
        self._names = names
        self._trades: deque[Json] = deque(maxlen=TRADES_KEPT)
        self._rate = Rate()
        self._node: str | None = None
        self._lost: str | None = None
        """The node that it was on last, once it is lost."""
        self._notice: str | None = None

    async def follow_trades(self, feed: Feed) -> None:
        async for message in feed:
            self.take_trades(dict(message))

    def take_trades(self, message: Json) -> None:
        """The next message of the trades channel."""
        if message["type"] == "snapshot":
            self._trades.clear()
            trades = message["trades"]
            assert isinstance(trades, list)
            self._trades.extend(trades)
        else:
            self._trades.append(message)

    def frame(self, now_s: float) -> LadderFrame:
        """As it stands now; `now_s` is on a clock that never steps."""
        book = self._book
        self._rate.read(book.sequence, now_s)
        self._note_connection()
        bids, asks = book.depth()
        last_price = str(self._trades[-1]["price"]) if self._trades else book.last_price
        return LadderFrame(
            symbol=book.symbol,
            bids=bids,
            asks=asks,
            sequence=book.sequence,
            log_index=book.log_index,
            status=book.status,
            last_price=last_price,
            indication=book.indication,
            trades=tuple(self._trades),
            node=self._node,
            notice=self._notice,
            updates_per_s=round(self._rate.per_s),
        )

    def _note_connection(self) -> None:
        """Keeps what a person wants to know when a node is gone: when, why, and where it went on."""
        node = None if self._book.url is None else node_title(self._book.url, self._names)
        clock = time.strftime("%H:%M:%S")
        if node is None and self._node is not None:
            self._notice = f"{clock} lost {self._lost}: {self._book.problem or 'the connection broke'}"
        elif node is not None and self._lost is not None and (node != self._lost or self._node is None):
            self._notice = f"{clock} lost {self._lost}, went on at {node} without a gap"
        self._node = node
        self._lost = node or self._lost
