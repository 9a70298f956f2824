"""The hand that does to a cluster what a schedule says, and sets right afterwards what does not heal by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.system.chaos.packet_filter import delaying, losing
from tests.system.chaos.schedule import LEADER, Fault, FaultKind, Schedule, lacking_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.system.chaos.capabilities import Capabilities
    from tests.system.chaos.chaos_cluster import ChaosCluster
    from tests.system.chaos.observer import Observer
    from tests.system.chaos.outcome import Outcome

MINDING_S: Final = 0.05
STORM_PAUSE_S: Final = 0.25


class Chaos:
    """Does to the cluster what the schedule says, at its times, and restarts what ended because of it."""

    def __init__(
        self,
        cluster: ChaosCluster,
        observer: Observer,
        capabilities: Capabilities,
        outcome: Outcome,
    ) -> None:
        self._cluster = cluster
        self._observer = observer
        self._capabilities = capabilities
        self._outcome = outcome
        self._held = {node_id: asyncio.Lock() for node_id in cluster.node_ids}
        """By whatever stops, starts or pauses a node's process at the moment."""
        self._wiping = asyncio.Lock()
        self._began = time.monotonic()
        self._actions: dict[FaultKind, Callable[[Fault, str], Awaitable[bool]]] = {
            FaultKind.KILL: self._kill,
            FaultKind.KILL_STORM: self._kill_storm,
            FaultKind.PAUSE: self._pause,
            FaultKind.TERMINATE: self._terminate,
            FaultKind.WIPE: self._wipe,
            FaultKind.REBUILD: self._rebuild,
            FaultKind.ISOLATE: self._isolate,
            FaultKind.BREAK_CONNECTIONS: self._break_connections,
            FaultKind.LOSE_CLIENT_PACKETS: self._lose_client_packets,
            FaultKind.FULL_DISK: self._fill_disk,
            FaultKind.SYNC_ERROR: self._fail_syncs,
            FaultKind.WRITE_ERROR: self._fail_writes,
            FaultKind.SLOW_SYNC: self._delay_syncs,
            FaultKind.CLOCK_JUMP: self._jump_clock,
        }
        """What afflicts one node: each is told its id, and whether it did anything."""

    async def run(self, schedule: Schedule) -> None:
        """Returns when the last fault is over."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule.faults:
                await asyncio.sleep(self._began + fault.at_s - time.monotonic())
                if lacking_for(fault.kind, self._capabilities) is not None:
                    self._outcome.lacking[fault.kind] += 1
                else:
                    tasks.create_task(self._inflict(fault, spared=schedule.witness), name=str(fault))

    def heal(self) -> None:
        """What faults left behind when they were over: wrong clocks, and nodes that are down."""
        self._tell("everything heals")
        for faults in self._cluster.faults.values():
            faults.set_clock_ahead(0.0)
        for node_id in self._cluster.node_ids:
            self._mind(node_id)

    @asynccontextmanager
    async def minding_nodes(self) -> AsyncIterator[None]:
        """As long as this lasts, nodes that ended by themselves are judged and started again."""
        async with asyncio.TaskGroup() as tasks:
            minding = tasks.create_task(self._keep_minding())
            try:
                yield
            finally:
                minding.cancel()

    async def _keep_minding(self) -> None:
        while True:
            for node_id in self._cluster.node_ids:
                self._mind(node_id)
            await asyncio.sleep(MINDING_S)

    def _mind(self, node_id: str) -> None:
        is_ours = self._held[node_id].locked() or self._cluster.is_disk_afflicted(node_id)
        if not is_ours and self._cluster.judge_if_ended(node_id):
            self._tell(f"{node_id} had ended and is started again")
            self._cluster.start(node_id)

    async def _inflict(self, fault: Fault, spared: str | None) -> None:
        targets = tuple(self._observer.leader if target == LEADER else target for target in fault.targets)
        afflicted = spared not in targets and await self._afflict(fault, targets)
        (self._outcome.faults if afflicted else self._outcome.passed_over)[fault.kind] += 1
        self._tell(f"{'over' if afflicted else 'passed over'}: {fault._replace(targets=targets)}")

    async def _afflict(self, fault: Fault, targets: tuple[str, ...]) -> bool:
        match fault.kind:
            case FaultKind.KILL_ALL:
                return await self._kill_all(fault)
            case FaultKind.SPLIT:
                others = self._cluster.others(*targets)
                return await self._cut(fault, [(one, other) for one in targets for other in others], is_both=True)
            case FaultKind.CUT_ONE_WAY:
                return await self._cut(fault, [(targets[0], targets[1])], is_both=False)
            case FaultKind.CUT_LINK:
                return await self._cut(fault, [(targets[0], targets[1])], is_both=True)
            case FaultKind.SLOW_LINK:
                with self._cluster.slow_link(*targets, delay_s=fault.amount):
                    await asyncio.sleep(fault.duration_s)
            case FaultKind.LOSE_PACKETS | FaultKind.DROP_PACKETS | FaultKind.RESET_BY_PACKETS:
                is_reset = fault.kind is FaultKind.RESET_BY_PACKETS
                with self._cluster.losing_packets(*targets, probability=fault.amount or 1.0, reset=is_reset):
                    await asyncio.sleep(fault.duration_s)
            case FaultKind.DELAY_PACKETS:
                return await self._delay_packets(fault)
            case _:
                return await self._actions[fault.kind](fault, targets[0])
        return True

    def _tell(self, text: str) -> None:
        self._outcome.story.append(f"{time.monotonic() - self._began:6.2f} s  {text}")

    # ---------------------------------------------------------------- processes

    @asynccontextmanager
    async def _holding(self, node_id: str) -> AsyncIterator[bool]:
        """Whether the node runs and nothing else is done to its process; if so, it is ours while this lasts."""
        if self._held[node_id].locked() or not self._cluster.is_running(node_id):
            yield False
            return
        async with self._held[node_id]:
            yield True

    def _start(self, node_id: str) -> None:
        """Unless its disk is at fault; then it is started when that is over."""
        if not self._cluster.is_disk_afflicted(node_id):
            self._cluster.start(node_id)

    async def _kill(self, fault: Fault, node_id: str) -> bool:
        async with self._holding(node_id) as is_ours:
            if is_ours:
                self._cluster.kill(node_id)
                await asyncio.sleep(fault.duration_s)
                self._start(node_id)
            return is_ours

    async def _kill_storm(self, fault: Fault, node_id: str) -> bool:
        async with self._holding(node_id) as is_ours:
            if is_ours:
                for number in range(int(fault.amount)):
                    if not self._cluster.is_running(node_id):
                        break
                    self._cluster.kill(node_id)
                    self._start(node_id)
                    await asyncio.sleep(fault.duration_s + number * STORM_PAUSE_S)
            return is_ours

    async def _kill_all(self, fault: Fault) -> bool:
        async with AsyncExitStack() as held:
            for node_id in self._cluster.node_ids:
                await held.enter_async_context(self._held[node_id])
            running = [node_id for node_id in self._cluster.node_ids if self._cluster.is_running(node_id)]
            self._cluster.kill(*running)
            await asyncio.sleep(fault.duration_s)
            for node_id in running:
                self._start(node_id)
            return bool(running)

    async def _pause(self, fault: Fault, node_id: str) -> bool:
        async with self._holding(node_id) as is_ours:
            if is_ours:
                self._cluster.pause(node_id)
                await asyncio.sleep(fault.duration_s)
                self._cluster.resume(node_id)
            return is_ours

    async def _terminate(self, fault: Fault, node_id: str) -> bool:
        async with self._holding(node_id) as is_ours:
            if is_ours:
                await self._cluster.terminate(node_id)
                await asyncio.sleep(fault.duration_s)
                self._start(node_id)
            return is_ours

    async def _wipe(self, fault: Fault, node_id: str) -> bool:
        async with self._giving_up_disk(node_id) as is_ours:
            if is_ours:
                self._cluster.wipe(node_id)
                await asyncio.sleep(fault.duration_s)
            return is_ours

    async def _rebuild(self, _fault: Fault, node_id: str) -> bool:
        async with self._giving_up_disk(node_id) as is_ours:
            if is_ours:
                await self._cluster.rebuild(node_id)
            return is_ours

    @asynccontextmanager
    async def _giving_up_disk(self, node_id: str) -> AsyncIterator[bool]:
        """The node is down while this lasts, and may lose its disk: a majority of others has a log and a vote."""
        async with self._wiping, self._holding(node_id) as is_ours:
            majority = len(self._cluster.node_ids) // 2 + 1
            others = self._cluster.others(node_id)
            may_go = is_ours and not self._cluster.is_disk_afflicted(node_id)
            if not may_go or sum(map(self._cluster.is_durably_voter, others)) < majority:
                yield False
                return
            self._cluster.kill(node_id)
            yield True
            self._start(node_id)

    # ---------------------------------------------------------------- links and packets

    async def _cut(self, fault: Fault, ways: list[tuple[str, str]], *, is_both: bool) -> bool:
        if is_both:
            ways = ways + [(target, source) for source, target in ways]
        with self._cluster.cutting(*ways):
            await asyncio.sleep(fault.duration_s)
        return True

    async def _isolate(self, fault: Fault, node_id: str) -> bool:
        return await self._cut(fault, [(node_id, other) for other in self._cluster.others(node_id)], is_both=True)

    async def _break_connections(self, fault: Fault, node_id: str) -> bool:
        with self._cluster.refusing_connections(node_id):
            await asyncio.sleep(fault.duration_s)
        return True

    async def _lose_client_packets(self, fault: Fault, node_id: str) -> bool:
        port = self._cluster.config.node(node_id).api.port
        with ExitStack() as rules:
            rules.enter_context(losing(port, "to", probability=fault.amount))
            rules.enter_context(losing(port, "from", probability=fault.amount))
            await asyncio.sleep(fault.duration_s)
        return True

    async def _delay_packets(self, fault: Fault) -> bool:
        with delaying(fault.amount):
            await asyncio.sleep(fault.duration_s)
        return True

    # ---------------------------------------------------------------- disks and clocks

    async def _fill_disk(self, fault: Fault, node_id: str) -> bool:
        if self._cluster.is_disk_afflicted(node_id):
            return False
        with self._cluster.full_disk(node_id):
            await asyncio.sleep(fault.duration_s)
        return True

    async def _fail_syncs(self, fault: Fault, node_id: str) -> bool:
        return await self._injure_disk(fault, node_id, self._cluster.faults[node_id].fail_syncs)

    async def _fail_writes(self, fault: Fault, node_id: str) -> bool:
        return await self._injure_disk(fault, node_id, self._cluster.faults[node_id].fail_writes)

    async def _delay_syncs(self, fault: Fault, node_id: str) -> bool:
        """No reason for a node to end, so its disk does not count as afflicted."""
        faults = self._cluster.faults[node_id]
        faults.delay_syncs(fault.amount)
        await asyncio.sleep(fault.duration_s)
        faults.delay_syncs(0.0)
        return True

    async def _injure_disk(self, fault: Fault, node_id: str, injure: Callable[[], None]) -> bool:
        if self._cluster.is_disk_afflicted(node_id):
            return False
        with self._cluster.afflicting_disk(node_id):
            injure()
            try:
                await asyncio.sleep(fault.duration_s)
            finally:
                self._cluster.faults[node_id].heal_disk()
        return True

    async def _jump_clock(self, fault: Fault, node_id: str) -> bool:
        self._cluster.faults[node_id].set_clock_ahead(fault.amount)
        return True
