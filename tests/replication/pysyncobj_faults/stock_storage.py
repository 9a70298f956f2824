"""What stock PySyncObj 0.3.17 makes of its files: journal, term and vote, dumps; on real folders."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pysyncobj.serializer import Serializer

from tests.replication.pysyncobj_faults.limits import files_of_at_most
from tests.replication.pysyncobj_faults.stock_cluster import (
    NETWORK,
    StockCluster,
    StockNode,
    tick_as_the_library_does,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = dict[str, Any]

CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x4_0000, 2


def run_alone(node: StockNode, seconds: float = 5.0) -> list[Exception]:
    """A cluster of one; returns what its ticks raised."""
    errors = [tick_as_the_library_does(node) for _ in range(round(seconds / 0.05))]
    return [error for error in errors if error is not None]


class SyncWatch:
    """Counts what makes files durable: calls of fsync and its like, and opening with O_SYNC or O_DSYNC.

    PySyncObj is pure Python, so all of its system calls pass through C functions that the profiler is told of.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        sys.addaudithook(self._on_audit_event)

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_SYNC | os.O_DSYNC):
            self.calls["open"] += 1

    def _on_call(self, _frame: object, event: str, function: Any) -> None:
        if event != "c_call":
            return
        is_flush_of_map = function.__name__ == "flush" and isinstance(function.__self__, mmap.mmap)
        if function.__name__ in ("fsync", "fdatasync", "sync") or is_flush_of_map:
            self.calls[function.__name__] += 1

    def during(self, action: Callable[[], object]) -> dict[str, int]:
        self.calls.clear()
        sys.setprofile(self._on_call)
        try:
            action()
        finally:
            sys.setprofile(None)
        return dict(self.calls)


def no_sync() -> Outcome:
    """Three nodes with journals elect a leader and acknowledge orders; nothing is ever synced."""
    random.seed(1)
    acknowledged: list[str] = []
    watch = SyncWatch()
    with tempfile.TemporaryDirectory() as folder:

        def work() -> None:
            cluster = StockCluster("ABC")
            for node_id in "ABC":
                cluster.nodes[node_id] = StockNode(node_id, "ABC", journalFile=str(Path(folder, node_id)))
            leader = cluster.settle()
            for number in range(10):
                leader.put_for_client(f"order {number}", acknowledged)
            cluster.run(40)

        def sync_on_purpose() -> None:
            with Path(folder, "control").open("wb+") as file:
                file.truncate(100)
                os.fsync(file.fileno())
                os.fdatasync(file.fileno())
                mapped = mmap.mmap(file.fileno(), 100)
                mapped.flush()
                mapped.close()
            os.close(os.open(Path(folder, "control"), os.O_WRONLY | os.O_DSYNC))

        return {
            "control": watch.during(sync_on_purpose),
            "syncs": watch.during(work),
            "acknowledged": len(acknowledged),
        }


def torn_meta_file() -> Outcome:
    """The file of term and vote is replaced without a sync; one that power left torn is read as term 0, no vote."""
    random.seed(1)
    outcome: Outcome = {"terms": [], "votes": []}
    with tempfile.TemporaryDirectory() as folder:
        journal_file = Path(folder, "journal")
        meta_file = Path(folder, "journal.meta")
        StockCluster("BC")
        for candidate, kept_bytes in (("B", 10), ("C", 0)):
            node = StockNode("A", "ABC", journalFile=str(journal_file))
            outcome["terms"].append(node.raftCurrentTerm)
            NETWORK.transports["A"].refresh()
            node.receive(candidate, {"type": "request_vote", "term": 5, "last_log_index": 9, "last_log_term": 4})
            outcome["votes"] += [
                (candidate, reply["term"])
                for reply in NETWORK.messages("A", candidate)
                if reply["type"] == "response_vote"
            ]
            outcome["terms"].append(node.raftCurrentTerm)
            os.truncate(meta_file, kept_bytes)
    return outcome


