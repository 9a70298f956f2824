"""Asks nodes what `raftbook top` shows; where one is gone, the client asks the next."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from cli.top.overview import Overview, Overviews

if TYPE_CHECKING:
    from raftbook.client import RaftbookClient


class Source:
    def __init__(self, client: RaftbookClient) -> None:
        self.client = client
        self._overviews = Overviews()

    async def read(self) -> Overview:
        """How things stand now. Raises UnreachableError or ProblemError where no node says."""
        cluster = await self.client.cluster()
        tickers = await self.client.tickers()
        return self._overviews.of(self.client.url, cluster, tickers, time.monotonic())

    async def read_with_rates(self, interval_s: float) -> Overview:
        """As `read`, with the rates over `interval_s` from now on."""
        await self.read()
        await asyncio.sleep(interval_s)
        return await self.read()
