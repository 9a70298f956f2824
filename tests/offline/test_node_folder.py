"""Which folder is meant, and what an operator is told where it is not clear."""

from __future__ import annotations

import shutil

import pytest

from raftbook.errors import DataFolderError, StorageError
from raftbook.offline import StoredNode, find_node_folder
from tests.offline.written_node import ACME, WrittenNode


@pytest.fixture
def data(tmp_path):
    """A data_dir with the folder of one node."""
    node = WrittenNode(tmp_path / "data" / "n1")
    node.enter(ACME)
    node.close()
    return tmp_path / "data"


def test_a_node_s_own_folder_is_it(data):
    assert find_node_folder(data / "n1") == data / "n1"


def test_the_only_node_s_folder_within_is_it(data):
    (data / "notes").mkdir()
    (data / "log-book.txt").write_text("no segment")
    assert find_node_folder(data) == data / "n1"


def test_of_several_one_must_be_named(data):
    shutil.copytree(data / "n1", data / "n2")
    shutil.copytree(data / "n1", data / "n2.set-aside-20260102T030405.000000Z")
    with pytest.raises(DataFolderError) as refusal:
        StoredNode.open(data)
    assert "several nodes (n1, n2, n2.set-aside-20260102T030405.000000Z)" in str(refusal.value)
    assert f"name one: --data-dir {data}/n1" in str(refusal.value)


def test_a_folder_without_a_log(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFolderError, match="holds no node's log"):
        StoredNode.open(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFolderError, match=f"there is no folder .*/{name}"):
        StoredNode.open(tmp_path / name)
    assert not (tmp_path / "missing").exists()


def test_a_folder_that_cannot_be_read(data):
    loop = data / "n1" / "log-0000000000000009"
    loop.symlink_to(loop)
    with pytest.raises(StorageError, match=r"cannot read .*; check"):
        StoredNode.open(data)
