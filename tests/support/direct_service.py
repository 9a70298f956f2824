"""A node without Raft: the real state machine, fed by the service's own commands, one entry per request.

It stands where a NodeService does, so that the gateway and the client are tested against real matching without
elections and disks. `stall` makes it a node that has lost its majority: it takes commands and executes none.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.events import Execution
from raftbook.errors import BusyError, NoQuorumError, NotHeldError, NotReadyError
from raftbook.node.config import ClusterConfig, Config, LimitsConfig, NodeConfig
from raftbook.node.feed_keeper import FeedKeeper
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftbook.engine.commands import Command
    from raftbook.feed import Feed

START_TIME = 1_700_000_000_000_000_000
STEP = 1_000_000


class Report(NamedTuple):
    origin: str
    sequence: int
    execution: Execution | None


class NodeStatus(NamedTuple):
    node_id: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    digest: str


class PeerStatus(NamedTuple):
    id: str
    role: str | None
    term: int | None
    commit_index: int | None
    applied_index: int | None
    digest: str | None
    peer_address: str
    api_address: str
    reachable: bool
    heard_s_ago: float | None


def make_config(*api_addresses: str, **limits: int) -> Config:
    """A cluster of nodes n1, n2, … with these API addresses (one, where none is given)."""
    nodes = tuple(
        NodeConfig(id=f"n{number}", peer_address=f"127.0.0.1:{7100 + number}", api_address=address)
        for number, address in enumerate(api_addresses or ("127.0.0.1:8101",), 1)
    )
    return Config(cluster=ClusterConfig(name="test"), nodes=nodes, limits=LimitsConfig(**limits))


class DirectService:
    def __init__(self, config: Config | None = None, node_id: str = "n1") -> None:
        self.config = config or make_config()
        self.node_id = node_id
        self.state = StateMachine()
        events_kept = self.config.limits.feed_events_kept
        self.feed_keeper = FeedKeeper(lambda: self.state, events_kept=events_kept, run=lambda action: action())
        self.draining = False
        self.ready = True
        self.is_behind = False
        self.joined = asyncio.Event()
        """Cleared, it is a node that has just started, and has not caught up."""
        self.joined.set()
        self.is_awaited = False
        self.busy_answers = 0
        """How many submissions are refused as if the intake were full."""
        self._origin = "direct-1"
        self._executions: list[Execution | None] = []
        self._waiting: list[bytes] = []
        self._passed_ns = 0
        self._executes = asyncio.Event()
        self._executes.set()
        self._listeners: dict[int, Callable[[Sequence[Report]], None]] = {}

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def feed(self) -> Feed:
        return self.feed_keeper.feed

    def listen_to_feed(self, listener: Callable[[], None]) -> None:
        self.feed_keeper.listen(listener)

    @property
    def taken(self) -> int:
        """How many commands the node has taken since it started."""
        return len(self._executions)

    async def has_taken(self, count: int) -> None:
        """Returns when the node has taken that many; TimeoutError after 10 s."""
        async with asyncio.timeout(10):
            while self.taken < count:  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0.001)

    def stall(self) -> None:
        self.ready = False
        self._executes.clear()

    def cover_waiting(self) -> None:
        """What waits is told as if a snapshot had executed it."""
        for sequence, listener in list(self._listeners.items()):
            del self._listeners[sequence]
            listener([Report(self._origin, sequence, None)])

    def resume(self) -> None:
        self.ready = True
        self._execute_waiting()
        self._executes.set()

    def pass_time(self, duration_ns: int) -> None:
        """Let log time of the entries to come be so much later."""
        self._passed_ns += duration_ns

    def restore_from_itself(self) -> None:
        """Take in the node's own state as if it were a peer's snapshot."""
        self.restore(StateMachine.from_snapshot(self.state.to_snapshot()))

    def restore(self, state: StateMachine) -> None:
        """Take in a peer's state."""
        self.state = state
        self.feed_keeper.restored(self.state.exchange.watermarks)
        self.feed_keeper.applied(self.state.index)

    @property
    def has_joined(self) -> bool:
        return not self.is_behind and self.joined.is_set()

    async def wait_joined(self, *, timeout_s: float) -> None:
        if self.is_behind:
            raise NotReadyError("this node has just started")
        self.is_awaited = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.joined.wait(), timeout_s)

    async def submit(self, commands: Sequence[Command], *, wait_s: float) -> list[Report]:
        first = self._take(commands)
        if self._executes.is_set():
            if wait_s > 0:
                self._execute_waiting()
            else:
                asyncio.get_running_loop().call_soon(self._execute_waiting)
        return await self.submission(self._origin, first, len(commands), wait_s=wait_s)

    def enter(self, commands: Sequence[Command], on_reports: Callable[[Sequence[Report]], None]) -> int:
        first = self._take(commands)
        self._listeners.update(dict.fromkeys(range(first, first + len(commands)), on_reports))
        if self._executes.is_set():
            asyncio.get_running_loop().call_soon(self._execute_waiting)
        return first

    def execute(self, command: Command) -> None:
        """At once, as if it came out of the log now."""
        self._take([command])
        self._execute_waiting()

    def stop_waiting(self, sequence: int) -> None:
        self._listeners.pop(sequence, None)

    def _take(self, commands: Sequence[Command]) -> int:
        if self.busy_answers > 0:
            self.busy_answers -= 1
            raise BusyError("the intake is full; nothing was taken, try again later", retry_after_s=0.01)
        if len(self._waiting) + len(commands) > self.config.limits.intake_max_items:
            raise BusyError("the intake is full; nothing was taken, try again later", retry_after_s=0.01)
        first = len(self._executions) + 1
        self._executions += [None] * len(commands)
        self._waiting += [encode_command(command) for command in commands]
        return first

    async def submission(self, origin: str, first_sequence: int, count: int, *, wait_s: float) -> list[Report]:
        last = first_sequence + count - 1
        if origin != self._origin or last > len(self._executions):
            raise NotHeldError(f"this node holds no submission {origin}/{last}; look the order up by client_order_id")
        if wait_s > 0 and self._executions[last - 1] is None:
            try:
                await asyncio.wait_for(self._executes.wait(), wait_s)
                await asyncio.sleep(0)
            except TimeoutError:
                pass
        found = self._executions[first_sequence - 1 : last]
        return [Report(origin, sequence, execution) for sequence, execution in enumerate(found, first_sequence)]

    async def wait_applied(self, index: int, *, timeout_s: float) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while self.state.index < index:
            if clock() >= deadline:
                raise NotReadyError(f"applied to {self.state.index}, not yet to {index}; try again or ask another node")
            await asyncio.sleep(0.005)

    async def barrier(self, *, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._executes.wait(), timeout_s)
        except TimeoutError:
            raise NoQuorumError("no majority of the nodes answers; a linearizable read is impossible now") from None
        self._apply([])

    async def state_digest(self) -> tuple[int, str]:
        return self.state.index, self.state.state_digest()

    def collect_metrics(self):
        return ()

    def status(self) -> NodeStatus:
        leads = self._executes.is_set()
        index = self.state.index
        return NodeStatus(
            self.node_id,
            "leader" if leads else "candidate",
            self.node_id if leads else None,
            1,
            index,
            index,
            index,
            self.state.chain_digest.hex(),
        )

    def cluster(self) -> list[PeerStatus]:
        mine = self.status()
        return [
            PeerStatus(
                node.id,
                mine.role if node.id == self.node_id else "follower",
                mine.term,
                mine.commit_index,
                mine.applied_index,
                mine.digest,
                node.peer_address,
                node.api_address,
                reachable=node.id == self.node_id or self._executes.is_set(),
                heard_s_ago=0.0,
            )
            for node in self.config.nodes
        ]

    def _execute_waiting(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            first = len(self._executions) - len(waiting) + 1
            self._apply([RawRun(self._origin, first, tuple(waiting))])

    def _apply(self, runs: list[RawRun]) -> None:
        index = self.state.index + 1
        executions = self.state.apply(index, encode_entry(START_TIME + self._passed_ns + index * STEP, runs))
        for execution in executions:
            self._executions[execution.sequence - 1] = execution
            listener = self._listeners.pop(execution.sequence, None)
            if listener is not None:
                listener([Report(self._origin, execution.sequence, execution)])
        self.feed_keeper.executed(executions, self.state.exchange.watermarks)
        self.feed_keeper.applied(index)
