"""Entries of the ordered log: a timestamp and runs of commands, whose bytes are embedded untouched."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.codec.cbor import ARRAY, BYTES, TEXT, UNSIGNED, byte_string, head, integer, text
from raftbook.codec.commands import decode_command
from raftbook.engine.commands import Entry, Run
from raftbook.engine.types import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY_VERSION: Final = 1

ORIGIN_PATTERN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}", re.ASCII)
"""Shape of an origin (a node's id and its start number); match it with `fullmatch`."""

# A NamedTuple's own constructor is a Python function that does just this, at twice the price.
_new: Final = tuple.__new__

_ARRAY_OF_3: Final = 0x83
_BYTES_TO_255: Final = 0x58
_LEAST_TO_255: Final = 24
_HEADS: Final = ((1, 24), (2, 0x100), (4, 0x1_0000), (8, 0x1_0000_0000))
"""The bytes of the longer heads' numbers, and the least number that needs so many."""


class RawRun(NamedTuple):
    """Encoded commands of one origin with consecutive sequence numbers, the first of them `first_sequence`."""

    origin: str
    first_sequence: int
    raw_commands: tuple[bytes, ...]


def encode_entry(timestamp: int, runs: Sequence[RawRun]) -> bytes:
    """One entry of the log, canonical. `timestamp` in nanoseconds since the epoch, from 0 to 2**63 - 1.

    Copies each command's bytes once, and looks at none of them. O(size).
    """
    parts = [b"\x83\x01", integer(timestamp), head(ARRAY, len(runs))]
    for origin, first_sequence, raw_commands in runs:
        parts += (b"\x83", text(origin), integer(first_sequence), head(ARRAY, len(raw_commands)))
        parts += map(byte_string, raw_commands)
    return b"".join(parts)


def split_entry(raw: bytes) -> tuple[int, tuple[RawRun, ...]] | None:
    """The timestamp and the runs of an entry, their commands still encoded; None if `raw` is not exactly one entry.

    Never raises. O(size).
    """
    try:
        return _read_entry(raw)
    except (IndexError, ValueError):
        return None


def _read_entry(raw: bytes) -> tuple[int, tuple[RawRun, ...]]:
    """By hand, in one pass that takes only what `encode_entry` writes: cbor2 and encoding again took 9 us an entry.

    Raises IndexError or ValueError for anything else. A slice beyond the end is short in silence, but then `at` is
    beyond the end as well, where nothing is left to read and the last check fails.
    """
    if raw[:2] != b"\x83\x01":
        raise ValueError("no entry of this version")
    timestamp, at = _read_head(raw, 2, UNSIGNED)
    run_count, at = _read_head(raw, at, ARRAY)
    if timestamp > MAX_INTEGER:
        raise ValueError("a timestamp beyond 64 bits")
    runs: list[RawRun] = []
    for _ in range(run_count):
        if raw[at] != _ARRAY_OF_3:
            raise ValueError("a run is an array of three")
        size_bytes, begin = _read_head(raw, at + 1, TEXT)
        first_sequence, at = _read_head(raw, begin + size_bytes, UNSIGNED)
        command_count, at = _read_head(raw, at, ARRAY)
        if not 1 <= first_sequence <= MAX_INTEGER - command_count:
            raise ValueError("a sequence beyond 64 bits")
        raw_commands: list[bytes] = []
        for _ in range(command_count):
            if raw[at] == _BYTES_TO_255 and raw[at + 1] >= _LEAST_TO_255:  # As most commands are.
                first, at = at + 2, at + 2 + raw[at + 1]
            else:
                command_bytes, first = _read_head(raw, at, BYTES)
                at = first + command_bytes
            raw_commands.append(raw[first:at])
        origin = _origin(raw[begin : begin + size_bytes])
        runs.append(_new(RawRun, (origin, first_sequence, tuple(raw_commands))))
    if at != len(raw):
        raise ValueError("truncated, or bytes behind the end")
    return timestamp, tuple(runs)


def _read_head(raw: bytes, at: int, major_type: int) -> tuple[int, int]:
    """The number in a head of this type, which must be the shortest, and where the head ends."""
    short = raw[at] - major_type
    if 0 <= short < _LEAST_TO_255:
        return short, at + 1
    if not _LEAST_TO_255 <= short < _LEAST_TO_255 + len(_HEADS):
        raise ValueError("another type")
    size_bytes, least = _HEADS[short - _LEAST_TO_255]
    end = at + 1 + size_bytes
    value = int.from_bytes(raw[at + 1 : end], "big")
    if value < least:
        raise ValueError("not the shortest head")
    return value, end


@lru_cache(maxsize=4096)
def _origin(item: bytes) -> str:
    """Cached: the same few origins come in every entry. UnicodeDecodeError is a ValueError."""
    origin = item.decode("ascii")
    if ORIGIN_PATTERN.fullmatch(origin) is None:
        raise ValueError("no origin")
    return origin


def decode_entry(raw: bytes) -> Entry | None:
    """The entry that these bytes are; None if they are none. A command in it that is none becomes Malformed.

    Never raises. O(size).
    """
    split = split_entry(raw)
    if split is None:
        return None
    timestamp, raw_runs = split
    runs = [
        _new(Run, (origin, first_sequence, tuple([decode_command(raw_command) for raw_command in raw_commands])))
        for origin, first_sequence, raw_commands in raw_runs
    ]
    return _new(Entry, (timestamp, tuple(runs)))
