"""Starts that must fail: exit code 1, one sentence that says what is wrong and what to do, nothing changed on disk."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from cli.local_cluster import free_ports
from tests.system.clients import Clients
from tests.system.log_checks import check_against_logs
from tests.system.raftbook_command import command_of, environment
from tests.system.system_cluster import DEADLINE_S, SystemCluster

if TYPE_CHECKING:
    from collections.abc import Callable

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1

CONFIG = """
[cluster]
name = "{cluster}"
data_dir = "data"

[[nodes]]
id = "n1"
peer_address = "127.0.0.1:{peer_port}"
api_address = "127.0.0.1:{api_port}"

[[nodes]]
id = "n2"
peer_address = "127.0.0.1:{other_peer_port}"
api_address = "127.0.0.1:{other_api_port}"
"""


class UsedNode(NamedTuple):
    """A node that has traded and is stopped; `folder` holds config.toml and data/n1."""

    folder: Path
    config: Path
    data: Path
    peer_port: int
    api_port: int


@pytest.fixture(scope="module")
def traded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What n1 of the cluster `system` left when it was stopped after some trade."""

    async def trade(cluster: SystemCluster) -> None:
        await cluster.start_and_elect()
        async with Clients(cluster) as clients:
            async with clients.trading():
                await clients.progress(200)
            await check_against_logs(cluster, clients)

    with SystemCluster(tmp_path_factory.mktemp("traded"), node_count=1) as cluster:
        asyncio.run(trade(cluster))
        return cluster.data_folder("n1")


@pytest.fixture
def used_node(traded_folder: Path, tmp_path: Path) -> UsedNode:
    folder = tmp_path / "used"
    shutil.copytree(traded_folder, folder / "data" / "n1")
    config, (peer_port, api_port) = write_config(folder)
    return UsedNode(folder, config, folder / "data" / "n1", peer_port, api_port)


def write_config(folder: Path) -> tuple[Path, tuple[int, int]]:
    """The configuration of two nodes on free ports, and n1's (peer port, api port)."""
    peer_port, api_port, other_peer_port, other_api_port = free_ports(4)
    config = folder / "config.toml"
    config.write_text(
        CONFIG.format(
            cluster="system",
            peer_port=peer_port,
            api_port=api_port,
            other_peer_port=other_peer_port,
            other_api_port=other_api_port,
        )
    )
    return config, (peer_port, api_port)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, but not who last held the lock."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name != "lock"
    }


