"""WebSocket as a load generator needs it: a thousand connections in one process, whose bytes are compared, not parsed.

All subscribers of one feed get the same bytes. One of them is read frame by frame, and every number in it checked; each
of the others is held against it byte for byte, which is as strict, and costs a hundredth.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from cli.bench.measurement import BenchmarkFailedError
from raftbook.json_format import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

PATH: Final = "/v1/stream"
_TEXT: Final = 0x81
_PING: Final = 0x89
_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
"""A client must mask what it sends; with zeros that changes nothing."""
_PING_BYTES: Final = 6
"""Those of raftbook's server carry four."""

_SEQUENCE: Final = re.compile(rb'"sequence":(\d+)')
_FIRST_SEQUENCE: Final = re.compile(rb'"first_sequence":(\d+)')
_LOG_INDEX: Final = re.compile(rb'"log_index":(\d+),"timestamp":(\d+)')


def client_frame(message: dict[str, object], first_byte: int = _TEXT) -> bytes:
    return _client_frame(dumps(message), first_byte)


def _client_frame(payload: bytes, first_byte: int) -> bytes:
    size_bytes = len(payload)
    if size_bytes < 126:
        return bytes((first_byte, _MASKED | size_bytes)) + _NO_MASK + payload
    assert size_bytes < 1 << 16, "a client's frames are small"
    return bytes((first_byte, _MASKED | 126)) + size_bytes.to_bytes(2, "big") + _NO_MASK + payload


def pong(ping: bytes) -> bytes:
    return _client_frame(ping[2:], 0x8A)


class Frame(NamedTuple):
    """A server's frame in a buffer: where its payload begins and where it ends."""

    first_byte: int
    payload: int
    end: int


def frame_at(data: bytes | bytearray, at: int) -> Frame | None:
    """The frame that begins there; None where not all of it has come yet."""
    if len(data) < at + 2:
        return None
    payload, length = at + 2, data[at + 1]
    for marker, size in ((126, 2), (127, 8)):
        if length == marker:
            length = int.from_bytes(data[payload : payload + size], "big")
            payload += size
            break
    end = payload + length
    return Frame(data[at], payload, end) if payload <= len(data) and end <= len(data) else None


