"""Reading changes nothing, and what is read while a node writes is a state that it once had."""

from __future__ import annotations

import itertools
import shutil
import threading

import pytest

from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.errors import DataFolderError, StorageError
from raftbook.offline import StoredNode, entry_to_json, node_to_json
from raftbook.replication.disk import FileDisk
from raftbook.replication.read_only_disk import ReadOnlyDisk
from tests.offline.written_node import ACME, NO_OP, WrittenNode, fingerprint
from tests.support.single_node import single_node

READINGS = 60
DEADLINE_S = 60.0


@pytest.fixture
def written(tmp_path):
    node = WrittenNode(tmp_path / "n1", segment_size_bytes=2_000)
    node.enter(ACME)
    node.enter_orders(20)
    node.snapshot()
    node.enter_orders(20)
    yield node
    node.close()


def read_everything(node):
    """All that can be asked of it; the digest at its end."""
    node.verify_snapshots()
    node_to_json(node)
    for entry in node.entries():
        entry_to_json(entry)
    return node.replay().finish().chain_digest.hex()


class TestNothingChanges:
    def test_in_the_folder_of_a_node_that_holds_its_lock(self, written):
        with pytest.raises(DataFolderError):
            FileDisk(written.folder).lock()
        before = fingerprint(written.folder)
        with StoredNode.open(written.folder) as node:
            assert read_everything(node) == written.digests[41]
        assert fingerprint(written.folder) == before

    def test_in_a_copy(self, written, tmp_path):
        shutil.copytree(written.folder, tmp_path / "copy")
        before = fingerprint(tmp_path / "copy")
        with StoredNode.open(tmp_path / "copy") as node:
            assert read_everything(node) == written.digests[41]
        assert fingerprint(tmp_path / "copy") == before

    def test_where_a_crash_left_something(self, written):
        """A node would cut the tail off, and remove what is half-written."""
        with written.path("log").open("ab") as log:
            log.write(b"torn")
        for name in ("log.tmp", "incoming-snapshot.tmp", "snapshot-0000000000000041-0000000000000001.77.tmp"):
            (written.folder / name).write_bytes(b"half")
        before = fingerprint(written.folder)
        with StoredNode.open(written.folder) as node:
            assert read_everything(node) == written.digests[41]
            assert node.problems == []
        assert fingerprint(written.folder) == before

    def test_where_it_is_damaged(self, written):
        data = bytearray(written.path("log", 0).read_bytes())
        data[-10] ^= 1
        written.path("log", 0).write_bytes(bytes(data))
        before = fingerprint(written.folder)
        with StoredNode.open(written.folder) as node:
            read_everything(node)
            assert node.problems
        assert fingerprint(written.folder) == before


class TestWhileItIsWritten:
    def test_every_reading_is_a_moment_of_the_log(self, written):
        """A writer appends, begins segments, takes snapshots, compacts and truncates without a pause."""
        stop, failures = threading.Event(), []

        def write():
            try:
                while not stop.is_set():
                    written.enter_orders(7)
                    written.snapshot()
                    written.log.compact(max(written.log.last_index - 10, written.snapshots.indexes()[0][0]))
                    # What is behind the snapshot is not executed, so that it may be taken back.
                    end = written.log.last_index
                    written.log.append(end + 1, written.term, NO_OP)
                    written.flush()
                    written.log.truncate_from(end + 1)
                    written.flush()
            except BaseException as error:  # noqa: BLE001 (for the test to raise)
                failures.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = set()
            for _ in range(READINGS):
                with StoredNode.open(written.folder) as node:
                    assert node.problems == []
                    state = node.replay().finish()
                    lowest, _ = node.rebuildable_indexes()[-1]
                    assert node.replay(lowest).finish().chain_digest.hex() == written.digests[lowest]
                    ends_with_no_op = [entry.raw for entry in node.entries()][-1:] == [NO_OP]
                # That one is taken back; there will be another entry in its place.
                index = state.index - 1 if ends_with_no_op else state.index
                assert state.chain_digest.hex() == written.digests[index]
                seen.add(state.index)
        finally:
            stop.set()
            writer.join(DEADLINE_S)
        assert failures == []
        assert len(seen) > READINGS // 2
        assert written.log.last_index > 200

    async def test_a_running_node_s_folder_is_what_the_node_says(self, tmp_path):
        async with single_node(tmp_path, snapshot_entries=10, log_retain_entries=5) as service:
            await service.submit([AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))], wait_s=10)
            for number in range(60):
                side = Side.BUY if number % 2 else Side.SELL
                terms = (side, OrderType.LIMIT, TimeInForce.GTC, Number(100, 0), Number(1 + number % 3, 0))
                (report,) = await service.submit([NewOrder("ACME", "alice", str(number), *terms)], wait_s=10)
                assert report.execution.accepted
                with StoredNode.open(tmp_path) as node:
                    state = node.replay().finish()
                    assert node.problems == []
                assert state.index >= report.execution.log_index
                assert state.chain_digest.hex() == service.state.digest_at(state.index)
            assert state.state_digest() == service.state.state_digest()


class TestReadOnlyDisk:
    def test_what_comes_and_goes_later_is_not_seen(self, tmp_path):
        for name in ("a", "b", "other"):
            (tmp_path / name).write_bytes(b"0123456789")
        disk = ReadOnlyDisk(tmp_path, lambda name: len(name) == 1)
        (tmp_path / "a").unlink()
        (tmp_path / "c").write_bytes(b"new")
        with (tmp_path / "b").open("ab") as file:
            file.write(b"more")
        assert disk.names() == ["a", "b"]
        assert (disk.read("a"), disk.size("b"), disk.read("b")) == (b"0123456789", 10, b"0123456789")
        assert (disk.read("b", 8), disk.read("b", 2, 3), disk.read("b", 8, 9), disk.read("b", 12)) == (
            b"89",
            b"234",
            b"89",
            b"",
        )
        assert disk.path("a") == str(tmp_path / "a")
        disk.close()
        assert disk.names() == []

    def test_names_that_change_while_they_are_opened_are_opened_anew(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1")
        seen = []

        def wanted(name):
            seen.append(name)
            if len(seen) == 1:
                (tmp_path / "b").write_bytes(b"2")
                (tmp_path / "a").unlink()
            return True

        disk = ReadOnlyDisk(tmp_path, wanted)
        assert {name: disk.read(name) for name in disk.names()} == {"b": b"2"}
        disk.close()

    def test_names_that_never_stand_still_are_an_error(self, tmp_path):
        (tmp_path / "a").write_bytes(b"")
        listings = itertools.count()
        with pytest.raises(StorageError, match="come and go too fast to be read together; read a copy"):
            ReadOnlyDisk(tmp_path, lambda _: next(listings) % 2 == 0)

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(StorageError, match=f"cannot read {tmp_path}/missing: No such file"):
            ReadOnlyDisk(tmp_path / "missing", lambda _: True)
