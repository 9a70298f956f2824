"""The stored format: exact bytes in both directions, and a Malformed for every other bytes."""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

import cbor2
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from raftbook.codec import (
    MAX_COMMAND_BYTES,
    ORIGIN_PATTERN,
    RawRun,
    cbor,
    decode_command,
    decode_entry,
    decode_snapshot,
    encode_command,
    encode_entry,
    encode_events,
    encode_snapshot,
    split_entry,
)
from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    CreateKey,
    Entry,
    Malformed,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    Run,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.events import (
    AuctionEvent,
    InstrumentEvent,
    KeyEvent,
    MassCanceled,
    OrderEvent,
    OrderState,
    Rejection,
    Ticked,
    Trade,
)
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import (
    MAX_INTEGER,
    MOST_ACCOUNTS_OF_KEY,
    EventKind,
    Number,
    OrderStatus,
    OrderType,
    Reason,
    Role,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.errors import SnapshotError
from tests.support.compiled import replaces_names
from tests.support.strategies import (
    commands,
    identifiers,
    new_keys,
    positive_integers,
    raw_runs,
    sides,
    symbols,
    timestamps,
)

NEW_ORDER = NewOrder(
    "ACME", "alice", "a1", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(10025, 2), Number(5, 0), False, 1000
)
NEW_ORDER_FIELDS = [1, 1, "ACME", "alice", "a1", 1, 1, 1, [10025, 2], [5, 0], False, 1000]

PUBLIC_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
NEW_KEY = CreateKey("key00001", "desk", Role.TRADE, ("alice", "bob"), PUBLIC_KEY)

GOLDEN_COMMANDS = [
    (NEW_ORDER, "8c01016441434d4565616c6963656261310101018219272902820500f41903e8"),
    (
        NEW_ORDER._replace(
            side=Side.SELL, order_type=OrderType.MARKET, time_in_force=TimeInForce.FOK, price=None, post_only=True
        ),
        "8c01016441434d4565616c696365626131020203f6820500f51903e8",
    ),
    (CancelOrder("alice", None, "a1"), "86010265616c696365f6626131f6"),
    (CancelOrder("alice", 2**40, None, 7), "86010265616c6963651b0000010000000000f607"),
    (CancelAll("alice"), "86010365616c696365f6f6f6"),
    (CancelAll("alice", "ACME", Side.SELL, 0), "86010365616c6963656441434d450200"),
    (ReplaceOrder("alice", 24, None, Number(10030, 2), None), "88010465616c6963651818f68219272e02f6f6"),
    (AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0)), "8801056441434d450200820102820100f6"),
    (SetStatus("ACME", TradingStatus.HALTED), "8501066441434d4502f6"),
    (Tick(MAX_INTEGER), "8301071b7fffffffffffffff"),
    (SetStatus("ACME", TradingStatus.AUCTION), "8501066441434d4504f6"),
    (Uncross("ACME"), "8501086441434d4501f6"),
    (Uncross("ACME", TradingStatus.CLOSED, 5), "8501086441434d450305"),
    (RevokeKey("key00001"), "84010a686b65793030303031f6"),
    (RevokeKey("key00001", 5), "84010a686b6579303030303105"),
    (NEW_KEY, f"880109686b65793030303031646465736b028265616c69636563626f62782b{PUBLIC_KEY.encode().hex()}f6"),
    (
        NEW_KEY._replace(role=Role.ADMIN, accounts=("*",), not_after=5),
        f"880109686b65793030303031646465736b0381612a782b{PUBLIC_KEY.encode().hex()}05",
    ),
    (
        NEW_ORDER._replace(
            order_type=OrderType.STOP_LIMIT,
            time_in_force=TimeInForce.GTD,
            stop_price=Number(10000, 2),
            display_quantity=Number(2, 0),
            expire_time=2**40,
            self_trade_prevention=SelfTradePrevention.DECREMENT_AND_CANCEL,
        ),
        "9001016441434d4565616c6963656261310104058219272902820500f41903e882192710028202001b000001000000000005",
    ),
    (
        NEW_ORDER._replace(
            order_type=OrderType.STOP, time_in_force=TimeInForce.DAY, price=None, stop_price=Number(1, 0)
        ),
        "9001016441434d4565616c696365626131010304f6820500f41903e8820100f6f6f6",
    ),
    (
        ReplaceOrder("alice", 24, None, None, None, 7, Number(9, 0), Number(0, 0), 8),
        "8b010465616c6963651818f6f6f6078209008200 0008".replace(" ", ""),
    ),
    (
        AddInstrument(
            "ACME",
            2,
            0,
            Number(1, 2),
            Number(1, 0),
            None,
            Number(2, 0),
            Number(3, 0),
            Number(10, 0),
            Number(25, 1),
            Number(5, 0),
            200,
            SelfTradePrevention.CANCEL_OLDEST,
        ),
        "8f01056441434d450200820102820100f6820200820300820a008218190182050018c803",
    ),
]


