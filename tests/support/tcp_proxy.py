"""A TCP proxy whose link can be cut, in one or both directions, and healed: a network fault between two processes.

It runs in a thread of its own, so that tests without a loop can use it:

    with TcpProxy(listen_port=0, target_port=7101) as proxy:
        ...                             # a node is told that its peer is at 127.0.0.1:proxy.listen_port
        proxy.cut()                     # like a pulled cable: nothing arrives, nobody is told
        proxy.heal()                    # what was on its way goes on, as after TCP's retransmission
        proxy.cut(refuse=True)          # like a killed process: connections are reset, new ones refused
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine

Direction = Literal["both", "to_target", "from_target"]

_DEADLINE_S = 5.0
_CHUNK_SIZE_BYTES = 65_536
_CHUNKS_ON_THE_WAY = 64
"""Bounds the bytes between the two ends; beyond it the sender feels the stall, as with a real link."""


class TcpProxy:
    """Everything that `listen_port` accepts is carried to `target_port`, `delay_s` later. Both are on `host`."""

    def __init__(self, listen_port: int, target_port: int, *, host: str = "127.0.0.1", delay_s: float = 0.0) -> None:
        self.listen_port = listen_port
        self.target_port = target_port
        self.delay_s = delay_s
        self._host = host
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy to {target_port}", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; `listen_port` is the real one afterwards, where it was 0. OSError if the port is taken."""
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self._stop_thread()
            raise

    def stop(self) -> None:
        """End all connections and the thread."""
        self._run(self._refuse())
        self._stop_thread()

    def cut(self, direction: Direction = "both", *, refuse: bool = False) -> None:
        """Let nothing through any more in `direction`, not even that an end closed its connection.

        New connections are accepted and lead nowhere until the link heals. With `refuse`, all connections are
        reset and new ones refused instead.
        """
        self._run(self._cut(direction, refuse=refuse))

    def heal(self) -> None:
        """Carry everything again, what has waited first."""
        self._run(self._heal())

    @property
    def connections(self) -> int:
        """How many connections the proxy carries, those that lead nowhere included."""
        return len(self._links)

    # From here on everything runs on the proxy's own loop.

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_DEADLINE_S)

    def _stop_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE_S)
        assert not self._thread.is_alive(), "the proxy's thread did not end"
        self._loop.close()

    async def _start(self) -> None:
        self._to_target_open = asyncio.Event()
        self._from_target_open = asyncio.Event()
        await self._heal()

    async def _heal(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, self._host, self.listen_port)
            self.listen_port = self._server.sockets[0].getsockname()[1]
        self._to_target_open.set()
        self._from_target_open.set()

    async def _cut(self, direction: Direction, *, refuse: bool) -> None:
        if refuse:
            await self._refuse()
            return
        if direction in ("both", "to_target"):
            self._to_target_open.clear()
        if direction in ("both", "from_target"):
            self._from_target_open.clear()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        writers = [writer]
        try:
            # A handshake of TCP needs both directions.
            await self._to_target_open.wait()
            await self._from_target_open.wait()
            target_reader, target_writer = await asyncio.open_connection(self._host, self.target_port)
            writers.append(target_writer)
            async with asyncio.TaskGroup() as directions:
                out, back = self._to_target_open, self._from_target_open
                directions.create_task(self._carry(reader, target_writer, out, back))
                directions.create_task(self._carry(target_reader, writer, back, out))
        except* OSError:
            pass  # An end is gone or was never there; the other one is told by a reset, below.
        except* asyncio.CancelledError:
            pass  # The link was cut with `refuse`. Nobody awaits this task's result.
        finally:
            for end in writers:
                end.transport.abort()
            self._links.discard(link)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event, way_back: asyncio.Event
    ) -> None:
        """Carry one direction to its end. Raises OSError where the connection broke and the link lets that be known."""
        on_the_way: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)

        async def deliver() -> None:
            while True:
                due_s, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                await gate.wait()
                if isinstance(data, OSError):
                    raise data
                try:
                    if not data:
                        writer.write_eof()
                        return
                    writer.write(data)
                    await writer.drain()
                except OSError:
                    await way_back.wait()
                    raise

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver())
            data: bytes | OSError = b"-"
            while data and not isinstance(data, OSError):
                try:
                    data = await reader.read(_CHUNK_SIZE_BYTES)
                except OSError as error:
                    data = error
                await on_the_way.put((self._loop.time() + self.delay_s, data))
