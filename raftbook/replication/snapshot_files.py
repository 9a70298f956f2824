"""A node's snapshots as files: their form, and how they are read and verified. Nothing here changes any.

A file `snapshot-<index>-<term>` (16 digits each, so that names sort by index) is

| size | field |
|---:|---|
| 7 | magic: "RBSNAP", 0 |
| 1 | format version |
| 4 | length of the header, little-endian |
| 4 | CRC32C of version and header |
| | header: CBOR array of cluster, index, term, body length, BLAKE2b-256 digest of the body |
| | body |

It is written under a name that ends in `.tmp`, synced, and renamed (snapshot_store.py). So a file that bears the final
name was whole and durable once, and a crash never explains damage in it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import cbor2
import google_crc32c

from raftbook.errors import DataFolderError, SnapshotError

if TYPE_CHECKING:
    from raftbook.replication.disk import ReadableDisk
    from raftbook.replication.log_segments import Identity

FORMAT_VERSION: Final = 1
DIGEST_BYTES: Final = 32
MAX_NUMBER: Final = 10**16 - 1
"""The highest index and term that a name has room for."""

_MAGIC: Final = b"RBSNAP\x00"
_PREFIX: Final = struct.Struct("<7sBII")
_MAX_HEADER_BYTES: Final = 4096
_NAME: Final = re.compile(r"snapshot-(\d{16})-(\d{16})", re.ASCII)
_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """The state after the entry `index`, whose term is `term`; `size_bytes` and `digest` are the body's."""

    index: int
    term: int
    size_bytes: int
    digest: bytes


def body_digest(body: bytes) -> bytes:
    """BLAKE2b-256."""
    return blake2b(body, digest_size=DIGEST_BYTES).digest()


def snapshot_name(index: int, term: int) -> str:
    assert 0 <= index <= MAX_NUMBER
    assert 0 <= term <= MAX_NUMBER
    return f"snapshot-{index:016d}-{term:016d}"


def is_snapshot_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def encode_header(cluster: str, info: SnapshotInfo) -> bytes:
    header = cbor2.dumps([cluster, info.index, info.term, info.size_bytes, info.digest])
    crc = google_crc32c.value(bytes([FORMAT_VERSION]) + header)
    return _PREFIX.pack(_MAGIC, FORMAT_VERSION, len(header), crc) + header


class SnapshotFiles:
    """The snapshots of one node, to read. Every method raises StorageError where the disk refuses."""

    def __init__(self, disk: ReadableDisk, identity: Identity) -> None:
        self._disk = disk
        self._cluster = identity.cluster
        self._node_id = identity.node_id

    def indexes(self) -> list[tuple[int, int]]:
        """(index, term) of every snapshot there is, by name alone, ascending."""
        matches = (_NAME.fullmatch(name) for name in self._disk.names())
        return sorted((int(match[1]), int(match[2])) for match in matches if match)

    def read_header(self, index: int, term: int) -> SnapshotInfo:
        """What a snapshot says of itself, its length compared, its body not looked at.

        SnapshotError: it is damaged. DataFolderError: it is another cluster's, or another version's.
        """
        name = snapshot_name(index, term)
        prefix = self._disk.read(name, 0, _PREFIX.size)
        if len(prefix) < _PREFIX.size:
            raise self._damage(name, "it ends within its header")
        magic, version, header_bytes, crc = _PREFIX.unpack(prefix)
        if magic != _MAGIC or header_bytes > _MAX_HEADER_BYTES:
            raise self._damage(name, "it does not begin like a snapshot")
        header = self._disk.read(name, _PREFIX.size, header_bytes)
        if len(header) != header_bytes or google_crc32c.value(bytes([version]) + header) != crc:
            raise self._damage(name, "its header is broken")
        if version != FORMAT_VERSION:
            raise DataFolderError(
                f"{self._disk.path(name)} has format version {version}, and this raftbook reads version "
                f"{FORMAT_VERSION}; start the raftbook that wrote it, or rebuild the node with `raftbook node rebuild`"
            )
        cluster, *fields = cbor2.loads(header)
        info = SnapshotInfo(*fields)
        if cluster != self._cluster:
            raise DataFolderError(
                f"{self._disk.path(name)} belongs to cluster {cluster}, not to {self._cluster}; "
                "give this node its own --data-dir"
            )
        if (info.index, info.term) != (index, term):
            raise self._damage(name, f"it is the snapshot of entry {info.index}, term {info.term} under another's name")
        expected = _PREFIX.size + header_bytes + info.size_bytes
        if self._disk.size(name) != expected:
            raise self._damage(name, f"it has {self._disk.size(name)} bytes instead of {expected}")
        return info

    def verify_body(self, info: SnapshotInfo) -> None:
        """SnapshotError where the body does not have the digest that `info` says. O(bytes), in pieces of 1 MiB."""
        name = snapshot_name(info.index, info.term)
        if self.digest_of_body(name, info) != info.digest:
            raise self._damage(name, "its body does not have the digest that its header says")

    def digest_of_body(self, name: str, info: SnapshotInfo) -> bytes:
        """Of what stands in the file `name`, which may bear another name than that of `info`, behind its header."""
        digest = blake2b(digest_size=DIGEST_BYTES)
        offset = self._body_offset(info)
        while data := self._disk.read(name, offset, _READ_BYTES):
            digest.update(data)
            offset += len(data)
        return digest.digest()

    def load(self, info: SnapshotInfo) -> bytes:
        """The body. SnapshotError where it does not have the digest that `info` says."""
        name = snapshot_name(info.index, info.term)
        body = self._disk.read(name, self._body_offset(info))
        if len(body) != info.size_bytes or body_digest(body) != info.digest:
            raise self._damage(name, "its body does not have the digest that its header says")
        return body

    def read_chunk(self, info: SnapshotInfo, offset: int, size_bytes: int) -> bytes:
        """Part of the body, unverified; short only at its end."""
        name = snapshot_name(info.index, info.term)
        return self._disk.read(name, self._body_offset(info) + offset, size_bytes)

    def _body_offset(self, info: SnapshotInfo) -> int:
        return len(encode_header(self._cluster, info))

    def _damage(self, name: str, what: str) -> SnapshotError:
        held = self.indexes()
        older = f" (or, if the log reaches back to entry {held[-2][0]}, move the file away)" if len(held) > 1 else ""
        return SnapshotError(f"{self._disk.path(name)} is damaged: {what}; {self.how_to_rebuild()}{older}")

    def how_to_rebuild(self) -> str:
        return f"rebuild this node from its peers with `raftbook node rebuild --config FILE --id {self._node_id}`"