@pytest.mark.parametrize(("command", "golden"), GOLDEN_COMMANDS)
def test_the_stored_bytes_of_a_command_never_change(command, golden):
    raw = bytes.fromhex(golden)
    assert encode_command(command) == raw
    assert decode_command(raw) == command


def test_the_stored_bytes_of_an_entry_never_change():
    raw = encode_entry(1_000_000, [RawRun("n1.1", 7, (encode_command(Tick()), b"\xff"))])
    assert raw.hex() == "83011a000f424081" + "83646e312e3107" + "8244830107f6" + "41ff"


def test_the_longest_command_is_not_too_long():
    accounts = tuple(f"{number}".ljust(36, "a") for number in range(MOST_ACCOUNTS_OF_KEY))
    longest = CreateKey("k" * 32, "n" * 64, Role.TRADE, accounts, PUBLIC_KEY, MAX_INTEGER)
    raw = encode_command(longest)
    assert len(raw) == 463 <= MAX_COMMAND_BYTES
    assert decode_command(raw) == longest


@given(commands)
def test_a_command_comes_back_as_it_was_and_its_bytes_are_canonical(command):
    raw = encode_command(command)
    decoded = decode_command(raw)
    assert decoded == command
    assert type(decoded) is type(command)
    assert list(map(type, decoded)) == list(map(type, command))
    assert raw == cbor2.dumps(cbor2.loads(raw), canonical=True)
    assert len(raw) <= MAX_COMMAND_BYTES


def with_field(index, value):
    return cbor2.dumps([*NEW_ORDER_FIELDS[:index], value, *NEW_ORDER_FIELDS[index + 1 :]])


def long_new_order(*later):
    """Bytes of a new order with its later fields: stop price, display quantity, expire time, self-trade prevention."""
    return cbor2.dumps([*NEW_ORDER_FIELDS, *later])


def long_replace(*later):
    """Bytes of a replace with its later fields: stop price, display quantity, expire time."""
    return cbor2.dumps([1, 4, "alice", 1, None, None, None, None, *later])


def long_instrument(**later):
    """Bytes of an instrument with these limits."""
    names = AddInstrument._fields[AddInstrument._fields.index("not_after") + 1 :]
    return cbor2.dumps([1, 5, "ACME", 2, 0, [1, 2], [1, 0], None, *(later.get(name) for name in names)])


def new_key(**changes):
    """Bytes of a key whose fields have these values instead."""
    return cbor2.dumps([1, 9, *(NEW_KEY._asdict() | {"role": 2, "accounts": ["alice", "bob"]} | changes).values()])


