"""A node's gateway over real matching, in a thread of its own, so that commands may run beside it in this process."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

from raftbook.client import RaftbookClient
from raftbook.gateway import make_app
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME
from tests.support.server import free_listener, serve, url_of


@contextmanager
def served_node(*commands):
    """Yields the URL of a node that has ACME, and has executed `commands`."""
    ready, done = threading.Event(), threading.Event()
    urls = []

    async def run():
        listener = free_listener()
        service = DirectService(make_config(url_of(listener).removeprefix("http://")))
        async with serve(make_app(service), listener) as url:
            async with RaftbookClient(url) as client:
                await client.add_instrument(ACME)
                for command in commands:
                    await client.submit(command)
            urls.append(url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    try:
        assert ready.wait(timeout=20)
        yield urls[0]
    finally:
        done.set()
        thread.join(timeout=20)
