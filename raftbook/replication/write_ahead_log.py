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
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.errors import StorageFullError
from raftbook.replication.log_records import LogState, Record, RecordKind, encode_vote
from raftbook.replication.log_segments import (
    TEMPORARY_NAME,
    ClosedSegment,
    Damage,
    Identity,
    LogImage,
    RecoveredLog,
    SegmentReport,
    examine_log,
    read_log,
    rewrite_segment,
    segment_name,
    start_segment,
    write_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.disk import Disk, ReadableDisk

__all__ = [
    "SEGMENT_SIZE_BYTES",
    "Batch",
    "Damage",
    "Identity",
    "InspectedLog",
    "RecoveredLog",
    "SegmentReport",
    "WriteAheadLog",
    "inspect",
]

SEGMENT_SIZE_BYTES: Final = 64 * 1024 * 1024

_REWRITE_FACTOR: Final = 2
_REWRITE_SLACK_SEGMENTS: Final = 4


class Batch(NamedTuple):
    """Records under way to the disk; `position` is the log's position once they are there."""

    records: list[Record]
    position: int


class InspectedLog(NamedTuple):
    """What a log holds, or, with `damage`, what of it stands in front of that.

    Then the first entry may have a higher index than base_index + 1, and `identity` and `log` are None where not even
    the first header could be read.
    """

    identity: Identity | None
    log: RecoveredLog | None
    segments: tuple[SegmentReport, ...]
    damage: Damage | None


class WriteAheadLog:
    """See the module's docstring. Make one with `open`."""

    def __init__(self, disk: Disk, identity: Identity, image: LogImage, segment_size_bytes: int) -> None:
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

        Cuts a torn tail, and makes durable what is left, since a process that was killed may have left bytes that are
        readable and no more. O(bytes of the log); memory for one segment beside the entries.

        DamagedLogError: bytes that were once durable are wrong. DataFolderError: another node's or cluster's log,
        or another version's. StorageError: the disk refuses.
        """
        if TEMPORARY_NAME in disk.names():
            disk.remove(TEMPORARY_NAME)
        found = read_log(disk, identity)
        if found is None:
            image = LogImage(LogState(), [], number=0, size_bytes=0, synced_bytes=0, crc=0)
            start_segment(disk, identity, image, starts_anew=False, entries=())
            entries: list[tuple[int, int, bytes]] = []
        else:
            image, entries = found.image, found.entries
            for stale in found.stale_names:
                disk.remove(stale)
            name = segment_name(image.number)
            if not image.is_vouched_for:
                # A process died between a write and the end of its sync. Had the sync failed, the system may keep in
                # its memory, and show here, what never gets to the disk: a sync of the same file would not say so.
                rewrite_segment(disk, image)
            elif disk.size(name) != image.size_bytes:
                disk.truncate(name, image.size_bytes)
            disk.sync(name)
            disk.sync_directory()
            image.synced_bytes = image.size_bytes
            mark = (image.size_bytes, image.crc)
            try:
                write_records(disk, image, [Record(RecordKind.MARK)])
            except StorageFullError:
                # So full that not even the reserve helps. What the log holds can be read all the same, and the next
                # record will say what a mark would have said.
                image.size_bytes, image.crc = mark
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
        """`write_batch` has called `on_durable`, or has returned."""
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

    def write_batch(self, batch: Batch, on_durable: Callable[[], None] = lambda: None) -> None:
        """Writes the batch and syncs once; starts a new segment first where the current one is full.

        `on_durable` is called as soon as the batch is on disk, before the MARK that says so: somebody waits for it.

        StorageError ends the process. O(bytes), and now and then a rewrite of the log (see `_roll`).
        """
        self._begin_work()
        image = self._image
        if image.size_bytes >= self._segment_size_bytes:
            self._roll()
        write_records(self._disk, image, batch.records)
        self._sync(on_durable)
        if any(record.kind is RecordKind.RESET for record in batch.records):
            self._remove_covered()
        self._working = False

    def compact(self, index: int) -> None:
        """Forgets the entries up to `index`, or to `durable_index` where that is less; a snapshot covers them, durable
        but for its name.

        Removes the segments that hold nothing else. The entries of those that stay are not recovered any more.
        """
        index = min(index, self.durable_index)
        state = self._image.state
        # Until a reset is durable, `durable_index` speaks of a log that is not on disk yet; it compacts all by itself.
        if index <= state.base_index or self.durable_position < self._reset_position:
            return
        self._begin_work()
        # The snapshot that covers them may have got its name just now.
        self._disk.sync_directory()
        write_records(self._disk, self._image, [Record(RecordKind.COMPACT, index, state.term_at(index))])
        self._sync()
        self._remove_covered()
        self._working = False

    def _begin_work(self) -> None:
        assert not self._working, "the log is being written already, or writing it has failed"
        self._working = True

    def _sync(self, on_durable: Callable[[], None] = lambda: None) -> None:
        image = self._image
        self._disk.sync(segment_name(image.number))
        on_durable()
        image.synced_bytes = image.size_bytes
        write_records(self._disk, image, [Record(RecordKind.MARK)])

    def _roll(self) -> None:
        """Starts the next segment.

        Truncated entries stay on disk until their segment is removed. So that they do not pile up while no
        snapshot comes, the log is written anew once it has more than doubled since the last time: its size stays
        below twice what it holds plus a few segments, and the cost of rewriting is O(1) per byte written.
        """
        disk, image = self._disk, self._image
        # The mark behind the last batch; in a segment that is not the last nothing may be torn.
        disk.sync(segment_name(image.number))
        bound = _REWRITE_FACTOR * self._rewritten_bytes + _REWRITE_SLACK_SEGMENTS * self._segment_size_bytes
        rewrite = image.truncated and image.total_bytes() > bound
        entries: list[tuple[int, int, bytes]] = []
        if rewrite:
            found = read_log(disk, self._identity)
            assert found is not None
            assert found.image.state == image.state, "the log on disk is not the one that was written"
            entries = found.entries
        image.closed.append(ClosedSegment(image.number, image.size_bytes, image.state.last_index))
        start_segment(disk, self._identity, image, starts_anew=rewrite, entries=entries)
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

    def _remove(self, segments: list[ClosedSegment]) -> None:
        for segment in segments:
            self._disk.remove(segment_name(segment.number))
        if segments:
            self._disk.sync_directory()
        self._image.closed = self._image.closed[len(segments) :]


def inspect(disk: ReadableDisk) -> InspectedLog | None:
    """What the log of a folder holds, without changing anything; None where there is none.

    Also of a log that its node is writing to: then up to some record that was whole at that moment. Damage is part of
    the answer, with what stands in front of it. DataFolderError for another version's log; StorageError where the disk
    refuses. O(bytes of the log); memory for one segment beside the entries.
    """
    found = examine_log(disk)
    if found is None:
        return None
    recovered = None if found.state is None else _recovered(found.state, found.entries)
    return InspectedLog(found.identity, recovered, tuple(found.segments), found.damage)


def _recovered(state: LogState, entries: list[tuple[int, int, bytes]]) -> RecoveredLog:
    return RecoveredLog(state.term, state.voted_for, state.voter, state.base_index, state.base_term, entries)