MALFORMED = {
    "nothing": b"",
    "a bare integer": b"\x01",
    "an empty array": b"\x80",
    "no type": b"\x81\x01",
    "a map": cbor2.dumps({1: 1}),
    "an unknown version": with_field(0, 2),
    "a version that is true": with_field(0, True),
    "an unknown type": with_field(1, 99),
    "a type that is an array": with_field(1, [1]),
    "the type that only events have": cbor2.dumps([1, 0, "detail", None]),
    "a field too few": cbor2.dumps(NEW_ORDER_FIELDS[:-1]),
    "a field too many": cbor2.dumps([*NEW_ORDER_FIELDS, None]),
    "a byte after the end": encode_command(NEW_ORDER) + b"\x00",
    "a second command after the end": encode_command(NEW_ORDER) * 2,
    "a symbol of 25 characters": with_field(2, "A" * 25),
    "a symbol that is empty": with_field(2, ""),
    "a symbol with a line feed": with_field(2, "ACME\n"),
    "a symbol in other digits": with_field(2, "\u0661"),
    "a symbol in bytes": with_field(2, b"ACME"),
    "an account with a space": with_field(3, "al ice"),
    "an account of 37 characters": with_field(3, "a" * 37),
    "no client order id": with_field(4, None),
    "a client order id that is a number": with_field(4, 17),
    "a side of another number": with_field(5, 3),
    "a side that is true": with_field(5, True),
    "a side that is a float": with_field(5, 1.0),
    "a side that is an array": with_field(5, [1]),
    "an order type of later": with_field(6, 5),
    "a time in force of later": with_field(7, 6),
    "a price of zero": with_field(8, [0, 2]),
    "a negative price": with_field(8, [-1, 2]),
    "a price beyond 63 bits": with_field(8, [2**63, 2]),
    "a price beyond 64 bits": with_field(8, [2**64, 2]),
    "a price with 19 decimals": with_field(8, [1, 19]),
    "a price with decimals that are true": with_field(8, [1, True]),
    "a price that is a float": with_field(8, 100.25),
    "a price of three parts": with_field(8, [1, 2, 3]),
    "a price that is text": with_field(8, "100.25"),
    "no quantity": with_field(9, None),
    "a quantity that is NaN": with_field(9, [float("nan"), 0]),
    "post_only that is 0": with_field(10, 0),
    "not_after below zero": with_field(11, -1),
    "not_after beyond 63 bits": with_field(11, 2**63),
    "not_after that is a float": with_field(11, 1000.0),
    "neither name of the order": cbor2.dumps([1, 2, "alice", None, None, None]),
    "both names of the order": cbor2.dumps([1, 2, "alice", 1, "a1", None]),
    "order id 0": cbor2.dumps([1, 2, "alice", 0, None, None]),
    "an order id that is true": cbor2.dumps([1, 2, "alice", True, None, None]),
    "a replace with a price of zero": cbor2.dumps([1, 4, "alice", 1, None, [0, 0], None, None]),
    "decimals of 19": cbor2.dumps([1, 5, "ACME", 19, 0, [1, 2], [1, 0], None]),
    "decimals below zero": cbor2.dumps([1, 5, "ACME", 2, -1, [1, 2], [1, 0], None]),
    "a status of another number": cbor2.dumps([1, 6, "ACME", 5, None]),
    "later fields of which none is set": long_new_order(None, None, None, None),
    "a later field too few": long_new_order([1, 0], None, None),
    "a later field too many": long_new_order([1, 0], None, None, None, None),
    "a stop price of zero": long_new_order([0, 0], None, None, None),
    "a stop price that is an integer": long_new_order(100, None, None, None),
    "a display quantity of zero": long_new_order(None, [0, 0], None, None),
    "a display quantity beyond 63 bits": long_new_order(None, [2**63, 0], None, None),
    "an expire time below zero": long_new_order(None, None, -1, None),
    "an expire time beyond 63 bits": long_new_order(None, None, 2**63, None),
    "an expire time that is true": long_new_order(None, None, True, None),
    "a mode of prevention of later": long_new_order(None, None, None, 6),
    "a mode of prevention 0": long_new_order(None, None, None, 0),
    "a mode of prevention in words": long_new_order(None, None, None, "none"),
    "a replace with later fields of which none is set": long_replace(None, None, None),
    "a replace with a stop price of zero": long_replace([0, 0], None, None),
    "a replace with a display quantity below zero": long_replace(None, [-1, 0], None),
    "a replace with an expire time that is text": long_replace(None, None, "1"),
    "limits of which none is set": long_instrument(),
    **{
        f"a {name} of zero": long_instrument(**{name: [0, 0]})
        for name in ("min_quantity", "max_quantity", "min_notional", "price_band", "market_protection")
    },
    "max_open_orders 0": long_instrument(max_open_orders=0),
    "max_open_orders beyond 63 bits": long_instrument(max_open_orders=2**63),
    "max_open_orders that is a number of decimals": long_instrument(max_open_orders=[1, 0]),
    "an instrument's mode of prevention of later": long_instrument(self_trade_prevention=6),
    "an uncross into a halt": cbor2.dumps([1, 8, "ACME", 2, None]),
    "an uncross into another auction": cbor2.dumps([1, 8, "ACME", 4, None]),
    "an uncross into no status": cbor2.dumps([1, 8, "ACME", None, None]),
    "an uncross of no symbol": cbor2.dumps([1, 8, None, 1, None]),
    "a key id in capitals": new_key(key_id="KEY00001"),
    "a key id of 7 characters": new_key(key_id="key0001"),
    "a key id of 33 characters": new_key(key_id="k" * 33),
    "a key id that is a number": cbor2.dumps([1, 10, 7, None]),
    "a key's name with a space": new_key(name="the desk"),
    "a key's name of 65 characters": new_key(name="n" * 65),
    "a role of later": new_key(role=4),
    "a role in words": new_key(role="admin"),
    "accounts that are text": new_key(accounts="alice"),
    "an account of a key with a space": new_key(accounts=["al ice"]),
    "accounts that fall": new_key(accounts=["bob", "alice"]),
    "an account twice": new_key(accounts=["alice", "alice"]),
    "all accounts and one more": new_key(accounts=["*", "alice"]),
    "nine accounts": new_key(accounts=[f"account-{number}" for number in range(9)]),
    "a public key of 31 bytes": new_key(public_key="A" * 42),
    "a public key with padding": new_key(public_key=PUBLIC_KEY + "="),
    "a public key in its other form": new_key(public_key=PUBLIC_KEY[:-1] + "p"),
    "a public key in bytes": new_key(public_key=bytes(32)),
    "an array of indefinite length": b"\x9f\x01\x07\xf6\xff",
    "a text of indefinite length": b"\x85\x01\x06\x7f\x64ACME\xff\x02\xf6",
    "an integer longer than needed": b"\x83\x01\x18\x07\xf6",
    "an array head longer than needed": b"\x98\x03\x01\x07\xf6",
    "a bignum of a small integer": b"\x83\x01\x07\xc2\x41\x05",
    "a bignum shorter than the plain integer": b"\x83\x01\x07\xc2\x45\x01\x00\x00\x00\x00",
    "a self-described command": b"\xd9\xd9\xf7\x83\x01\x07\xf6",
    "a shared reference": b"\xd8\x1c\x83\x01\x07\xd8\x1d\x00",
    "a decimal fraction with a gigantic exponent": b"\x83\x01\x07\xc4\x82\x1a\x7f\xff\xff\xff\x01",
    "a regular expression": b"\x83\x01\x07\xd8\x23\x61(",
    "a text that is not UTF-8": b"\x85\x01\x06\x61\xff\x02\xf6",
    "an unfinished text": b"\x85\x01\x06\x78\xff",
    "a huge declared array": b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    "a huge declared text": b"\x83\x01\x07\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    "deep nesting": b"\x81" * 500 + b"\x01",
    "more than any command": b"\x83\x01\x07\x59\x02\x00" + bytes(512),
    "undefined": b"\x83\x01\x07\xf7",
    "a simple value": b"\x83\x01\x07\xf8\x20",
    "a break out of place": b"\xff",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_whatever_is_not_exactly_one_valid_command_is_malformed(raw):
    command = decode_command(raw)
    assert isinstance(command, Malformed)
    assert command.detail


def test_what_is_wrong_is_said_in_words_that_do_not_depend_on_a_library():
    assert decode_command(with_field(8, [0, 2])).detail == (
        "price must be [mantissa from 1 to 2**63 - 1, decimals from 0 to 18]"
    )
    assert decode_command(long_new_order(None, None, -1, None)).detail == (
        "expire_time must be null or an integer from 0 to 2**63 - 1"
    )
    assert decode_command(long_instrument(max_open_orders=0)).detail == (
        "max_open_orders must be null or an integer from 1 to 2**63 - 1"
    )
    assert decode_command(cbor2.dumps([1, 8, "ACME", 2, None])).detail == (
        "status behind an uncross must be trading or closed"
    )
    details = {decode_command(raw).detail for raw in MALFORMED.values()}
    assert not any("cbor" in detail or "Error" in detail or "stream" in detail for detail in details)


LATER_FIELDS = {
    NewOrder: ("stop_price", "display_quantity", "expire_time", "self_trade_prevention"),
    ReplaceOrder: ("stop_price", "display_quantity", "expire_time"),
    AddInstrument: (
        "min_quantity",
        "max_quantity",
        "min_notional",
        "price_band",
        "market_protection",
        "max_open_orders",
        "self_trade_prevention",
    ),
}
SHORT_FORMS = {
    NewOrder: NEW_ORDER,
    ReplaceOrder: ReplaceOrder("alice", 24, None, Number(10030, 2), None),
    AddInstrument: AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0)),
}
VALUES = {"expire_time": 0, "max_open_orders": 1, "self_trade_prevention": SelfTradePrevention.NONE}


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, fields in LATER_FIELDS.items() for field in fields], ids=str
)
def test_each_later_field_alone_makes_the_long_form_and_comes_back_in_its_place(kind, field):
    short = SHORT_FORMS[kind]
    command = short._replace(**{field: VALUES.get(field, Number(7, 1))})
    decoded = decode_command(encode_command(command, 1000))
    assert decoded == (command if command.not_after is not None else command._replace(not_after=1000))
    fields = cbor2.loads(encode_command(command))
    assert len(fields) == len(cbor2.loads(encode_command(short))) + len(LATER_FIELDS[kind])
    assert [value is not None for value in fields[-len(LATER_FIELDS[kind]) :]] == [
        name == field for name in LATER_FIELDS[kind]
    ]


