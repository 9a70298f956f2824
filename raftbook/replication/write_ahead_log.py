"""The node's part of the ordered log, its term and its vote, on disk.

The log is a chain of records (log_records.py has their bytes) in segments `log-<number>`:

| what stands in a segment | when |
|---|---|
| SEGMENT: version, cluster, node, number, `starts_anew`, LogState so far | first; synced under another name |
| ENTRY, TRUNCATE, VOTE, VOTER, RESET | batch after batch, one `fdatasync` each |
| MARK | behind each batch once it is synced; itself synced with the next batch |
| COMPACT | before segments that a snapshot covers are removed |

The header of a segment holds the whole state before it, so the segments before it can go at any time. With
`starts_anew` it also stands for their entries: they are repeated in it, and what came before is void.

**Recovery** reads the segments in order. The state in each header must be the one that the records before it
add up to, and the chain of checksums must run through. Then:

- a broken record in the last segment is where a crash tore the tail, and the log is cut there ...
- ... unless a whole record behind it says that the place was durable: DamagedLogError;
- anything broken in an earlier segment, or in a header, is damage, since both were synced before they were relied on;
- missing segments are no damage if a COMPACT or RESET that follows covers all they held.

Two things look like a torn tail though they are damage, since nothing whole is left that says otherwise: the last
segment's end is cut off by someone, or the very last batch is damaged and the MARK behind it was lost with the power.

**Two sides.** The loop side (`append`, `truncate_from`, `record_vote`, `record_voter`, `reset`, `take_batch`,
`mark_durable`) only touches memory. The worker side (`write_batch`, `compact`) blocks; one call at a time, on any
thread. They share `durable_index` and `durable_position` alone. A StorageError on the worker side ends the process:
after a failed sync nothing is known about the file.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import cbor2

from raftbook.errors import DamagedLogError, DataFolderError
from raftbook.replication.log_records import (
    LogState,
    Record,
    RecordKind,
    SegmentReader,
    TermStart,
    encode_record,
    encode_vote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.replication.disk import Disk

FORMAT_VERSION: Final = 1
SEGMENT_SIZE_BYTES: Final = 64 * 1024 * 1024

_SEGMENT_NAME: Final = re.compile(r"log-(\d{16})", re.ASCII)
_TEMPORARY_NAME: Final = "log.tmp"

_REWRITE_FACTOR: Final = 2
_REWRITE_SLACK_SEGMENTS: Final = 4


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


class Batch(NamedTuple):
    """Records under way to the disk; `position` is the log's position once they are there."""

    records: list[Record]
    position: int


@dataclass(slots=True)
class _ClosedSegment:
    """A segment before the current one. No entry above `highest_index` in it is still part of the log."""

    number: int
    size_bytes: int
    highest_index: int


@dataclass(slots=True)
class _Image:
    """The log as it stands on disk: the worker's side."""

    state: LogState
    closed: list[_ClosedSegment]
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


