"""Snapshots of the replicated state on disk, and those that come from a peer.

snapshot_files.py has their form. A snapshot is written under a name that ends in `.tmp`, synced, and renamed, so a file
that bears the final name was whole and durable once. An own one gets that name when it is accepted: what nobody has
accepted, since no majority was known to have the same state, is void after a restart.

**A damaged newest snapshot is never passed over**, though the older one may be sound: the log may have been
compacted beyond the older one, and a disk that has altered one file is not to be trusted in silence with the
next. `latest` refuses, names the damaged file, and says what helps: rebuild from the peers, or, where an older
sound snapshot meets the log, move the damaged file away. With `log_base_index` it also refuses a newest snapshot that
ends before the log begins.

The newest two are kept; the older serves a transfer to a peer that began before the newest was made.

`write` may run in a forked child: it takes no lock, logs nothing and changes nothing of the store in memory. The parent
then calls `accept`, and has what that supersedes removed in a thread, or `adopt`, which does both.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from raftbook.errors import NotHeldError, SnapshotError, StorageFullError
from raftbook.replication.snapshot_files import (
    DIGEST_BYTES,
    MAX_NUMBER,
    SnapshotFiles,
    SnapshotInfo,
    body_digest,
    encode_header,
    snapshot_name,
)

if TYPE_CHECKING:
    from raftbook.replication.disk import Disk
    from raftbook.replication.write_ahead_log import Identity

__all__ = ["MAX_SNAPSHOT_BYTES", "SnapshotInfo", "SnapshotReceiver", "SnapshotStore", "body_digest"]

_TEMPORARY_NAME: Final = re.compile(r"(snapshot|incoming)-.*\.tmp", re.ASCII)
_INCOMING_NAME: Final = "incoming-snapshot.tmp"
_KEPT: Final = 2
MAX_SNAPSHOT_BYTES: Final = 16 * 1024**3


class SnapshotStore:
    """The snapshots of one node's folder. The caller holds the folder's lock.

    Opening removes what a crash left half-written. Every method raises StorageError where the disk refuses.
    """

    def __init__(self, disk: Disk, identity: Identity) -> None:
        self._disk = disk
        self._files = SnapshotFiles(disk, identity)
        self._cluster = identity.cluster
        self._latest: SnapshotInfo | None = None
        for name in disk.names():
            if _TEMPORARY_NAME.fullmatch(name):
                disk.remove(name)

    def indexes(self) -> list[tuple[int, int]]:
        """(index, term) of every snapshot there is, by name alone, ascending."""
        return self._files.indexes()

    def latest(self, log_base_index: int = 0) -> SnapshotInfo | None:
        """The newest snapshot, verified from end to end the first time (O(bytes), in pieces of 1 MiB), or None.

        SnapshotError: it is damaged, or the log begins behind it (`log_base_index`). DataFolderError: it is
        another cluster's, or another version's.
        """
        if self._latest is None:
            held = self.indexes()
            if held:
                info = self._files.read_header(*held[-1])
                self._files.verify_body(info)
                self._latest = info
        index = 0 if self._latest is None else self._latest.index
        if index < log_base_index:
            newest = "there is no snapshot" if self._latest is None else f"the newest snapshot ends at entry {index}"
            folder, advice = self._disk.path(""), self._files.how_to_rebuild()
            raise SnapshotError(f"the log in {folder} begins behind entry {log_base_index}, but {newest}; {advice}")
        return self._latest

    def write(self, index: int, term: int, body: bytes) -> SnapshotInfo:
        """Puts a snapshot on the disk, safe in a forked child; it counts for nothing before `accept`. O(bytes)."""
        info = SnapshotInfo(index, term, len(body), body_digest(body))
        temporary = _temporary_name(index, term, os.getpid())
        self._disk.create(temporary)
        self._disk.append(temporary, encode_header(self._cluster, info))
        self._disk.append(temporary, body)
        self._disk.sync(temporary)
        self._disk.rename(temporary, _written_name(index, term))
        return info

    def drop_unfinished(self, index: int, term: int, process_id: int) -> None:
        """Removes what `write` has left in the child `process_id`, which failed: on a full disk it is in the way."""
        temporary = _temporary_name(index, term, process_id)
        if temporary in self._disk.names():
            self._disk.remove(temporary)

    def accept(self, index: int, term: int) -> SnapshotInfo:
        """A child has written this snapshot, or it came from the leader: it is the newest from now on.

        Where a newer one has come while it waited, that one stays the newest, and what a child has written goes. Its
        name is durable when the directory has been synced, which `WriteAheadLog.compact` does before it relies on it.
        Reads the header and compares the length, not the body. SnapshotError as in `latest`.
        """
        written = _written_name(index, term)
        if written in self._disk.names():
            if self._latest is not None and index <= self._latest.index:
                self._disk.remove(written)
                return self._latest
            self._disk.rename(written, snapshot_name(index, term))
        elif self._latest is not None and (index, term) not in self.indexes():
            # It came from the leader, and waited for so long that it was superseded.
            return self._latest
        info = self._files.read_header(index, term)
        if self._latest is None or index >= self._latest.index:
            self._latest = info
        return info

    def superseded(self) -> list[tuple[int, int]]:
        """(index, term) of those older than the newest two. They are not read any more, and may be removed."""
        return self._accepted()[:-_KEPT]

    def remove(self, snapshots: list[tuple[int, int]]) -> None:
        """Removes those of these, which are superseded, that are still there: it may have been asked for twice.

        From any thread, but one at a time; blocks as long as the file system does.
        """
        held = set(self.indexes())
        found = [snapshot for snapshot in snapshots if snapshot in held]
        for index, term in found:
            self._disk.remove(snapshot_name(index, term))
        if found:
            self._disk.sync_directory()

    def adopt(self, index: int, term: int) -> SnapshotInfo:
        """`accept`, and what is superseded by it goes at once."""
        info = self.accept(index, term)
        self.remove(self.superseded())
        return info

    def _accepted(self) -> list[tuple[int, int]]:
        """Without one from a peer that has just been put in place."""
        latest = self._latest
        return [] if latest is None else [held for held in self.indexes() if held <= (latest.index, latest.term)]

    def load(self, info: SnapshotInfo) -> bytes:
        """The body. SnapshotError where it does not have the digest that `info` says."""
        return self._files.load(info)

    def read_chunk(self, info: SnapshotInfo, offset: int, size_bytes: int) -> bytes:
        """Part of the body, for a peer; short only at its end. NotHeldError where the snapshot has been removed."""
        assert 0 <= offset <= info.size_bytes
        assert size_bytes > 0
        if (info.index, info.term) not in self._accepted()[-_KEPT:]:
            raise NotHeldError(f"the snapshot of entry {info.index} has been removed; send the newest instead")
        return self._files.read_chunk(info, offset, size_bytes)

    def _put_in_place(self, temporary: str, info: SnapshotInfo) -> None:
        self._disk.sync(temporary)
        self._disk.rename(temporary, snapshot_name(info.index, info.term))
        self._disk.sync_directory()

    def receiver(self, max_size_bytes: int = MAX_SNAPSHOT_BYTES) -> SnapshotReceiver:
        """What takes a snapshot from a peer into this store."""
        return SnapshotReceiver(self, max_size_bytes)

    # For the receiver: a snapshot that comes in pieces.

    def start_incoming(self, info: SnapshotInfo) -> None:
        self.drop_incoming()
        free_bytes = self._disk.free_bytes()
        if info.size_bytes > free_bytes:
            raise StorageFullError(
                f"the snapshot of entry {info.index} from a peer has {info.size_bytes} bytes, and {free_bytes} are free"
            )
        self._disk.create(_INCOMING_NAME)
        self._disk.append(_INCOMING_NAME, encode_header(self._cluster, info))

    def append_incoming(self, data: bytes) -> None:
        self._disk.append(_INCOMING_NAME, data)

    def drop_incoming(self) -> None:
        if _INCOMING_NAME in self._disk.names():
            self._disk.remove(_INCOMING_NAME)

    def place_incoming(self, info: SnapshotInfo) -> None:
        """Verifies the incoming file, which is whole, and makes it durable under its name; to be accepted then.

        O(bytes), and from any thread, as long as nothing else is done with the incoming file. SnapshotError: the body
        does not have the digest announced; it is dropped.
        """
        if self._files.digest_of_body(_INCOMING_NAME, info) != info.digest:
            self.drop_incoming()
            raise SnapshotError(f"the snapshot of entry {info.index} from a peer does not have the digest announced")
        self._put_in_place(_INCOMING_NAME, info)


class SnapshotReceiver:
    """Takes one snapshot at a time from a peer, in order, onto the disk.

    What has arrived stands in a `.tmp` file; nothing of it counts before `SnapshotStore.place_incoming` has verified
    the whole. Every method is quick; all raise StorageError where the disk refuses.
    """

    def __init__(self, store: SnapshotStore, max_size_bytes: int = MAX_SNAPSHOT_BYTES) -> None:
        self._store = store
        self._max_size_bytes = max_size_bytes
        self._expected: SnapshotInfo | None = None
        self._received_bytes = 0

    def begin(self, index: int, term: int, size_bytes: int, digest: bytes) -> None:
        """A transfer begins; what came of another one is dropped.

        SnapshotError: no snapshot can have these properties, or it is larger than `max_size_bytes`.
        """
        self.abort()
        if not (0 < index <= MAX_NUMBER and 0 <= term <= MAX_NUMBER and len(digest) == DIGEST_BYTES):
            raise SnapshotError(f"a peer offers a snapshot of entry {index}, term {term}, digest {digest.hex()!r}")
        if not 0 <= size_bytes <= self._max_size_bytes:
            raise SnapshotError(
                f"a peer offers a snapshot of {size_bytes} bytes, and this node takes {self._max_size_bytes} at most"
            )
        expected = SnapshotInfo(index, term, size_bytes, digest)
        self._store.start_incoming(expected)
        self._expected, self._received_bytes = expected, 0

    def add(self, offset: int, data: bytes) -> int:
        """Takes a piece of the body; returns the offset that is needed next.

        A repeat is passed over as far as it is known, a piece behind a gap altogether. SnapshotError: it reaches
        beyond the announced size.
        """
        assert self._expected is not None, "no transfer has begun"
        end = offset + len(data)
        if offset < 0 or end > self._expected.size_bytes:
            raise SnapshotError(
                f"a peer sends bytes {offset} to {end} of a snapshot of {self._expected.size_bytes} bytes"
            )
        if offset <= self._received_bytes < end:
            self._store.append_incoming(data[self._received_bytes - offset :])
            self._received_bytes = end
        return self._received_bytes

    def finish(self) -> SnapshotInfo:
        """All of it has come; what the store is to verify and put in place, before anything else comes in.

        SnapshotError: bytes are missing; what came is dropped.
        """
        assert self._expected is not None, "no transfer has begun"
        expected, received_bytes = self._expected, self._received_bytes
        if received_bytes != expected.size_bytes:
            self.abort()
            raise SnapshotError(f"{received_bytes} of {expected.size_bytes} bytes came of the snapshot from a peer")
        self._expected = None
        return expected

    def abort(self) -> None:
        """Drops what has come."""
        if self._expected is not None:
            self._expected = None
            self._store.drop_incoming()


def _written_name(index: int, term: int) -> str:
    """Of a whole snapshot that waits to be accepted."""
    return f"{snapshot_name(index, term)}.written.tmp"


def _temporary_name(index: int, term: int, process_id: int) -> str:
    """The process id keeps a child that outlived its killed parent apart from the next node's child."""
    return f"{snapshot_name(index, term)}.{process_id}.tmp"
