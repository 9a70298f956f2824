"""The real folder: what is on it, who may use it, and what an operator is told when it refuses."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from raftbook.errors import DataFolderError, StorageError, StorageFullError
from raftbook.replication.disk import FileDisk
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from tests.support.small_file_system import fill as fill_up
from tests.support.small_file_system import small_file_system


@pytest.fixture
def disk(tmp_path):
    disk = FileDisk(tmp_path / "data" / "n1")
    yield disk
    disk.close()


def test_what_is_appended_is_read(disk):
    disk.create("a")
    disk.append("a", b"hello ")
    disk.append("a", b"world")
    disk.sync("a")
    disk.sync_directory()
    assert (disk.names(), disk.size("a")) == (["a"], 11)
    assert disk.read("a") == b"hello world"
    assert disk.read("a", 6, 3) == b"wor"
    assert disk.read("a", 6, 100) == b"world"


def test_cut_then_append_goes_on_at_the_cut(disk):
    disk.create("a")
    disk.append("a", b"0123456789")
    disk.truncate("a", 4)
    disk.append("a", b"x")
    assert disk.read("a") == b"0123x"


def test_a_renamed_file_replaces_the_other_and_is_appended_to_under_its_new_name(disk):
    for name in ("a", "b"):
        disk.create(name)
        disk.append(name, name.encode())
    disk.rename("a", "b")
    disk.append("b", b"!")
    assert (disk.names(), disk.read("b")) == (["b"], b"a!")
    disk.remove("b")
    disk.create("b")
    assert disk.read("b") == b""


def test_files_are_their_owners_alone(disk, tmp_path):
    disk.create("a")
    disk.lock()
    folder = tmp_path / "data" / "n1"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_only_fsync_syncs(durability, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: calls.append("file"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("folder"))
    disk = FileDisk(tmp_path, durability)
    disk.create("a")
    disk.sync("a")
    disk.sync_directory()
    assert calls == (["file", "folder"] if durability == "fsync" else [])
    disk.close()


def test_a_folder_has_one_user(disk, tmp_path):
    disk.lock()
    second = FileDisk(tmp_path / "data" / "n1")
    with pytest.raises(DataFolderError, match=rf"data/n1 is in use by another process \({os.getpid()}\).*--data-dir"):
        second.lock()
    disk.close()
    second.lock()
    second.close()
    assert second.names() == []


def test_a_child_that_outlives_its_parents_lock_does_not_hold_it(disk, tmp_path):
    disk.lock()
    readable, writable = os.pipe()
    child_is_up, up = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writable)
        os.write(up, b".")
        os.read(readable, 1)  # Until the parent closes the other end.
        os._exit(0)
    os.close(readable)
    assert os.read(child_is_up, 1) == b"."
    second = FileDisk(tmp_path / "data" / "n1")
    with pytest.raises(DataFolderError):
        second.lock()
    disk.close()
    second.lock()
    second.close()
    for descriptor in (writable, child_is_up, up):
        os.close(descriptor)
    assert os.waitpid(child, 0)[1] == 0


def test_a_full_disk_says_so(disk, tmp_path):
    (tmp_path / "data" / "n1" / "log").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write .*/n1/log: No space left on device; free some space"):
        disk.append("log", b"x")


def test_every_refusal_names_the_file(disk, tmp_path):
    for refused in (
        lambda: disk.read("a"),
        lambda: disk.size("a"),
        lambda: disk.append("a", b""),
        lambda: disk.sync("a"),
        lambda: disk.truncate("a", 0),
        lambda: disk.rename("a", "b"),
        lambda: disk.remove("a"),
    ):
        with pytest.raises(StorageError, match=r"/data/n1/a: No such file or directory; .* removed"):
            refused()
    disk.create("a")
    with pytest.raises(StorageError, match=r"cannot create .*/data/n1/a: File exists"):
        disk.create("a")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose a data_dir that is a folder"):
        FileDisk(tmp_path / "file" / "n1")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b"])
def test_names_stay_in_the_folder(disk, name):
    with pytest.raises(AssertionError, match="plain file name"):
        disk.read(name)


def test_free_space_is_told(disk):
    assert disk.free_bytes() > 0


MIB = 1 << 20
SMALL_DISK_BYTES = 8 * MIB


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, of 8 MiB."""
    folder = tmp_path / "small"
    with small_file_system(folder, SMALL_DISK_BYTES):
        disk = FileDisk(folder / "n1")
        yield disk
        disk.close()


def fill(disk, spare_bytes=0):
    """Others leave just so much. Returns the file that takes up the rest."""
    ballast = fill_up(Path(disk.path("")).parent, spare_bytes)
    assert disk.free_bytes() == spare_bytes
    return ballast


