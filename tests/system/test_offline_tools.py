"""`raftbook log` and `raftbook node rebuild` on the folders of real nodes, while their cluster trades."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raftbook.errors import NotHeldError
from raftbook.node.config import LimitsConfig
from raftbook.offline import StoredNode
from tests.system.clients import Clients
from tests.system.log_checks import check_against_logs
from tests.system.raftbook_command import raftbook
from tests.system.test_catch_up import WITNESS, start_with_a_leader_that_compacts, wait_for_base_index

if TYPE_CHECKING:
    from tests.system.system_cluster import SystemCluster

# The witness, n1, keeps its whole log.
COMPACTING = LimitsConfig(snapshot_entries=30, log_retain_entries=10)
READINGS = 5


def state_in(folder: Path, index: int) -> tuple[str, str] | None:
    """(digest, state digest) at `index`; None where the node has compacted its log beyond that by now."""
    with StoredNode.open(folder) as node:
        assert node.problems == []
        assert node.last_index >= index or node.known_committed_index >= index, "what was applied is on the node's disk"
        try:
            state = node.replay(index).finish()
        except NotHeldError:
            assert node.base_index > 0
            return None
        return state.chain_digest.hex(), state.state_digest()


async def test_folders_are_read_while_their_nodes_trade(make_cluster, tmp_path):
    """What a folder gives at an index is what its node said there, though it is appended to, rolled and compacted."""
    cluster = make_cluster(node_limits={"n2": COMPACTING, "n3": COMPACTING})
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            compared = dict.fromkeys(cluster.node_ids, 0)
            attempts = 0
            while min(compared.values()) < READINGS:
                attempts += 1
                assert attempts < 10 * READINGS, compared
                for node_id in cluster.node_ids:
                    said = await clients.at(node_id).node()
                    found = await asyncio.to_thread(state_in, cluster.data_folder(node_id), said["applied_index"])
                    if found is not None:
                        assert found[0] == said["digest"], f"{node_id} at {said['applied_index']}"
                        compared[node_id] += 1

            verification = await clients.at("n2").verify()
            assert verification.agree, verification
            index = str(verification.compared_index)
            folder = str(cluster.data_folder(WITNESS))
            replay = ("log", "replay", "--data-dir", folder, "--to", index, "--book", "ACME", "-o", "json")
            finished = await asyncio.to_thread(raftbook, *replay, folder=tmp_path)
            assert finished.returncode == 0, finished.stderr
            replayed = json.loads(finished.stdout)
            assert replayed["digest"] == verification.nodes[0].chain_digest
            assert replayed["book"]["log_index"] == verification.compared_index
            dump = ("log", "dump", "--data-dir", folder, "--to", index, "-o", "json")
            dumped = await asyncio.to_thread(raftbook, *dump, folder=tmp_path)
            lines = [json.loads(line) for line in dumped.stdout.splitlines()]
            assert [line["log_index"] for line in lines] == list(range(1, int(index) + 1))
        logs = await check_against_logs(cluster, clients)
    assert [log.node_id for log in logs if log.is_whole] == [WITNESS]
    sent = {record.key for record in clients.records}
    named = {
        (one["command"]["op"], one["command"]["account"], one["command"]["client_order_id"])
        for line in lines
        for one in line["commands"]
        if one["origin"] != "configuration"
    }
    assert named <= sent
    assert len(named) > 60


def rebuild(cluster: SystemCluster, node_id: str, *options: str) -> tuple[dict[str, Any], list[str]]:
    """(what it prints, what it tells) of `raftbook node rebuild`, which must end with 0."""
    named = ("--config", str(cluster.config_path(node_id)), "--id", node_id)
    ended = raftbook("node", "rebuild", *named, "-o", "json", *options, folder=cluster.folder)
    assert ended.returncode == 0, ended.stderr
    # The rest of standard error is the node's own log.
    return json.loads(ended.stdout), [line for line in ended.stderr.splitlines() if line.startswith("raftbook: ")]


async def test_a_damaged_node_is_rebuilt_from_its_peers_within_the_command(make_cluster):
    """Its log is damaged, `log dump` shows what stands in front; rebuilt, it has the state and its vote again."""
    cluster = make_cluster(node_limits={"n2": COMPACTING, "n3": COMPACTING})
    leader, damaged = await start_with_a_leader_that_compacts(cluster)
    async with Clients(cluster) as clients:
        async with clients.trading():
            await wait_for_base_index(cluster, leader, 1)
            cluster.kill(damaged)
            segment = max(cluster.data_folder(damaged).glob("log-*"))
            raw = bytearray(segment.read_bytes())
            raw[len(raw) // 2] ^= 0x01
            segment.write_bytes(raw)
            dump = ("log", "dump", "--data-dir", str(cluster.data_folder(damaged)), "-o", "json")
            dumped = await asyncio.to_thread(raftbook, *dump, folder=cluster.folder)
            assert dumped.returncode == 1
            assert f"{segment} is damaged at byte" in dumped.stderr
            named = ("--config", str(cluster.config_path(damaged)), "--id", damaged)
            refused = await asyncio.to_thread(raftbook, "node", "start", *named, folder=cluster.folder)
            assert refused.returncode == 1
            assert f"raftbook node rebuild --config FILE --id {damaged}" in refused.stderr

            rebuilt, told = await asyncio.to_thread(rebuild, cluster, damaged)
            assert rebuilt["rejoined"], told
            aside = Path(rebuilt["set_aside"])
            assert (aside / segment.name).read_bytes() == raw, "the evidence is kept"
            assert any("took a snapshot of entry" in line for line in told), told
            assert told[-1].endswith(f"caught up at index {rebuilt['applied_index']}, and has its vote again")
            with StoredNode.open(cluster.data_folder(damaged)) as node:
                assert node.is_voter
                assert node.problems == []
                assert node.end_index >= rebuilt["applied_index"] > 0

            # Its vote counts from the first moment on.
            cluster.kill(leader)
            cluster.start(damaged)
            await clients.progress()
            cluster.start(leader)
        logs = await check_against_logs(cluster, clients)
    assert [log.node_id for log in logs if log.is_whole] == [WITNESS]


async def test_a_node_whose_peers_are_down_is_set_aside_and_comes_back_when_they_run(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    damaged = cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
        await cluster.terminate()
        rebuilt, told = await asyncio.to_thread(rebuild, cluster, damaged, "--timeout-s", "0.5")
        assert (rebuilt["rejoined"], rebuilt["applied_index"]) == (False, None)
        assert any("waiting for peers: 0 of the 2 that it takes are there" in line for line in told), told
        assert told[-1].endswith("it goes on from there when it is started and its peers run")
        again, told = await asyncio.to_thread(rebuild, cluster, damaged, "--no-rejoin")
        assert again["set_aside"] != rebuilt["set_aside"]
        assert [line for line in told if "waiting" in line] == []
        assert not cluster.data_folder(damaged).exists()
        cluster.start()
        await cluster.wait_for_role(damaged, "follower")
        await check_against_logs(cluster, clients)
