"""A node's folder as a node writes it: the real log, the real snapshots, and the state machine that remembers."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.replication.disk import FileDisk
from raftbook.replication.raft_core import REGULAR_COMMAND
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from pathlib import Path

    from raftbook.engine.commands import Command

N1 = Identity("local-3", "n1")
NO_OP = b"\x01"
ORIGIN = "n1.abc"
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))
START_TIME = 1_700_000_000_000_000_000
STEP_NS = 1_000_000_000


def order(client_order_id: str, side: Side = Side.BUY, price: int = 100, quantity: int = 5) -> NewOrder:
    terms = (side, OrderType.LIMIT, TimeInForce.GTC, Number(price, 0), Number(quantity, 0))
    return NewOrder("ACME", "alice", client_order_id, *terms)


class WrittenNode:
    """`digests`, `state_digests` and `indexes` are what its state machine said at each index on the way."""

    def __init__(self, folder: Path, *, segment_size_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.disk = FileDisk(folder, "os")
        self.disk.lock()
        self.log, _ = WriteAheadLog.open(self.disk, N1, segment_size_bytes=segment_size_bytes)
        self.snapshots = SnapshotStore(self.disk, N1)
        self.state = StateMachine()
        self.digests = {0: self.state.chain_digest.hex()}
        self.state_digests = {0: self.state.state_digest()}
        self.term = 1
        self._sequence = 0
        self.log.record_voter(True)
        self.log.record_vote(1, "n1")
        self.flush()

    def append(self, raw: bytes) -> int:
        """An entry in the log and, where it is one, in the state; returns its index."""
        index = self.log.last_index + 1
        if raw[:1] == REGULAR_COMMAND:
            self.state.apply(index, raw[1:])
        else:
            self.state.advance(index)
        self.digests[index] = self.state.chain_digest.hex()
        self.state_digests[index] = self.state.state_digest()
        self.log.append(index, self.term, raw)
        self.flush()
        return index

    def enter(self, *commands: Command | bytes) -> int:
        """One entry with these submissions; bytes stand for a command that is none."""
        raw = tuple(command if isinstance(command, bytes) else encode_command(command) for command in commands)
        run = RawRun(ORIGIN, self._sequence + 1, raw)
        self._sequence += len(raw)
        timestamp = START_TIME + (self.log.last_index + 1) * STEP_NS
        return self.append(REGULAR_COMMAND + encode_entry(timestamp, [run] if raw else []))

    def enter_orders(self, count: int) -> int:
        """So many entries of one order each, some of which trade; returns the last index."""
        for number in range(count):
            side = Side.BUY if number % 3 else Side.SELL
            index = self.enter(order(f"{self.log.last_index}-{number}", side, 100 + number % 2, 1 + number % 4))
        return index

    def snapshot(self) -> int:
        """Of the state as it is now; the newest two are kept."""
        self.snapshots.write(self.state.index, self.term, self.state.to_snapshot())
        self.snapshots.adopt(self.state.index, self.term)
        return self.state.index

    def flush(self) -> None:
        batch = self.log.take_batch()
        if batch is not None:
            self.log.write_batch(batch)
            self.log.mark_durable(batch)

    def close(self) -> None:
        self.disk.close()

    def path(self, prefix: str, position: int = -1) -> Path:
        """The first or last file whose name begins so."""
        return sorted(self.folder.glob(f"{prefix}-*"))[position]


def fingerprint(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All there is in a folder, the folder itself included: lengths, times of change, inodes, contents."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.stat()
        content = b"" if path.is_dir() else blake2b(path.read_bytes()).digest()
        found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_ino, content)
    return found
