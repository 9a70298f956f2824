"""Command arrays in CBOR: the same fields as in JSON, under the same checks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import cbor2

from raftbook.codec.cbor import NO_TAGS, refuse_tag
from raftbook.errors import InvalidCommandError
from raftbook.json_format import command_from_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.engine.commands import Command

_MAX_DEPTH: Final = 4
"""An array of maps of plain values needs two."""


def commands_from_cbor_array(
    data: bytes, max_commands: int, *, generate_client_order_id: Callable[[], str]
) -> list[Command | InvalidCommandError]:
    """The commands of a CBOR array, in order, an error in the place of each element that is none.

    Raises InvalidCommandError where the whole is no array, or has more than `max_commands` elements.
    """
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
        elements = decoder.decode()
    except cbor2.CBORDecodeError as error:
        raise InvalidCommandError(f"the body is not the CBOR of a plain array of maps: {error}") from error
    if stream.tell() != len(data):
        raise InvalidCommandError("the body goes on after its CBOR array; send one array and nothing else")
    if not isinstance(elements, list):
        raise InvalidCommandError("the body must be one CBOR array of commands")
    if len(elements) > max_commands:
        raise InvalidCommandError(f"the array has {len(elements)} commands; send at most {max_commands} at a time")
    return [_command_or_error(element, generate_client_order_id) for element in elements]


def _command_or_error(element: object, generate_client_order_id: Callable[[], str]) -> Command | InvalidCommandError:
    if not isinstance(element, dict) or not all(isinstance(name, str) for name in element):
        return InvalidCommandError("a command is a map with text keys")
    op = element.pop("op", None)
    if not isinstance(op, str):
        return InvalidCommandError("op: must name the command, such as new or cancel", field="op")
    try:
        return command_from_fields(op, element, generate_client_order_id=generate_client_order_id)
    except InvalidCommandError as error:
        return error
