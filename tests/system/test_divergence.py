"""A real node whose state is not that of its peers: it halts, keeps the evidence, and comes back when it is rebuilt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from raftbook.codec import decode_entry
from raftbook.engine.commands import NewOrder
from raftbook.engine.types import Number
from raftbook.node.runner import EXIT_HALTED
from raftbook.offline import StoredNode
from raftbook.replication.disk import FileDisk
from raftbook.replication.raft_core import REGULAR_COMMAND
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.write_ahead_log import Identity, inspect
from raftbook.state_machine import StateMachine
from tests.system.clients import Clients, new_order, wait_for
from tests.system.log_checks import check_against_logs
from tests.system.raftbook_command import raftbook


def damage_state(folder: Path, node_id: str) -> None:
    """A whole and well-formed snapshot of a state in which one resting order is larger by a unit.

    What a bit that flipped in the memory of a node would leave on its disk: its digest chain, which is made of the
    events so far, says nothing of it yet.
    """
    disk = FileDisk(folder)
    log = inspect(disk)
    assert log is not None
    damaged = StateMachine()
    for index, _term, command in log.log.entries:
        entry = decode_entry(command[1:]) if command[:1] == REGULAR_COMMAND else None
        if entry is None:
            damaged.advance(index)
            continue
        runs = [run._replace(commands=tuple(map(one_more, run.commands))) for run in entry.runs]
        damaged.apply_entry(index, entry._replace(runs=runs))
    last_index, last_term, _ = log.log.entries[-1]
    with StoredNode.open(folder) as node:
        honest = node.replay().finish()
    damaged.chain_digest = honest.chain_digest
    assert damaged.state_digest() != honest.state_digest()
    store = SnapshotStore(disk, Identity("system", node_id))
    store.write(last_index, last_term, damaged.to_snapshot())
    store.adopt(last_index, last_term)
    disk.close()


def one_more(command):
    if isinstance(command, NewOrder) and command.client_order_id == "resting":
        return command._replace(quantity=Number(command.quantity.mantissa + 1, command.quantity.decimals))
    return command


async def exit_code(cluster, node_id) -> int:
    await wait_for(lambda: not cluster.is_running(node_id), f"the end of {node_id}")
    return cluster._processes[node_id].returncode


async def test_a_node_with_another_state_is_found_out_halts_and_is_rebuilt(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    odd, other = cluster.others(leader)
    async with Clients(cluster) as clients:
        await clients.enter(other, new_order("alice", "resting", "sell", "100.00", "20"))
        index, _ = await cluster.wait_for_rest()
        await cluster.terminate(odd)
        await asyncio.to_thread(damage_state, cluster.data_folder(odd), odd)
        cluster.start(odd)
        await cluster.wait_for_role(odd, "follower")
        await cluster.wait_for_applied(index, odd)

        await clients.enter(other, new_order("bob", "taker", "buy", "100.00", "25"))
        assert await exit_code(cluster, odd) == EXIT_HALTED
        assert "state_diverged" in cluster.log_path(odd).read_text()
        (evidence_file,) = cluster.data_folder(odd).glob("state-diverged.json")
        evidence = json.loads(evidence_file.read_text())
        assert {difference["peer"] for difference in evidence["differences"]} == {leader, other}

        options = ("--config", str(cluster.config_path(odd)), "--id", odd)
        refused = await asyncio.to_thread(raftbook, "node", "start", *options, folder=cluster.folder)
        assert refused.returncode == 1
        assert f"raftbook node rebuild --config FILE --id {odd}" in refused.stderr

        rebuilt = await asyncio.to_thread(raftbook, "node", "rebuild", *options, folder=cluster.folder)
        assert rebuilt.returncode == 0, rebuilt.stderr
        aside = Path(json.loads(rebuilt.stdout)["set_aside"])
        assert (aside / evidence_file.name).exists(), "the evidence is kept"
        cluster.start(odd)
        await cluster.wait_for_role(odd, "follower")
        await clients.enter(odd, new_order("carol", "after", "buy", "99.00", "1"))
        await check_against_logs(cluster, clients)