def flipped_bit() -> Outcome:
    """A bit flips at rest: the node starts, and executes another order than the one that it acknowledged."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "journal")
        node = StockNode("A", "A", journalFile=str(file))
        acknowledged: list[str] = []
        node.put_for_client("sell 100 at 5000", acknowledged)
        run_alone(node)
        data = bytearray(file.read_bytes())
        data[data.index(b"100 at")] ^= 0b1000
        file.write_bytes(data)
        node = StockNode("A", "A", journalFile=str(file))
        errors = run_alone(node)
        return {"acknowledged": acknowledged, "kept": node.applied, "errors": [repr(error) for error in errors]}


def altered_dump() -> Outcome:
    """A dump with a flipped bit loads as another state: the checksum of gzip stands behind the end of the pickle, where
    nobody reads."""
    digits = random.Random(1)
    book = "".join(digits.choice("0123456789") for _ in range(20_000))
    data = ({"book": book}, (b"", 103, 2), (b"", 102, 2), set())
    dump = _dump_of(data)
    for bit in range(4 * len(dump), 4 * len(dump) + 100):
        flipped = bytearray(dump)
        flipped[bit // 8] ^= 1 << bit % 8
        loaded = _load_dump(bytes(flipped))
        if loaded is not None:
            return {"loaded": True, "as_it_was": loaded == data}
    return {"loaded": False}


def _dump_of(data: tuple[Any, ...]) -> bytes:
    serializer = _in_memory_serializer()
    serializer.serialize(data, 1)
    serializer.checkSerializing()
    dump: bytes = serializer.getTransmissionData("B")[0]
    return dump


def _load_dump(dump: bytes) -> tuple[Any, ...] | None:
    serializer = _in_memory_serializer()
    serializer.setTransmissionData((dump, True, False))
    serializer.setTransmissionData((b"", False, True))
    try:
        loaded: tuple[Any, ...] = serializer.deserialize()
    except Exception:  # noqa: BLE001 (an unpickler raises whatever it likes)
        return None
    return loaded


def _in_memory_serializer() -> Serializer:
    return Serializer(
        fileName=None,
        transmissionBatchSize=2**16,
        tryUseFork=False,
        serializer=None,
        deserializer=None,
        serializeChecker=None,
    )


def beyond_4_gib() -> Outcome:
    """Offsets have 32 bits: of a journal of 4 GiB, orders are executed that no restart will find."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "journal"))
        node = StockNode("A", "A", journalFile=file)
        node.put("small log")
        run_alone(node)
        node.log._FileJournal__currentOffset = 2**32 - 10  # A sparse file: as after a long life.
        acknowledged: list[str] = []
        for number in range(3):
            node.put_for_client(f"large log {number}", acknowledged)
        errors = run_alone(node)
        executed = node.applied
        node = StockNode("A", "A", journalFile=file)
        run_alone(node)
        return {
            "errors": sorted({type(error).__name__ for error in errors}),
            "executed": executed,
            "acknowledged": acknowledged,
            "kept": node.applied,
        }


# Compaction.


class SlowToPickle:
    """A state so large that the child that writes its dump takes a while: until it is released, or orphaned."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()

    def release(self) -> None:
        os.write(self._writable, b".")

    def __reduce__(self) -> tuple[type, tuple[()]]:
        os.close(self._writable)
        os.read(self._readable, 1)
        return str, ()


def killed_while_compacting() -> Outcome:
    """Compaction writes the journal anew in its place; a kill half-way leaves a part of it."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        acknowledged_count, report = os.pipe()
        victim = os.fork()
        if victim == 0:
            _compact_and_be_killed(folder, report)
        os.close(report)
        _, status = os.waitpid(victim, 0)
        told = json.loads(os.read(acknowledged_count, 100))
        node = _compacting_node(folder)
        run_alone(node)
        return {"killed": os.WTERMSIG(status) == signal.SIGKILL, "acknowledged": told, "kept": len(node.applied)}


def _compacting_node(folder: str) -> StockNode:
    files = {"journalFile": str(Path(folder, "journal")), "fullDumpFile": str(Path(folder, "dump"))}
    return StockNode("A", "A", logCompactionMinEntries=50, logCompactionMinTime=1e9, **files)


