"""How stock PySyncObj 0.3.17 loses, or never sends, what it should replicate: schedules in virtual time.

`acknowledged` is what clients were told is committed, `kept` what of the load is still there in the end.
"""

from __future__ import annotations

import pickle
import random
import tempfile
from pathlib import Path
from typing import Any

from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.journal import FileJournal

from tests.replication.pysyncobj_faults.stock_cluster import CLOCK, NETWORK, StockCluster, StockNode

Outcome = dict[str, Any]


def pipelined_acknowledgements() -> Outcome:
    """Acks of pipelined batches set the leader's next index back; its re-send makes the follower truncate."""
    random.seed(7)
    cluster = StockCluster("abc", appendEntriesUseBatch=False, logCompactionMinEntries=10**9, logCompactionMinTime=1e9)
    cluster.run(60)
    leader = cluster.leader()
    follower, slow = cluster.others(leader)
    to, back = (leader.node_id, follower.node_id), (follower.node_id, leader.node_id)
    acknowledged: list[str] = []

    def tick(node: StockNode) -> None:
        CLOCK.now += 0.001
        node.doTick(0)

    for number in range(12):
        leader.put_for_client(f"order {number}", acknowledged, bytes(20_000))
        tick(leader)
    NETWORK.deliver(*to)
    tick(follower)
    NETWORK.deliver(*back, 1)
    leader.put("another")
    tick(leader)
    NETWORK.deliver(*back)
    tick(leader)
    cluster.kill(leader)
    NETWORK.under_way[leader.node_id, slow.node_id].clear()
    waiting = NETWORK.under_way[to]
    for _ in range(min(1, len(waiting))):
        NETWORK.transports[follower.node_id].receive(leader.node_id, pickle.loads(waiting.popleft()))
    waiting.clear()
    cluster.run(200)
    cluster.leader().put("after")
    cluster.run(40)
    return {"acknowledged": acknowledged, "kept": sorted({key for n in cluster.nodes.values() for key in n.applied})}


def slow_round_trip() -> Outcome:
    """The round trip is longer than the heartbeat: what is re-sent truncates what was acknowledged."""
    random.seed(4)
    cluster = StockCluster("ABC", appendEntriesBatchSizeBytes=100)
    cluster.run(60)
    leader = cluster.leader()
    follower, other = cluster.others(leader)
    for node in (follower, other):
        node.never_campaign()
        cluster.cut_off(node)
    cluster.run(2)
    acknowledged: list[str] = []
    for number in range(40):
        leader.put_for_client(f"order {number}", acknowledged)
    cluster.run(5)
    to, back = (leader.node_id, follower.node_id), (follower.node_id, leader.node_id)
    NETWORK.cut = {link for link in NETWORK.cut if set(link) != set(to)}
    cluster.held_back = {back}
    cluster.run(12)
    cluster.held_back = set()
    cluster.per_step = {to: 1, back: 1}
    truncations: list[int] = []
    journal = follower._SyncObj__raftLog
    delete_from = journal.deleteEntriesFrom
    journal.deleteEntriesFrom = lambda offset: (delete_from(offset), truncations.append(offset))
    for _ in range(400):
        cluster.step()
        if truncations and len(acknowledged) == 40:
            break
    cluster.kill(leader)
    NETWORK.cut.clear()
    NETWORK.under_way.clear()
    cluster.per_step = {}
    for node in (follower, other):
        node.may_campaign()
    cluster.run(100)
    return {"acknowledged": acknowledged, "kept": sorted(other.applied)}


def snapshot_path() -> Outcome:
    """A message of the snapshot path raises the commit index over a tail that nobody compared."""
    random.seed(1)
    cluster = StockCluster(
        "ABC", logCompactionMinEntries=20, logCompactionBatchSize=64, appendEntriesBatchSizeBytes=200
    )
    cluster.run(60)
    old = cluster.leader()
    cluster.cut_off(old)
    cluster.run(2)
    acknowledged: list[str] = []
    for number in range(5):
        old.put_for_client(f"lost {number}", acknowledged)
    cluster.run(65)
    new = cluster.leader()
    for number in range(100):
        new.put(f"kept {number}")
        cluster.run(2)
    cluster.run(20)
    NETWORK.cut.clear()
    cluster.per_step = {(new.node_id, old.node_id): 1}
    for _ in range(40):
        cluster.step()
        if acknowledged:
            break
    return {"acknowledged": acknowledged, "kept": sorted(new.applied)}