@pytest.mark.parametrize("order", ["first true, then 1", "first 1, then true"])
def test_an_answer_never_depends_on_what_was_decoded_before(order):
    """The caches in the codec take True for 1; the detail of a Malformed is part of the digest chain."""
    right, wrong = with_field(8, [1, 17]), with_field(8, [True, 17])
    raws = [wrong, right, wrong] if order.startswith("first true") else [right, wrong, right]
    for raw in raws:
        assert isinstance(decode_command(raw), Malformed) == (raw is wrong)
    assert decode_command(wrong).detail.startswith("price must be")


def test_no_tag_is_interpreted():
    """Every tag of up to two bytes around a plain value is refused, whatever cbor2 would make of it."""
    for tag in range(0x1_0000):
        head = bytes((0xD8, tag)) if tag < 0x100 else b"\xd9" + tag.to_bytes(2, "big")
        detail = decode_command(b"\x83\x01\x07" + head + b"\x01").detail
        assert detail == "not CBOR, or CBOR with tags, indefinite lengths or deep nesting", tag


@given(st.binary(max_size=200))
@example(b"\x9f" * 200)
def test_random_bytes_never_raise(raw):
    command = decode_command(raw)
    assert isinstance(command, Malformed) or encode_command(command) == raw
    entry = decode_entry(raw)
    assert entry is None or isinstance(entry, Entry)


