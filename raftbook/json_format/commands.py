"""Commands from JSON and to JSON.

What is judged here is the shape: names, types and ranges of fields. What needs the state (does the symbol exist, is
the price on its tick) or the rules of matching (a limit order needs a price) is the engine's to reject, in one place.

Numbers are read from their digits, never through a binary float. An exponent is taken where the result is exact
(some JSON writers print 0.00001 as 1e-05); NaN, infinities, a leading `+` or zero, and blanks are refused. A field
that is `null` counts as absent.

A new order without `client_order_id` gets one from the caller's `generate_client_order_id`, so that this module needs
no randomness of its own; without a generator it is refused. `account` is `default` where it is absent.
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    Malformed,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Tick,
)
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
from raftbook.errors import InvalidCommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_COMMAND_JSON_BYTES: Final = 16_384
"""A bound far above any command, so that nonsense is refused before it is parsed."""

MAX_NUMBER_CHARACTERS: Final = 64

DEFAULT_ACCOUNT: Final = "default"

_ABSENT: Final = msgspec.Raw(b"null")
_encoder = msgspec.json.Encoder()


OPERATIONS: Final = ("new", "cancel", "cancel_all", "replace", "add_instrument", "set_status", "tick")
"""The values of `op`."""

_PLAIN_TYPES: Final = (str, int, float, Decimal, msgspec.Raw, type(None))

_LATER_FIELDS: Final = frozenset({"display_quantity", "stop_price", "expire_time", "self_trade_prevention"})
_LATER_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "order_type": frozenset({"stop", "stop_limit"}),
    "time_in_force": frozenset({"day", "gtd"}),
}

_SIDES: Final[Mapping[str, Side]] = {member.label: member for member in Side}
_ORDER_TYPES: Final[Mapping[str, OrderType]] = {member.label: member for member in OrderType}
_TIMES_IN_FORCE: Final[Mapping[str, TimeInForce]] = {member.label: member for member in TimeInForce}
_STATUSES: Final[Mapping[str, TradingStatus]] = {member.label: member for member in TradingStatus}

_EXPECTED: Final[Mapping[str, str]] = {
    "symbol": "a string of 1 to 24 of A-Z a-z 0-9 . _ -",
    "account": "a string of 1 to 36 of A-Z a-z 0-9 . _ : -",
    "client_order_id": "a string of 1 to 36 of A-Z a-z 0-9 . _ : -",
    "order_id": "an integer from 1 to 2**63 - 1",
    "side": "buy or sell",
    "order_type": "limit or market",
    "time_in_force": "gtc, ioc or fok",
    "status": "trading, halted or closed",
    "price": 'a decimal number above zero, such as "100.25"',
    "quantity": 'a decimal number above zero, such as "5"',
    "tick_size": 'a decimal number above zero, such as "0.01"',
    "lot_size": 'a decimal number above zero, such as "1"',
    "price_decimals": "an integer from 0 to 18",
    "quantity_decimals": "an integer from 0 to 18",
    "post_only": "true or false",
    "not_after": "an integer from 0 to 2**63 - 1, in nanoseconds since the epoch",
    "op": "one of " + ", ".join(OPERATIONS),
}


# --- Errors ----------------------------------------------------------------------------------------------------------

_MISSING_PATTERN: Final = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN_PATTERN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at .*)?", re.DOTALL)
_FIELD_PATTERN: Final = re.compile(r"(.*?) - at `\$\.(\w+)`", re.DOTALL)
_TYPE_PATTERN: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")


def _shown(text: str) -> str:
    """What a client sent, short enough for a message."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}… ({len(text)} characters)"


def _invalid(field: str, problem: str, nearest: Iterable[str] = ()) -> InvalidCommandError:
    hint = "".join(f"; did you mean {name}?" for name in nearest)
    return InvalidCommandError(f"{field}: {problem}; expected {_EXPECTED[field]}{hint}", field)


def _unknown_field(name: str, known: Iterable[str]) -> InvalidCommandError:
    if name in _LATER_FIELDS:
        return InvalidCommandError(f"{name}: not supported by this version; leave it out", name)
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return InvalidCommandError(f"{_shown(name)}: unknown field; {hint}", name)


