"""What is read past the WebSocket library is what the library would have read, whatever comes, in whatever pieces."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from raftbook.node.client_frames import frame_bytes, read_plain_frames
from raftbook.node.websocket_protocol import GOING_AWAY, SLICE_BYTES, UVICORN_SETTINGS, NodeWebSocketProtocol

HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nhost: node\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


def long_frame(payload: bytes) -> bytes:
    """Its length in 8 bytes, though 2 would do: the library takes it."""
    return bytes((0x81, 0xFF)) + len(payload).to_bytes(8, "big") + bytes(4) + payload


FRAGMENT = frame(Opcode.TEXT, b"frag", fin=False)

texts = st.sampled_from([b"", b"{}", b"order", b"a" * 125, b"b" * 126, b"c" * 300])
plain = texts.map(lambda payload: frame(Opcode.TEXT, payload))
odd = st.sampled_from(
    [
        frame(Opcode.TEXT, "ä".encode()),
        frame(Opcode.BINARY, b"{}"),
        frame(Opcode.PING, b"1234"),
        frame(Opcode.PONG, b"1234"),
        FRAGMENT,
        frame(Opcode.CONT, b"ment", fin=False),
        frame(Opcode.CONT, b"end"),
        long_frame(b"long"),
    ]
)
wrong = st.sampled_from(
    [
        frame(Opcode.CLOSE, b"\x03\xe8bye"),
        frame(Opcode.TEXT, b"\xff"),
        frame(Opcode.TEXT, b"unmasked", mask=False),
        b"\xc1\x81" + bytes(4) + b"c",
        b"\x83\x80" + bytes(4),
        b"\x81\xff" + b"\x7f" * 8 + bytes(4),
        b"\x89\xfe\x00\x7e" + bytes(4 + 126),
    ]
)
streams = st.lists(st.one_of(plain, plain, plain, odd, plain, plain, wrong), max_size=12).map(b"".join)


class RecordedTransport:
    """What a protocol does to its connection."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None:
        """A test reads on all the same."""

    resume_reading = pause_reading


async def application(_scope, receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


class Told(NamedTuple):
    """`heard` in all; of that `queued`, which is taken later."""

    heard: list
    queued: list
    written: bytes
    closed: bool


async def opened(kind):
    """A protocol of that kind behind its handshake, its transport, and the state of the server that it is of."""
    config = uvicorn.Config(application, **UVICORN_SETTINGS, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    protocol, transport = kind(config, state, {}), RecordedTransport()
    protocol.connection_made(transport)
    protocol.data_received(HANDSHAKE)
    while not transport.written:  # noqa: ASYNC110 (no event tells it)
        await asyncio.sleep(0)
    transport.written = b""
    return protocol, transport, state


async def told(kind, pieces, takes=()):
    """What a protocol of that kind tells its application, and does to the connection; `takes` are how many text
    messages the application takes at once, time after time, as long as they last.
    """
    protocol, transport, state = await opened(kind)
    heard, queued = [], []
    remaining = iter(takes)

    def take(messages):
        assert protocol.queue.empty(), "what waits comes first"
        count = min(next(remaining, 0), len(messages))
        heard.extend(message.decode() for message in messages[:count])
        return count

    if takes:
        protocol.take_texts = take
    for piece in pieces:
        if transport.closed:
            break
        protocol.data_received(piece)
        while not protocol.queue.empty():
            message = protocol.queue.get_nowait()
            queued.append(message.get("text", message.get("bytes", message.get("code"))))
            heard.append(queued[-1])
    result = Told(heard, queued, transport.written, transport.closed)
    for task in state.tasks:
        task.cancel()
    await asyncio.gather(*state.tasks)
    return result


def in_pieces(stream, cuts):
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(edges) if begin < end]


@settings(max_examples=150)
@example(FRAGMENT + frame(Opcode.TEXT, b"amidst"), [], [8])
@given(streams, st.lists(st.integers(0, 4_000), max_size=8), st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_a_node_tells_and_does_what_the_library_would(stream, cuts, takes):
    pieces = in_pieces(stream, cuts)

    async def compare():
        # Byte by byte, for of a piece with a wrong frame in it the library also drops what is right before that.
        expected = await told(WebSocketsSansIOProtocol, in_pieces(stream, range(len(stream))))
        assert await told(NodeWebSocketProtocol, pieces) == expected
        some_at_once = await told(NodeWebSocketProtocol, pieces, takes)
        assert some_at_once._replace(queued=expected.queued) == expected

    asyncio.run(compare())


def test_what_a_busy_client_sends_is_taken_at_once_wherever_reads_begin():
    orders = [f'{{"request_id":{number}}}' for number in range(100)]
    stream = b"".join(frame(Opcode.TEXT, order.encode()) for order in orders)
    for size in (1, 7, 100, 4_000):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        heard = asyncio.run(told(NodeWebSocketProtocol, pieces, [100] * len(stream)))
        assert heard == Told(orders, [], b"", False)


def test_what_came_before_the_end_and_waits_is_read_for_the_close_frame_of_the_client():
    async def end() -> bool:
        protocol, transport, state = await opened(NodeWebSocketProtocol)
        waits = frame(Opcode.TEXT, b"queued") + frame(Opcode.TEXT, b" " * SLICE_BYTES)
        protocol.data_received(waits + frame(Opcode.CLOSE, b"\x03\xe8"))
        assert not transport.closed, "a slice was read, and the application is to take its message first"
        protocol.end(GOING_AWAY, "the node shuts down")
        for _ in range(10):
            await asyncio.sleep(0)
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks)
        return transport.closed

    assert asyncio.run(end())


@given(st.lists(plain, max_size=8), odd | wrong, st.integers(0, 200))
def test_plain_frames_are_read_up_to_the_first_that_is_not(frames, other, cut):
    data = b"".join(frames)
    read = read_plain_frames(b"any" + data + other[:cut], 3)
    assert [3 + len(b"".join(frames[: count + 1])) for count in range(len(frames))] == read.ends
    assert len(read.payloads) == len(frames)


@given(plain | odd, st.binary(max_size=20))
def test_a_frame_is_as_long_as_it_is_once_its_header_is_there(one, behind):
    lengths = [frame_bytes(b"x" + (one + behind)[:size], 1) for size in range(len(one + behind) + 1)]
    known = lengths.index(len(one))
    assert set(lengths[:known]) <= {None}
    assert set(lengths[known:]) == {len(one)}
    assert known <= 10