def mutated(data, raw):
    """Bits flipped, a piece cut out, copied or put in: what a faulty disk or a hostile client makes of bytes."""
    mutation = data.draw(st.sampled_from(["flip", "truncate", "splice", "repeat"]))
    first = data.draw(st.integers(0, len(raw) - 1))
    last = data.draw(st.integers(first, len(raw)))
    if mutation == "flip":
        return raw[:first] + bytes((raw[first] ^ (1 << data.draw(st.integers(0, 7))),)) + raw[first + 1 :]
    if mutation == "truncate":
        return raw[:first]
    if mutation == "splice":
        return raw[:first] + data.draw(st.binary(max_size=12)) + raw[last:]
    return raw[:last] + raw[first:]


@given(commands, st.data())
def test_a_mutated_command_is_another_command_or_malformed(command, data):
    raw = mutated(data, encode_command(command))
    decoded = decode_command(raw)
    assert isinstance(decoded, Malformed) or encode_command(decoded) == raw


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), st.lists), st.data())
def test_well_formed_cbor_of_wrong_types_is_malformed_or_exact(value, data):
    fields = list(NEW_ORDER_FIELDS)
    fields[data.draw(st.integers(0, len(fields) - 1))] = value
    raw = cbor2.dumps(fields)
    decoded = decode_command(raw)
    assert isinstance(decoded, Malformed) or encode_command(decoded) == raw