def _explained(error: Exception, known: Iterable[str]) -> InvalidCommandError:
    """The decoder's error in words that name the field, what is wrong with it and what is expected."""
    text = str(error)
    if isinstance(error, RecursionError):
        return InvalidCommandError("the JSON is nested too deeply; a command is one flat JSON object")
    if isinstance(error, UnicodeError):
        return InvalidCommandError("the JSON holds bytes that are not UTF-8; send JSON in UTF-8")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidCommandError(f"not valid JSON: {text}; send one complete JSON object in UTF-8")
    if match := _MISSING_PATTERN.match(text):
        return _invalid(match[1], "missing")
    if match := _UNKNOWN_PATTERN.fullmatch(text):
        return _unknown_field(match[1], known)
    if match := _FIELD_PATTERN.fullmatch(text):
        problem, field = match[1], match[2]
        if field in _EXPECTED:
            wrong_type = _TYPE_PATTERN.fullmatch(problem)
            return _invalid(field, f"got {wrong_type[2]}" if wrong_type else problem[:1].lower() + problem[1:])
    if match := _TYPE_PATTERN.fullmatch(text):
        return InvalidCommandError(f"expected a JSON {match[1]}, got {match[2]}")
    return InvalidCommandError(text)


# --- Fields ----------------------------------------------------------------------------------------------------------

_NUMBER_PATTERN: Final = re.compile(rb'("?)(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?\1')


@lru_cache(maxsize=65_536)
def _parse_number(text: bytes, lowest: int) -> Number | str:
    """An exact number from the digits of a JSON number or string, or what is wrong with it; `lowest` is 1 or 0.

    Cached: the same prices and sizes come again and again.
    """
    match = _NUMBER_PATTERN.fullmatch(text)
    if match is None:
        return f"{_shown(text.decode())} is no decimal number"
    _, sign, whole, fraction, exponent = match.groups()
    decimals = len(fraction) if fraction else 0
    mantissa = int(whole + fraction) if fraction else int(whole)
    if exponent:
        decimals -= int(exponent)
    if decimals < 0:
        mantissa *= 10**-decimals
        decimals = 0
    if sign or mantissa < lowest:
        return f"{text.decode()} is {'below' if lowest == 0 else 'not above'} zero"
    if decimals > MAX_DECIMALS:
        return f"{text.decode()} has more than {MAX_DECIMALS} decimals"
    if mantissa > MAX_INTEGER:
        return f"{text.decode()} has more digits than a signed 64-bit integer holds"
    return Number(mantissa, decimals)


def _number(field: str, raw: msgspec.Raw, lowest: int = 1) -> Number:
    text = bytes(raw)
    # Only what can be a number goes into the cache.
    number = _parse_number(text, lowest) if len(text) <= MAX_NUMBER_CHARACTERS else f"a value of {len(text)} characters"
    if isinstance(number, str):
        raise _invalid(field, number)
    return number


def _optional_number(field: str, raw: msgspec.Raw, lowest: int = 1) -> Number | None:
    return None if raw is _ABSENT or bytes(raw) == b"null" else _number(field, raw, lowest)


@lru_cache(maxsize=4096)
def _is_symbol(value: str) -> bool:
    return SYMBOL_PATTERN.fullmatch(value) is not None


def _symbol(value: str) -> str:
    if len(value) > 24 or not _is_symbol(value):  # Nothing longer shall fill the cache.
        raise _invalid("symbol", f"{_shown(value)} is no symbol")
    return value


def _identifier(field: str, value: str) -> str:
    if IDENTIFIER_PATTERN.fullmatch(value) is None:
        raise _invalid(field, f"{_shown(value)} is no identifier")
    return value


def _account(value: str | None) -> str:
    return DEFAULT_ACCOUNT if value is None else _identifier("account", value)


_MemberT = TypeVar("_MemberT", Side, OrderType, TimeInForce, TradingStatus)


def _member(field: str, members: Mapping[str, _MemberT], value: str) -> _MemberT:
    member = members.get(value)
    if member is None:
        if value in _LATER_VALUES.get(field, ()):
            raise _invalid(field, f"{value} is not supported by this version")
        raise _invalid(field, f"unknown value {_shown(value)}", get_close_matches(value, members, n=1))
    return member


