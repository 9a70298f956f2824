"""Commands from JSON: one object, an array of them, the fields of one, or an instrument in one line of text.

What is judged here is the shape: names, types and ranges of fields (fields.py). Everything else is the engine's.

A new order without `client_order_id` gets one from the caller's `generate_client_order_id`, so that this module needs
no randomness of its own; without a generator it is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import get_close_matches
from math import isfinite
from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.engine.commands import AddInstrument
from raftbook.errors import InvalidCommandError
from raftbook.json_format.fields import expected, invalid
from raftbook.json_format.forms import FORMS, OPERATIONS, Form
from raftbook.json_format.hot_forms import command_of
from raftbook.json_format.numbers import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from raftbook.engine.commands import Command

MAX_COMMAND_JSON_BYTES: Final = 16_384
"""A bound far above any command, so that nonsense is refused before it is parsed."""

_PLAIN_TYPES: Final = (str, int, float, Decimal, msgspec.Raw, type(None))
_UNREADABLE: Final = ("unreadable",)
_COUNTS: Final = ("price_decimals", "quantity_decimals", "max_open_orders")
"""The fields of an instrument that JSON has as integers."""


class _Operation(msgspec.Struct):
    op: str


_FIELD_NAMES: Final[Mapping[str, tuple[str, ...]]] = {op: form.__struct_fields__ for op, form in FORMS.items()}
_ALL_FIELD_NAMES: Final = ("op", *dict.fromkeys(name for names in _FIELD_NAMES.values() for name in names))
_EXPECTED_OPERATION: Final = f"one of {', '.join(OPERATIONS)}"

_encoder = msgspec.json.Encoder()
_any_form_decoder: msgspec.json.Decoder[Form] = msgspec.json.Decoder(Form)
_form_decoders: Final[Mapping[str, msgspec.json.Decoder[Form]]] = {
    op: msgspec.json.Decoder(form) for op, form in FORMS.items()
}
_operation_decoder = msgspec.json.Decoder(_Operation)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


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
    _check_size(len(data))
    decoder = _any_form_decoder if op is None else _decoder_for(op)
    try:
        form = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if op is not None:
            explained = _explained(error, op, _FIELD_NAMES[op])
            if explained.field == "op":
                explained = InvalidCommandError(f"op: only {op} can stand here; write that or leave it out", "op")
            raise explained from error
        named = _named_operation(data)
        known = _ALL_FIELD_NAMES if named is None else ("op", *_FIELD_NAMES[named])
        raise _explained(error, named, known) from error
    return command_of(form, generate_client_order_id)


def _named_operation(data: bytes | msgspec.Raw) -> str | None:
    """The kind of command that `data` says it is; None where it does not say, or there is no such kind."""
    try:
        op = _operation_decoder.decode(data).op
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return op if op in FORMS else None


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
        if not _is_plain(value):
            raise InvalidCommandError(
                f"{shown(name)}: a command holds text, numbers, true, false, null and arrays of text only", name
            )
    try:
        data = _encoder.encode(fields)
    except (ValueError, OverflowError) as error:
        raise InvalidCommandError(f"a field holds what JSON cannot say: {error}; send text or a number") from error
    return command_from_json(data, op, generate_client_order_id=generate_client_order_id)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, _PLAIN_TYPES) and not (isinstance(value, float) and not isfinite(value))


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
        raise _explained(error, None, _ALL_FIELD_NAMES) from error


def value_of_field(field: object) -> object:
    """What stands in one of these fields; of what is no JSON, such as CBOR, the value is the field itself.

    What cannot be read, such as the number 1e999 or bytes that are no UTF-8, is a value that no field takes.
    """
    if not isinstance(field, msgspec.Raw):
        return field
    try:
        return msgspec.json.decode(field)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _UNREADABLE


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
        raise _explained(error, None, _ALL_FIELD_NAMES) from error
    if len(items) > max_commands:
        raise InvalidCommandError(f"the array has {len(items)} commands; send at most {max_commands} at a time")
    return [_command_or_fault(item, generate_client_order_id) for item in items]


def _command_or_fault(
    item: msgspec.Raw, generate_client_order_id: Callable[[], str] | None
) -> Command | InvalidCommandError:
    try:
        # As `command_from_json`, without what it does before, and in vain, for nearly all of so many.
        if len(item) <= MAX_COMMAND_JSON_BYTES:
            return command_of(_any_form_decoder.decode(item), generate_client_order_id)
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidCommandError):
        pass  # What is wrong is said below.
    try:
        return command_from_json(item, generate_client_order_id=generate_client_order_id)
    except InvalidCommandError as error:
        return error


def parse_instrument_spec(text: str) -> AddInstrument:
    """An instrument as the command line names it: `SYMBOL,price_decimals=2,quantity_decimals=0,tick_size=0.01,…`.

    It takes the fields of `add_instrument`. Raises InvalidCommandError.
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
        is_count = name in _COUNTS and value.isascii() and value.isdigit()
        fields[name] = int(value.lstrip("0")[:20] or "0") if is_count else value
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


def _decoder_for(op: str) -> msgspec.json.Decoder[Form]:
    decoder = _form_decoders.get(op)
    if decoder is None:
        nearest = get_close_matches(op, OPERATIONS, n=1)
        raise invalid("op", f"unknown operation {shown(op)}", expectation=_EXPECTED_OPERATION, nearest=nearest)
    return decoder


# --- What is wrong, in words -----------------------------------------------------------------------------------------

_MISSING_PATTERN: Final = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN_PATTERN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at .*)?", re.DOTALL)
_FIELD_PATTERN: Final = re.compile(r"(.*?) - at `\$\.(\w+)`", re.DOTALL)
_TYPE_PATTERN: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")


def _explained(error: Exception, op: str | None, known: Iterable[str]) -> InvalidCommandError:
    """The decoder's error in words that name the field, what is wrong with it and what is expected in that `op`."""
    text = str(error)
    if isinstance(error, RecursionError):
        return InvalidCommandError("the JSON is nested too deeply; a command is one flat JSON object")
    if isinstance(error, UnicodeError):
        return InvalidCommandError("the JSON holds bytes that are not UTF-8; send JSON in UTF-8")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidCommandError(f"not valid JSON: {text}; send one complete JSON object in UTF-8")
    if match := _MISSING_PATTERN.match(text):
        return invalid(match[1], "missing", expectation=_expectation(match[1], op))
    if match := _UNKNOWN_PATTERN.fullmatch(text):
        return _unknown_field(match[1], known)
    if match := _FIELD_PATTERN.fullmatch(text):
        problem, field = match[1], match[2]
        expectation = _expectation(field, op)
        if expectation is not None:
            wrong_type = _TYPE_PATTERN.fullmatch(problem)
            problem = f"got {wrong_type[2]}" if wrong_type else problem[:1].lower() + problem[1:]
            return invalid(field, problem, expectation=expectation)
    if match := _TYPE_PATTERN.fullmatch(text):
        return InvalidCommandError(f"expected a JSON {match[1]}, got {match[2]}")
    return InvalidCommandError(text)


def _expectation(field: str, op: str | None) -> str | None:
    return _EXPECTED_OPERATION if field == "op" else expected(field, op)


def _unknown_field(name: str, known: Iterable[str]) -> InvalidCommandError:
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return InvalidCommandError(f"{shown(name)}: unknown field; {hint}", name)