# --- Entries ---------------------------------------------------------------------------------------------------------


@given(timestamps, st.lists(raw_runs, max_size=4))
def test_an_entry_carries_commands_untouched(timestamp, runs):
    raw = encode_entry(timestamp, runs)
    assert raw == cbor2.dumps([1, timestamp, runs], canonical=True)
    assert split_entry(raw) == (timestamp, tuple(runs))
    assert decode_entry(raw) == Entry(
        timestamp,
        tuple(
            Run(run.origin, run.first_sequence, tuple(decode_command(command) for command in run.raw_commands))
            for run in runs
        ),
    )


@given(timestamps, st.lists(raw_runs, min_size=1, max_size=3), st.data())
def test_a_mutated_entry_is_another_entry_or_none(timestamp, runs, data):
    raw = mutated(data, encode_entry(timestamp, runs))
    split = split_entry(raw)
    assert split is None or encode_entry(*split) == raw
    assert (decode_entry(raw) is None) == (split is None)


def test_entries_are_read_by_hand_as_the_general_decoder_reads_them():
    """Every byte of an entry with all lengths of heads, changed, left out or doubled: the same result, or none."""
    sizes = (0, 1, 23, 24, 255, 256)
    raw = encode_entry(
        2**40, [RawRun("n1.1", 1, tuple(bytes(size) for size in sizes)), RawRun("n2:7", 2**33, (b"x",) * 24)]
    )
    changed = [raw[:at] + piece + raw[at + 1 :] for at in range(len(raw)) for piece in (b"", raw[at : at + 1] * 2)]
    changed += [
        raw[:at] + bytes((raw[at] ^ 1 << bit,)) + raw[at + 1 :]
        for at in [*range(44), *range(len(raw) - 70, len(raw))]
        for bit in range(8)
    ]
    # A head that is longer than it need be is found in no entry by chance.
    for short, long in (
        (b"\x58\x18", b"\x59\x00\x18"),
        (b"\x84", b"\x98\x04"),
        (b"\x01\x86", b"\x18\x01\x86"),
        (b"\x57", b"\x58\x17"),
    ):
        changed.append(raw.replace(short, long))
    read = [split_entry(one) for one in (raw, *changed)]
    assert read == [split_in_general(one) for one in (raw, *changed)]
    assert sum(split is not None for split in read) > 50


def split_in_general(raw):
    """What cbor2 reads, where writing it again gives the same bytes."""
    try:
        version, timestamp, runs = cbor2.loads(raw)
        assert (type(version), version, type(timestamp)) == (int, 1, int)
        assert 0 <= timestamp < 2**63
        split = timestamp, tuple(RawRun(origin, first, tuple(commands)) for origin, first, commands in runs)
        for origin, first, commands in split[1]:
            assert ORIGIN_PATTERN.fullmatch(origin)
            assert 1 <= first < 2**63 - len(commands)
            assert all(type(command) is bytes for command in commands)
        return split if encode_entry(*split) == raw else None
    except Exception:  # noqa: BLE001 (whatever cbor2 and the assertions raise)
        return None


@pytest.mark.parametrize(
    "raw",
    [
        cbor2.dumps([2, 0, []]),
        cbor2.dumps([True, 0, []]),
        cbor2.dumps([1, -1, []]),
        cbor2.dumps([1, 2**63, []]),
        cbor2.dumps([1, 0.0, []]),
        cbor2.dumps([1, 0, [], []]),
        cbor2.dumps([1, 0, {}]),
        cbor2.dumps([1, 0, [["n1.1", 1]]]),
        cbor2.dumps([1, 0, [["n1.1", 0, [b""]]]]),
        cbor2.dumps([1, 0, [["n1.1", 2**63 - 1, [b""]]]]),
        cbor2.dumps([1, 0, [["n1.1", 1, ["text"]]]]),
        cbor2.dumps([1, 0, [["", 1, [b""]]]]),
        cbor2.dumps([1, 0, [["n 1", 1, [b""]]]]),
        cbor2.dumps([1, 0, [["n" * 65, 1, [b""]]]]),
        cbor2.dumps([1, 0, []]) + b"\x00",
        b"",
    ],
    ids=lambda raw: raw.hex() or "nothing",
)
def test_bytes_that_are_no_entry_give_none(raw):
    assert decode_entry(raw) is None


