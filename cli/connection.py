"""A conversation with one node: opens a client, lets a coroutine talk, and closes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from raftbook.client import RaftbookClient

Answer = TypeVar("Answer")


def talk(url: str, api_key: str | None, conversation: Callable[[RaftbookClient], Awaitable[Answer]]) -> Answer:
    from raftbook.client import RaftbookClient

    async def run() -> Answer:
        async with RaftbookClient(url, api_key) as client:
            return await conversation(client)

    return asyncio.run(run())
