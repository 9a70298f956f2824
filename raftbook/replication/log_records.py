"""Records of the write-ahead log: their bytes, and the state of a log that they add up to.

A record (little-endian) is

| at | size | field | meaning |
|---:|---:|---|---|
| 0 | 4 | crc | CRC32C of everything behind it, body included |
| 4 | 1 | magic | 0xB7 |
| 5 | 1 | kind | RecordKind |
| 6 | 4 | length | of the body, in bytes |
| 10 | 4 | previous | crc of the record before it, over the seams of segments too: the records form a chain |
| 14 | 8 | offset | where in its segment this record begins, so that a record quoted in a command is not taken for one |
| 22 | 8 | synced | how much of its segment was durable when it was written |
| 30 | 8 | index | log index, see RecordKind |
| 38 | 8 | term | Raft term, see RecordKind |
| 46 | | body | |

`synced` tells damage from a torn tail. A crash may lose or tear anything written after the last sync, and may
leave later bytes whole behind a hole. But where a whole record says that the broken place was durable before,
no crash explains it.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = 0xB7
_HEADER: Final = struct.Struct("<BBIIQQQQ")
_CRC: Final = struct.Struct("<I")
_MAGIC_AT: Final = _CRC.size
HEADER_BYTES: Final = _CRC.size + _HEADER.size

MAX_BODY_BYTES: Final = 1 << 30
MAX_INTEGER: Final = 2**63 - 1


class RecordKind(IntEnum):
    """What a record does to the log. The numbers are part of the stored format."""

    SEGMENT = 1
    """First of every segment: whose it is, and the state of the log before it (see write_ahead_log)."""
    ENTRY = 2
    """`index`, `term`, body = command."""
    TRUNCATE = 3
    """Every entry from `index` on is gone."""
    VOTE = 4
    """The node is in `term`; body = whom it voted for, empty for nobody."""
    VOTER = 5
    """Body 1: the node takes part in elections. 0: it does not (yet)."""
    COMPACT = 6
    """A snapshot covers everything up to `index`, whose entry has `term`."""
    RESET = 7
    """The log is empty and goes on behind `index`, `term`: those of a snapshot that a peer sent."""
    MARK = 8
    """Nothing; carries `synced`, so that damage to the newest records is known as such too."""


class Record(NamedTuple):
    kind: RecordKind
    log_index: int = 0
    term: int = 0
    body: bytes = b""


def encode_record(record: Record, previous_crc: int, offset: int, synced: int) -> tuple[bytes, int]:
    """The record's bytes, and its crc, which the next one carries."""
    kind, index, term, body = record
    rest = _HEADER.pack(MAGIC, kind, len(body), previous_crc, offset, synced, index, term) + body
    crc: int = google_crc32c.value(rest)
    return _CRC.pack(crc) + rest, crc


class SegmentReader:
    """Iterates over the whole records of one segment's bytes, in order, and stops at the first broken one.

    `previous_crc` None accepts any chain at the start. Afterwards `end` is where the whole records stop, `crc` the crc
    of the last of them, and `count` their number. Up to `vouched_end` some record says that the bytes were durable;
    `content_end` is where the last record stops that is more than a MARK, `content_crc` its crc. About 1 µs per record.
    """

    def __init__(self, data: bytes, previous_crc: int | None) -> None:
        self._data = data
        self.count = 0
        self.end = 0
        self.vouched_end = 0
        self.content_end = 0
        self.content_crc = previous_crc
        self.crc = previous_crc

    def __iter__(self) -> Iterator[Record]:
        data, crc, offset, size = self._data, self.crc, 0, len(self._data)
        unpack, kinds, checksum = _HEADER.unpack_from, _KINDS, google_crc32c.value
        while offset + HEADER_BYTES <= size:
            magic, kind, length, previous, at, synced, index, term = unpack(data, offset + _CRC.size)
            end = offset + HEADER_BYTES + length
            if magic != MAGIC or at != offset or end > size or synced > offset or kind not in kinds:
                return
            if crc is not None and previous != crc:
                return
            (crc,) = _CRC.unpack_from(data, offset)
            if checksum(data[offset + _CRC.size : end]) != crc:
                return
            body = data[offset + HEADER_BYTES : end]
            self.end = offset = end
            self.crc = crc
            self.count += 1
            self.vouched_end = max(self.vouched_end, synced)
            if kind != _MARK:
                self.content_end, self.content_crc = end, crc
            yield Record(kinds[kind], index, term, body)

    def contradiction(self) -> int | None:
        """Offset of a whole record behind `end` that says that the bytes at `end` were durable, if there is one.

        Then `end` is damage. Without one, what follows `end` is a tail that a crash tore. O(bytes behind `end`).
        """
        data, broken_at = self._data, self.end
        magic_at = data.find(MAGIC, broken_at + _MAGIC_AT)
        while magic_at >= 0:
            offset = magic_at - _MAGIC_AT
            if offset + HEADER_BYTES <= len(data):
                _, kind, length, _, at, synced, _, _ = _HEADER.unpack_from(data, magic_at)
                end = offset + HEADER_BYTES + length
                plausible = kind in _KINDS and at == offset and broken_at < synced <= offset and end <= len(data)
                if plausible and google_crc32c.value(data[magic_at:end]) == _CRC.unpack_from(data, offset)[0]:
                    return offset
            magic_at = data.find(MAGIC, magic_at + 1)
        return None