def test_one_bad_command_in_an_entry_leaves_the_others():
    raw = encode_entry(5, [RawRun("n1.1", 1, (encode_command(Tick()), b"", encode_command(NEW_ORDER)))])
    (run,) = decode_entry(raw).runs
    assert run.commands[0] == Tick()
    assert isinstance(run.commands[1], Malformed)
    assert run.commands[2] == NEW_ORDER


# --- Events ----------------------------------------------------------------------------------------------------------

orders = st.builds(
    OrderState,
    positive_integers,
    identifiers,
    identifiers,
    symbols,
    sides,
    st.sampled_from(OrderType),
    st.sampled_from(TimeInForce),
    st.booleans(),
    st.none() | positive_integers,
    *[st.just(0) | positive_integers] * 4,
    st.sampled_from(OrderStatus),
    st.none() | positive_integers,
    st.none() | positive_integers,
    st.just(0) | positive_integers,
    st.none() | positive_integers,
    st.sampled_from(SelfTradePrevention),
)
kinds = st.sampled_from(EventKind)
sequences = st.none() | positive_integers
places = (positive_integers, timestamps)
events = st.one_of(
    st.builds(
        OrderEvent,
        kinds,
        symbols,
        sequences,
        *places,
        orders,
        st.none() | st.sampled_from(Reason),
        st.booleans(),
        st.none() | positive_integers,
    ),
    st.builds(
        Trade,
        kinds,
        symbols,
        *[positive_integers] * 7,
        identifiers,
        identifiers,
        positive_integers,
        identifiers,
        identifiers,
        sides,
        st.booleans(),
    ),
    st.builds(
        Rejection,
        kinds,
        st.none() | symbols,
        sequences,
        *places,
        commands | st.builds(Malformed, st.text(max_size=20), st.none()),  # A field left out would be invented.
        st.sampled_from(Reason),
        st.none() | st.text(max_size=20),
        st.none() | orders,
        st.booleans(),
    ),
    st.builds(MassCanceled, kinds, *places, identifiers, st.none() | symbols, st.none() | sides, st.integers(0, 9)),
    st.builds(
        InstrumentEvent,
        kinds,
        symbols,
        positive_integers,
        *places,
        st.builds(
            Instrument,
            symbols,
            st.integers(0, 18),
            st.integers(0, 18),
            positive_integers,
            positive_integers,
            *[st.none() | positive_integers] * 6,
            st.sampled_from(SelfTradePrevention),
        ),
        st.sampled_from(TradingStatus),
        st.none() | st.sampled_from(Reason),
    ),
    st.builds(
        AuctionEvent,
        kinds,
        symbols,
        positive_integers,
        *places,
        st.none() | positive_integers,
        st.just(0) | positive_integers,
        st.just(0) | positive_integers,
        st.none() | sides,
    ),
    st.builds(Ticked, kinds, *places),
    st.builds(
        KeyEvent,
        kinds,
        *places,
        st.builds(lambda command, *times: KeyRecord(*command[:-1], *times), new_keys, timestamps, timestamps),
    ),
)

COMMAND_TYPES = {Malformed: 0, NewOrder: 1, CancelOrder: 2, CancelAll: 3, ReplaceOrder: 4, AddInstrument: 5}
COMMAND_TYPES |= {SetStatus: 6, Tick: 7, Uncross: 8, CreateKey: 9, RevokeKey: 10}


def as_it_stands(event):
    """The naive form of an event: its fields, with the number of the command's type where it repeats one."""
    fields = list(astuple(event))
    if isinstance(event, Rejection):
        fields[5] = [COMMAND_TYPES[type(event.command)], *event.command]
    return plain(fields)


def plain(value):
    if isinstance(value, msgspec.Struct):
        return plain(astuple(value))
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


@given(st.lists(events, max_size=5))
def test_events_are_encoded_as_they_stand_in_messagepack(some_events):
    assert msgspec.msgpack.decode(encode_events(some_events)) == [3, *map(as_it_stands, some_events)]


