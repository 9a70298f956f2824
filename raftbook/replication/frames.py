"""Frames: how messages lie in the byte stream of a connection. Pure; transport.py does the I/O.

    size of the payload   4 bytes, big-endian
    CRC32C                4 bytes, of the epoch and the payload
    epoch                 8 bytes, the number that the receiver chose for this connection; 0 until it has told it
    payload               one encoded message, or nothing: a keep-alive

TCP's own checksum has 16 bits and is often computed by the network card, behind which a fault of the host goes
unseen. What a follower takes from the stream it writes to its log for good, so a real checksum stands here; it
costs 50 µs for a mebibyte. The epoch makes sure that a byte that was meant for an earlier connection, of this
process or one before, is never taken for one of this connection.
"""

from __future__ import annotations

import struct
from typing import Final

import google_crc32c

from raftbook.errors import ProtocolError

HANDSHAKE_EPOCH: Final = 0
KEEP_ALIVE: Final = b""

_HEADER: Final = struct.Struct(">IIQ")
_EPOCH: Final = struct.Struct(">Q")
HEADER_SIZE_BYTES: Final = _HEADER.size


def frame_header(epoch: int, payload: bytes) -> bytes:
    """What goes before `payload`. O(size), for the checksum; does not copy."""
    checksum = google_crc32c.extend(google_crc32c.value(_EPOCH.pack(epoch)), payload)
    return _HEADER.pack(len(payload), checksum, epoch)


def encode_frame(epoch: int, payload: bytes) -> bytes:
    return frame_header(epoch, payload) + payload


class FrameDecoder:
    """Cuts a byte stream, however it was chunked, into payloads.

    Usage: `receive` what came, then `next_payload` until it is None. It never holds more than one frame that
    exceeds no limit and one chunk, and a frame that is too large is refused as soon as its header is there.
    """

    def __init__(self, *, epoch: int, max_payload_size_bytes: int) -> None:
        self._buffer = bytearray()
        self._position = 0
        self.expect(epoch=epoch, max_payload_size_bytes=max_payload_size_bytes)

    def expect(self, *, epoch: int, max_payload_size_bytes: int) -> None:
        """Hold all frames that `next_payload` has not yet given to this epoch and this limit."""
        self._epoch = epoch
        self._max_payload_size_bytes = max_payload_size_bytes

    def receive(self, data: bytes) -> None:
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next_payload(self) -> bytes | None:
        """The next whole payload; None if more bytes are needed. O(size).

        Raises ProtocolError for a frame that is too large, altered, or of another connection. The decoder is
        of no use after that: there is no telling where the next frame begins.
        """
        start = self._position + HEADER_SIZE_BYTES
        if len(self._buffer) < start:
            return None
        size_bytes, checksum, epoch = _HEADER.unpack_from(self._buffer, self._position)
        if size_bytes > self._max_payload_size_bytes:
            raise ProtocolError(f"a frame of {size_bytes} bytes, where {self._max_payload_size_bytes} are the limit")
        if epoch != self._epoch:
            raise ProtocolError("a frame of another connection: its epoch is not the one of this connection")
        end = start + size_bytes
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[start:end])
        if google_crc32c.extend(google_crc32c.value(_EPOCH.pack(epoch)), payload) != checksum:
            raise ProtocolError(f"a frame of {size_bytes} bytes was altered on its way: its checksum is wrong")
        self._position = end
        return payload
