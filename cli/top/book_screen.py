"""One market's ladder over `raftbook top`: the same as `raftbook book --watch`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.screen import Screen
from textual.widgets import Footer, Static

from cli.ladder_view import live_ladder
from cli.live_book import FRAME_INTERVAL_S, LiveLadder, node_names
from raftbook.errors import ProblemError, UnreachableError

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from raftbook.client import RaftbookClient

DEPTH: Final = 50
"""Levels of each side, where the terminal is high enough."""


class BookScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter", "dismiss", "Back"), ("q", "app.quit", "Quit")]

    def __init__(self, client: RaftbookClient, symbol: str) -> None:
        super().__init__()
        self._client = client
        self._symbol = symbol

    def compose(self) -> ComposeResult:
        yield Static(id="ladder")
        yield Footer()

    def on_mount(self) -> None:
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        """Until the screen is left, or the feed ends for good; then why stands in its place."""
        try:
            async with (
                self._client.local_book(self._symbol) as book,
                self._client.feed("trades", self._symbol) as trades,
                asyncio.TaskGroup() as tasks,
            ):
                ladder = LiveLadder(book, await node_names(self._client))
                tasks.create_task(ladder.follow_trades(trades))
                tasks.create_task(self._draw(ladder))
        except* (UnreachableError, ProblemError) as errors:
            self.query_one("#ladder", Static).update(Text(str(errors.exceptions[0]), style="bold red"))

    async def _draw(self, ladder: LiveLadder) -> None:
        view = self.query_one("#ladder", Static)
        while True:
            width, height = view.content_size
            if width and height:
                view.update(live_ladder(ladder.frame(time.monotonic()), DEPTH, width, height, hint="Escape goes back"))
            await asyncio.sleep(FRAME_INTERVAL_S)
