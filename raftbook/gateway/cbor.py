"""Command arrays in CBOR: the same fields as in JSON, under the same checks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, NoReturn

import cbor2

from raftbook.errors import InvalidCommandError
from raftbook.json_format import command_from_fields

if TYPE_CHECKING:
    from raftbook.engine.commands import Command

_MAX_DEPTH: Final = 4
"""An array of maps of plain values needs two."""


def commands_from_cbor_array(data: bytes, max_commands: int) -> list[Command | InvalidCommandError]:
    """The commands of a CBOR array, in order, an error in the place of each element that is none.

    Raises InvalidCommandError where the whole is no array, or has more than `max_commands` elements.
    """
    stream = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=_refuse_tag,
        semantic_decoders=_REFUSED_TAGS,
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
    return [_command_or_error(element) for element in elements]


def _command_or_error(element: object) -> Command | InvalidCommandError:
    if not isinstance(element, dict) or not all(isinstance(name, str) for name in element):
        return InvalidCommandError("a command is a map with text keys")
    op = element.pop("op", None)
    if not isinstance(op, str):
        return InvalidCommandError("op: must name the command, such as new or cancel", field="op")
    try:
        return command_from_fields(op, element)
    except InvalidCommandError as error:
        return error


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("CBOR tags are not accepted; write numbers that are not whole as text")


# cbor2 has decoders of its own for these tags, among them regular expressions, shared references and numbers with
# gigantic exponents. None of them belongs in a command, so each is refused as the unknown ones are.
_REFUSED_TAGS: Final = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse_tag
)
