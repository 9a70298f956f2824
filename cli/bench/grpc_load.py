"""Puts to etcd, over gRPC as its own clients send them: `python -m cli.bench.grpc_load`, a plan on standard input.

A general gRPC client in Python takes longer for a call than etcd for a put, and would be what is measured. This one
knows what a put is in HTTP/2 (RFC 9113) and gRPC: one HEADERS frame that is the same every time, one DATA frame, and an
answer that has a DATA frame where the put was done, and none where it was refused.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from array import array
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from cli.bench.generator import generator_main
from cli.bench.machine import cpu_seconds
from cli.bench.measurement import BenchmarkFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEYS: Final = 100_000
ANSWER_DEADLINE_S: Final = 30.0

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_HEAD_BYTES: Final = 9
_HEAD: Final = struct.Struct(">BHBBI")
"""Length (24 bits, as 8 and 16), type, flags, stream."""
_LARGEST_WINDOW: Final = (1 << 31) - 1
_FIRST_WINDOW: Final = 65_535
_INITIAL_WINDOW_SIZE: Final = 4


class PutPlan(msgspec.Struct, frozen=True):
    """`payload_file`: a value a line, in hexadecimal. `process_ids`: whose processor time is looked at."""

    address: str
    connections: int
    outstanding: int
    seconds: float
    warm_up_s: float
    payload_file: str
    process_ids: tuple[int, ...]


class PutResult(msgspec.Struct, frozen=True):
    """What was answered within `elapsed_s`; `cpu_s` in the order of the plan's processes."""

    elapsed_s: float
    request_times_s: list[float]
    cpu_s: list[float]
    own_cpu_s: float


class PutConnection(asyncio.Protocol):
    """One HTTP/2 connection with puts under way. `answered` hears when each was sent whose answers came in one go.

    Flow control needs no bookkeeping: far fewer bytes are under way than the 64 KiB that a server grants at first and
    grants again as it reads, and it is granted more than it ever answers.
    """

    def __init__(self, puts: Iterator[bytes], answered: Callable[[PutConnection, list[float]], None]) -> None:
        self.failure: BenchmarkFailedError | None = None
        self.sent_at: dict[int, float] = {}
        """Of each stream that has no answer yet."""
        self._puts = puts
        self._answered = answered
        self._headers = b""
        self._done: set[int] = set()
        """Streams whose put was done; their end follows."""
        self._next_stream = 1
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        self._headers = _request_headers(f"{host}:{port}")
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        wider = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, wider))

    def connection_lost(self, error: Exception | None) -> None:
        self.failure = self.failure or BenchmarkFailedError(f"etcd closed a connection: {error or 'without a word'}")

    def send(self, count: int) -> None:
        now, frames = time.perf_counter(), []
        for _ in range(count):
            stream = self._next_stream
            self._next_stream += 2
            self.sent_at[stream] = now
            frames += [
                _frame(_HEADERS, _END_HEADERS, stream, self._headers),
                _frame(_DATA, _END_STREAM, stream, next(self._puts)),
            ]
        self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        data, at, sent_at = self._rest + data, 0, []
        while len(data) - at >= _HEAD_BYTES:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            end = at + _HEAD_BYTES + (high << 16) + low
            if end > len(data):
                break
            if kind == _DATA:
                self._done.add(stream)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    if stream not in self._done:
                        self._fail("etcd refused a put; its log says why")
                        return
                    self._done.discard(stream)
                    sent_at.append(self.sent_at.pop(stream))
            elif kind in (_SETTINGS, _PING):
                if not flags & _ACK:
                    told = data[at + _HEAD_BYTES : end] if kind == _PING else b""
                    self._transport.write(_frame(kind, _ACK, 0, told))
            elif kind in (_GOAWAY, _RST_STREAM):
                self._fail(f"etcd ended a put: {data[at + _HEAD_BYTES : end]!r}")
                return
            at = end
        self._rest = data[at:]
        if sent_at:
            self._answered(self, sent_at)

    def _fail(self, words: str) -> None:
        self.failure = BenchmarkFailedError(words)
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size_bytes = len(payload)
    return _HEAD.pack(size_bytes >> 16, size_bytes & 0xFFFF, kind, flags, stream) + payload