def stale_acknowledgements() -> Outcome:
    """Acks carry no term: those of an earlier leadership count in the present one."""
    random.seed(6)
    cluster = StockCluster("ABCDE")
    cluster.run(80)
    leader = cluster.leader()
    cluster.cut_off(leader)
    acknowledged: list[str] = []
    leader.put_for_client("order", acknowledged)
    cluster.step()
    for follower in cluster.others(leader)[:2]:
        stale = {"type": "next_node_idx", "next_node_idx": leader.last_index + 1, "reset": False, "success": True}
        leader.receive(follower.node_id, stale)
    cluster.step()
    cluster.step()
    in_other_logs = [n.node_id for n in cluster.others(leader) if any(b"order" in e[0] for e in n._SyncObj__raftLog[:])]
    return {"acknowledged": acknowledged, "kept": in_other_logs}


def commit_index_past_log() -> Outcome:
    """The journal's tail is lost with the power, the commit index beyond it is not."""
    random.seed(3)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "journal"))
        journal = FileJournal(file)
        journal.add(b"\x01", 1, 0)
        for index in range(2, 6):
            journal.add(b"\x00" + pickle.dumps((0, (f"old {index}",))), index, 1)
        journal.setCurrentTerm(1, None)
        journal.setRaftCommitIndex(12)
        journal.onOneSecondTimer()
        journal._destroy()
        cluster = StockCluster("BC")
        cluster.nodes = {"A": StockNode("A", "ABC", journalFile=file)}
        cluster.nodes |= {node_id: StockNode(node_id, "ABC") for node_id in "BC"}
        for node_id in "BC":
            cluster.nodes[node_id].never_campaign()
        cluster.run(40)
        leader = cluster.leader()
        cluster.cut_off(leader)
        acknowledged: list[str] = []
        leader.put_for_client("order", acknowledged)
        cluster.run(3)
        kept = [n.node_id for n in cluster.others(leader) if any(b"order" in e[0] for e in n._SyncObj__raftLog[:])]
        return {"acknowledged": acknowledged, "kept": kept}


def bad_snapshot() -> Outcome:
    """A snapshot that does not load is answered with success, and that counts the follower's stale tail as matched."""
    random.seed(1)
    cluster = StockCluster("ABC", logCompactionMinEntries=20)
    old = cluster.settle()
    cluster.cut_off(old)
    cluster.run(2)
    for number in range(150):
        old.put(f"stale {number}")
    cluster.run(65)
    new = cluster.leader()
    for number in range(100):
        new.put(f"kept {number}")
    cluster.run(40)
    (witness,) = cluster.others(old, new)
    cluster.kill(witness)
    NETWORK.cut.clear()
    damaged: list[int] = []

    def damage(message: dict[str, Any]) -> dict[str, Any]:
        serialized = message.get("serialized")
        if serialized and serialized[0]:
            damaged.append(len(serialized[0]))
            message["serialized"] = (serialized[0][:-50], *serialized[1:])
        return message

    NETWORK.transports[old.node_id].before_receiving = damage
    claimed = 0
    for _ in range(100):
        cluster.step()
        claimed = new.getStatus()[f"match_idx_server_{old.node_id}"]
        if claimed:
            break
    cluster.cut_off(old)
    acknowledged: list[str] = []
    new.put_for_client("order", acknowledged)
    cluster.run(5)
    return {
        "damaged_snapshots": len(damaged),
        "claimed_beyond_the_leaders_log": claimed > new.last_index,
        "acknowledged": acknowledged,
        "kept": [node.node_id for node in (old, witness) if node.holds("order")],
    }


