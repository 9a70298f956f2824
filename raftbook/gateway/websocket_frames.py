"""Messages as WebSocket frames (RFC 6455, section 5.2): JSON in text frames, CBOR in binary ones.

A server's frames are not masked, so one frame does for every client that gets the same message.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import cbor2

from raftbook.json_format import dumps

if TYPE_CHECKING:
    from raftbook.json_format import Json

_FINAL_TEXT: Final = 0x81
_FINAL_BINARY: Final = 0x82
_LONGEST_SHORT: Final = 125
_LENGTH_OF_16_BITS: Final = 126
_LENGTH_OF_64_BITS: Final = 127


class Encoding(Enum):
    """How a message is written; an answer is written as its question was."""

    JSON = "json"
    CBOR = "cbor"

    def frame(self, message: Json) -> bytes:
        """The message as one whole frame."""
        if self is Encoding.JSON:
            return text_frame(dumps(message))
        return _frame(_FINAL_BINARY, cbor2.dumps(message))


def text_frame(json: bytes) -> bytes:
    """JSON as one whole frame."""
    return _frame(_FINAL_TEXT, json)


def _frame(first_byte: int, payload: bytes) -> bytes:
    size_bytes = len(payload)
    if size_bytes <= _LONGEST_SHORT:
        return bytes((first_byte, size_bytes)) + payload
    if size_bytes < 1 << 16:
        return bytes((first_byte, _LENGTH_OF_16_BITS)) + size_bytes.to_bytes(2, "big") + payload
    return bytes((first_byte, _LENGTH_OF_64_BITS)) + size_bytes.to_bytes(8, "big") + payload