def _request_headers(authority: str) -> bytes:
    """In HPACK (RFC 7541) without a dynamic table, so that it is the same for every request."""

    def text(value: str) -> bytes:
        assert len(value) < 127, "longer ones have another form"
        return bytes((len(value),)) + value.encode("ascii")

    method_post, scheme_http = b"\x83", b"\x86"
    path = b"\x04" + text("/etcdserverpb.KV/Put")
    content_type = b"\x0f\x10" + text("application/grpc")
    return (
        method_post
        + scheme_http
        + path
        + b"\x01"
        + text(authority)
        + content_type
        + b"\x00"
        + text("te")
        + text("trailers")
    )


def put_messages(payload: Sequence[bytes], first_key: int, step: int) -> Iterator[bytes]:
    """Endless etcdserverpb.PutRequest, each in gRPC's frame; the keys take turns."""
    keys = [b"%08d" % key for key in range(first_key, KEYS, step)]
    messages = []
    for key, value in zip(keys, cycle(payload), strict=False):
        put = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
        messages.append(b"\x00" + struct.pack(">I", len(put)) + put)
    return cycle(messages)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


class PutLoad:
    """Keeps so many puts under way."""

    def __init__(self, plan: PutPlan) -> None:
        self._plan = plan
        self._is_counting = False
        self._is_ending = False
        self._times_s = array("d")

    async def run(self) -> PutResult:
        plan = self._plan
        text = await asyncio.to_thread(Path(plan.payload_file).read_text)
        payload = [bytes.fromhex(line) for line in text.split()]
        host, _, port = plan.address.rpartition(":")
        connections = []
        for number in range(plan.connections):
            puts = put_messages(payload, number, plan.connections)
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda puts=puts: PutConnection(puts, self._answered),  # type: ignore[misc]
                host,
                int(port),
            )
            connections.append(connection)
        for number, connection in enumerate(connections):
            connection.send(len(range(number, plan.outstanding, plan.connections)))
        await _watch(connections, plan.warm_up_s)
        began_at, own_cpu_s, cpu_s = time.perf_counter(), time.process_time(), _cpu_s(plan)
        self._is_counting = True
        await _watch(connections, plan.seconds)
        self._is_counting = False
        elapsed_s, own_cpu_s = time.perf_counter() - began_at, time.process_time() - own_cpu_s
        result = PutResult(
            elapsed_s,
            self._times_s.tolist(),
            [now_s - before_s for now_s, before_s in zip(_cpu_s(plan), cpu_s, strict=True)],
            own_cpu_s,
        )
        self._is_ending = True
        deadline = time.perf_counter() + ANSWER_DEADLINE_S
        while any(connection.sent_at for connection in connections):
            await _watch(connections, 0.01)
            if time.perf_counter() > deadline:
                raise BenchmarkFailedError("etcd did not answer all puts")
        for connection in connections:
            connection.close()
        return result

    def _answered(self, connection: PutConnection, sent_at: list[float]) -> None:
        now = time.perf_counter()
        if self._is_counting:
            self._times_s.extend([now - moment for moment in sent_at])
        if not self._is_ending:
            connection.send(len(sent_at))


async def _watch(connections: Sequence[PutConnection], seconds: float) -> None:
    """For so long; raises what a connection failed with."""
    await asyncio.sleep(seconds)
    for connection in connections:
        if connection.failure is not None:
            raise connection.failure


def _cpu_s(plan: PutPlan) -> list[float]:
    return [cpu_seconds(process_id) for process_id in plan.process_ids]


if __name__ == "__main__":
    sys.exit(generator_main(PutPlan, lambda plan: PutLoad(plan).run()))
