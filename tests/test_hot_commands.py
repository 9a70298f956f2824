"""The short way of reading a command gives what the general way gives, for all bytes, and is taken where it pays."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.codec import decode_command, encode_command
from raftbook.codec.commands import decode_any_command
from raftbook.codec.hot_commands import read_hot_command
from raftbook.engine.commands import CancelOrder, NewOrder, ReplaceOrder
from raftbook.engine.types import MAX_INTEGER, Number, OrderType, Side, TimeInForce
from tests.support.strategies import cancel_orders, commands, new_orders, replace_orders

NOW = 1_700_000_000_000_000_000
ID = "order-of-23-characters."
EIGHT_BYTES = b"\x1b" + NOW.to_bytes(8, "big")

ORDER = NewOrder(
    "ACME", "alice", ID, Side.SELL, OrderType.LIMIT, TimeInForce.IOC, Number(10_025, 2), Number(7, 0), True, NOW
)
HOT = [
    ORDER,
    ORDER._replace(
        order_type=OrderType.MARKET, price=None, quantity=Number(MAX_INTEGER, 18), post_only=False, not_after=None
    ),
    # 23 and 24 bytes: the longest text with its length in its first byte, and the shortest with a byte for it.
    ORDER._replace(symbol="S" * 24, account="a" * 23, client_order_id=ID + "."),
    ORDER._replace(account="a" * 36, client_order_id="c" * 36, not_after=MAX_INTEGER),
    CancelOrder("alice", None, "a-1", NOW),
    *[CancelOrder("alice", order_id, None) for order_id in (1, 23, 24, 255, 256, 2**16, 2**32, MAX_INTEGER)],
    ReplaceOrder("alice", 300, None, Number(1, 0), None, NOW),
    ReplaceOrder("alice", None, "a-1", None, Number(0, 0)),
]


def encoded(command):
    return encode_command(command).hex()


def told(command):
    """Equal only where the types are, too: True == 1, and Side.BUY as well."""
    return type(command), repr(command)


def assert_same_both_ways(raw):
    assert told(decode_command(raw)) == told(decode_any_command(raw))


@pytest.mark.parametrize("command", HOT, ids=encoded)
def test_the_short_way_reads_what_a_log_is_full_of(command):
    assert told(read_hot_command(encode_command(command))) == told(command)


@given(commands)
def test_every_command_reads_the_same_either_way(command):
    assert_same_both_ways(encode_command(command))


@pytest.mark.parametrize("command", [HOT[0], HOT[5], HOT[-2], HOT[-1]], ids=encoded)
def test_hot_commands_with_any_byte_changed_cut_off_put_in_or_left_out_read_the_same_either_way(command):
    raw = encode_command(command)
    for at in range(len(raw) + 1):
        assert_same_both_ways(raw[:at])
        assert_same_both_ways(raw[:at] + raw[at + 1 :])
        for value in range(256):
            byte = bytes((value,))
            assert_same_both_ways(raw[:at] + byte + raw[at + 1 :])
            if value in (0, 1, 0x18, 0x1B, 0x61, 0x78, 0x82, 0xF4, 0xF6):
                assert_same_both_ways(raw[:at] + byte + raw[at:])


scalars = st.none() | st.booleans() | st.integers(-1, 2**64) | st.text(max_size=40) | st.binary(max_size=4)


@given(
    new_orders | cancel_orders | replace_orders,
    st.integers(2, 11),
    scalars | st.lists(scalars, min_size=2, max_size=2),
    st.booleans(),
)
def test_hot_commands_with_another_value_in_a_field_read_the_same_either_way(command, position, value, canonical):
    fields = cbor2.loads(encode_command(command))
    fields[position % len(fields)] = value
    assert_same_both_ways(cbor2.dumps(fields, canonical=canonical))


# How an item can be written longer than it must: each is a byte string of its own in a command that is else in order.
LONGER = {
    "a text's length in a byte of its own": (b"\x65alice", b"\x78\x05alice"),
    "a text's length in two bytes": (b"\x65alice", b"\x79\x00\x05alice"),
    "a client order id's length in a byte of its own": (b"\x77order", b"\x78\x17order"),
    "a mantissa of four bytes": (b"\x82\x19\x27\x29", b"\x82\x1a\x00\x00\x27\x29"),
    "decimals in a byte of their own": (b"\x27\x29\x02", b"\x27\x29\x18\x02"),
    "an array's length in a byte of its own": (b"\x82\x07\x00", b"\x98\x02\x07\x00"),
    "an array of indefinite length": (b"\x82\x07\x00", b"\x9f\x07\x00\xff"),
    "a side in a byte of its own": (b".\x02", b".\x18\x02"),
    "a time of eight bytes that needs four": (EIGHT_BYTES, b"\x1b" + (2**32 - 1).to_bytes(8, "big")),
    "a time beyond 63 bits": (EIGHT_BYTES, b"\x1b" + (2**63).to_bytes(8, "big")),
}


@pytest.mark.parametrize(("form", "longer"), LONGER.values(), ids=LONGER.keys())
def test_the_short_way_takes_no_form_but_the_one(form, longer):
    raw = encode_command(ORDER)
    assert raw.count(form) == 1
    other = raw.replace(form, longer)
    assert read_hot_command(other) is None
    assert_same_both_ways(other)