def _integer(field: str, value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        shown = str(value) if value.bit_length() <= 128 else "an integer of many digits"
        raise _invalid(field, f"{shown} is out of range")
    return value


def _not_after(value: int | None) -> int | None:
    return None if value is None else _integer("not_after", value, 0, MAX_INTEGER)


def _order_name(order_id: int | None, client_order_id: str | None) -> tuple[int | None, str | None]:
    if (order_id is None) == (client_order_id is None):
        problem = "neither is given" if order_id is None else "both are given"
        raise InvalidCommandError(
            f"order_id, client_order_id: {problem}; name the order by exactly one of them", "client_order_id"
        )
    if order_id is not None:
        return _integer("order_id", order_id, 1, MAX_INTEGER), None
    assert client_order_id is not None
    return None, _identifier("client_order_id", client_order_id)


# --- Forms: the fields of each command, as msgspec checks them --------------------------------------------------


class _NewOrder(msgspec.Struct, tag_field="op", tag="new", forbid_unknown_fields=True):
    symbol: str
    side: str
    quantity: msgspec.Raw
    account: str | None = None
    client_order_id: str | None = None
    order_type: str | None = None
    time_in_force: str | None = None
    price: msgspec.Raw = _ABSENT
    post_only: bool | None = None
    not_after: int | None = None

    def to_command(self, generate_client_order_id: Callable[[], str] | None) -> NewOrder:
        client_order_id = self.client_order_id
        if client_order_id is None:
            if generate_client_order_id is None:
                raise _invalid("client_order_id", "missing")
            client_order_id = generate_client_order_id()
        order_type = (
            OrderType.LIMIT if self.order_type is None else _member("order_type", _ORDER_TYPES, self.order_type)
        )
        if self.time_in_force is None:
            time_in_force = TimeInForce.IOC if order_type is OrderType.MARKET else TimeInForce.GTC
        else:
            time_in_force = _member("time_in_force", _TIMES_IN_FORCE, self.time_in_force)
        return NewOrder(
            _symbol(self.symbol),
            _account(self.account),
            _identifier("client_order_id", client_order_id),
            _member("side", _SIDES, self.side),
            order_type,
            time_in_force,
            _optional_number("price", self.price),
            _number("quantity", self.quantity),
            self.post_only or False,
            _not_after(self.not_after),
        )


class _CancelOrder(msgspec.Struct, tag_field="op", tag="cancel", forbid_unknown_fields=True):
    account: str | None = None
    order_id: int | None = None
    client_order_id: str | None = None
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> CancelOrder:
        return CancelOrder(
            _account(self.account), *_order_name(self.order_id, self.client_order_id), _not_after(self.not_after)
        )


class _CancelAll(msgspec.Struct, tag_field="op", tag="cancel_all", forbid_unknown_fields=True):
    account: str | None = None
    symbol: str | None = None
    side: str | None = None
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> CancelAll:
        return CancelAll(
            _account(self.account),
            None if self.symbol is None else _symbol(self.symbol),
            None if self.side is None else _member("side", _SIDES, self.side),
            _not_after(self.not_after),
        )


class _ReplaceOrder(msgspec.Struct, tag_field="op", tag="replace", forbid_unknown_fields=True):
    account: str | None = None
    order_id: int | None = None
    client_order_id: str | None = None
    price: msgspec.Raw = _ABSENT
    quantity: msgspec.Raw = _ABSENT
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> ReplaceOrder:
        return ReplaceOrder(
            _account(self.account),
            *_order_name(self.order_id, self.client_order_id),
            _optional_number("price", self.price),
            _optional_number("quantity", self.quantity, lowest=0),  # To nothing: a replace that cancels.
            _not_after(self.not_after),
        )


class _AddInstrument(msgspec.Struct, tag_field="op", tag="add_instrument", forbid_unknown_fields=True):
    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: msgspec.Raw = _ABSENT
    lot_size: msgspec.Raw = _ABSENT
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> AddInstrument:
        price_decimals = _integer("price_decimals", self.price_decimals, 0, MAX_DECIMALS)
        quantity_decimals = _integer("quantity_decimals", self.quantity_decimals, 0, MAX_DECIMALS)
        return AddInstrument(
            _symbol(self.symbol),
            price_decimals,
            quantity_decimals,
            _optional_number("tick_size", self.tick_size) or Number(1, price_decimals),
            _optional_number("lot_size", self.lot_size) or Number(1, quantity_decimals),
            _not_after(self.not_after),
        )


class _SetStatus(msgspec.Struct, tag_field="op", tag="set_status", forbid_unknown_fields=True):
    symbol: str
    status: str
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> SetStatus:
        return SetStatus(_symbol(self.symbol), _member("status", _STATUSES, self.status), _not_after(self.not_after))


class _Tick(msgspec.Struct, tag_field="op", tag="tick", forbid_unknown_fields=True):
    not_after: int | None = None

    def to_command(self, _generate_client_order_id: Callable[[], str] | None) -> Tick:
        return Tick(_not_after(self.not_after))


class _Operation(msgspec.Struct):
    op: str


_Form = _NewOrder | _CancelOrder | _CancelAll | _ReplaceOrder | _AddInstrument | _SetStatus | _Tick

_FORMS: Final[Mapping[str, type[_Form]]] = {
    "new": _NewOrder,
    "cancel": _CancelOrder,
    "cancel_all": _CancelAll,
    "replace": _ReplaceOrder,
    "add_instrument": _AddInstrument,
    "set_status": _SetStatus,
    "tick": _Tick,
}

_FIELD_NAMES: Final[Mapping[str, tuple[str, ...]]] = {op: form.__struct_fields__ for op, form in _FORMS.items()}
_ALL_FIELD_NAMES: Final = ("op", *dict.fromkeys(name for names in _FIELD_NAMES.values() for name in names))

_any_form_decoder: msgspec.json.Decoder[_Form] = msgspec.json.Decoder(_Form)
_form_decoders: Final[Mapping[str, msgspec.json.Decoder[_Form]]] = {
    op: msgspec.json.Decoder(form) for op, form in _FORMS.items()
}
_operation_decoder = msgspec.json.Decoder(_Operation)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])

