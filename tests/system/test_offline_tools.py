"""`raftbook log` and `raftbook node rebuild` on the folders of real nodes, while their cluster trades."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from raftbook.errors import NotHeldError
from raftbook.node.config import LimitsConfig
from raftbook.offline import StoredNode
from tests.system.clients import Clients
from tests.system.log_checks import check_against_logs
from tests.system.raftbook_command import raftbook

if TYPE_CHECKING:
    from pathlib import Path

COMPACTING = LimitsConfig(snapshot_entries=40, log_retain_entries=10)
WITNESS = "n1"
"""Keeps its whole log."""
READINGS = 12


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
