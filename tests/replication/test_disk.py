"""The real folder: what is on it, who may use it, and what an operator is told when it refuses."""

from __future__ import annotations

import os
import stat

import pytest

from raftbook.errors import DataFolderError, StorageError
from raftbook.replication.disk import FileDisk


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
