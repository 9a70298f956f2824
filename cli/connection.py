"""A conversation with one node: opens a client, lets a coroutine talk, and closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cli.errors import WrongUsageError
from raftbook.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from raftbook.client import RaftbookClient

Answer = TypeVar("Answer")


def talk(url: str, api_key: str | None, conversation: Callable[[RaftbookClient], Awaitable[Answer]]) -> Answer:
    import asyncio

    from raftbook.client import RaftbookClient

    async def run() -> Answer:
        try:
            client = RaftbookClient(url, api_key)
        except ConfigError as error:
            raise WrongUsageError(f"--url or RAFTBOOK_URL: {error}") from error
        async with client:
            return await conversation(client)

    return asyncio.run(run())
