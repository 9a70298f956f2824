"""A snapshot in pieces: what the follower makes of chunks that no snapshot can have."""

from __future__ import annotations

import pytest

from raftbook.errors import SnapshotError
from raftbook.replication.messages import SnapshotChunk
from raftbook.replication.snapshot_store import MAX_SNAPSHOT_BYTES, SnapshotStore, body_digest
from raftbook.replication.snapshot_transfer import SnapshotCollector
from raftbook.replication.write_ahead_log import Identity
from raftbook.simulation.disk import SimulatedDisk

BODY = b"the whole book"


def chunk(data: bytes, offset: int, *, index: int = 5, size_bytes: int = len(BODY)) -> SnapshotChunk:
    return SnapshotChunk(1, index, 1, size_bytes, body_digest(BODY), offset, data)


def test_a_transfer_begins_anew_behind_an_offer_that_was_refused():
    store = SnapshotStore(SimulatedDisk(), Identity("local-3", "n1"))
    collector = SnapshotCollector(store.receiver())
    assert collector.add(chunk(BODY[:4], 0)) == (4, None)
    with pytest.raises(SnapshotError, match="this node takes"):
        collector.add(chunk(b"", 0, index=6, size_bytes=MAX_SNAPSHOT_BYTES + 1))
    # What had come of the first is gone, so its next piece leaves a gap, and it is asked for from the beginning.
    assert collector.add(chunk(BODY[4:], 4)) == (0, None)
    received_bytes, info = collector.add(chunk(BODY, 0))
    assert received_bytes == len(BODY)
    assert info is not None
    store.place_incoming(info)
    assert store.load(info) == BODY
