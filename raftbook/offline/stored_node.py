"""A node as its files tell it, at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from raftbook.errors import DamagedLogError, DataFolderError, NotHeldError, SnapshotError
from raftbook.offline.log_entry import LogEntry
from raftbook.offline.node_folder import find_node_folder
from raftbook.offline.replay import Replay
from raftbook.replication.log_segments import is_segment_name
from raftbook.replication.read_only_disk import ReadOnlyDisk
from raftbook.replication.snapshot_files import SnapshotFiles, SnapshotInfo, is_snapshot_name, snapshot_name
from raftbook.replication.write_ahead_log import RecoveredLog, inspect
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from raftbook.replication.write_ahead_log import Damage, Identity, InspectedLog, SegmentReport

_READING_ATTEMPTS: Final = 5

_NOTHING_READ: Final = RecoveredLog(0, None, False, 0, 0, [])


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """A snapshot's file, `size_bytes` long.

    `info` is None and `problem` a sentence where it is damaged, as far as its header tells.
    """

    name: str
    size_bytes: int
    index: int
    term: int
    info: SnapshotInfo | None
    problem: str | None


class StoredNode:
    """See the module's docstring; make one with `open`, and `close` it, or use it in a `with` statement.

    In memory are the log's entries, as bytes; they are decoded one by one, and a snapshot is read when it is asked for.

    `damage` is where the log stops being readable; entries, term and vote are those in front of it. `problems` are
    sentences about what is damaged, snapshots that a replay had to pass over included.
    """

    def __init__(self, folder: Path, disk: ReadOnlyDisk, inspected: InspectedLog) -> None:
        log = inspected.log or _NOTHING_READ
        self.folder = folder
        self.identity: Identity | None = inspected.identity
        self.term = log.term
        self.voted_for = log.voted_for
        self.is_voter = log.voter
        self.base_index = log.base_index
        self.segments: tuple[SegmentReport, ...] = inspected.segments
        self.damage: Damage | None = inspected.damage
        self.problems: list[str] = [] if inspected.damage is None else [inspected.damage.message]
        self._disk = disk
        self._base_term = log.base_term
        self._entries = log.entries
        self._snapshot_files = None if inspected.identity is None else SnapshotFiles(disk, inspected.identity)
        self.snapshots = self._examine_snapshots()
        self._check_seam()

    @classmethod
    def open(cls, data_dir: Path) -> StoredNode:
        """The node in `data_dir`, or in the only node's folder within it. O(bytes of the log).

        Damage is believed when it is seen twice: while a node starts it cuts off what a crash tore, and what was read
        before that does not fit what is read behind it.

        Raises:
            DataFolderError: there is no node's folder, several, or the log is another version's.
            StorageError: a file cannot be read.
        """
        folder = find_node_folder(data_dir)
        node, doubts = cls._open_once(folder), None
        for _ in range(_READING_ATTEMPTS):
            if node._doubts() == doubts:  # noqa: SLF001 (one of its own kind)
                break
            node.close()
            doubts = node._doubts()  # noqa: SLF001 (one of its own kind)
            node = cls._open_once(folder)
        return node

    @classmethod
    def _open_once(cls, folder: Path) -> StoredNode:
        disk = ReadOnlyDisk(folder, lambda name: is_segment_name(name) or is_snapshot_name(name))
        try:
            inspected = inspect(disk)
            node = None if inspected is None else cls(folder, disk, inspected)
        except BaseException:
            disk.close()
            raise
        if node is None:
            disk.close()
            raise DataFolderError(f"the log in {folder} has just been moved or removed; look for it beside that folder")
        return node

    def _doubts(self) -> object:
        """What a second reading should confirm."""
        return tuple(self.problems) or None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._disk.close()

    # The log.

    @property
    def first_index(self) -> int:
        """Index of the log's first entry, base_index + 1 unless what stood in front is lost; also of an empty log."""
        return self._entries[0][0] if self._entries else self.base_index + 1

    @property
    def last_index(self) -> int:
        """Index of the log's last entry; first_index - 1 where it has none."""
        return self.first_index + len(self._entries) - 1

    @property
    def known_committed_index(self) -> int:
        """Everything up to here is committed, since snapshots are of what is; of what follows a log cannot know."""
        return max([self.base_index, *(snapshot.index for snapshot in self.snapshots if snapshot.problem is None)])

    def entries(self, first: int | None = None, last: int | None = None) -> Iterator[LogEntry]:
        """The log's entries from `first` to `last`, both included; all, where they are None.

        Raises:
            NotHeldError: the log does not hold them; says what it holds.
        """
        lowest = self.first_index if first is None else first
        highest = self.last_index if last is None else last
        if (first is not None and not self.first_index <= first <= self.last_index) or highest > self.last_index:
            raise NotHeldError(
                f"the log in {self.folder} holds {self._held()}, not {lowest} to {highest}; ask for entries within that"
            )
        return self._iterate(lowest, highest)

    def _iterate(self, first: int, last: int) -> Iterator[LogEntry]:
        for position in range(first - self.first_index, last - self.first_index + 1):
            yield LogEntry(*self._entries[position])

    def _held(self) -> str:
        return f"entries {self.first_index} to {self.last_index}" if self._entries else "no entries"

    def _term_at(self, index: int) -> int | None:
        if self.first_index <= index <= self.last_index:
            return self._entries[index - self.first_index][1]
        return self._base_term if index == self.base_index == self.first_index - 1 else None

    # The states.

    def rebuildable_indexes(self) -> list[tuple[int, int]]:
        """Ranges (lowest, highest) of indexes whose states the folder holds, ascending; by the snapshots' headers."""
        joined = [index for index, info in self._starts() if self._joins(index, info)]
        ranges = [(min(joined), self.last_index)] if joined else []
        alone = [index for index, _ in self._starts() if not (joined and min(joined) <= index <= self.last_index)]
        return sorted(ranges + [(index, index) for index in alone])

    @property
    def end_index(self) -> int:
        """The state in which the node would start: at the log's end, or at a snapshot that supersedes the log."""
        newest = self.snapshots[-1] if self.snapshots else None
        if newest is None or newest.info is None or newest.index < self.base_index:
            return self.last_index
        return self.last_index if self._joins(newest.index, newest.info) else newest.index

    def replay(self, to: int | None = None, *, after: int | None = None) -> Replay:
        """A replay that ends with the state at `to` (default `end_index`). O(snapshot) now, O(entries) when it runs.

        It begins at the newest snapshot at or below `after`, so that every entry behind `after` is executed on the
        way; without `after` at the newest at or below `to`. A damaged snapshot is passed over where an older one will
        do, and told in `problems`.

        Raises:
            NotHeldError: the folder cannot give that state; says which it can.
            SnapshotError: the snapshot that is needed is damaged.
        """
        end = self.end_index if to is None else to
        begin = end if after is None else min(after, end)
        refusal: SnapshotError | None = None
        for index, info in reversed(self._starts()):
            if index > begin or not (index == end or (self._joins(index, info) and end <= self.last_index)):
                continue
            try:
                state = self._load(info)
            except SnapshotError as error:
                self._tell(str(error))
                refusal = error
                continue
            return Replay(state, self._iterate(index + 1, end) if end > index else iter(()), end)
        if refusal is not None:
            raise refusal
        raise self._no_state(begin, end)

    def _starts(self) -> list[tuple[int, SnapshotInfo | None]]:
        """Where a replay may begin: at the beginning (info None), and at each snapshot whose header is sound."""
        snapshots = [(snapshot.index, snapshot.info) for snapshot in self.snapshots if snapshot.info is not None]
        return [(0, None), *snapshots] if self.identity is not None and self.first_index == 1 else [*snapshots]

    def _joins(self, index: int, info: SnapshotInfo | None) -> bool:
        """Whether the log goes on where this start ends; a snapshot from a peer may contradict the log that was."""
        return info is None or self._term_at(index) == info.term

    def _load(self, info: SnapshotInfo | None) -> StateMachine:
        if info is None:
            return StateMachine()
        assert self._snapshot_files is not None
        state = StateMachine.from_snapshot(self._snapshot_files.load(info))
        if state.index != info.index:
            raise SnapshotError(
                f"{self._disk.path(snapshot_name(info.index, info.term))} holds the state of entry {state.index}; "
                f"{self._snapshot_files.how_to_rebuild()}"
            )
        return state

    def _no_state(self, begin: int, end: int) -> DamagedLogError | NotHeldError:
        ranges = [
            f"{lowest} to {highest}" if lowest < highest else str(lowest)
            for lowest, highest in self.rebuildable_indexes()
        ]
        asked = f"the state at {end}" if begin == end else f"the states from {begin} to {end}"
        able = f"those at {' and '.join(ranges)}" if ranges else "none"
        if self.damage is not None:
            return DamagedLogError(f"{asked} cannot be rebuilt, only {able}: {self.damage.message}")
        return NotHeldError(
            f"{asked} cannot be rebuilt from {self.folder}, only {able}: ask for one of these, or read another node's "
            "folder"
        )

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    # The snapshots.

    def _check_seam(self) -> None:
        newest_index = self.snapshots[-1].index if self.snapshots else 0
        if newest_index < self.base_index and self._snapshot_files is not None:
            newest = f"the newest snapshot ends at entry {newest_index}" if newest_index else "there is no snapshot"
            advice = self._snapshot_files.how_to_rebuild()
            self._tell(f"the log in {self.folder} begins behind entry {self.base_index}, but {newest}; {advice}")

    def _examine_snapshots(self) -> tuple[SnapshotReport, ...]:
        return tuple(
            self._examine_snapshot(index, term)
            for index, term in ([] if self._snapshot_files is None else self._snapshot_files.indexes())
        )

    def _examine_snapshot(self, index: int, term: int) -> SnapshotReport:
        assert self._snapshot_files is not None
        name = snapshot_name(index, term)
        size_bytes = self._disk.size(name)
        try:
            return SnapshotReport(name, size_bytes, index, term, self._snapshot_files.read_header(index, term), None)
        except (SnapshotError, DataFolderError) as error:
            self._tell(str(error))
            return SnapshotReport(name, size_bytes, index, term, None, str(error))

    def verify_snapshots(self) -> None:
        """Reads every snapshot to its end; what is wrong with one is in `problems` and in its report. O(bytes)."""
        self.snapshots = tuple(self._verified(snapshot) for snapshot in self.snapshots)

    def _verified(self, snapshot: SnapshotReport) -> SnapshotReport:
        if snapshot.info is None:
            return snapshot
        assert self._snapshot_files is not None
        try:
            self._snapshot_files.verify_body(snapshot.info)
        except SnapshotError as error:
            self._tell(str(error))
            return replace(snapshot, info=None, problem=str(error))
        return snapshot
