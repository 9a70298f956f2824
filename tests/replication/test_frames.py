"""Frames: any chunking of the stream gives the same payloads, and nothing else gets through."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.errors import ProtocolError
from raftbook.replication.frames import HEADER_SIZE_BYTES, FrameDecoder, encode_frame

EPOCH = 2**62 + 5
PAYLOADS = st.lists(st.binary(max_size=300), max_size=20)


def decoder(epoch: int = EPOCH, limit: int = 1000) -> FrameDecoder:
    return FrameDecoder(epoch=epoch, max_payload_size_bytes=limit)


def drain(frames: FrameDecoder) -> list[bytes]:
    payloads = []
    while (payload := frames.next_payload()) is not None:
        payloads.append(payload)
    return payloads


@given(PAYLOADS, st.data())
def test_any_chunking_gives_the_same_payloads(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(EPOCH, payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    frames = decoder()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames.receive(stream[start:end])
        if data.draw(st.booleans()):  # Payloads may also be left lying until later.
            received += drain(frames)
    assert received + drain(frames) == payloads


def test_a_stream_byte_by_byte() -> None:
    frames = decoder()
    received = []
    for byte in encode_frame(EPOCH, b"one") + encode_frame(EPOCH, b"") + encode_frame(EPOCH, b"three"):
        frames.receive(bytes([byte]))
        received += drain(frames)
    assert received == [b"one", b"", b"three"]


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_flipped_bit_is_found(payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(EPOCH, payload))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    frames = decoder()
    frames.receive(bytes(frame))
    try:
        assert frames.next_payload() is None  # The size grew: the frame is not yet complete.
    except ProtocolError:
        return
    assert bit < 32
    frames.receive(bytes(1000))
    with pytest.raises(ProtocolError):
        frames.next_payload()


@given(st.binary(max_size=2000))
def test_garbage_gives_nothing_but_protocol_errors(garbage: bytes) -> None:
    frames = decoder()
    frames.receive(garbage)
    with contextlib.suppress(ProtocolError):
        assert drain(frames) == []


def test_a_frame_too_large_is_refused_when_its_header_is_there() -> None:
    frames = decoder(limit=1000)
    frames.receive(encode_frame(EPOCH, bytes(1000)))
    assert frames.next_payload() == bytes(1000)
    frames.receive(encode_frame(EPOCH, bytes(1001))[:HEADER_SIZE_BYTES])
    with pytest.raises(ProtocolError, match="1001 bytes, where 1000 are the limit"):
        frames.next_payload()


def test_a_frame_of_another_connection_is_refused() -> None:
    frames = decoder()
    frames.receive(encode_frame(EPOCH + 1, b"late"))
    with pytest.raises(ProtocolError, match="another connection"):
        frames.next_payload()


def test_what_is_expected_may_change_between_two_frames_of_one_chunk() -> None:
    frames = decoder(epoch=0, limit=5)
    frames.receive(encode_frame(0, b"hello") + encode_frame(EPOCH, bytes(900)))
    assert frames.next_payload() == b"hello"
    frames.expect(epoch=EPOCH, max_payload_size_bytes=1000)
    assert frames.next_payload() == bytes(900)