class WriteAheadLog:
    """See the module's docstring. Make one with `open`."""

    def __init__(self, disk: Disk, identity: Identity, image: _Image, segment_size_bytes: int) -> None:
        self.position = 0
        self.durable_position = 0
        self.durable_index = image.state.last_index
        self._disk = disk
        self._identity = identity
        self._segment_size_bytes = segment_size_bytes
        # The loop's side: the log as it will be when everything that waits is written.
        self._state = copy.deepcopy(image.state)
        self._waiting: list[Record] = []
        self._under_way: Batch | None = None
        self._under_way_index = 0
        self._reset_position = 0
        # The worker's side.
        self._image = image
        self._rewritten_bytes = 0
        self._working = False

    @classmethod
    def open(
        cls, disk: Disk, identity: Identity, *, segment_size_bytes: int = SEGMENT_SIZE_BYTES
    ) -> tuple[WriteAheadLog, RecoveredLog]:
        """The log in this folder, or a new one where there is none. The caller holds the folder's lock.

        Cuts a torn tail, and syncs what is left, since a process that was killed may have left bytes that are
        readable but not durable. O(bytes of the log); memory for one segment beside the entries.

        DamagedLogError: bytes that were once durable are wrong. DataFolderError: another node's or cluster's log,
        or another version's. StorageError: the disk refuses.
        """
        if _TEMPORARY_NAME in disk.names():
            disk.remove(_TEMPORARY_NAME)
        found = _read_log(disk, identity)
        if found is None:
            image = _Image(LogState(), [], number=0, size_bytes=0, synced_bytes=0, crc=0)
            _start_segment(disk, identity, image, starts_anew=False, entries=())
            entries: list[tuple[int, int, bytes]] = []
        else:
            image, entries = found.image, found.entries
            for stale in found.stale_names:
                disk.remove(stale)
            name = _segment_name(image.number)
            if disk.size(name) != image.size_bytes:
                disk.truncate(name, image.size_bytes)
            disk.sync(name)
            disk.sync_directory()
            image.synced_bytes = image.size_bytes
            _write(disk, image, [Record(RecordKind.MARK)])
        return cls(disk, identity, image, segment_size_bytes), _recovered(image.state, entries)

    # The loop's side.

    @property
    def last_index(self) -> int:
        """Index of the last entry, waiting ones included."""
        return self._state.last_index

    @property
    def size_bytes(self) -> int:
        """Length of all segments; falls with compaction."""
        return self._image.total_bytes()

    def append(self, index: int, term: int, command: bytes) -> None:
        """The next entry: `index` is the last one's plus 1, `term` no lower than the last one's. O(1)."""
        self._add(Record(RecordKind.ENTRY, index, term, command))

    def truncate_from(self, index: int) -> None:
        """Entries from `index` on are gone, `durable_index` falls at once."""
        self._add(Record(RecordKind.TRUNCATE, index))
        self.durable_index = min(self.durable_index, index - 1)
        self._under_way_index = min(self._under_way_index, index - 1)

    def record_vote(self, term: int, voted_for: str | None) -> None:
        """The node's term and whom it voted for in it. The term never falls, and within it a vote stays."""
        self._add(Record(RecordKind.VOTE, 0, term, encode_vote(voted_for)))

    def record_voter(self, voter: bool) -> None:
        """Whether the node takes part in elections."""
        self._add(Record(RecordKind.VOTER, 0, 0, b"\x01" if voter else b"\x00"))

    def reset(self, base_index: int, base_term: int) -> None:
        """The log starts anew behind a snapshot from a peer, which is durable already.

        Until the record is, a crash brings the old log back: a log that ends before the newest snapshot, or
        contradicts it, is to be reset again.
        """
        self._add(Record(RecordKind.RESET, base_index, base_term))
        self.durable_index = self._under_way_index = base_index
        self._reset_position = self.position

    def take_batch(self) -> Batch | None:
        """All that waits, or None. The batch before must have been marked durable."""
        assert self._under_way is None, "a batch is under way already"
        if not self._waiting:
            return None
        self._under_way = Batch(self._waiting, self.position)
        self._under_way_index = self._state.last_index
        self._waiting = []
        return self._under_way

    def mark_durable(self, batch: Batch) -> None:
        """`write_batch` has returned."""
        assert batch is self._under_way, "this batch is not under way"
        self._under_way = None
        self.durable_position = batch.position
        # Lowered by each truncation since the batch was taken: what is left of its entries in today's log.
        self.durable_index = max(self.durable_index, self._under_way_index)

    def _add(self, record: Record) -> None:
        objection = self._state.objection(record)
        assert objection is None, objection
        self._state.apply(record)
        self._waiting.append(record)
        self.position += 1

    # The worker's side.

    def write_batch(self, batch: Batch) -> None:
        """Writes the batch and syncs once; starts a new segment first where the current one is full.

        StorageError ends the process. O(bytes), and now and then a rewrite of the log (see `_roll`).
        """
        self._begin_work()
        image = self._image
        if image.size_bytes >= self._segment_size_bytes:
            self._roll()
        _write(self._disk, image, batch.records)
        self._sync()
        if any(record.kind is RecordKind.RESET for record in batch.records):
            self._remove_covered()
        self._working = False

    def compact(self, index: int) -> None:
        """Forgets the entries up to `index`, or to `durable_index` where that is less; a durable snapshot covers them.

        Removes the segments that hold nothing else. The entries of those that stay are not recovered any more.
        """
        index = min(index, self.durable_index)
        state = self._image.state
        # Until a reset is durable, `durable_index` speaks of a log that is not on disk yet; it compacts all by itself.
        if index <= state.base_index or self.durable_position < self._reset_position:
            return
        self._begin_work()
        _write(self._disk, self._image, [Record(RecordKind.COMPACT, index, state.term_at(index))])
        self._sync()
        self._remove_covered()
        self._working = False

    def _begin_work(self) -> None:
        assert not self._working, "the log is being written already, or writing it has failed"
        self._working = True

    def _sync(self) -> None:
        image = self._image
        self._disk.sync(_segment_name(image.number))
        image.synced_bytes = image.size_bytes
        _write(self._disk, image, [Record(RecordKind.MARK)])

    def _roll(self) -> None:
        """Starts the next segment.

        Truncated entries stay on disk until their segment is removed. So that they do not pile up while no
        snapshot comes, the log is written anew once it has more than doubled since the last time: its size stays
        below twice what it holds plus a few segments, and the cost of rewriting is O(1) per byte written.
        """
        disk, image = self._disk, self._image
        # The mark behind the last batch; in a segment that is not the last nothing may be torn.
        disk.sync(_segment_name(image.number))
        bound = _REWRITE_FACTOR * self._rewritten_bytes + _REWRITE_SLACK_SEGMENTS * self._segment_size_bytes
        rewrite = image.truncated and image.total_bytes() > bound
        entries: list[tuple[int, int, bytes]] = []
        if rewrite:
            found = _read_log(disk, self._identity)
            assert found is not None
            assert found.image.state == image.state, "the log on disk is not the one that was written"
            entries = found.entries
        image.closed.append(_ClosedSegment(image.number, image.size_bytes, image.state.last_index))
        _start_segment(disk, self._identity, image, starts_anew=rewrite, entries=entries)
        if rewrite:
            self._remove(list(image.closed))
            self._rewritten_bytes = image.total_bytes()
            image.truncated = False

    def _remove_covered(self) -> None:
        closed, base_index = self._image.closed, self._image.state.base_index
        keep_from = 0
        while keep_from < len(closed) and closed[keep_from].highest_index <= base_index:
            keep_from += 1
        self._remove(closed[:keep_from])
        self._rewritten_bytes = min(self._rewritten_bytes, self._image.total_bytes())

    def _remove(self, segments: list[_ClosedSegment]) -> None:
        for segment in segments:
            self._disk.remove(_segment_name(segment.number))
        if segments:
            self._disk.sync_directory()
        self._image.closed = self._image.closed[len(segments) :]


