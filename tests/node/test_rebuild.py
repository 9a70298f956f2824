"""`raftbook node rebuild`: a node's files are set aside, nothing is deleted, and nobody is hurt."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from raftbook.errors import ConfigError, DataFolderError
from raftbook.node.config_file import load_config
from raftbook.node.rebuild import set_aside
from raftbook.replication.disk import FileDisk

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_folder_is_moved_aside_whole(tmp_path):
    folder = tmp_path / "n2"
    folder.mkdir()
    (folder / "log-0000000000000001").write_bytes(b"damaged")

    aside = set_aside(load_config("local-3", {}), "n2", tmp_path, NOW)

    assert aside == tmp_path / "n2.set-aside-20260102T030405.000000Z"
    assert (aside / "log-0000000000000001").read_bytes() == b"damaged"
    assert not folder.exists()


def test_the_reserve_gives_its_room_to_the_new_folder(tmp_path):
    disk = FileDisk(tmp_path / "n2")
    disk.reserve(1 << 20)
    disk.close()

    aside = set_aside(load_config("local-3", {}), "n2", tmp_path, NOW)

    assert FileDisk(aside).reserve_bytes() == 0


def test_a_running_node_keeps_its_folder(tmp_path):
    disk = FileDisk(tmp_path / "n2")
    disk.lock()
    try:
        with pytest.raises(DataFolderError, match="in use by another process"):
            set_aside(load_config("local-3", {}), "n2", tmp_path, NOW)
    finally:
        disk.close()
    assert (tmp_path / "n2").is_dir()


def test_a_node_without_files_needs_no_rebuild(tmp_path):
    with pytest.raises(DataFolderError, match="start n2, it takes everything from its peers"):
        set_aside(load_config("local-3", {}), "n2", tmp_path, NOW)


def test_the_only_node_has_nobody_to_come_back_from(tmp_path):
    folder = tmp_path / "n1"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"restore .* from a backup"):
        set_aside(load_config("single", {}), "n1", tmp_path, NOW)
    assert folder.is_dir()


def test_of_two_nodes_neither_could_go_on_after_a_rebuild(tmp_path):
    folder = tmp_path / "n1"
    folder.mkdir()
    three = load_config("local-3", {})
    two = msgspec.structs.replace(three, nodes=three.nodes[:2])
    with pytest.raises(ConfigError, match="the other node is no majority of cluster local-3"):
        set_aside(two, "n1", tmp_path, NOW)
    assert folder.is_dir()
