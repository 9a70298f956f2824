"""Commands, entries, events and snapshots as canonical CBOR (RFC 8949, section 4.2.1), each with a version.

    command   [1, type, field, …]                      a field is an integer, a text, true, false, null or a number
    number    [mantissa, decimals]
    entry     [1, timestamp, [[origin, first_sequence, [h'command', …]], …]]
    events    [1, event, …]                            an event is [kind, field, …], nested values likewise
    snapshot  ["raftbook snapshot", 1, h'BLAKE2b-256 of the payload', h'payload']

A command is encoded once, where it enters, and its bytes are carried untouched through intake, log and peers: an
entry holds them as byte strings. So what the log holds is what the origin wrote, and every node judges the same
bytes. Nothing here trusts them:

- **A command has exactly one form.** `decode_command` encodes what it has read and compares; that alone refuses
  trailing bytes (which `cbor2.loads` passes over), lengths and integers that are not the shortest, `true` for 1, and
  whatever else is equal but not the same.
- **No tag is ever interpreted.** A tag could build dates, fractions, regular expressions or shared references out of
  a few bytes; all of them are refused before cbor2 looks at their content.
- **What a node answers depends on the bytes alone.** `Malformed.detail` ends up in events and so in the digest chain:
  its words are fixed here, and never those of a library whose next release may say it differently.

The encoders of commands, order events and trades are written by hand, because cbor2 takes about 4 µs for such an
array where they take 1 to 2; tests hold them equal to cbor2's canonical form. The numbers of the types, and the order
of the fields, are part of the stored format: they never change, they only get a new version.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeGuard, TypeVar

import cbor2

from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    Entry,
    Malformed,
    NewOrder,
    ReplaceOrder,
    Run,
    SetStatus,
    Tick,
)
from raftbook.engine.events import Event, OrderEvent, OrderState, Rejection, Trade
from raftbook.engine.types import (
    IDENTIFIER_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    SYMBOL_PATTERN,
    Number,
    OrderType,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMAND_VERSION: Final = 1
ENTRY_VERSION: Final = 1
EVENTS_VERSION: Final = 1
SNAPSHOT_VERSION: Final = 1

MAX_COMMAND_BYTES: Final = 512
"""A bound for everything that holds commands; the longest valid command takes less than half of it."""

ORIGIN_PATTERN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}", re.ASCII)
"""Shape of an origin (a node's id and its start number); match it with `fullmatch`."""

_SNAPSHOT_MAGIC: Final = "raftbook snapshot"
_MAX_COMMAND_DEPTH: Final = 4
_MAX_ENTRY_DEPTH: Final = 6
_MAX_SNAPSHOT_DEPTH: Final = 64


class RawRun(NamedTuple):
    """Encoded commands of one origin with consecutive sequence numbers, the first of them `first_sequence`."""

    origin: str
    first_sequence: int
    raw_commands: tuple[bytes, ...]


# --- The pieces of CBOR ----------------------------------------------------------------------------------------------

_NULL: Final = b"\xf6"
_FALSE: Final = b"\xf4"
_TRUE: Final = b"\xf5"
_UNSIGNED: Final = 0x00
_BYTES: Final = 0x40
_TEXT: Final = 0x60
_ARRAY: Final = 0x80

_pack_16: Final = Struct(">BH").pack
_pack_32: Final = Struct(">BI").pack
_pack_64: Final = Struct(">BQ").pack


def _head(major_type: int, value: int) -> bytes:
    """The shortest head of a CBOR item; for an unsigned integer it is the whole item."""
    if value < 24:
        return bytes((major_type | value,))
    if value < 0x100:
        return bytes((major_type | 24, value))
    if value < 0x1_0000:
        return _pack_16(major_type | 25, value)
    if value < 0x1_0000_0000:
        return _pack_32(major_type | 26, value)
    return _pack_64(major_type | 27, value)


_SMALL_INTEGERS: Final = tuple(_head(_UNSIGNED, value) for value in range(1024))
_BYTES_HEADS: Final = tuple(_head(_BYTES, size) for size in range(MAX_COMMAND_BYTES + 1))


def _integer(value: int) -> bytes:
    if value < 1024:
        return _SMALL_INTEGERS[value] if value >= 0 else cbor2.dumps(value, canonical=True)
    if value < 0x1_0000:
        return _pack_16(25, value)
    if value < 0x1_0000_0000:
        return _pack_32(26, value)
    return _pack_64(27, value)


@lru_cache(maxsize=65_536)
def _text(value: str) -> bytes:
    """Cached: symbols, accounts and, between an order's command and its events, client order ids come again."""
    encoded = value.encode()
    return _head(_TEXT, len(encoded)) + encoded


def _optional_integer(value: int | None) -> bytes:
    return _NULL if value is None else _integer(value)


def _optional_text(value: str | None) -> bytes:
    return _NULL if value is None else _text(value)


@lru_cache(maxsize=65_536)
def _number(value: Number | None) -> bytes:
    if value is None:
        return _NULL
    return b"\x82" + _integer(value.mantissa) + _integer(value.decimals)


def _refuse_tag(_value: object, _immutable: object) -> NoReturn:
    raise ValueError("a tag")


class _EveryTagRefused(dict[int, "Callable[[object, object], NoReturn]"]):
    """Stands for a table with a refusal for each of the 2**64 tags, so that cbor2 interprets none of them."""

    def __contains__(self, _tag: object) -> bool:
        return True

    def __getitem__(self, _tag: int) -> Callable[[object, object], NoReturn]:
        return _refuse_tag

    def get(self, _tag: int, _default: object = None) -> Callable[[object, object], NoReturn]:
        return _refuse_tag


_NO_TAGS: Final = _EveryTagRefused()


def _load(raw: bytes, max_depth: int) -> object:
    """The first CBOR item of `raw`. Raises CBORError and, on nonsense, whatever else cbor2 comes to raise."""
    decoded: object = cbor2.loads(
        raw,
        semantic_decoders=_NO_TAGS,
        tag_hook=_refuse_tag,
        max_depth=max_depth,
        allow_indefinite=False,
        strict_hashable_types=True,
    )
    return decoded


# --- Commands --------------------------------------------------------------------------------------------------------


class _InvalidFieldError(Exception):
    """Bytes that are no command; the text becomes `Malformed.detail`."""


def _is_integer(value: object, lowest: int, highest: int) -> TypeGuard[int]:
    """Whether it is an int, not a bool, within the bounds."""
    return type(value) is int and lowest <= value <= highest


@lru_cache(maxsize=4096)
def _is_symbol(value: str) -> bool:
    return SYMBOL_PATTERN.fullmatch(value) is not None


@lru_cache(maxsize=65_536)
def _is_account(value: str) -> bool:
    return IDENTIFIER_PATTERN.fullmatch(value) is not None


_match_identifier = IDENTIFIER_PATTERN.fullmatch


def _read_symbol(value: object) -> str:
    if type(value) is not str or not _is_symbol(value):
        raise _InvalidFieldError("symbol must be 1 to 24 of A-Z a-z 0-9 . _ -")
    return value


def _read_optional_symbol(value: object) -> str | None:
    return None if value is None else _read_symbol(value)


def _read_account(value: object) -> str:
    if type(value) is not str or not _is_account(value):
        raise _InvalidFieldError("account must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def _read_client_order_id(value: object) -> str:
    if type(value) is not str or _match_identifier(value) is None:
        raise _InvalidFieldError("client_order_id must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def _read_order_name(order_id: object, client_order_id: object) -> tuple[int | None, str | None]:
    """Exactly one of the two names an order."""
    if (order_id is None) == (client_order_id is None):
        raise _InvalidFieldError("exactly one of order_id and client_order_id must name the order")
    if order_id is None:
        return None, _read_client_order_id(client_order_id)
    if not _is_integer(order_id, 1, MAX_INTEGER):
        raise _InvalidFieldError("order_id must be an integer from 1 to 2**63 - 1")
    return order_id, None


_EnumT = TypeVar("_EnumT", Side, OrderType, TimeInForce, TradingStatus)

_SIDES: Final[Mapping[int, Side]] = {int(member): member for member in Side}
_ORDER_TYPES: Final[Mapping[int, OrderType]] = {int(member): member for member in OrderType}
_TIMES_IN_FORCE: Final[Mapping[int, TimeInForce]] = {int(member): member for member in TimeInForce}
_STATUSES: Final[Mapping[int, TradingStatus]] = {int(member): member for member in TradingStatus}


def _read_enum(field: str, members: Mapping[int, _EnumT], value: object) -> _EnumT:
    member = members.get(value) if type(value) is int else None
    if member is None:
        raise _InvalidFieldError(f"{field} is none of the numbers that version 1 knows")
    return member


@lru_cache(maxsize=65_536)
def _make_number(mantissa: int, decimals: int) -> Number | None:
    """Cached: prices and sizes come again. Callers check the types first, since the cache takes True for 1."""
    if 1 <= mantissa <= MAX_INTEGER and 0 <= decimals <= MAX_DECIMALS:
        return Number(mantissa, decimals)
    return None


def _read_number(field: str, value: object) -> Number:
    if type(value) is list and len(value) == 2:
        mantissa, decimals = value
        if type(mantissa) is int and type(decimals) is int:
            number = _make_number(mantissa, decimals)
            if number is not None:
                return number
    raise _InvalidFieldError(f"{field} must be [mantissa from 1 to 2**63 - 1, decimals from 0 to 18]")


def _read_optional_number(field: str, value: object) -> Number | None:
    return None if value is None else _read_number(field, value)


def _read_bool(field: str, value: object) -> bool:
    if type(value) is not bool:
        raise _InvalidFieldError(f"{field} must be true or false")
    return value


def _read_not_after(value: object) -> int | None:
    if value is None or _is_integer(value, 0, MAX_INTEGER):
        return value
    raise _InvalidFieldError("not_after must be null or an integer from 0 to 2**63 - 1")


def _read_decimals(field: str, value: object) -> int:
    if not _is_integer(value, 0, MAX_DECIMALS):
        raise _InvalidFieldError(f"{field} must be an integer from 0 to 18")
    return value


def _read_new_order(fields: list[object]) -> NewOrder:
    _, _, symbol, account, client_order_id, side, order_type, time_in_force, price, quantity, post_only, not_after = (
        fields
    )
    return NewOrder(
        _read_symbol(symbol),
        _read_account(account),
        _read_client_order_id(client_order_id),
        _read_enum("side", _SIDES, side),
        _read_enum("order_type", _ORDER_TYPES, order_type),
        _read_enum("time_in_force", _TIMES_IN_FORCE, time_in_force),
        None if price is None else _read_number("price", price),
        _read_number("quantity", quantity),
        _read_bool("post_only", post_only),
        _read_not_after(not_after),
    )


def _read_cancel_order(fields: list[object]) -> CancelOrder:
    _, _, account, order_id, client_order_id, not_after = fields
    return CancelOrder(_read_account(account), *_read_order_name(order_id, client_order_id), _read_not_after(not_after))


def _read_cancel_all(fields: list[object]) -> CancelAll:
    _, _, account, symbol, side, not_after = fields
    return CancelAll(
        _read_account(account),
        _read_optional_symbol(symbol),
        None if side is None else _read_enum("side", _SIDES, side),
        _read_not_after(not_after),
    )


def _read_replace_order(fields: list[object]) -> ReplaceOrder:
    _, _, account, order_id, client_order_id, price, quantity, not_after = fields
    return ReplaceOrder(
        _read_account(account),
        *_read_order_name(order_id, client_order_id),
        _read_optional_number("price", price),
        _read_optional_number("quantity", quantity),
        _read_not_after(not_after),
    )


def _read_add_instrument(fields: list[object]) -> AddInstrument:
    _, _, symbol, price_decimals, quantity_decimals, tick_size, lot_size, not_after = fields
    return AddInstrument(
        _read_symbol(symbol),
        _read_decimals("price_decimals", price_decimals),
        _read_decimals("quantity_decimals", quantity_decimals),
        _read_number("tick_size", tick_size),
        _read_number("lot_size", lot_size),
        _read_not_after(not_after),
    )


def _read_set_status(fields: list[object]) -> SetStatus:
    _, _, symbol, status, not_after = fields
    return SetStatus(_read_symbol(symbol), _read_enum("status", _STATUSES, status), _read_not_after(not_after))


def _read_tick(fields: list[object]) -> Tick:
    _, _, not_after = fields
    return Tick(_read_not_after(not_after))


_COMMAND_TYPES: Final[Mapping[type[Command], int]] = {
    Malformed: 0,  # Only in events: a command that is malformed has no bytes of its own.
    NewOrder: 1,
    CancelOrder: 2,
    CancelAll: 3,
    ReplaceOrder: 4,
    AddInstrument: 5,
    SetStatus: 6,
    Tick: 7,
}

_COMMAND_READERS: Final[Mapping[int, tuple[int, Callable[[list[object]], Command]]]] = {
    1: (12, _read_new_order),
    2: (6, _read_cancel_order),
    3: (6, _read_cancel_all),
    4: (8, _read_replace_order),
    5: (8, _read_add_instrument),
    6: (5, _read_set_status),
    7: (3, _read_tick),
}
"""Type number -> (length of the array, reader of its fields)."""


def encode_command(command: Command) -> bytes:
    """Canonical CBOR of a command whose fields have the right types and ranges. O(size).

    Malformed has no bytes: to encode one is a programmer's mistake.
    """
    if type(command) is NewOrder:
        # The hot path, by hand: 13 parts in one join.
        return b"".join(
            (
                b"\x8c\x01\x01",
                _text(command.symbol),
                _text(command.account),
                _text(command.client_order_id),
                _SMALL_INTEGERS[command.side],
                _SMALL_INTEGERS[command.order_type],
                _SMALL_INTEGERS[command.time_in_force],
                _number(command.price),
                _number(command.quantity),
                _TRUE if command.post_only else _FALSE,
                _optional_integer(command.not_after),
            )
        )
    if type(command) is CancelOrder:
        return b"".join(
            (
                b"\x86\x01\x02",
                _text(command.account),
                _optional_integer(command.order_id),
                _optional_text(command.client_order_id),
                _optional_integer(command.not_after),
            )
        )
    assert type(command) is not Malformed, "a malformed command has no bytes"
    return cbor2.dumps((COMMAND_VERSION, _COMMAND_TYPES[type(command)], *command), canonical=True)


def decode_command(raw: bytes) -> Command:
    """The command that these bytes are, or a Malformed that says in fixed words what is wrong. Never raises. O(size).

    `encode_command(decode_command(raw)) == raw` for every result that is not Malformed.
    """
    if len(raw) > MAX_COMMAND_BYTES:
        return Malformed(f"longer than {MAX_COMMAND_BYTES} bytes")
    try:
        fields = _load(raw, _MAX_COMMAND_DEPTH)
    except Exception:  # noqa: BLE001 - whatever the decoder makes of arbitrary bytes, they are no command.
        return Malformed("not CBOR, or CBOR with tags, indefinite lengths or deep nesting")
    if type(fields) is not list or len(fields) < 2:
        return Malformed("not an array of version, type and fields")
    version, type_number = fields[0], fields[1]
    if type(version) is not int or version != COMMAND_VERSION:
        return Malformed("unknown version")
    if type(type_number) is not int or type_number not in _COMMAND_READERS:
        return Malformed("unknown command type")
    length, read = _COMMAND_READERS[type_number]
    if len(fields) != length:
        return Malformed("wrong number of fields for this command type")
    try:
        command = read(fields)
    except _InvalidFieldError as error:
        return Malformed(str(error))
    if encode_command(command) != raw:
        return Malformed("not canonical, or bytes after the end")
    return command


# --- Entries ---------------------------------------------------------------------------------------------------------


def _byte_string(raw: bytes) -> bytes:
    size_bytes = len(raw)
    return (_BYTES_HEADS[size_bytes] if size_bytes <= MAX_COMMAND_BYTES else _head(_BYTES, size_bytes)) + raw


def encode_entry(timestamp: int, runs: Sequence[RawRun]) -> bytes:
    """One entry of the log, canonical. `timestamp` in nanoseconds since the epoch, from 0 to 2**63 - 1.

    Copies each command's bytes once, and looks at none of them. O(size).
    """
    parts = [b"\x83\x01", _integer(timestamp), _head(_ARRAY, len(runs))]
    for origin, first_sequence, raw_commands in runs:
        parts += (b"\x83", _text(origin), _integer(first_sequence), _head(_ARRAY, len(raw_commands)))
        parts += map(_byte_string, raw_commands)
    return b"".join(parts)


def split_entry(raw: bytes) -> tuple[int, tuple[RawRun, ...]] | None:
    """The timestamp and the runs of an entry, their commands still encoded; None if `raw` is not exactly one entry.

    Never raises. O(size).
    """
    try:
        fields = _load(raw, _MAX_ENTRY_DEPTH)
    except Exception:  # noqa: BLE001 - whatever the decoder makes of arbitrary bytes, they are no entry.
        return None
    if type(fields) is not list or len(fields) != 3:
        return None
    version, timestamp, raw_runs = fields
    if type(version) is not int or version != ENTRY_VERSION or not _is_integer(timestamp, 0, MAX_INTEGER):
        return None
    if type(raw_runs) is not list:
        return None
    runs: list[RawRun] = []
    for raw_run in raw_runs:
        run = _read_run(raw_run)
        if run is None:
            return None
        runs.append(run)
    if encode_entry(timestamp, runs) != raw:
        return None
    return timestamp, tuple(runs)


def _read_run(fields: object) -> RawRun | None:
    if type(fields) is not list or len(fields) != 3:
        return None
    origin, first_sequence, raw_commands = fields
    if type(origin) is not str or ORIGIN_PATTERN.fullmatch(origin) is None:
        return None
    if type(raw_commands) is not list or not all(type(raw) is bytes for raw in raw_commands):
        return None
    if not _is_integer(first_sequence, 1, MAX_INTEGER - len(raw_commands)):
        return None
    return RawRun(origin, first_sequence, tuple(raw_commands))


def decode_entry(raw: bytes) -> Entry | None:
    """The entry that these bytes are; None if they are none. A command in it that is none becomes Malformed.

    Never raises. O(size).
    """
    split = split_entry(raw)
    if split is None:
        return None
    timestamp, raw_runs = split
    return Entry(
        timestamp,
        tuple(
            Run(origin, first_sequence, tuple(map(decode_command, raw_commands)))
            for origin, first_sequence, raw_commands in raw_runs
        ),
    )


# --- Events ----------------------------------------------------------------------------------------------------------


def _order_state(order: OrderState) -> bytes:
    (
        order_id,
        client_order_id,
        account,
        symbol,
        side,
        order_type,
        time_in_force,
        post_only,
        price,
        quantity,
        filled_quantity,
        leaves_quantity,
        notional,
        status,
    ) = order
    return b"".join(
        (
            b"\x8e",
            _integer(order_id),
            _text(client_order_id),
            _text(account),
            _text(symbol),
            _SMALL_INTEGERS[side],
            _SMALL_INTEGERS[order_type],
            _SMALL_INTEGERS[time_in_force],
            _TRUE if post_only else _FALSE,
            _NULL if price is None else _integer(price),
            _integer(quantity),
            _integer(filled_quantity),
            _integer(leaves_quantity),
            _integer(notional),
            _SMALL_INTEGERS[status],
        )
    )


def _order_event(event: OrderEvent) -> bytes:
    kind, symbol, sequence, log_index, timestamp, order, reason, duplicate = event
    return b"".join(
        (
            b"\x88",
            _SMALL_INTEGERS[kind],
            _text(symbol),
            _optional_integer(sequence),
            _integer(log_index),
            _integer(timestamp),
            _order_state(order),
            _optional_text(reason),
            _TRUE if duplicate else _FALSE,
        )
    )


def _trade(event: Trade) -> bytes:
    return b"".join(
        (
            b"\x8f",
            _SMALL_INTEGERS[event.kind],
            _text(event.symbol),
            _integer(event.sequence),
            _integer(event.log_index),
            _integer(event.timestamp),
            _integer(event.trade_id),
            _integer(event.price),
            _integer(event.quantity),
            _integer(event.maker_order_id),
            _text(event.maker_client_order_id),
            _text(event.maker_account),
            _integer(event.taker_order_id),
            _text(event.taker_client_order_id),
            _text(event.taker_account),
            _SMALL_INTEGERS[event.taker_side],
        )
    )


def _encode_event(event: Event) -> bytes:
    if type(event) is OrderEvent:
        return _order_event(event)
    if type(event) is Trade:
        return _trade(event)
    if type(event) is Rejection:
        # Commands of different types can have equal fields, so each is written with the number of its type.
        command = (_COMMAND_TYPES[type(event.command)], *event.command)
        return cbor2.dumps((*event[:5], command, *event[6:]), canonical=True)
    return cbor2.dumps(event, canonical=True)


def encode_events(events: Sequence[Event]) -> bytes:
    """Canonical CBOR of events, for digests and comparison: equal bytes exactly where the events are equal. O(size)."""
    return b"".join((_head(_ARRAY, 1 + len(events)), _SMALL_INTEGERS[EVENTS_VERSION], *map(_encode_event, events)))


# --- Snapshots -------------------------------------------------------------------------------------------------------


def encode_snapshot(data: object) -> bytes:
    """A snapshot with its version and digest. `data` is of integers, texts, booleans, None, lists and tuples. O(size).

    Canonical: equal data gives equal bytes (a list and a tuple of the same values are equal here).
    """
    return _wrap_snapshot(cbor2.dumps(data, canonical=True))


def _wrap_snapshot(payload: bytes) -> bytes:
    digest = blake2b(payload, digest_size=32).digest()
    return b"".join(
        (b"\x84", _text(_SNAPSHOT_MAGIC), _integer(SNAPSHOT_VERSION), _byte_string(digest), _byte_string(payload))
    )


def decode_snapshot(raw: bytes) -> object:
    """The data of a snapshot, with lists for lists and tuples. O(size).

    Raises SnapshotError where it is truncated, altered, of another version, or no snapshot at all.
    """
    try:
        fields = _load(raw, 2)
    except Exception as error:
        raise SnapshotError(f"not a snapshot, or a truncated one of {len(raw)} bytes; fetch it again") from error
    if type(fields) is not list or len(fields) != 4 or fields[0] != _SNAPSHOT_MAGIC:
        raise SnapshotError("not a snapshot of raftbook")
    _, version, _, payload = fields
    if type(version) is not int or version != SNAPSHOT_VERSION:
        raise SnapshotError(f"snapshot of version {version!r}; this release reads version {SNAPSHOT_VERSION}")
    if type(payload) is not bytes or _wrap_snapshot(payload) != raw:
        raise SnapshotError("the snapshot was altered: its digest does not match; fetch it again")
    try:
        return _load(payload, _MAX_SNAPSHOT_DEPTH)
    except Exception as error:
        raise SnapshotError("the snapshot's digest matches but its content is no CBOR") from error