def write_entries(log, first, last):
    for index in range(first, last + 1):
        log.append(index, 1, b"command %d" % index * 100)
    batch = log.take_batch()
    log.write_batch(batch)
    log.mark_durable(batch)


def test_an_append_that_finds_no_room_leaves_the_file_as_it_was(small_disk):
    small_disk.create("log")
    small_disk.append("log", b"before")
    fill(small_disk, spare_bytes=8192)
    with pytest.raises(StorageFullError, match=r"cannot write .*/log: No space left on device; free some space"):
        small_disk.append("log", bytes(100_000))
    assert small_disk.read("log") == b"before"
    assert small_disk.free_bytes() == 8192, "what was written in part is given back"
    small_disk.append("log", b" and after")
    assert small_disk.read("log") == b"before and after"


def test_on_a_full_disk_the_reserve_gives_up_what_an_append_needs(small_disk):
    small_disk.reserve(3 * MIB)
    assert small_disk.reserve_bytes() == 3 * MIB
    assert small_disk.free_bytes() <= SMALL_DISK_BYTES - 3 * MIB, "it takes up what it holds"
    small_disk.create("log")
    fill(small_disk)
    with pytest.raises(StorageFullError):
        small_disk.append("log", b"only what must be written may use it")
    data = os.urandom(MIB + MIB // 2)
    small_disk.append("log", data[:5000], may_use_reserve=True)
    assert small_disk.reserve_bytes() == 2 * MIB, "a step at a time"
    small_disk.append("log", data[5000:], may_use_reserve=True)
    assert small_disk.read("log") == data
    assert small_disk.reserve_bytes() == MIB
    with pytest.raises(StorageFullError):
        small_disk.append("log", bytes(3 * MIB), may_use_reserve=True)
    assert small_disk.read("log") == data, "too much for the reserve: nothing is written"
    assert small_disk.reserve_bytes() == 0


def test_the_reserve_is_taken_back_when_there_is_room_and_found_again_by_the_next_process(small_disk):
    small_disk.reserve(2 * MIB)
    small_disk.create("log")
    ballast = fill(small_disk)
    small_disk.append("log", bytes(100), may_use_reserve=True)
    assert small_disk.reserve_bytes() == MIB
    held = small_disk.free_bytes()
    small_disk.reserve(4 * MIB)
    assert (small_disk.reserve_bytes(), small_disk.free_bytes()) == (MIB, held), "no room: as it was"
    ballast.unlink()
    small_disk.reserve(2 * MIB)
    assert FileDisk(small_disk.path("")).reserve_bytes() == 2 * MIB
    small_disk.reserve(0)
    assert small_disk.free_bytes() >= SMALL_DISK_BYTES - 64 * 1024


def test_a_copied_reserve_that_is_nothing_but_a_hole_counts_for_nothing(tmp_path):
    with (tmp_path / "reserve").open("wb") as file:
        file.truncate(MIB)
    disk = FileDisk(tmp_path)
    assert disk.reserve_bytes() == 0
    disk.reserve(MIB)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= MIB


@pytest.mark.parametrize("lacking", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_room_cannot_be_allocated_it_is_written(small_disk, monkeypatch, lacking):
    def refuse(_descriptor, _offset, _size_bytes):
        raise OSError(lacking, os.strerror(lacking))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        small_disk.reserve(2 * MIB)
        assert small_disk.reserve_bytes() == 2 * MIB
        assert small_disk.free_bytes() <= SMALL_DISK_BYTES - 2 * MIB
        small_disk.reserve(9 * MIB)
        assert small_disk.reserve_bytes() == 2 * MIB, "no room for that, and none kept by the attempt"
        assert small_disk.free_bytes() >= SMALL_DISK_BYTES - 2 * MIB - 64 * 1024


def test_neither_lock_nor_reserve_are_files_of_the_node(disk):
    disk.lock()
    disk.reserve(4096)
    assert disk.names() == []


def test_a_log_goes_on_from_the_reserve_and_opens_again_on_the_full_disk(small_disk):
    """What is on its way when the disk fills up is written; so are votes. Everything can be read afterwards."""
    identity = Identity("local-3", "n1")
    small_disk.lock()
    small_disk.reserve(2 * MIB)
    log, _ = WriteAheadLog.open(small_disk, identity)
    write_entries(log, 1, 10)
    fill(small_disk)
    write_entries(log, 11, 20)
    log.record_vote(7, "n3")
    write_entries(log, 21, 21)
    assert small_disk.reserve_bytes() == MIB
    small_disk.close()

    again = FileDisk(small_disk.path(""))
    again.lock()
    log, recovered = WriteAheadLog.open(again, identity)
    assert [index for index, _, _ in recovered.entries] == list(range(1, 22))
    assert (recovered.term, recovered.voted_for) == (7, "n3")
    again.close()