def _compact_and_be_killed(folder: str, report: int) -> None:
    node = _compacting_node(folder)
    node.slow = SlowToPickle()
    acknowledged: list[str] = []
    for number in range(100):
        node.put_for_client(f"order {number}", acknowledged)
    while node._SyncObj__serializer._Serializer__pid == 0:
        tick_as_the_library_does(node)
    # A child writes the dump of the first orders; meanwhile more of them come.
    for number in range(100, 2000):
        node.put_for_client(f"order {number}", acknowledged)
    while len(acknowledged) < 2000:
        tick_as_the_library_does(node)
    os.write(report, json.dumps(len(acknowledged)).encode())
    file = node.log._FileJournal__journalFile
    write = file.write
    writes = 0

    def write_until_killed(offset: int, values: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == 1000:
            os.kill(os.getpid(), signal.SIGKILL)
        write(offset, values)

    file.write = write_until_killed
    node.slow.release()
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        tick_as_the_library_does(node)
    os._exit(0)


# Full disks.


def full_disks_of_followers() -> Outcome:
    """The disks of both followers are full. They take orders into memory before the file refuses them, acknowledge them
    a heartbeat later, and know nothing of them after a restart."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        cluster = StockCluster("ABC")
        for node_id in "ABC":
            cluster.nodes[node_id] = StockNode(node_id, "ABC", journalFile=str(Path(folder, node_id)))
        leader = cluster.settle()
        refused: list[str] = []
        followers = cluster.others(leader)
        for follower in followers:
            _fill_disk(follower, refused)
        acknowledged: list[str] = []
        for number in range(10):
            leader.put_for_client(f"order {number}", acknowledged, bytes(1000))
        cluster.run(40)
        for node in (leader, *followers):
            cluster.kill(node)
        for follower in followers:
            cluster.nodes[follower.node_id] = StockNode(
                follower.node_id, "ABC", journalFile=str(Path(folder, follower.node_id))
            )
        cluster.run(100)
        kept = {key for node in cluster.nodes.values() for key in node.applied}
        return {"refused": sorted(set(refused)), "acknowledged": acknowledged, "kept": sorted(kept)}


def _fill_disk(node: StockNode, refused: list[str]) -> None:
    transport = NETWORK.transports[node.node_id]
    receive = transport.receive

    def receive_on_a_full_disk(sender: str, message: dict[str, Any]) -> None:
        with files_of_at_most(2048):
            try:
                receive(sender, message)
            except (OSError, ValueError) as error:
                refused.append(str(error))

    transport.receive = receive_on_a_full_disk  # type: ignore[method-assign]


def full_disk_of_memory_map() -> Outcome:
    """The journal is a memory map of a sparse file: where the file system has no room left, a store to it is a SIGBUS.

    The file system is a tmpfs in a mount namespace of this process, for which the machine must allow one.
    """
    with tempfile.TemporaryDirectory() as folder:
        refusal = _mount_tiny_file_system(folder, size_bytes=2**18)
        if refusal:
            return {"refusal": refusal}
        acknowledged_count, report = os.pipe()
        node = os.fork()
        if node == 0:
            _fill_journal(folder, report)
        _, status = os.waitpid(node, 0)
        _libc().umount2(folder.encode(), MNT_DETACH)
        return {
            "killed_by": signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None,
            "acknowledged": os.read(acknowledged_count, 10**6).count(b"\n"),
        }


def _fill_journal(folder: str, report: int) -> None:
    random.seed(1)
    node = StockNode("A", "A", journalFile=str(Path(folder, "journal")))
    run_alone(node)
    for number in range(1000):
        node.put(f"order {number}", bytes(1000), callback=lambda _result, _error: os.write(report, b"\n"))
        tick_as_the_library_does(node)
    os._exit(0)


def _mount_tiny_file_system(folder: str, size_bytes: int) -> str | None:
    """Mounts a tmpfs that nobody else sees; returns why the machine refuses it, if it does."""
    libc = _libc()
    user, group = os.geteuid(), os.getegid()
    options = b"size=%d" % size_bytes
    try:
        # Who is not root may mount in a user namespace of his own, on most machines.
        _check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)), "unshare")
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
        _check(libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, options), "mount tmpfs")
    except OSError as error:
        return str(error)
    return None


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
