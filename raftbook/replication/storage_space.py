"""When a node has too little room on its disk to take anything new, as a pure decision; and how it keeps its reserve.

Two sizes, both from `storage_reserve_bytes` of the configuration:

- the *margin*: with less than this free on its file system a node is full. It refuses submissions (`storage_full`), its
  leader sends it no more entries, and as a leader it hands over. Reads go on, and it keeps its vote.
- the *reserve file*, as large as the margin but 64 MiB at the most (disk.py): what the node goes on writing all the
  same (terms, votes, what was on its way) takes its room from there when the file system has none left at all.

The margin keeps the file system from filling up by the node's own doing; the reserve is for what others fill. Once it
was broken into, a node is full until it has been taken back, whatever the file system says is free: that may be a quota
away from the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.replication.disk import RESERVE_STEP_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.replication.disk import Disk

DEFAULT_MARGIN_BYTES: Final = 256 * 1024 * 1024
MAX_RESERVE_FILE_BYTES: Final = 64 * 1024 * 1024
_STEPS_IN_MARGIN: Final = 64
"""How often the disk is measured while the log fills what the margin is."""
_HYSTERESIS: Final = 8
"""A node that was full has room again when an eighth more than the margin is free."""


class StorageFigures(NamedTuple):
    """What is free on the file system, and what the reserve file holds of it besides."""

    free_bytes: int
    reserve_bytes: int


def reserve_file_bytes(margin_bytes: int) -> int:
    """How large the reserve file is meant to be."""
    return min(margin_bytes, MAX_RESERVE_FILE_BYTES)


def keep_reserve(disk: Disk, margin_bytes: int) -> StorageFigures:
    """Take the reserve back as far as half of what is free allows, then measure. Blocks; a few µs as a rule.

    StorageError: the disk refuses for another reason than being full.
    """
    wanted_bytes = reserve_file_bytes(margin_bytes)
    held_bytes = disk.reserve_bytes()
    if held_bytes < wanted_bytes:
        # Half, so that others on the same file system can still move; in steps, so that it is not tried all the time.
        affordable_bytes = min(wanted_bytes, held_bytes + disk.free_bytes() // 2)
        if affordable_bytes == wanted_bytes or affordable_bytes >= held_bytes + RESERVE_STEP_BYTES:
            disk.reserve(affordable_bytes)
    return StorageFigures(disk.free_bytes(), disk.reserve_bytes())


class DiskWatch:
    """When a node measures its disk: when it is asked to, and behind a write where that may have changed something.

    Belongs to the thread that writes; any other may set `is_due`.
    """

    def __init__(self, disk: Disk, margin_bytes: int) -> None:
        self.is_due = True
        """The next write is measured behind, whatever it was."""
        self._disk = disk
        self._margin_bytes = margin_bytes
        self._step_bytes = margin_bytes // _STEPS_IN_MARGIN
        self._log_bytes = 0
        self._reserve_bytes = 0

    def measure(self) -> StorageFigures:
        """See `keep_reserve`."""
        self.is_due = False
        figures = keep_reserve(self._disk, self._margin_bytes)
        self._reserve_bytes = figures.reserve_bytes
        return figures

    def written(self, log_bytes: int) -> StorageFigures | None:
        """What there is now that the log has `log_bytes`.

        None as long as it has not grown by a good part of the margin, and the reserve was not needed.
        """
        grown_bytes = abs(log_bytes - self._log_bytes)
        if grown_bytes < self._step_bytes and self._disk.reserve_bytes() == self._reserve_bytes and not self.is_due:
            return None
        self._log_bytes = log_bytes
        return self.measure()


class StorageSpace:
    """One node's room, by the figures that it is told; before the first it is taken to have some."""

    def __init__(self, margin_bytes: int = DEFAULT_MARGIN_BYTES) -> None:
        self.margin_bytes = margin_bytes
        self.figures: StorageFigures | None = None
        self.has_room = True

    @property
    def has_whole_reserve(self) -> bool:
        """Whether what need not be written now, such as a snapshot, takes no room from what must be."""
        return self.figures is None or self.figures.reserve_bytes >= reserve_file_bytes(self.margin_bytes)

    def measured(self, figures: StorageFigures, lacked_bytes: int = 0) -> bool:
        """Take new figures in; True if they change whether there is room.

        `lacked_bytes`: what had to be written lately and found no room, so it must fit in besides the margin.
        """
        self.figures = figures
        had_room = self.has_room
        needed_bytes = self.margin_bytes if had_room else self.margin_bytes + self.margin_bytes // _HYSTERESIS
        needed_bytes += lacked_bytes
        self.has_room = self.has_whole_reserve and figures.free_bytes >= needed_bytes
        return self.has_room != had_room


def majority_lacks_room(member_count: int, have_room: Sequence[bool]) -> bool:
    """Whether a majority can be reached, but none that has room. `have_room` has a flag for each that can be."""
    majority = member_count // 2 + 1
    return len(have_room) >= majority > sum(have_room)
