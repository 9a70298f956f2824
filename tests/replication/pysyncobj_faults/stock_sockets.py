"""What stock PySyncObj 0.3.17 takes from whoever connects to it: real sockets on loopback, in real time.

As the library comes, without a password. With one, the same holds for everybody who knows it: all nodes share it, and
so does everybody who may ask for the cluster's status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import socket
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal
from pysyncobj.serializer import Serializer

from tests.replication.pysyncobj_faults.limits import leave_descriptors, start_flood

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = dict[str, Any]

HOST = "127.0.0.1"
PEER = "localhost:9"
"""A member that never runs. Its address is the greater one, so a node on 127.0.0.1 waits to be dialled by it."""
DEADLINE_S = 10.0
CONNECTION_TIMEOUT_S = 0.2


class Bomb:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._folder),)


class Stranger:
    """Somebody who can reach the node's port, and knows nothing else."""

    def __init__(self, node: ListeningNode) -> None:
        self._node = node
        self._connection = socket.create_connection((HOST, node.port()), timeout=1.0)

    def send(self, message: object) -> None:
        data = zlib.compress(pickle.dumps(message, 2))
        self._connection.sendall(struct.pack("i", len(data)) + data)

    def next_message(self) -> Any:
        (size,) = struct.unpack("i", self._read(4))
        return pickle.loads(zlib.decompress(self._read(size)))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._node.until(lambda: bool(select.select([self._connection], [], [], 0)[0]))
            received = self._connection.recv(size - len(data))
            assert received, "the node has closed the connection"
            data += received
        return data


class ListeningNode(SyncObj):
    def __init__(self, *peers: str, **settings: Any) -> None:
        conf = SyncObjConf(
            autoTick=False,
            bindAddress=f"{HOST}:0",
            raftMinTimeout=0.05,
            raftMaxTimeout=0.1,
            appendEntriesPeriod=0.01,
            connectionTimeout=CONNECTION_TIMEOUT_S,
            **settings,
        )
        super().__init__(f"{HOST}:1", list(peers), conf)
        self.applied: list[str] = []

    @replicated
    def put(self, key: str) -> None:
        self.applied.append(key)

    @property
    def transport(self) -> Any:
        return self._SyncObj__transport

    def port(self) -> int:  # No property: PySyncObj looks at every attribute before it listens.
        port: int = self.transport._server._TcpServer__socket.getsockname()[1]
        return port

    def until(self, condition: Callable[[], bool], timeout_s: float = DEADLINE_S) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s:
            self.doTick(0.005)
        return condition()


def unpickled() -> Outcome:
    """A pickle may run anything. One is loaded from whoever connects, before he says who he is, and from any file."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder, name) for name in ("connection", "log", "term and vote", "dump")}
        bombs = {name: pickle.dumps(Bomb(folder), 2) for name, folder in folders.items()}

        node = ListeningNode(PEER)
        stranger = Stranger(node)
        stranger.send(Bomb(folders["connection"]))
        node.until(folders["connection"].exists)

        journal = FileJournal(str(Path(folder, "journal")))
        journal.add(b"\x01", 1, 0)
        journal.add(b"\x00" + bombs["log"], 2, 1)
        journal._destroy()
        node = ListeningNode(journalFile=str(Path(folder, "journal")))
        with contextlib.suppress(KeyError):  # What was loaded is no command; it has run nevertheless.
            node.until(folders["log"].exists)

        Path(folder, "other.meta").write_bytes(bombs["term and vote"])
        FileJournal(str(Path(folder, "other")))._destroy()

        serializer = Serializer(str(Path(folder, "dump file")), 2**16, *(False, None, None, None))
        serializer.serialize(Bomb(folders["dump"]), 1)
        node = ListeningNode(fullDumpFile=str(Path(folder, "dump file")))
        node.until(folders["dump"].exists)
        return {"executed_from": sorted(name for name, made in folders.items() if made.exists())}


def self_declared_peer() -> Outcome:
    """A stranger says that he is a member of the cluster, and what he sends is executed as the leader's order."""
    node = ListeningNode(PEER)
    (peer,) = node.otherNodes
    stranger = Stranger(node)
    stranger.send(PEER)
    node.until(lambda: node.isNodeConnected(peer))
    command = b"\x00" + pickle.dumps((node._methodToID["put_v0"], ("forged order",)), 2)
    entries = [(command, 2, 99)]
    append = {"type": "append_entries", "term": 99, "commit_index": 2, "prevLogIdx": 1, "prevLogTerm": 0}
    stranger.send(append | {"entries": entries})
    node.until(lambda: bool(node.applied))
    return {"believed": node.isNodeConnected(peer), "leader": str(node._getLeader()), "executed": node.applied}


def served_strangers() -> Outcome:
    """Whoever says "readonly" is sent the log. Whoever sends an administrator's command has it carried out: a member is
    added that does not exist, and a healthy node has no majority any more."""
    node = ListeningNode(dynamicMembershipChange=True)
    node.until(node.isReady)
    reader = Stranger(node)
    reader.send("readonly")
    node.until(lambda: bool(node.readonlyNodes))
    node.put("secret order")
    seen: list[bytes] = []
    while not any(b"secret order" in command for command in seen):
        seen += [entry[0] for entry in reader.next_message().get("entries", [])]
    administrator = Stranger(node)
    administrator.send(["add", PEER])
    node.until(lambda: bool(node.otherNodes))
    node.put("order")
    node.until(lambda: "order" in node.applied, timeout_s=0.5)
    return {
        "readers_saw": len(seen),
        "members": sorted(str(member) for member in node.otherNodes),
        "executed": node.applied,
    }


def idle_connections() -> Outcome:
    """A connection's timeout is looked at when something comes in: whoever stays silent keeps it for ever."""
    node = ListeningNode(PEER)
    strangers = []
    for _ in range(50):
        strangers.append(Stranger(node))
        node.until(lambda: len(node.transport._unknownConnections) == len(strangers))
    node.until(lambda: False, timeout_s=5 * CONNECTION_TIMEOUT_S)
    return {"connections": len(strangers), "kept": len(node.transport._unknownConnections)}


def no_descriptor_left() -> Outcome:
    """Once no connection could be accepted for want of a file descriptor, the node does not listen any more."""
    node = ListeningNode(PEER, bindRetryTime=0.05)
    port, transport = node.port(), node.transport
    turn, next_turn = os.pipe()
    flood = start_flood(port, turn=turn)
    leave_descriptors(20)

    def is_unbound() -> bool:
        return bool(transport._server._TcpServer__socket.fileno() < 0)

    accepted, goes_on = 0, True
    while goes_on and not is_unbound():
        os.write(next_turn, b".")
        goes_on = node.until(lambda before=accepted: is_unbound() or len(transport._unknownConnections) > before)
        accepted = len(transport._unknownConnections)
    flood.end()
    node.until(lambda: not transport._unknownConnections)
    node.until(lambda: False, timeout_s=0.5)
    with socket.socket() as peer:
        is_refused = peer.connect_ex((HOST, port)) == errno.ECONNREFUSED
    return {
        "accepted": accepted,
        "left": len(transport._unknownConnections),
        "refused": is_refused,
        "ready": transport.ready,
    }
