"""Entries of the ordered log: a timestamp and runs of commands, whose bytes are embedded untouched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.codec.cbor import ARRAY, byte_string, head, integer, is_integer, load, text
from raftbook.codec.commands import decode_command
from raftbook.engine.commands import Entry, Run
from raftbook.engine.types import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY_VERSION: Final = 1

ORIGIN_PATTERN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}", re.ASCII)
"""Shape of an origin (a node's id and its start number); match it with `fullmatch`."""

_MAX_ENTRY_DEPTH: Final = 6


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
        fields = load(raw, _MAX_ENTRY_DEPTH)
    except Exception:  # noqa: BLE001 - whatever the decoder makes of arbitrary bytes, they are no entry.
        return None
    if type(fields) is not list or len(fields) != 3:
        return None
    version, timestamp, raw_runs = fields
    if type(version) is not int or version != ENTRY_VERSION or not is_integer(timestamp, 0, MAX_INTEGER):
        return None
    if type(raw_runs) is not list:
        return None
    runs: list[RawRun] = []
    for raw_run in raw_runs:
        run = _read_run(raw_run)
        if run is None:
            return None
        runs.append(run)
    if encode_entry(timestamp, runs) != raw:
        return None
    return timestamp, tuple(runs)


def _read_run(fields: object) -> RawRun | None:
    if type(fields) is not list or len(fields) != 3:
        return None
    origin, first_sequence, raw_commands = fields
    if type(origin) is not str or ORIGIN_PATTERN.fullmatch(origin) is None:
        return None
    if type(raw_commands) is not list or not all(type(raw) is bytes for raw in raw_commands):
        return None
    if not is_integer(first_sequence, 1, MAX_INTEGER - len(raw_commands)):
        return None
    return RawRun(origin, first_sequence, tuple(raw_commands))


def decode_entry(raw: bytes) -> Entry | None:
    """The entry that these bytes are; None if they are none. A command in it that is none becomes Malformed.

    Never raises. O(size).
    """
    split = split_entry(raw)
    if split is None:
        return None
    timestamp, raw_runs = split
    return Entry(
        timestamp,
        tuple(
            Run(origin, first_sequence, tuple(map(decode_command, raw_commands)))
            for origin, first_sequence, raw_commands in raw_runs
        ),
    )