class StreamSocket(asyncio.Protocol):
    """One connection: the handshake, then whatever comes goes to `received`. `opened` is set behind the handshake."""

    def __init__(self, host: str, received: Callable[[bytes], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.is_lost = False
        self._host = host
        self._received = received
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(
            f"GET {PATH} HTTP/1.1\r\nhost: {self._host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            self._received(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(
                BenchmarkFailedError(f"a node refused a WebSocket: {head[:200]!r} {rest[:300]!r}")
            )
            return
        self.opened.set_result(None)
        if rest:
            self._received(rest)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if not self.opened.done():
            self.opened.set_exception(BenchmarkFailedError(f"a node closed a connection: {error or 'without a word'}"))


async def open_socket(address: str, received: Callable[[bytes], None]) -> StreamSocket:
    host, _, port = address.rpartition(":")
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: StreamSocket(address, received), host, int(port)
    )
    await protocol.opened
    return protocol


class Delivered(NamedTuple):
    """What tells an entry's changes, whole, in the reference: where it ends, and the entry's index and log time."""

    end: int
    log_index: int
    timestamp: int


class Reference:
    """The updates of one subscriber, frame by frame and without a gap; what is no update is left out.

    `stream` holds their bytes as they came, `boundaries` where frames end in it.
    """

    def __init__(self) -> None:
        self.stream = bytearray()
        self.boundaries = {0}
        self.delivered: list[Delivered] = []
        self.messages = 0
        self.sequence: int | None = None

    def take_snapshot(self, payload: bytes) -> None:
        self.sequence = _number(_SEQUENCE, payload)

    def take_update(self, frame: bytes, payload: bytes) -> None:
        """BenchmarkFailedError where it is not the next."""
        first = _FIRST_SEQUENCE.search(payload)
        sequence = _number(_SEQUENCE, payload)
        first_sequence = sequence if first is None else int(first[1])
        if self.sequence is None or first_sequence != self.sequence + 1:
            raise BenchmarkFailedError(f"a gap: update {first_sequence} follows {self.sequence}")
        self.sequence = sequence
        self.stream += frame
        self.boundaries.add(len(self.stream))
        self.messages += 1
        whole = _LOG_INDEX.search(payload)
        if whole is not None:
            self.delivered.append(Delivered(len(self.stream), int(whole[1]), int(whole[2])))


def _number(pattern: re.Pattern[bytes], payload: bytes) -> int:
    found = pattern.search(payload)
    if found is None:
        raise BenchmarkFailedError(f"a message has no sequence: {payload[:200]!r}")
    return int(found[1])


class Subscriber:
    """One connection with one subscription. The first of a process makes the reference.

    `position` is how far it has followed the reference, `arrivals` are (nanoseconds, position) where they are kept.
    """

    def __init__(self, reference: Reference, *, makes_reference: bool, keeps_arrivals: bool) -> None:
        self.position = 0
        self.arrivals: list[tuple[int, int]] = []
        self.close_code: int | None = None
        self.snapshot_sequence: int | None = None
        self.socket: StreamSocket
        self._reference = reference
        self._makes_reference = makes_reference
        self._keeps_arrivals = keeps_arrivals
        self._waiting = bytearray()

    async def open(self, address: str, subscription: dict[str, object]) -> None:
        self.socket = await open_socket(address, self._received)
        self.socket.transport.write(client_frame({"op": "subscribe", **subscription}))

    def _received(self, data: bytes) -> None:
        reference = self._reference
        if (
            not self._waiting
            and not self._makes_reference
            and self.snapshot_sequence is not None
            and reference.stream.startswith(data, self.position)
        ):
            self.position += len(data)
        else:
            self._waiting += data
            self.catch_up()
        if self._keeps_arrivals:
            self.arrivals.append((time.time_ns(), self.position + len(self._waiting)))

    def catch_up(self) -> None:
        """Read what has come as far as the reference goes."""
        while self._waiting and self.close_code is None:
            if self.snapshot_sequence is None or self._makes_reference or not self._follow():
                if not self._take_frame():
                    return
            elif not self._waiting or self.position == len(self._reference.stream):
                return

    def _follow(self) -> bool:
        """Follow the reference; False where a frame of another kind stands in the way."""
        stream, waiting = self._reference.stream, self._waiting
        length = min(len(waiting), len(stream) - self.position)
        if stream.startswith(waiting[:length], self.position):
            same = length
        else:
            pairs = zip(waiting, memoryview(stream)[self.position : self.position + length], strict=False)
            same = next(at for at, (mine, other) in enumerate(pairs) if mine != other)
        self.position += same
        del waiting[:same]
        if same < length and self.position not in self._reference.boundaries:
            raise BenchmarkFailedError(f"a subscriber got other bytes than another one: {bytes(waiting[:100])!r}")
        return not (waiting and same < length) and not (
            waiting and self.position in self._reference.boundaries and waiting[0] in (_PING, _CLOSE)
        )

    def _take_frame(self) -> bool:
        """Read one frame on its own; False where it is not whole yet."""
        frame = frame_at(self._waiting, 0)
        if frame is None:
            return False
        raw = bytes(self._waiting[: frame.end])
        payload = raw[frame.payload :]
        del self._waiting[: frame.end]
        if frame.first_byte == _PING:
            self.socket.transport.write(pong(raw))
        elif frame.first_byte == _CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
        elif b'"type":"snapshot"' in payload[:80]:
            self.snapshot_sequence = _number(_SEQUENCE, payload)
            if self._makes_reference:
                self._reference.take_snapshot(payload)
        elif self._makes_reference:
            self._reference.take_update(raw, payload)
            self.position = len(self._reference.stream)
        else:
            raise BenchmarkFailedError(f"a subscriber got what another one did not: {payload[:200]!r}")
        return True
