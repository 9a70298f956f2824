"""Messages: one encoding each, and nothing else is a message."""

from __future__ import annotations

import random
from typing import get_args

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftbook.errors import ProtocolError
from raftbook.replication.messages import (
    AppendEntries,
    AppendReply,
    CommitNotice,
    Handshake,
    Hello,
    IntakeDelta,
    Message,
    NodeReport,
    RawRunMessage,
    Refusal,
    SnapshotChunk,
    SnapshotReply,
    TermNotice,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    decode,
    decode_handshake,
    encode,
)

NATURALS = st.integers(0, 2**63 - 1)
POSITIVES = st.integers(1, 2**63 - 1)
BYTES = st.binary(max_size=50)
NODE_IDS = st.from_regex(r"[A-Za-z0-9._:\-]{1,36}", fullmatch=True)
RUNS = st.builds(RawRunMessage, NODE_IDS, POSITIVES, st.lists(BYTES, min_size=1, max_size=4).map(tuple))
MESSAGES = st.one_of(
    st.builds(
        AppendEntries,
        NATURALS,
        NATURALS,
        NATURALS,
        NATURALS,
        st.lists(st.tuples(NATURALS, BYTES), max_size=4).map(tuple),
    ),
    st.builds(AppendReply, NATURALS, NATURALS, NATURALS, st.booleans(), st.booleans()),
    st.builds(VoteRequest, NATURALS, NATURALS, NATURALS, st.booleans(), st.booleans()),
    st.builds(VoteReply, NATURALS, st.booleans(), st.booleans()),
    st.builds(
        SnapshotChunk, NATURALS, NATURALS, NATURALS, NATURALS, st.binary(min_size=32, max_size=32), NATURALS, BYTES
    ),
    st.builds(SnapshotReply, NATURALS, NATURALS, NATURALS),
    st.builds(IntakeDelta, st.lists(RUNS, max_size=3).map(tuple)),
    st.builds(
        NodeReport,
        NATURALS,
        st.sampled_from(["leader", "follower", "candidate", "learner"]),
        st.none() | NODE_IDS,
        NATURALS,
        NATURALS,
        NATURALS,
        NATURALS,
        st.just("") | st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(TermNotice, NATURALS),
    st.builds(TimeoutNow, NATURALS),
    st.builds(CommitNotice, NATURALS, NATURALS),
)
HANDSHAKES = st.one_of(
    st.builds(Hello, NATURALS, st.text(min_size=1, max_size=64), NODE_IDS, NATURALS, st.booleans(), POSITIVES),
    st.builds(Refusal, st.text(max_size=500)),
)


@given(MESSAGES)
def test_a_message_survives_its_encoding(message: Message) -> None:
    assert decode(encode(message)) == message


@given(HANDSHAKES)
def test_a_handshake_survives_its_encoding_and_is_no_message(message: Handshake) -> None:
    assert decode_handshake(encode(message)) == message
    with pytest.raises(ProtocolError):
        decode(encode(message))


@pytest.mark.parametrize("origin", ["", "n1 1", "n1\n", "ä", "n" * 65])
def test_an_origin_that_no_entry_may_hold_is_refused(origin: str) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(IntakeDelta((RawRunMessage(origin, 1, (b"x",)),))))


def test_tags_are_part_of_the_protocol() -> None:
    tags = [kind.__struct_config__.tag for kind in (*get_args(Handshake), *get_args(Message))]
    assert tags == list(range(1, 14))


@given(st.binary(max_size=200))
@example(b"")
def test_any_bytes_give_a_message_or_a_protocol_error(payload: bytes) -> None:
    try:
        message = decode(payload)
    except ProtocolError:
        return
    assert encode(message) == payload


@given(MESSAGES, st.integers(0, 2**32))
def test_altered_bytes_give_a_message_or_a_protocol_error(message: Message, seed: int) -> None:
    draw = random.Random(seed)
    payload = bytearray(encode(message))
    for _ in range(draw.randint(1, 3)):
        position = draw.randrange(len(payload))
        payload[position : position + draw.randint(0, 2)] = draw.randbytes(draw.randint(0, 2))
        payload = payload or bytearray(b"\x80")
    try:
        altered = decode(bytes(payload))
    except ProtocolError:
        return
    assert encode(altered) == payload


