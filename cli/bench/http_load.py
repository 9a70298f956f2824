"""HTTP/1.1 as a load generator needs it: a request's bytes out, the answer's bytes in, one connection at a time.

A general client takes longer for one request than a node takes for an order, and would be what is measured. This one
knows what raftbook's own server sends: a status line, headers with `content-length`, and the body.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, cast

from cli.bench.measurement import BenchmarkFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_HEAD_BYTES: Final = 16_384
_LENGTH: Final = b"\r\ncontent-length:"


def encode_request(method: str, path: str, host: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + body


class LoadConnection(asyncio.Protocol):
    """Sends the next of `requests` as soon as the one before is answered, until there is none.

    `answered` hears (seconds it took, status, body) of each. `done` is set when the last is answered; it fails
    where the connection does.
    """

    def __init__(self, requests: Iterator[bytes], answered: Callable[[float, int, bytes], None]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._answered = answered
        self._received = bytearray()
        self._needed_bytes = 0
        self._head_bytes = 0
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._needed_bytes and not self._read_head():
            return
        if len(self._received) < self._needed_bytes:
            return
        elapsed_s = time.perf_counter() - self._sent_at
        status = int(self._received[9:12])
        body = bytes(self._received[self._head_bytes : self._needed_bytes])
        self._received.clear()
        self._needed_bytes = 0
        try:
            self._answered(elapsed_s, status, body)
        except BenchmarkFailedError as error:
            self._fail(error)
        else:
            self.send_next()

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                self._fail(BenchmarkFailedError("a node answered with something that is no HTTP"))
            return False
        at = self._received.lower().find(_LENGTH, 0, end)
        if at < 0:
            self._fail(BenchmarkFailedError("a node answered without content-length"))
            return False
        length = self._received[at + len(_LENGTH) : self._received.find(b"\r\n", at + 1)]
        self._head_bytes = end + 4
        self._needed_bytes = self._head_bytes + int(length)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._fail(BenchmarkFailedError(f"a node closed the connection: {error or 'without a word'}"))

    def _fail(self, error: BenchmarkFailedError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.close()
