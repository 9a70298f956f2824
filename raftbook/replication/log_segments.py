"""Segments of the write-ahead log: how one is begun, written and read back (write_ahead_log.py has the rules)."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import cbor2

from raftbook.errors import DamagedLogError, DataFolderError
from raftbook.replication.log_records import LogState, Record, RecordKind, SegmentReader, TermStart, encode_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.replication.disk import Disk

FORMAT_VERSION: Final = 1
TEMPORARY_NAME: Final = "log.tmp"

_SEGMENT_NAME: Final = re.compile(r"log-(\d{16})", re.ASCII)


class Identity(NamedTuple):
    """Whose data it is."""

    cluster: str
    node_id: str


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """What a log held when it was opened.

    `base_index`, `base_term`: the last entry that a snapshot covers, 0 and 0 in a new log. `entries` are (index,
    term, command), consecutive from base_index + 1. A new log has term 0, no vote, and is no voter.
    """

    term: int
    voted_for: str | None
    voter: bool
    base_index: int
    base_term: int
    entries: list[tuple[int, int, bytes]]


@dataclass(slots=True)
class ClosedSegment:
    """A segment before the current one. No entry above `highest_index` in it is still part of the log."""

    number: int
    size_bytes: int
    highest_index: int


@dataclass(slots=True)
class LogImage:
    """The log as it stands on disk: the worker's side."""

    state: LogState
    closed: list[ClosedSegment]
    number: int
    size_bytes: int
    synced_bytes: int
    crc: int
    truncated: bool = False
    """Whether some segment may hold entries that were truncated since."""

    def apply(self, record: Record) -> None:
        self.state.apply(record)
        if record.kind is RecordKind.TRUNCATE:
            self._void_above(record.log_index - 1)
        elif record.kind is RecordKind.RESET:
            self._void_above(0)

    def _void_above(self, index: int) -> None:
        self.truncated = True
        for segment in self.closed:
            segment.highest_index = min(segment.highest_index, index)

    def total_bytes(self) -> int:
        return self.size_bytes + sum(segment.size_bytes for segment in self.closed)


def segment_name(number: int) -> str:
    return f"log-{number:016d}"


def write_records(disk: Disk, image: LogImage, records: Iterable[Record]) -> None:
    """Appends records to the current segment, unsynced."""
    chunks = []
    for record in records:
        objection = image.state.objection(record)
        assert objection is None, objection
        data, image.crc = encode_record(record, image.crc, image.size_bytes, image.synced_bytes)
        image.size_bytes += len(data)
        image.apply(record)
        chunks.append(data)
    disk.append(segment_name(image.number), b"".join(chunks))


def start_segment(
    disk: Disk,
    identity: Identity,
    image: LogImage,
    *,
    starts_anew: bool,
    entries: Iterable[tuple[int, int, bytes]],
) -> None:
    """Makes the next segment the current one. It stands under its name only when it is whole and durable."""
    number = image.number + 1
    state = image.state
    if starts_anew:
        state = copy.deepcopy(state)
        state.last_index, state.term_starts = state.base_index, []
    header = _SegmentHeader(FORMAT_VERSION, *identity, number, starts_anew, state)
    data, image.crc = encode_record(Record(RecordKind.SEGMENT, 0, 0, _encode_header(header)), image.crc, 0, 0)
    chunks, size_bytes = [data], len(data)
    for index, term, command in entries:
        data, image.crc = encode_record(Record(RecordKind.ENTRY, index, term, command), image.crc, size_bytes, 0)
        size_bytes += len(data)
        chunks.append(data)
    image.number, image.size_bytes, image.synced_bytes = number, size_bytes, size_bytes

    disk.create(TEMPORARY_NAME)
    disk.append(TEMPORARY_NAME, b"".join(chunks))
    disk.sync(TEMPORARY_NAME)
    disk.rename(TEMPORARY_NAME, segment_name(number))
    disk.sync_directory()
    write_records(disk, image, [Record(RecordKind.MARK)])


class _SegmentHeader(NamedTuple):
    version: int
    cluster: str
    node_id: str
    number: int
    starts_anew: bool
    state: LogState


def _encode_header(header: _SegmentHeader) -> bytes:
    state = header.state
    fields = [state.term, state.voted_for, state.voter, state.base_index, state.base_term, state.last_index]
    return cbor2.dumps([*header[:5], fields, [list(start) for start in state.term_starts]])


def _decode_header(body: bytes) -> _SegmentHeader:
    """ValueError for anything that `_encode_header` of this version does not write."""
    fields = cbor2.loads(body)
    if not (isinstance(fields, list) and fields and type(fields[0]) is int):
        raise ValueError("no header")
    if fields[0] != FORMAT_VERSION:
        raise _VersionError(fields[0])
    _, cluster, node_id, number, starts_anew, state, term_starts = fields
    term, voted_for, voter, base_index, base_term, last_index = state
    starts = [TermStart(index, start_term) for index, start_term in term_starts]
    log_state = LogState(term, voted_for, voter, base_index, base_term, last_index, starts)
    return _SegmentHeader(FORMAT_VERSION, cluster, node_id, number, starts_anew, log_state)


class _VersionError(Exception):
    """The header is of another version of the format."""


class FoundLog(NamedTuple):
    identity: Identity
    image: LogImage
    entries: list[tuple[int, int, bytes]]
    stale_names: list[str]


