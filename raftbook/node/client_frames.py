"""Where a client's WebSocket frames begin and end (RFC 6455, section 5.2), and the plain ones among them. Pure.

A busy client's read holds dozens of small text frames, and the library's parser, a coroutine that serves every kind of
frame in every state, takes longer for one than the node takes to read the order in it. What is plain is read here;
whether a frame is right is the library's to judge, and it gets every frame that is not plain.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # The one in C, where there is one.

PLAIN: Final = 0x81
"""The first byte of a text frame that is a whole message."""

_MASKED: Final = 0x80
_LENGTH_OF_16_BITS: Final = 126
_LENGTH_OF_64_BITS: Final = 127
_MASK_BYTES: Final = 4


class PlainFrames(NamedTuple):
    """The payloads of consecutive frames, in ASCII, and where each frame ends."""

    payloads: list[bytes]
    ends: list[int]


def read_plain_frames(data: bytes, at: int) -> PlainFrames:
    """The frames from `at` on that are plain: whole, masked, final text of less than 64 KiB, and ASCII.

    It ends before the first that is not. O(bytes read).
    """
    payloads: list[bytes] = []
    ends: list[int] = []
    size = len(data)
    while at + 2 <= size and data[at] == PLAIN:
        length = data[at + 1] - _MASKED
        mask = at + 2
        if length == _LENGTH_OF_16_BITS:
            length = int.from_bytes(data[mask : mask + 2], "big")
            mask += 2
        elif length < 0 or length == _LENGTH_OF_64_BITS:
            break
        begin = mask + _MASK_BYTES
        at = begin + length
        if at > size:
            break
        payload = apply_mask(data[begin:at], data[mask:begin])
        if not payload.isascii():  # It may not be UTF-8.
            break
        payloads.append(payload)
        ends.append(at)
    return PlainFrames(payloads, ends)


def frame_bytes(data: bytes, at: int) -> int | None:
    """How long the frame is that begins there, whatever it is; None where not so much of its header has come."""
    size = len(data)
    if at + 2 > size:
        return None
    length = data[at + 1] & ~_MASKED
    header_bytes = 2 + (_MASK_BYTES if data[at + 1] & _MASKED else 0)
    for marker, length_bytes in ((_LENGTH_OF_16_BITS, 2), (_LENGTH_OF_64_BITS, 8)):
        if length == marker:
            if at + 2 + length_bytes > size:
                return None
            return header_bytes + length_bytes + int.from_bytes(data[at + 2 : at + 2 + length_bytes], "big")
    return header_bytes + length