def inspect(disk: Disk) -> tuple[Identity, RecoveredLog] | None:
    """What the log of a folder holds, without changing anything; None where there is none. Errors as in `open`.

    Also of a log that its node is writing to: then up to some record that was whole at that moment.
    """
    found = _read_log(disk, None)
    return None if found is None else (found.identity, _recovered(found.image.state, found.entries))


def _segment_name(number: int) -> str:
    return f"log-{number:016d}"


def _recovered(state: LogState, entries: list[tuple[int, int, bytes]]) -> RecoveredLog:
    return RecoveredLog(state.term, state.voted_for, state.voter, state.base_index, state.base_term, entries)


def _write(disk: Disk, image: _Image, records: Iterable[Record]) -> None:
    """Appends records to the current segment, unsynced."""
    chunks = []
    for record in records:
        objection = image.state.objection(record)
        assert objection is None, objection
        data, image.crc = encode_record(record, image.crc, image.size_bytes, image.synced_bytes)
        image.size_bytes += len(data)
        image.apply(record)
        chunks.append(data)
    disk.append(_segment_name(image.number), b"".join(chunks))


def _start_segment(
    disk: Disk,
    identity: Identity,
    image: _Image,
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

    disk.create(_TEMPORARY_NAME)
    disk.append(_TEMPORARY_NAME, b"".join(chunks))
    disk.sync(_TEMPORARY_NAME)
    disk.rename(_TEMPORARY_NAME, _segment_name(number))
    disk.sync_directory()
    _write(disk, image, [Record(RecordKind.MARK)])


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


class _FoundLog(NamedTuple):
    identity: Identity
    image: _Image
    entries: list[tuple[int, int, bytes]]
    stale_names: list[str]


def _read_log(disk: Disk, identity: Identity | None) -> _FoundLog | None:
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
    stale = [_segment_name(number) for number in numbers if number not in kept]
    assert recovery.identity is not None
    return _FoundLog(recovery.identity, image, entries, stale)


class _Recovery:
    """Adds up segments. `_entries` is what is known of the log's end, from `_first_index` on."""

    def __init__(self, disk: Disk, identity: Identity | None) -> None:
        self.identity = identity
        self._disk = disk
        self._image: _Image | None = None
        self._entries: list[tuple[int, int, bytes]] = []
        self._first_index = 1
        self._name = ""

    def read_segment(self, number: int, *, is_last: bool) -> None:
        self._name = _segment_name(number)
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
        for record in records:
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
        if reader.end < len(data):
            vouched_at = reader.contradiction()
            if not is_last:
                raise self._damage(reader.end, "a record is broken, and later segments follow")
            if vouched_at is not None:
                raise self._damage(reader.end, f"a record is broken that was on disk before byte {vouched_at}")
        assert reader.crc is not None
        image.size_bytes, image.crc = reader.end, reader.crc

    def finish(self) -> tuple[_Image, list[tuple[int, int, bytes]]]:
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

    def _begin_segment(self, header: _SegmentHeader) -> _Image:
        image = self._image
        if image is None or header.starts_anew:
            self._image = _Image(header.state, [], header.number, 0, 0, 0)
            self._entries.clear()
            self._first_index = header.state.last_index + 1
            return self._image
        if header.state != image.state:
            raise self._damage(0, "its header contradicts the segments before it")
        image.closed.append(_ClosedSegment(image.number, image.size_bytes, image.state.last_index))
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