def refused_start(folder: Path, *arguments: str, before: Callable[[], None] | None = None) -> str:
    """The sentence with which `raftbook node start` refuses, having changed nothing in `folder`."""
    found = contents(folder)
    process = subprocess.run(
        command_of("node", "start", *arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        preexec_fn=before,
    )
    assert process.returncode == 1, f"exit code {process.returncode}: {process.stderr}"
    assert process.stdout == ""
    lines = process.stderr.splitlines()
    assert len(lines) == 1, f"one sentence, not {process.stderr}"
    assert lines[0].startswith("raftbook: ")
    assert contents(folder) == found, "a start that is refused changes nothing"
    return lines[0]


def start_options(node: UsedNode, node_id: str = "n1") -> list[str]:
    return ["--config", str(node.config), "--id", node_id]


def test_the_port_for_clients_is_in_use(used_node):
    with socket.create_server(("127.0.0.1", used_node.api_port)):
        sentence = refused_start(used_node.folder, *start_options(used_node))
    assert f"cannot listen for clients on 127.0.0.1:{used_node.api_port}: another process does" in sentence
    assert "change api_address of node n1" in sentence


def test_the_port_for_peers_is_in_use(used_node):
    with socket.create_server(("127.0.0.1", used_node.peer_port)):
        sentence = refused_start(used_node.folder, *start_options(used_node))
    assert f"cannot listen for peers on 127.0.0.1:{used_node.peer_port}: another process does" in sentence
    assert "change peer_address of node n1" in sentence


@pytest.mark.parametrize("which", ["api_port", "peer_port"])
def test_a_new_node_whose_port_is_in_use_leaves_no_folder(used_node, which):
    shutil.rmtree(used_node.folder / "data")
    with socket.create_server(("127.0.0.1", getattr(used_node, which))):
        refused_start(used_node.folder, *start_options(used_node))


def test_the_folder_of_another_node(used_node):
    used_node.data.rename(used_node.folder / "data" / "n2")
    sentence = refused_start(used_node.folder, *start_options(used_node, "n2"))
    assert "data/n2" in sentence
    assert "belongs to node n1" in sentence
    assert "--data-dir" in sentence


def test_the_folder_of_another_cluster(used_node):
    used_node.config.write_text(used_node.config.read_text().replace('name = "system"', 'name = "another"'))
    sentence = refused_start(used_node.folder, *start_options(used_node))
    assert "cluster system" in sentence
    assert "another" in sentence
    assert "--data-dir" in sentence


async def test_the_folder_is_in_use_by_a_running_node(make_cluster, tmp_path):
    cluster = make_cluster(node_count=1)
    await cluster.start_and_elect()
    config, _ = write_config(tmp_path)
    data_dir = cluster.data_folder("n1").parent
    sentence = refused_start(data_dir, "--config", str(config), "--id", "n1", "--data-dir", str(data_dir))
    assert f"is in use by another process ({cluster.process_id('n1')})" in sentence
    assert "stop that one, or give this node another --data-dir" in sentence
    async with Clients(cluster) as clients:
        await check_against_logs(cluster, clients)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ('[cluster]\nnam = "x"', ["nam", "name"]),
        ('[cluster]\ndata_dri = "x"', ["data_dri", "data_dir"]),
        ("[limit]\nmax_body_bytes = 4096\n[cluster]", ["limit", "limits"]),
        ("[raft]\nheart_beat_s = 0.05\n[cluster]", ["heart_beat_s", "heartbeat_s"]),
    ],
)
def test_an_unknown_key_of_the_configuration(used_node, wrong, named):
    used_node.config.write_text(used_node.config.read_text().replace("[cluster]", wrong, 1))
    sentence = refused_start(used_node.folder, *start_options(used_node))
    assert str(used_node.config) in sentence
    for word in named:
        assert word in sentence


def test_an_id_that_the_configuration_does_not_have(used_node):
    sentence = refused_start(used_node.folder, *start_options(used_node, "n7"))
    assert "n7" in sentence
    assert "n1, n2" in sentence


def test_a_configuration_that_is_not_there(used_node):
    sentence = refused_start(used_node.folder, "--config", "nowhere.toml", "--id", "n1")
    assert "nowhere.toml" in sentence


def test_a_log_with_a_flipped_byte_before_its_end(used_node):
    (segment,) = used_node.data.glob("log-*")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 0x01
    segment.write_bytes(raw)
    sentence = refused_start(used_node.folder, *start_options(used_node))
    assert segment.name in sentence
    assert "raftbook node rebuild" in sentence


def without_the_power_to_pass_over_permissions() -> None:
    """Root may write to whatever is closed to others, unless it drops that capability."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "CAP_DAC_OVERRIDE cannot be dropped")


def test_a_data_dir_in_which_no_folder_can_be_made(used_node):
    shutil.rmtree(used_node.data)
    used_node.data.parent.chmod(0o500)
    sentence = refused_start(
        used_node.folder, *start_options(used_node), before=without_the_power_to_pass_over_permissions
    )
    assert "data/n1" in sentence
    assert "Permission denied" in sentence
    assert "let the user who runs the node read and write this folder" in sentence


def test_files_that_cannot_be_written(used_node):
    for file in used_node.data.iterdir():
        file.chmod(0o400)
    used_node.data.chmod(0o500)
    sentence = refused_start(
        used_node.folder, *start_options(used_node), before=without_the_power_to_pass_over_permissions
    )
    assert "data/n1" in sentence
    assert "let the user who runs the node read and write this folder" in sentence


def test_a_data_dir_that_is_a_file(used_node):
    shutil.rmtree(used_node.folder / "data")
    (used_node.folder / "data").write_text("not a folder")
    sentence = refused_start(used_node.folder, *start_options(used_node))
    assert "data" in sentence
    assert "choose a data_dir that is a folder" in sentence