def premature_finish() -> Outcome:
    """The pieces of a large entry are marked as the last too early: the follower fails on a healthy order."""
    random.seed(2)
    cluster = StockCluster("ABC", appendEntriesUseBatch=False)
    leader = cluster.settle()
    follower, other = cluster.others(leader)
    cluster.kill(other)
    marks: list[str] = []
    errors: list[str] = []
    transport = NETWORK.transports[follower.node_id]
    receive = transport.receive

    def receive_as_the_library_does(sender: str, message: dict[str, Any]) -> None:
        marks.extend([message["transmission"]] if "transmission" in message else [])
        try:
            receive(sender, message)
        except Exception as error:  # noqa: BLE001 (PySyncObj's own thread logs it, and goes on)
            errors.append(type(error).__name__)

    transport.receive = receive_as_the_library_does  # type: ignore[method-assign]
    leader.put("large", bytes(range(256)) * 1000)
    cluster.run(4)
    return {"marks": marks, "errors": errors}


def whole_log_in_every_send() -> Outcome:
    """For a follower that is far behind, every send copies all that it lacks, to take the first 64 KiB of it."""
    random.seed(2)
    cluster = StockCluster("ABC", logCompactionMinEntries=10**9, logCompactionMinTime=1e9)
    leader = cluster.settle()
    follower = cluster.others(leader)[0]
    cluster.cut_off(follower)
    for number in range(3000):
        leader.put(f"order {number}", bytes(500))
    cluster.run(20)
    journal = leader.log
    copied: list[int] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(journal, name)

        def __len__(self) -> int:
            return len(journal)

        def __getitem__(self, item: Any) -> Any:
            entries = journal[item]
            if isinstance(item, slice) and len(entries) > 1:
                copied.append(len(entries))
            return entries

    leader._SyncObj__raftLog = Watched()
    behind = leader.last_index - follower.last_index
    NETWORK.cut.clear()
    for _ in range(100):
        cluster.step()
        if follower.last_index == leader.last_index:
            break
    return {"behind": behind, "caught_up": follower.last_index == leader.last_index, "copied": copied}


def order_of_sends() -> Outcome:
    """Peers stand in a set, so the order in which they are written to depends on the hash seed."""
    random.seed(2)
    cluster = StockCluster("ABCDE")
    node = cluster.nodes["A"]
    sent: list[str] = []
    cluster.refresh()
    NETWORK.transports["A"].send = lambda peer, _message: sent.append(peer.id)  # type: ignore[method-assign]
    node._SyncObj__raftElectionDeadline = 0
    node.doTick(0)
    return {"sent": sent}


def empty_snapshot_messages() -> Outcome:
    """While a dump is being written, the leader sends a follower that needs it empty messages, for a tenth of a second
    at every heartbeat: without end, were it not for the clock."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        states = dict.fromkeys("ABC", SERIALIZER_STATE.NOT_SERIALIZING)
        cluster = StockCluster("ABC", logCompactionMinEntries=20)
        for node_id in "ABC":
            cluster.nodes[node_id] = StockNode(
                node_id,
                "ABC",
                logCompactionMinEntries=20,
                fullDumpFile=str(Path(folder, f"dump {node_id}")),
                serializeChecker=lambda node_id=node_id: states[node_id],
                useFork=False,
            )
        leader = cluster.settle()
        follower = cluster.others(leader)[0]
        cluster.cut_off(follower)
        for state in (SERIALIZER_STATE.SUCCESS, SERIALIZER_STATE.SUCCESS, SERIALIZER_STATE.SERIALIZING):
            states[leader.node_id] = SERIALIZER_STATE.NOT_SERIALIZING
            for number in range(50):
                leader.put(f"order {number}")
            cluster.run(10)
            states[leader.node_id] = state
            cluster.step()
        NETWORK.cut.clear()
        cluster.refresh()
        leader._SyncObj__newAppendEntriesTime = 0
        before = CLOCK.now
        leader.doTick(0)
        messages = NETWORK.messages(leader.node_id, follower.node_id)
        return {
            "messages_of_one_tick": len(messages),
            "of_these_empty_snapshots": sum("serialized" in m and m["serialized"] is None for m in messages),
            "tick_s": CLOCK.now - before,
        }