def test_the_digested_bytes_of_a_refusal_and_of_its_repetition():
    order = NewOrder("A", "a", "x", Side.BUY, OrderType.MARKET, TimeInForce.IOC, None, Number(5, 0), not_after=9)
    refused = Rejection(EventKind.ORDER_REJECTED, "A", 3, 12, 7, order, Reason.INSTRUMENT_HALTED)
    repeated = replace(refused, sequence=None, log_index=13, duplicate=True)
    command = "9f01a141a161a178010202c0920500c209c0c0c0c0"
    reason = "b1" + b"instrument_halted".hex()
    assert encode_events([refused]).hex() == f"92039a02a141030c07{command}{reason}c0c0c2"
    assert encode_events([repeated]).hex() == f"92039a02a141c00d07{command}{reason}c0c0c3"


@pytest.mark.parametrize(
    "commands_with_equal_fields",
    [
        (CancelOrder("a", None, "b"), CancelAll("a", None, "b")),
        (SetStatus("A", TradingStatus.CLOSED), Uncross("A", TradingStatus.CLOSED)),
    ],
)
def test_refusals_of_different_commands_with_equal_fields_differ(commands_with_equal_fields):
    place = (None, None, 1, 1)
    one, other = (
        Rejection(EventKind.COMMAND_REJECTED, *place, command, Reason.SUBMISSION_EXPIRED)
        for command in commands_with_equal_fields
    )
    assert encode_events([one]) != encode_events([other])


@given(commands, timestamps)
def test_the_default_expiry_stands_where_a_command_has_none(command, expiry):
    expected = command if command.not_after is not None else command._replace(not_after=expiry)
    assert decode_command(encode_command(command, expiry)) == expected


# --- Snapshots -------------------------------------------------------------------------------------------------------

DATA = [1, "text", None, True, -5, b"bytes", [[], [2**63 - 1]]]


def test_a_snapshot_comes_back_with_lists_for_tuples():
    assert decode_snapshot(encode_snapshot(DATA)) == DATA
    assert encode_snapshot((1, (2, 3))) == encode_snapshot([1, [2, 3]])
    assert decode_snapshot(encode_snapshot((1, (2, 3)))) == [1, [2, 3]]


@replaces_names
def test_other_threads_have_their_turns_while_a_large_snapshot_is_decoded(monkeypatch):
    """The decoder is C code; were it one call of it, a node would stand still for as long as that takes."""
    data = [[number, f"order-{number}", None, True] for number in range(50_000)]
    raw = encode_snapshot(data)
    turns = 0

    class InPieces(cbor._InPieces):
        def read(self, size: int) -> bytes:
            nonlocal turns
            turns += 1
            return super().read(size)

    monkeypatch.setattr(cbor, "_InPieces", InPieces)
    assert decode_snapshot(raw) == data
    assert len(raw) / 65_536 <= turns < len(raw) / 10_000


def test_a_snapshot_that_lost_or_changed_a_byte_anywhere_is_refused():
    raw = encode_snapshot(DATA)
    for position in range(len(raw)):
        with pytest.raises(SnapshotError):
            decode_snapshot(raw[:position])
        for bit in range(8):
            with pytest.raises(SnapshotError):
                decode_snapshot(raw[:position] + bytes((raw[position] ^ (1 << bit),)) + raw[position + 1 :])
    with pytest.raises(SnapshotError):
        decode_snapshot(raw + b"\x00")


def test_a_snapshot_says_what_is_wrong_with_it():
    payload = cbor2.dumps(DATA)
    of_later = cbor2.dumps(["raftbook snapshot", 2, blake2b(payload, digest_size=32).digest(), payload])
    with pytest.raises(SnapshotError, match="version 2; this release reads version 1"):
        decode_snapshot(of_later)
    with pytest.raises(SnapshotError, match="not a snapshot of raftbook"):
        decode_snapshot(cbor2.dumps([1, 2, 3]))
    with pytest.raises(SnapshotError, match="truncated"):
        decode_snapshot(encode_snapshot(DATA)[:-1])


@given(st.binary(max_size=100))
def test_random_bytes_are_no_snapshot(raw):
    with pytest.raises(SnapshotError):
        decode_snapshot(raw)