_KINDS: Final = {int(kind): kind for kind in RecordKind}
_MARK: Final = int(RecordKind.MARK)


class TermStart(NamedTuple):
    """Entries from `first_index` on, to the next TermStart, have `term`."""

    first_index: int
    term: int


_first_index: Final = attrgetter("first_index")


@dataclass(slots=True)
class LogState:
    """What the records up to some place add up to, without the commands.

    Invariants: base_index <= last_index; `term_starts` ascends in index and term and lies above base_index;
    no entry has a term above `term`; term never falls, and within a term a vote never changes.
    """

    term: int = 0
    voted_for: str | None = None
    voter: bool = False
    base_index: int = 0
    base_term: int = 0
    last_index: int = 0
    term_starts: list[TermStart] = field(default_factory=list)

    @property
    def last_term(self) -> int:
        return self.term_starts[-1].term if self.term_starts else self.base_term

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`, base_index <= index <= last_index. O(log terms)."""
        position = bisect_right(self.term_starts, index, key=_first_index)
        return self.term_starts[position - 1].term if position else self.base_term

    def objection(self, record: Record) -> str | None:
        """Why `record` cannot come next, or None if it can."""
        kind, index, term, body = record
        if not (0 <= index <= MAX_INTEGER and 0 <= term <= MAX_INTEGER and len(body) <= MAX_BODY_BYTES):
            return f"{kind.name} {index}, term {term}, {len(body)} bytes is out of range"
        if kind is RecordKind.ENTRY:
            if index != self.last_index + 1 or term < self.last_term:
                return f"entry {index} of term {term} cannot follow entry {self.last_index} of term {self.last_term}"
        elif kind is RecordKind.TRUNCATE:
            if not self.base_index < index <= self.last_index + 1:
                return f"cannot truncate from {index} a log of {self.base_index + 1} to {self.last_index}"
        elif kind is RecordKind.VOTE:
            vote = decode_vote(body)
            if term < self.term or (term == self.term and self.voted_for not in (None, vote)):
                return f"vote {vote} in term {term} cannot follow vote {self.voted_for} in term {self.term}"
        elif kind is RecordKind.COMPACT:
            if not self.base_index <= index <= self.last_index or term != self.term_at(index):
                return f"cannot compact to {index} of term {term} a log of {self.base_index + 1} to {self.last_index}"
        elif kind is RecordKind.RESET and index < self.base_index:
            return f"cannot start anew at {index} a log whose snapshot covers {self.base_index}"
        return None

    def apply(self, record: Record) -> None:
        """Takes in a record to which there is no objection. O(1), amortized."""
        kind, index, term, body = record
        if kind is RecordKind.ENTRY:
            if term != self.last_term:
                self.term_starts.append(TermStart(index, term))
            self.last_index = index
            self._reach(term)
        elif kind is RecordKind.TRUNCATE:
            while self.term_starts and self.term_starts[-1].first_index >= index:
                self.term_starts.pop()
            self.last_index = index - 1
        elif kind is RecordKind.VOTE:
            self.term, self.voted_for = term, decode_vote(body)
        elif kind is RecordKind.VOTER:
            self.voter = body == b"\x01"
        elif kind is RecordKind.COMPACT:
            self.base_index, self.base_term = index, term
            self.term_starts = [start for start in self.term_starts if start.first_index > index]
        elif kind is RecordKind.RESET:
            self.base_index, self.base_term, self.last_index, self.term_starts = index, term, index, []
            self._reach(term)

    def _reach(self, term: int) -> None:
        """A node is at least in the term of its entries, whoever may have forgotten to say so."""
        if term > self.term:
            self.term, self.voted_for = term, None


def encode_vote(voted_for: str | None) -> bytes:
    assert voted_for != "", "a node id is never empty"
    return b"" if voted_for is None else voted_for.encode()


def decode_vote(body: bytes) -> str | None:
    return body.decode("utf-8", "backslashreplace") or None
