"""The pieces of canonical CBOR, and a decoder that interprets no tag."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import IO, TYPE_CHECKING, Final, NoReturn, TypeGuard, cast

import cbor2

from raftbook.engine.turns import let_others_run

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_BYTES: Final = 65_536

NULL: Final = b"\xf6"
FALSE: Final = b"\xf4"
TRUE: Final = b"\xf5"
UNSIGNED: Final = 0x00
BYTES: Final = 0x40
TEXT: Final = 0x60
ARRAY: Final = 0x80

_pack_16: Final = Struct(">BH").pack
_pack_32: Final = Struct(">BI").pack
_pack_64: Final = Struct(">BQ").pack


def head(major_type: int, value: int) -> bytes:
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


SMALL_INTEGERS: Final = tuple(head(UNSIGNED, value) for value in range(1024))
_SHORT_BYTES: Final = 512
_BYTES_HEADS: Final = tuple(head(BYTES, size) for size in range(_SHORT_BYTES))


def integer(value: int) -> bytes:
    if value < 1024:
        return SMALL_INTEGERS[value] if value >= 0 else cbor2.dumps(value, canonical=True)
    if value < 0x1_0000:
        return _pack_16(25, value)
    if value < 0x1_0000_0000:
        return _pack_32(26, value)
    return _pack_64(27, value)


@lru_cache(maxsize=65_536)
def text(value: str) -> bytes:
    """Cached: symbols, accounts and, between an order's command and its events, client order ids come again."""
    encoded = value.encode()
    return head(TEXT, len(encoded)) + encoded


def optional_integer(value: int | None) -> bytes:
    return NULL if value is None else integer(value)


def optional_text(value: str | None) -> bytes:
    return NULL if value is None else text(value)


def refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a CBOR tag; write plain values, and numbers that are not whole as text")


class _EveryTagRefused(dict[int, "Callable[[object, object], NoReturn]"]):
    """Stands for a table with a refusal for each of the 2**64 tags, so that cbor2 interprets none of them.

    Among those that it would interpret are regular expressions, shared references and numbers with gigantic exponents.
    """

    def __contains__(self, _tag: object) -> bool:
        return True

    def __getitem__(self, _tag: int) -> Callable[[object, object], NoReturn]:
        return refuse_tag

    def get(self, _tag: int, _default: object = None) -> Callable[[object, object], NoReturn]:
        return refuse_tag


NO_TAGS: Final = _EveryTagRefused()
"""For cbor2's `semantic_decoders`."""


def load(raw: bytes, max_depth: int) -> object:
    """The first CBOR item of `raw`. Raises CBORError and, on nonsense, whatever else cbor2 comes to raise."""
    decoded: object = cbor2.loads(
        raw,
        semantic_decoders=NO_TAGS,
        tag_hook=refuse_tag,
        max_depth=max_depth,
        allow_indefinite=False,
        strict_hashable_types=True,
    )
    return decoded


def load_in_pieces(raw: bytes, max_depth: int) -> object:
    """As `load`, for large ones: other threads of the process go on meanwhile. The same bytes give the same."""
    decoded: object = cbor2.load(
        cast("IO[bytes]", _InPieces(raw)),
        read_size=_PIECE_BYTES,
        semantic_decoders=NO_TAGS,
        tag_hook=refuse_tag,
        max_depth=max_depth,
        allow_indefinite=False,
        strict_hashable_types=True,
    )
    return decoded


class _InPieces:
    """A file of bytes, to read. cbor2's decoder is one long call of C, in which the interpreter changes threads only
    when it comes here.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = 0

    def read(self, size: int) -> bytes:
        let_others_run()
        piece = self._raw[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        """Only of such a file cbor2 reads more at a time than the next item."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Back over what was read and not needed."""
        self._position = offset + (0, self._position, len(self._raw))[whence]
        return self._position


def byte_string(raw: bytes) -> bytes:
    size_bytes = len(raw)
    return (_BYTES_HEADS[size_bytes] if size_bytes < _SHORT_BYTES else head(BYTES, size_bytes)) + raw


def is_integer(value: object, lowest: int, highest: int) -> TypeGuard[int]:
    """Whether it is an int, not a bool, within the bounds."""
    return type(value) is int and lowest <= value <= highest
