"""Snapshots: any plain data, with version and digest around it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import cbor2

from raftbook.codec.cbor import byte_string, integer, load, load_in_pieces, text
from raftbook.errors import SnapshotError

SNAPSHOT_VERSION: Final = 1

_SNAPSHOT_MAGIC: Final = "raftbook snapshot"
_MAX_SNAPSHOT_DEPTH: Final = 64


def encode_snapshot(data: object) -> bytes:
    """A snapshot with its version and digest. `data` is of integers, texts, booleans, None, lists and tuples. O(size).

    Canonical: equal data gives equal bytes (a list and a tuple of the same values are equal here).
    """
    return _wrap_snapshot(cbor2.dumps(data, canonical=True))


def _wrap_snapshot(payload: bytes) -> bytes:
    digest = blake2b(payload, digest_size=32).digest()
    return b"".join(
        (b"\x84", text(_SNAPSHOT_MAGIC), integer(SNAPSHOT_VERSION), byte_string(digest), byte_string(payload))
    )


def decode_snapshot(raw: bytes) -> object:
    """The data of a snapshot, with lists for lists and tuples. O(size).

    Raises SnapshotError where it is truncated, altered, of another version, or no snapshot at all.
    """
    try:
        fields = load(raw, 2)
    except Exception as error:
        raise SnapshotError(f"not a snapshot, or a truncated one of {len(raw)} bytes; fetch it again") from error
    if type(fields) is not list or len(fields) != 4 or fields[0] != _SNAPSHOT_MAGIC:
        raise SnapshotError("not a snapshot of raftbook")
    _, version, _, payload = fields
    if type(version) is not int or version != SNAPSHOT_VERSION:
        raise SnapshotError(f"snapshot of version {version!r}; this release reads version {SNAPSHOT_VERSION}")
    if type(payload) is not bytes or _wrap_snapshot(payload) != raw:
        raise SnapshotError("the snapshot was altered: its digest does not match; fetch it again")
    try:
        return load_in_pieces(payload, _MAX_SNAPSHOT_DEPTH)
    except Exception as error:
        raise SnapshotError("the snapshot's digest matches but its content is no CBOR") from error
