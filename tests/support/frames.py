"""The messages in a server's WebSocket frames (RFC 6455, section 5.2), read without a WebSocket library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cbor2

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, BINARY = 0x81, 0x82


def messages_in(frames: bytes) -> Iterator[dict[str, Any]]:
    """Whole frames, unmasked and not fragmented."""
    at = 0
    while at < len(frames):
        opcode, length = frames[at], frames[at + 1]
        at += 2
        for marker, size in ((126, 2), (127, 8)):
            if length == marker:
                length = int.from_bytes(frames[at : at + size], "big")
                at += size
                break
        payload = frames[at : at + length]
        assert len(payload) == length, "the last frame is whole"
        at += length
        assert opcode in (TEXT, BINARY)
        yield json.loads(payload) if opcode == TEXT else cbor2.loads(payload)
