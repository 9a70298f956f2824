"""Commands in CBOR: the same fields as in JSON, under the same checks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, TypeGuard

import cbor2

from raftbook.codec.cbor import NO_TAGS, refuse_tag
from raftbook.errors import InvalidCommandError
from raftbook.json_format import command_from_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.engine.commands import Command

_MAX_DEPTH: Final = 4
"""An array of maps of plain values needs two; the accounts of a key one more."""


def commands_from_cbor_array(
    data: bytes, max_commands: int, *, generate_client_order_id: Callable[[], str]
) -> list[Command | InvalidCommandError]:
    """The commands of a CBOR array, in order, an error in the place of each element that is none.

    Raises InvalidCommandError where the whole is no array, or has more than `max_commands` elements.
    """
    return [
        fields if isinstance(fields, InvalidCommandError) else _command_or_error(fields, generate_client_order_id)
        for fields in fields_from_cbor_array(data, max_commands)
    ]


def fields_from_cbor_array(data: bytes, max_commands: int) -> list[dict[str, object] | InvalidCommandError]:
    """The fields of each command of a CBOR array, as yet unread; see `commands_from_cbor_array`."""
    elements = _decoded(data, "array of maps")
    if not isinstance(elements, list):
        raise InvalidCommandError("the body must be one CBOR array of commands")
    if len(elements) > max_commands:
        raise InvalidCommandError(f"the array has {len(elements)} commands; send at most {max_commands} at a time")
    return [
        element if _is_map_of_fields(element) else InvalidCommandError("a command is a map with text keys")
        for element in elements
    ]


def fields_from_cbor(data: bytes) -> dict[str, object]:
    """The fields of one CBOR map. Raises InvalidCommandError."""
    fields = _decoded(data, "map")
    if not _is_map_of_fields(fields):
        raise InvalidCommandError("the body must be one CBOR map with text keys")
    return fields


def _decoded(data: bytes, expected: str) -> object:
    stream = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=refuse_tag,
        semantic_decoders=NO_TAGS,
        max_depth=_MAX_DEPTH,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        value: object = decoder.decode()
    except cbor2.CBORDecodeError as error:
        raise InvalidCommandError(f"the body is not the CBOR of a plain {expected}: {error}") from error
    if stream.tell() != len(data):
        raise InvalidCommandError(f"the body goes on after its CBOR {expected}; send one and nothing else")
    return value


def _is_map_of_fields(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _command_or_error(
    element: dict[str, object], generate_client_order_id: Callable[[], str]
) -> Command | InvalidCommandError:
    op = element.pop("op", None)
    if not isinstance(op, str):
        return InvalidCommandError("op: must name the command, such as new or cancel", field="op")
    try:
        return command_from_fields(op, element, generate_client_order_id=generate_client_order_id)
    except InvalidCommandError as error:
        return error