# --- Commands in -----------------------------------------------------------------------------------------------------


def command_from_json(
    data: bytes | str | msgspec.Raw,
    op: str | None = None,
    *,
    generate_client_order_id: Callable[[], str] | None = None,
) -> Command:
    """The command that one JSON object says. O(size).

    `op` names the kind of command where the object need not (a path of the HTTP interface does); if the object has
    an `op` as well, both must agree. Raises InvalidCommandError, which names the field and what is expected.
    """
    if isinstance(data, str):
        data = _to_utf8(data)
    _check_size(memoryview(data).nbytes)
    decoder = _any_form_decoder if op is None else _decoder_for(op)
    try:
        form = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        explained = _explained(error, _known_fields(data) if op is None else _FIELD_NAMES[op])
        if op is not None and explained.field == "op":
            explained = InvalidCommandError(f"op: only {op} can stand here; write that or leave it out", "op")
        raise explained from error
    return form.to_command(generate_client_order_id)


def _known_fields(data: bytes | msgspec.Raw) -> tuple[str, ...]:
    """The fields that the command in `data` may have; those of all commands where it does not say which it is."""
    try:
        op = _operation_decoder.decode(data).op
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _ALL_FIELD_NAMES
    return ("op", *_FIELD_NAMES[op]) if op in _FIELD_NAMES else _ALL_FIELD_NAMES


def command_from_fields(
    op: str,
    fields: Mapping[str, object],
    *,
    generate_client_order_id: Callable[[], str] | None = None,
) -> Command:
    """The command that a mapping of fields says: `command_from_json` for values that are Python's, or `Raw` JSON.

    Prices and quantities as strings, integers, Decimal or Raw are exact; a float means the shortest decimal number
    that reads back as the same float. Raises InvalidCommandError.
    """
    for name, value in fields.items():
        if not isinstance(value, _PLAIN_TYPES) or (isinstance(value, float) and not isfinite(value)):
            raise InvalidCommandError(f"{_shown(name)}: a command holds text, numbers, true, false and null only", name)
    try:
        data = _encoder.encode(fields)
    except (ValueError, OverflowError) as error:
        raise InvalidCommandError(f"a field holds what JSON cannot say: {error}; send text or a number") from error
    return command_from_json(data, op, generate_client_order_id=generate_client_order_id)


def fields_from_json(data: bytes | str) -> dict[str, msgspec.Raw]:
    """The fields of one JSON object, each still in its own JSON, so that numbers stay exact.

    For callers with fields of their own beside the command's: they take theirs out and hand the rest to
    `command_from_fields`. Raises InvalidCommandError.
    """
    if isinstance(data, str):
        data = _to_utf8(data)
    _check_size(len(data))
    try:
        return _fields_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _explained(error, _ALL_FIELD_NAMES) from error