TERM = 2**40
VOTE = [5, TERM, 7, 8, True, False]
REPORT = [10, 1, "leader", "n1", 1, 1, 1, 1, "f" * 64, True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        VOTE[:-1],
        [*VOTE, 0],
        [],
        5,
        None,
        {"term": 1},
        [99, TERM],
        [1.0, TERM],
        ["5", *VOTE[1:]],
        [5.0, *VOTE[1:]],
        [[5], *VOTE[1:]],
        [{}, *VOTE[1:]],
        [2, "a handshake's tag"],
        [5, -1, 7, 8, True, False],
        [5, 2**63, 7, 8, True, False],
        [5, 2**70, 7, 8, True, False],
        [5, 1.0, 7, 8, True, False],
        [5, "1", 7, 8, True, False],
        [5, True, 7, 8, True, False],
        [5, TERM, 7, 8, 1, False],
        [5, TERM, 7, 8, None, False],
        [5, TERM, 7, 8, True, 0],
        [12],
        [12, -1],
        [12, 2**63],
        [12, 1.0],
        [12, None],
        [12, TERM, 1],
        [13, TERM],
        [13, TERM, -1],
        [3, 1, 2, 3, 4, [[5, "text"]]],
        [3, 1, 2, 3, 4, [[5, b"a", b"b"]]],
        [3, 1, 2, 3, 4, [5, b"a"]],
        [3, 1, 2, 3, 4, {}],
        [9, [["n1.1", 0, [b"sequences begin at 1"]]]],
        [9, [["n1.1", 1, []]]],
        [9, [["", 1, [b"a"]]]],
        [9, [["x" * 65, 1, [b"a"]]]],
        [9, [[b"n1.1", 1, [b"a"]]]],
        [7, 1, 2, 3, 4, bytes(31), 0, b""],
        [10, 1, "king", None, 1, 1, 1, 1, "", True, False],
        [10, 1, "leader", "n1\n", 1, 1, 1, 1, "", True, False],
        [10, 1, "leader", "n1", 1, 1, 1, 1, "F" * 64, True, False],
    ],
)
def test_a_wrong_shape_type_or_range_is_refused(wrong: object) -> None:
    with pytest.raises(ProtocolError):
        decode(cbor2.dumps(wrong))


@pytest.mark.parametrize("right", [VOTE, REPORT, [12, TERM], [3, 1, 2, 3, 4, [[5, b"a"]]], [9, [["n1.1", 1, [b"a"]]]]])
def test_the_like_of_them_without_the_fault_is_a_message(right: list[object]) -> None:
    assert encode(decode(cbor2.dumps(right))) == cbor2.dumps(right)


@pytest.mark.parametrize(
    ("what", "payload"),
    [
        ("trailing bytes", encode(TermNotice(1)) + b"\x00"),
        ("two messages", encode(TermNotice(1)) * 2),
        ("a truncated message", encode(TermNotice(TERM))[:-1]),
        ("an indefinite array", b"\x9f\x0b\x01\xff"),
        ("an indefinite byte string", b"\x86\x03\x01\x01\x01\x01\x81\x82\x01\x5f\x41a\xff"),
        ("a number longer than need be", b"\x82\x0b\x18\x01"),
        ("a number as a big number", b"\x82\x0b\xc2\x41\x05"),
        ("the self-description tag", b"\xd9\xd9\xf7" + encode(TermNotice(1))),
        ("an unknown tag", b"\xda\x00\x01\x00\x00" + encode(TermNotice(1))),
        ("a shared reference", b"\xd8\x1c\x82\x0b\xd8\x1d\x00"),
        ("a regular expression", b"\x82\x0b\xd8\x23\x61("),
        ("a date", b"\xc0\x74" + b"2026-01-01T00:00:00Z"),
        ("deep nesting", b"\x81" * 100_000),
        ("deep nesting of maps", b"\xa1" * 100_000),
        ("a byte string of 2**62 bytes", b"\x5b\x40" + bytes(7)),
        ("an array of 2**62 elements", b"\x9b\x40" + bytes(7)),
        ("text that is not UTF-8", b"\x82\x02\x61\xff"),
        ("undefined", b"\xf7"),
        ("a break", b"\xff"),
    ],
)
def test_cbor_beyond_the_canonical_is_refused(what: str, payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(payload)


@pytest.mark.parametrize("tag", [*range(64), 100, 256, 258, 260, 261, 1004, 43000, 55799, 2**32])
def test_a_tag_is_refused_before_its_decoder_runs(tag: int) -> None:
    head = b"\xdb" + tag.to_bytes(8, "big") if tag >= 2**32 else b"\xda" + tag.to_bytes(4, "big")
    with pytest.raises(ProtocolError, match="tag") as caught:
        decode(head + b"\x61x")
    assert caught.value.__cause__ is not None
    assert str(caught.value.__cause__.__cause__).startswith("a CBOR tag")


def test_the_error_says_what_is_wrong() -> None:
    with pytest.raises(ProtocolError, match=r"Expected `int`, got `str` - at `\$\[1\]`"):
        decode(cbor2.dumps([5, "1", 7, 8, True, False]))


def test_a_large_message_carries_its_bytes_untouched() -> None:
    entries = tuple((5, bytes([number]) * 10_240) for number in range(100))
    message = AppendEntries(5, 100_000, 5, 100_000, entries)
    payload = encode(message)
    assert len(payload) < 100 * 10_240 + 1000
    assert decode(payload) == message
