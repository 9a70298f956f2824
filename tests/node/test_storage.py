"""The parts of a node that leave its loop: the thread that writes the log, the child that writes a snapshot."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from raftbook.errors import StateDivergedError, StorageError
from raftbook.node.storage import LogWriter, SnapshotInstaller, SnapshotWriter
from raftbook.replication.disk import FileDisk
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.storage_space import DiskWatch, StorageFigures
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog, inspect
from raftbook.simulation.disk import PowerLossError, SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from raftbook.replication.snapshot_store import SnapshotInfo

IDENTITY = Identity("c", "n1")


class SlowDisk(SimulatedDisk):
    """Every sync waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def sync(self, name: str) -> None:
        assert self.gate.wait(10)
        super().sync(name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (a state that tells nobody of its changes)
            await asyncio.sleep(0.002)


class Watch(DiskWatch):
    """Takes a measurement's number for what is free, and notes which thread asked for it."""

    def __init__(self) -> None:
        super().__init__(SimulatedDisk(), 1 << 20)
        self.is_due = False
        self.threads: list[str] = []

    def measure(self) -> StorageFigures:
        self.threads.append(threading.current_thread().name)
        self.is_due = False
        return StorageFigures(len(self.threads), 0)


def make_writer(wal: WriteAheadLog, **callbacks: object) -> LogWriter:
    defaults = {
        "watch": Watch(),
        "on_synced": lambda: None,
        "on_measured": lambda _figures: None,
        "on_failure": pytest.fail,
    }
    return LogWriter(wal, **{**defaults, **callbacks})


class TestLogWriter:
    async def test_what_comes_during_a_sync_is_the_next_batch(self):
        disk = SlowDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        durable: list[int] = []
        writer = make_writer(wal, on_synced=lambda: durable.append(wal.durable_index))
        disk.gate.clear()
        wal.append(1, 1, b"first")
        writer.kick()
        for index in (2, 3, 4):
            wal.append(index, 1, b"later")
            writer.kick()
        assert wal.durable_index == 0
        disk.gate.set()
        await until(lambda: wal.durable_index == 4)
        assert durable == [1, 4]
        await writer.close()

    async def test_closing_writes_what_waits(self):
        disk = SimulatedDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        writer = make_writer(wal)
        wal.append(1, 1, b"entry")
        await writer.close()
        assert wal.durable_index == 1

    async def test_compaction_is_not_put_off_by_a_log_that_never_rests(self):
        disk = SimulatedDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        index = 0

        def keep_busy() -> None:
            nonlocal index
            if index < 50:
                index += 1
                wal.append(index, 1, b"entry")
            if index == 5:
                writer.compact(3)

        writer = make_writer(wal, on_synced=keep_busy)
        keep_busy()
        writer.kick()

        def base_index() -> int:
            found = inspect(disk)
            assert found is not None
            assert found.log is not None
            return found.log.base_index

        await until(lambda: base_index() == 3 or index == 50)
        assert index < 50
        await writer.close()

    async def test_who_waits_for_a_batch_hears_of_it_before_anything_else_is_done(self):
        disk = SlowDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        marking = threading.Event()
        marked = threading.Event()

        def append_slowly(name: str, data: bytes, *, may_use_reserve: bool = False) -> None:
            if marking.is_set():
                assert marked.wait(10)
            SimulatedDisk.append(disk, name, data, may_use_reserve=may_use_reserve)
            marking.set()

        disk.append = append_slowly  # type: ignore[method-assign]
        writer = make_writer(wal)
        wal.append(1, 1, b"entry")
        writer.kick()
        await until(lambda: wal.durable_index == 1)
        assert not marked.is_set(), "the log has not noted yet that the batch is there"
        wal.append(2, 1, b"the next")
        writer.kick()
        marked.set()
        await until(lambda: wal.durable_index == 2)
        await writer.close()

    async def test_the_disk_is_measured_on_demand_and_where_a_batch_makes_it_due_in_the_writers_thread(self):
        disk = SlowDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        watch = Watch()
        measured: list[int] = []
        writer = make_writer(wal, watch=watch, on_measured=lambda figures: measured.append(figures.free_bytes))
        writer.measure()
        await until(lambda: measured == [1])
        wal.append(1, 1, b"little")
        writer.kick()
        await until(lambda: wal.durable_index == 1)
        wal.append(2, 1, bytes(1 << 20))
        writer.kick()
        await until(lambda: measured == [1, 2])
        disk.gate.clear()
        wal.append(3, 1, b"little")
        writer.kick()
        writer.measure()
        assert measured == [1, 2], "a batch is under way"
        disk.gate.set()
        await until(lambda: measured == [1, 2, 3])
        assert set(watch.threads) == {"log-writer"}
        await writer.close()

    async def test_a_disk_that_cannot_be_measured_halts_the_node(self):
        class Failing(Watch):
            def measure(self) -> StorageFigures:
                raise StorageError("cannot measure")

        wal, _ = WriteAheadLog.open(SimulatedDisk(), IDENTITY)
        failures: list[BaseException] = []
        writer = make_writer(wal, watch=Failing(), on_failure=failures.append)
        writer.measure()
        await until(lambda: bool(failures))
        assert "cannot measure" in str(failures[0])

    async def test_a_disk_that_fails_halts_the_node(self):
        disk = SimulatedDisk()
        wal, _ = WriteAheadLog.open(disk, IDENTITY)
        failures: list[BaseException] = []
        writer = make_writer(wal, on_failure=failures.append)
        wal.append(1, 1, b"entry")
        disk.fail_after = 0
        writer.kick()
        await until(lambda: bool(failures))
        assert isinstance(failures[0], PowerLossError)
        assert wal.durable_index == 0


def any_index(_index: int) -> bool:
    return True


def wait_for_snapshot(writer: SnapshotWriter) -> SnapshotInfo:
    deadline = time.monotonic() + 10
    while (info := writer.poll(any_index)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return info


class TestSnapshotWriter:
    def test_a_child_writes_the_state_as_it_was_at_the_fork(self, tmp_path: Path):
        store = SnapshotStore(FileDisk(tmp_path), IDENTITY)
        writer = SnapshotWriter(store)
        state = bytearray(b"at the fork")
        writer.start(7, 2, lambda: bytes(state))
        assert writer.is_busy
        state[:] = b"changed since"
        info = wait_for_snapshot(writer)
        assert (info.index, info.term) == (7, 2)
        assert store.load(info) == b"at the fork"
        assert not writer.is_busy

    def test_what_is_written_is_not_the_newest_before_that_is_allowed(self, tmp_path: Path):
        disk = FileDisk(tmp_path)
        store = SnapshotStore(disk, IDENTITY)
        writer = SnapshotWriter(store)
        writer.start(7, 2, lambda: b"state")
        deadline = time.monotonic() + 10
        while not any(name.endswith(".written.tmp") for name in disk.names()):
            assert time.monotonic() < deadline
            assert writer.poll(lambda index: index < 7) is None
        for _ in range(100):
            assert writer.poll(lambda index: index < 7) is None
            time.sleep(0.001)
        assert writer.is_busy
        assert store.latest() is None
        assert store.indexes() == []
        info = wait_for_snapshot(writer)
        assert (info.index, store.latest()) == (7, info)

    def test_a_child_that_fails_says_why_and_is_an_error(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
        store = SnapshotStore(FileDisk(tmp_path), IDENTITY)
        writer = SnapshotWriter(store)

        def fail() -> bytes:
            raise ValueError("no such state")

        writer.start(7, 2, fail)
        with pytest.raises(StorageError, match="entry 7 ended with code 1"):
            wait_for_snapshot(writer)
        assert "ValueError: no such state" in capfd.readouterr().err
        assert not writer.is_busy
        assert store.indexes() == []

    def test_a_child_that_finds_the_state_to_be_wrong_halts_the_node(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ):
        def look() -> bytes:
            raise StateDivergedError("order 1 has more left than it ever had")

        store = SnapshotStore(FileDisk(tmp_path), IDENTITY)
        writer = SnapshotWriter(store)
        writer.start(7, 2, look)
        with pytest.raises(StateDivergedError, match="raftbook node rebuild"):
            wait_for_snapshot(writer)
        assert capfd.readouterr().err == "order 1 has more left than it ever had\n"
        assert store.indexes() == []

    def test_a_child_that_fails_leaves_no_half_written_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def fail(_name: str) -> None:
            raise StorageError("no space left on device")

        disk = FileDisk(tmp_path)
        writer = SnapshotWriter(SnapshotStore(disk, IDENTITY))
        monkeypatch.setattr(disk, "sync", fail)
        writer.start(7, 2, lambda: b"a large state")
        with pytest.raises(StorageError, match="entry 7 ended with code 1"):
            wait_for_snapshot(writer)
        assert disk.names() == []

    def test_no_room_for_a_child_is_an_error_that_halts_nobody(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def refuse() -> int:
            raise BlockingIOError("no more processes")

        writer = SnapshotWriter(SnapshotStore(FileDisk(tmp_path), IDENTITY))
        monkeypatch.setattr(os, "fork", refuse)
        with pytest.raises(StorageError, match=r"entry 7 was not begun.*no more processes"):
            writer.start(7, 2, lambda: b"")
        assert not writer.is_busy

    def test_a_child_keeps_none_of_the_nodes_descriptors(self, tmp_path: Path):
        reading, writing = os.pipe()
        writer = SnapshotWriter(SnapshotStore(FileDisk(tmp_path), IDENTITY))

        def encode() -> bytes:
            time.sleep(30)
            return b""

        writer.start(1, 1, encode)
        os.close(writing)
        assert os.read(reading, 1) == b""
        os.close(reading)
        writer.stop()
        assert not writer.is_busy

    def test_a_child_replaces_a_snapshot_that_came_from_a_peer(self, tmp_path: Path):
        """The store still has its file open; the child, which has closed all it inherited, must not rely on that."""
        sent = SnapshotStore(FileDisk(tmp_path / "peer"), IDENTITY).write(7, 2, b"state")
        store = SnapshotStore(FileDisk(tmp_path / "own"), IDENTITY)
        receiver = store.receiver()
        receiver.begin(sent.index, sent.term, sent.size_bytes, sent.digest)
        receiver.add(0, b"state")
        store.place_incoming(receiver.finish())
        assert store.accept(sent.index, sent.term) == sent
        writer = SnapshotWriter(store)
        writer.start(7, 2, lambda: b"state")
        assert wait_for_snapshot(writer) == sent
        assert store.load(sent) == b"state"

    def test_stopping_ends_the_child_and_leaves_no_snapshot(self, tmp_path: Path):
        disk = FileDisk(tmp_path)
        store = SnapshotStore(disk, IDENTITY)
        writer = SnapshotWriter(store)
        writer.start(1, 1, lambda: time.sleep(30) or b"")
        writer.stop()
        assert writer.poll(any_index) is None
        assert SnapshotStore(disk, IDENTITY).latest() is None
        assert [name for name in disk.names() if name.startswith("snapshot")] == []

    def test_an_abandoned_snapshot_gives_its_room_back(self, tmp_path: Path):
        disk = FileDisk(tmp_path)
        writer = SnapshotWriter(SnapshotStore(disk, IDENTITY))
        assert not writer.abandon()
        disk.create(snapshot := "snapshot-0000000000000001-0000000000000001")
        writer.start(2, 1, lambda: bytes(1 << 28))
        deadline = time.monotonic() + 10
        while len(disk.names()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        assert writer.abandon()
        assert not writer.abandon(), "it is told once"
        while writer.is_busy:
            assert time.monotonic() < deadline
            assert writer.poll(any_index) is None
        assert disk.names() == [snapshot]

    def test_a_child_that_hangs_is_ended_and_the_next_one_may_begin(self, tmp_path: Path):
        now_s = 0.0
        disk = FileDisk(tmp_path)
        writer = SnapshotWriter(SnapshotStore(disk, IDENTITY), time_limit_s=100, clock=lambda: now_s)
        writer.start(7, 2, lambda: time.sleep(60) or b"")
        now_s = 100
        for _ in range(50):
            assert writer.poll(any_index) is None
            time.sleep(0.001)
        now_s = 100.1
        with pytest.raises(StorageError, match=r"entry 7 was not written in 100 s.*look whether the disk hangs"):
            wait_for_snapshot(writer)
        assert not writer.is_busy
        assert disk.names() == []
        writer.start(8, 2, lambda: b"state")
        assert wait_for_snapshot(writer).index == 8

    def test_it_is_known_how_long_the_child_took(self, tmp_path: Path):
        writer = SnapshotWriter(SnapshotStore(FileDisk(tmp_path), IDENTITY))
        writer.start(7, 2, lambda: time.sleep(0.2) or b"")
        began_at = time.monotonic()
        wait_for_snapshot(writer)
        assert 0.2 <= writer.took_s <= time.monotonic() - began_at + 0.1


class TestSnapshotInstaller:
    class Slow:
        """An installation that takes until `gate` is open."""

        def __init__(self, failure: Exception | None = None) -> None:
            self.gate = threading.Event()
            self.failure = failure
            self.prepared = 0

        def prepare(self) -> None:
            self.prepared += 1
            assert self.gate.wait(10)
            if self.failure is not None:
                raise self.failure

    @pytest.mark.parametrize("failure", [None, StorageError("disk"), AssertionError("bug")])
    async def test_the_loop_goes_on_and_is_told_once_what_became_of_it(self, failure: Exception | None):
        installer = SnapshotInstaller()
        slow = self.Slow(failure)
        told: list[tuple[object, Exception | None, str]] = []

        def done(installation: object, error: Exception | None) -> None:
            told.append((installation, error, threading.current_thread().name))

        for _ in range(3):
            installer.start(slow, done)
            await asyncio.sleep(0.01)
        assert told == []
        slow.gate.set()
        await until(lambda: bool(told))
        assert told == [(slow, failure, threading.current_thread().name)]
        assert slow.prepared == 1
