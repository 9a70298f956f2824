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

    from raftbook.replication.disk import Disk, ReadableDisk

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
    is_vouched_for: bool = True
    """Whether some record says of all before it in the current segment that it was durable, MARKs aside."""
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


def is_segment_name(name: str) -> bool:
    return _SEGMENT_NAME.fullmatch(name) is not None


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
    disk.append(segment_name(image.number), b"".join(chunks), may_use_reserve=True)


def rewrite_segment(disk: Disk, image: LogImage) -> None:
    """Replaces the current segment by a durable copy of its whole records. O(bytes)."""
    name = segment_name(image.number)
    data = disk.read(name, 0, image.size_bytes)
    disk.create(TEMPORARY_NAME, may_use_reserve=True)
    disk.append(TEMPORARY_NAME, data, may_use_reserve=True)
    disk.sync(TEMPORARY_NAME)
    disk.rename(TEMPORARY_NAME, name)
    disk.sync_directory()
    image.is_vouched_for = True


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

    disk.create(TEMPORARY_NAME, may_use_reserve=True)
    disk.append(TEMPORARY_NAME, b"".join(chunks), may_use_reserve=True)
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


class Damage(NamedTuple):
    """Bytes that were once durable and are wrong: from `offset` on nothing in the file is to be trusted.

    `message` says it in a sentence, with what helps.
    """

    path: str
    offset: int
    message: str


class SegmentReport(NamedTuple):
    """A segment as it was read: whole records up to `whole_bytes`, and what a crash tore, or damage, behind them."""

    name: str
    size_bytes: int
    whole_bytes: int
    record_count: int


class FoundLog(NamedTuple):
    identity: Identity
    image: LogImage
    entries: list[tuple[int, int, bytes]]
    stale_names: list[str]


class ExaminedLog(NamedTuple):
    """All that could be read before `damage`, where there is any.

    Then `state` and `entries` are those in front of it; the state is None where not even the first header could be
    read, and the entries may begin above the state's base_index + 1.
    """

    identity: Identity | None
    state: LogState | None
    entries: list[tuple[int, int, bytes]]
    segments: list[SegmentReport]
    damage: Damage | None


def read_log(disk: ReadableDisk, identity: Identity | None) -> FoundLog | None:
    """Reads all segments, changing nothing. With `identity`, refuses those of anyone else."""
    recovery = _recover(disk, identity)
    if recovery is None:
        return None
    if recovery.damage is not None:
        raise DamagedLogError(recovery.damage.message)
    assert recovery.identity is not None
    assert recovery.image is not None
    kept = {segment.number for segment in recovery.image.closed} | {recovery.image.number}
    stale = [segment_name(number) for number in _segment_numbers(disk) if number not in kept]
    return FoundLog(recovery.identity, recovery.image, recovery.entries, stale)


def examine_log(disk: ReadableDisk) -> ExaminedLog | None:
    """As `read_log`, but damage ends the reading and is part of the answer. DataFolderError as there."""
    recovery = _recover(disk, None)
    if recovery is None:
        return None
    state = None if recovery.image is None else recovery.image.state
    return ExaminedLog(recovery.identity, state, recovery.entries, recovery.segments, recovery.damage)


def _segment_numbers(disk: ReadableDisk) -> list[int]:
    return [int(match[1]) for name in disk.names() if (match := _SEGMENT_NAME.fullmatch(name))]


def _recover(disk: ReadableDisk, identity: Identity | None) -> _Recovery | None:
    numbers = _segment_numbers(disk)
    if not numbers:
        return None
    # A removal that a crash undid in part leaves older segments behind a gap; nothing of them is needed, or
    # what is needed turns out to be missing below.
    first = len(numbers) - 1
    while first > 0 and numbers[first - 1] == numbers[first] - 1:
        first -= 1
    recovery = _Recovery(disk, identity)
    for number in numbers[first:]:
        if not recovery.read_segment(number, is_last=number == numbers[-1]):
            break
    recovery.finish()
    return recovery


class _DamageFoundError(Exception):
    """Ends the reading of a log."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.message)
        self.damage = damage


class _Recovery:
    """Adds up segments. `entries` is what is known of the log's end, from `_first_index` on."""

    def __init__(self, disk: ReadableDisk, identity: Identity | None) -> None:
        self.identity = identity
        self.image: LogImage | None = None
        self.entries: list[tuple[int, int, bytes]] = []
        self.segments: list[SegmentReport] = []
        self.damage: Damage | None = None
        self._disk = disk
        self._first_index = 1
        self._name = ""

    def read_segment(self, number: int, *, is_last: bool) -> bool:
        """False where it is damaged: what follows is not to be read."""
        self._name = segment_name(number)
        data = self._disk.read(self._name)
        reader = SegmentReader(data, None if self.image is None else self.image.crc)
        try:
            self._take_records(reader, number)
            self._check_end(reader, data, is_last=is_last)
        except _DamageFoundError as found:
            self.damage = found.damage
            return False
        finally:
            self.segments.append(SegmentReport(self._name, len(data), reader.end, reader.count))
        assert self.image is not None
        assert reader.crc is not None
        self.image.size_bytes, self.image.crc = reader.end, reader.crc
        self.image.is_vouched_for = reader.content_end <= reader.vouched_end
        if is_last and self.image.is_vouched_for:
            # Whether the MARKs at the end are on disk is unknown, and nothing may stand behind what may be a hole.
            assert reader.content_crc is not None
            self.image.size_bytes, self.image.crc = reader.content_end, reader.content_crc
        return True

    def _take_records(self, reader: SegmentReader, number: int) -> None:
        records = iter(reader)
        header = next(records, None)
        if header is None or header.kind is not RecordKind.SEGMENT:
            raise self._damage(0, "its header is broken, or does not follow the segment before it")
        image = self._begin_segment(self._checked_header(header.body, number))
        objection, state = image.state.objection, image.state
        entries = self.entries
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

    def _check_end(self, reader: SegmentReader, data: bytes, *, is_last: bool) -> None:
        if reader.end < len(data):
            vouched_at = reader.contradiction()
            if not is_last:
                raise self._damage(reader.end, "a record is broken, and later segments follow")
            if vouched_at is not None:
                raise self._damage(reader.end, f"a record is broken that was on disk before byte {vouched_at}")

    def finish(self) -> None:
        """Drops the entries that a snapshot covers. That entries are missing in front is damage, too."""
        if self.image is None:
            return
        base_index = self.image.state.base_index
        if self._first_index > base_index + 1 and self.damage is None:
            missing = (
                f"entries {base_index + 1} to {self._first_index - 1} are missing: segments before it were removed"
            )
            self.damage = self._damage(0, missing).damage
        del self.entries[: max(0, base_index + 1 - self._first_index)]

    def _begin_segment(self, header: _SegmentHeader) -> LogImage:
        image = self.image
        if image is None or header.starts_anew:
            self.image = LogImage(header.state, [], header.number, 0, 0, 0)
            self.entries.clear()
            self._first_index = header.state.last_index + 1
            return self.image
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

    def _damage(self, offset: int, what: str) -> _DamageFoundError:
        node_id = "ID" if self.identity is None else self.identity.node_id
        path = self._disk.path(self._name)
        message = (
            f"{path} is damaged at byte {offset}: {what}. This node's log can no longer be "
            f"trusted; rebuild it from its peers with `raftbook node rebuild --config FILE --id {node_id}`"
        )
        return _DamageFoundError(Damage(path, offset, message))