def read_log(disk: Disk, identity: Identity | None) -> FoundLog | None:
    """Reads all segments, changing nothing. With `identity`, refuses those of anyone else."""
    numbers = [int(match[1]) for name in disk.names() if (match := _SEGMENT_NAME.fullmatch(name))]
    if not numbers:
        return None
    # A removal that a crash undid in part leaves older segments behind a gap; nothing of them is needed, or
    # what is needed turns out to be missing below.
    first = len(numbers) - 1
    while first > 0 and numbers[first - 1] == numbers[first] - 1:
        first -= 1
    recovery = _Recovery(disk, identity)
    for number in numbers[first:]:
        recovery.read_segment(number, is_last=number == numbers[-1])
    image, entries = recovery.finish()
    kept = {segment.number for segment in image.closed} | {image.number}
    stale = [segment_name(number) for number in numbers if number not in kept]
    assert recovery.identity is not None
    return FoundLog(recovery.identity, image, entries, stale)


class _Recovery:
    """Adds up segments. `_entries` is what is known of the log's end, from `_first_index` on."""

    def __init__(self, disk: Disk, identity: Identity | None) -> None:
        self.identity = identity
        self._disk = disk
        self._image: LogImage | None = None
        self._entries: list[tuple[int, int, bytes]] = []
        self._first_index = 1
        self._name = ""

    def read_segment(self, number: int, *, is_last: bool) -> None:
        self._name = segment_name(number)
        data = self._disk.read(self._name)
        image = self._image
        reader = SegmentReader(data, None if image is None else image.crc)
        records = iter(reader)
        header = next(records, None)
        if header is None or header.kind is not RecordKind.SEGMENT:
            raise self._damage(0, "its header is broken, or does not follow the segment before it")
        image = self._begin_segment(self._checked_header(header.body, number))
        objection, state = image.state.objection, image.state
        entries = self._entries
        last_term = state.last_term
        for record in records:
            kind, index, term, body = record
            if kind is RecordKind.ENTRY and term == last_term and index == state.last_index + 1:
                # Nearly every record: what `objection` and `apply` come to in this case, at a third of the time.
                state.last_index = index
                entries.append((index, term, body))
                continue
            wrong = objection(record)
            if wrong is not None or record.kind is RecordKind.SEGMENT:
                raise self._damage(reader.end, wrong or "a second header")
            image.apply(record)
            if record.kind is RecordKind.ENTRY:
                entries.append((record.log_index, record.term, record.body))
            elif record.kind in (RecordKind.TRUNCATE, RecordKind.RESET):
                self._first_index = min(self._first_index, state.last_index + 1)
                if record.kind is RecordKind.RESET:
                    self._first_index = state.last_index + 1
                del entries[state.last_index + 1 - self._first_index :]
            last_term = state.last_term
        if reader.end < len(data):
            vouched_at = reader.contradiction()
            if not is_last:
                raise self._damage(reader.end, "a record is broken, and later segments follow")
            if vouched_at is not None:
                raise self._damage(reader.end, f"a record is broken that was on disk before byte {vouched_at}")
        assert reader.crc is not None
        image.size_bytes, image.crc = reader.end, reader.crc

    def finish(self) -> tuple[LogImage, list[tuple[int, int, bytes]]]:
        image = self._image
        assert image is not None
        base_index = image.state.base_index
        if self._first_index > base_index + 1:
            missing = (
                f"entries {base_index + 1} to {self._first_index - 1} are missing: segments before it were removed"
            )
            raise self._damage(0, missing)
        del self._entries[: base_index + 1 - self._first_index]
        return image, self._entries

    def _begin_segment(self, header: _SegmentHeader) -> LogImage:
        image = self._image
        if image is None or header.starts_anew:
            self._image = LogImage(header.state, [], header.number, 0, 0, 0)
            self._entries.clear()
            self._first_index = header.state.last_index + 1
            return self._image
        if header.state != image.state:
            raise self._damage(0, "its header contradicts the segments before it")
        image.closed.append(ClosedSegment(image.number, image.size_bytes, image.state.last_index))
        image.number = header.number
        return image

    def _checked_header(self, body: bytes, number: int) -> _SegmentHeader:
        path = self._disk.path(self._name)
        try:
            header = _decode_header(body)
        except _VersionError as version:
            raise DataFolderError(
                f"{path} has format version {version}, and this raftbook reads version {FORMAT_VERSION}; "
                "start the raftbook that wrote it, or rebuild the node with `raftbook node rebuild`"
            ) from None
        except (ValueError, TypeError, cbor2.CBORError) as error:
            raise self._damage(0, f"its header makes no sense ({error})") from error
        owner = Identity(header.cluster, header.node_id)
        if self.identity is None:
            self.identity = owner
        if owner != self.identity:
            raise DataFolderError(
                f"{path} belongs to node {owner.node_id} of cluster {owner.cluster}, not to node "
                f"{self.identity.node_id} of cluster {self.identity.cluster}; give this node its own --data-dir"
            )
        if header.number != number:
            raise self._damage(0, f"it is segment {header.number} under another's name")
        return header

    def _damage(self, offset: int, what: str) -> DamagedLogError:
        node_id = "ID" if self.identity is None else self.identity.node_id
        return DamagedLogError(
            f"{self._disk.path(self._name)} is damaged at byte {offset}: {what}. This node's log can no longer be "
            f"trusted; rebuild it from its peers with `raftbook node rebuild --config FILE --id {node_id}`"
        )