def commands_from_json_array(
    data: bytes,
    max_commands: int,
    *,
    generate_client_order_id: Callable[[], str] | None = None,
) -> list[Command | InvalidCommandError]:
    """The commands of a JSON array in their order, an error standing in the place of each that is none. O(size).

    Raises InvalidCommandError where the whole is no JSON array, or has more than `max_commands` items.
    """
    try:
        items = _array_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _explained(error, _ALL_FIELD_NAMES) from error
    if len(items) > max_commands:
        raise InvalidCommandError(f"the array has {len(items)} commands; send at most {max_commands} at a time")
    commands: list[Command | InvalidCommandError] = []
    for item in items:
        try:
            commands.append(command_from_json(item, generate_client_order_id=generate_client_order_id))
        except InvalidCommandError as error:
            commands.append(error)
    return commands


def parse_instrument_spec(text: str) -> AddInstrument:
    """An instrument as the command line names it: `SYMBOL,price_decimals=2,quantity_decimals=0,tick_size=0.01,…`.

    `tick_size` and `lot_size` are the smallest step where they are absent. Raises InvalidCommandError.
    """
    symbol, *assignments = text.split(",")
    fields: dict[str, object] = {"symbol": symbol.strip()}
    for assignment in assignments:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals or not name or not value:
            raise InvalidCommandError(
                f"instrument {text!r}: {assignment!r} must be name=value; "
                "expected SYMBOL,price_decimals=2,quantity_decimals=0,tick_size=0.01,lot_size=1"
            )
        if name in fields:
            raise InvalidCommandError(f"instrument {text!r}: {name} is given twice", name)
        is_count = name in {"price_decimals", "quantity_decimals"} and value.isascii() and value.isdigit()
        fields[name] = int(value[:20]) if is_count else value
    command = command_from_fields("add_instrument", fields)
    assert isinstance(command, AddInstrument)
    return command


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_COMMAND_JSON_BYTES:
        raise InvalidCommandError(
            f"the command is of {size_bytes} bytes; "
            f"a command is a JSON object of at most {MAX_COMMAND_JSON_BYTES} bytes"
        )


def _to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidCommandError("the command is not valid Unicode; send JSON in UTF-8") from error


def _decoder_for(op: str) -> msgspec.json.Decoder[_Form]:
    decoder = _form_decoders.get(op)
    if decoder is None:
        raise _invalid("op", f"unknown operation {_shown(op)}", get_close_matches(op, OPERATIONS, n=1))
    return decoder


# --- Commands out ----------------------------------------------------------------------------------------------------


def number_text(number: Number) -> str:
    """A number with as many decimals as it was written with."""
    return decimal_text(number.mantissa, number.decimals)


@lru_cache(maxsize=65_536)
def decimal_text(units: int, decimals: int) -> str:
    """`units` of 10**-`decimals` as a decimal string with exactly that many decimals. Cached: they come again."""
    if decimals == 0:
        return str(units)
    digits = str(units)
    if len(digits) > decimals:
        return f"{digits[:-decimals]}.{digits[-decimals:]}"
    return f"0.{digits:0>{decimals}}"


def command_to_json(command: Command) -> dict[str, object]:
    """The JSON object from which `command_from_json` makes the same command; absent fields are left out.

    Malformed is no command that anybody could send: it gives its detail alone.
    """
    return _OPERATION_OF[type(command)] | _set_fields(command)


def echo_of(command: Command) -> dict[str, object]:
    """What a rejection repeats of the command: its fields as they were written, without `op` and `not_after`."""
    fields = _set_fields(command)
    fields.pop("not_after", None)
    return fields


_OPERATION_OF: Final[Mapping[type[Command], dict[str, object]]] = {
    NewOrder: {"op": "new"},
    CancelOrder: {"op": "cancel"},
    CancelAll: {"op": "cancel_all"},
    ReplaceOrder: {"op": "replace"},
    AddInstrument: {"op": "add_instrument"},
    SetStatus: {"op": "set_status"},
    Tick: {"op": "tick"},
    Malformed: {},
}


def _set_fields(command: Command) -> dict[str, object]:
    return {
        name: _json_value(value)
        for name, value in zip(command._fields, command, strict=True)
        if value is not None and value is not False
    }


def _json_value(value: object) -> object:
    if isinstance(value, Number):
        return number_text(value)
    if isinstance(value, (Side, OrderType, TimeInForce, TradingStatus)):
        return value.label
    return value
