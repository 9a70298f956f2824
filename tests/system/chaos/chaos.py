"""One seed, lived through: a cluster of real processes under load, its faults, its healing, and what must hold then.

After the last fault everything heals. Then every node must execute an order within LIVENESS_S, all nodes must come to
rest in the same state, and their logs are held to the clients' records.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import traceback
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx

from tests.system.chaos.chaos_cluster import ChaosCluster
from tests.system.chaos.observer import Observer
from tests.system.chaos.packet_filter import delaying, losing
from tests.system.chaos.schedule import LEADER, Fault, FaultKind, Schedule, lacking_for
from tests.system.clients import POLL_S, Clients, new_order
from tests.system.log_checks import ReplayedLog, check_against_logs
from tests.system.raftbook_command import raftbook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.system.chaos.capabilities import Capabilities

LIVENESS_S: Final = 20.0
"""From the moment in which everything is whole, and every process started, to an execution at every node.

An election takes a second; the start of processes on a busy machine takes the rest.
"""
MINDING_S: Final = 0.05
WATCHING_S: Final = 0.2
READING_S: Final = 1.0
STORM_PAUSE_S: Final = 0.25


@dataclass(slots=True)
class Outcome:
    """What one seed came to. The counts are by kind of fault; `lacking` is what this machine could not do."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Faults for which there was no target just then, for instance a pause of a node that was down."""
    lacking: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Why nodes ended by themselves, where that was right."""
    submissions: int = 0
    """Commands of clients that were held to the logs."""
    observations: int = 0
    """Statuses that nodes gave of themselves."""
    fresh_reads: int = 0
    """Linearizable reads that were answered."""
    longest_gap_s: float = 0.0
    """Without any definite answer to any client."""
    liveness_s: float = 0.0
    """From the healing to an execution at every node."""
    duration_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)


async def live(
    schedule: Schedule,
    folder: Path,
    capabilities: Capabilities,
    *,
    node_count: int,
    sabotage: Callable[[ChaosCluster], Awaitable[None]] | None = None,
) -> Outcome:
    """Live through the schedule in `folder`. Whatever goes wrong is in the outcome's `violations`.

    `sabotage` is called when all faults have healed, and does what no cluster survives: to see the checks fail.
    """
    outcome = Outcome(schedule.seed)
    began = time.monotonic()
    cluster = ChaosCluster(folder, node_count=node_count, capabilities=capabilities, witness=schedule.witness)
    with cluster:
        try:
            await _live(schedule, cluster, capabilities, outcome, sabotage)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the seed has found)
            outcome.violations.append("".join(traceback.format_exception(error, limit=-4)))
        for node_id in cluster.node_ids:
            cluster.judge_if_ended(node_id)
        outcome.violations += cluster.violations
        if outcome.violations:
            cluster.keep_disks()
        outcome.ends = cluster.ends
    outcome.duration_s = time.monotonic() - began
    return outcome


async def _live(
    schedule: Schedule,
    cluster: ChaosCluster,
    capabilities: Capabilities,
    outcome: Outcome,
    sabotage: Callable[[ChaosCluster], Awaitable[None]] | None,
) -> None:
    leader = await cluster.start_and_elect()
    async with Clients(cluster, count=len(cluster.node_ids) + 1, seed=schedule.seed) as clients:
        observer = Observer(leader)
        chaos = Chaos(cluster, clients, observer, capabilities, outcome)
        try:
            async with clients.trading():
                await clients.progress()
                began = time.monotonic()
                async with chaos.watching():
                    await chaos.run(schedule)
                    chaos.heal()
                    outcome.liveness_s = await live_again(cluster, clients)
                outcome.longest_gap_s = _longest_gap_s(clients, began, time.monotonic())
                if sabotage is not None:
                    await sabotage(cluster)
        finally:
            outcome.violations += observer.violations
            outcome.observations, outcome.fresh_reads = observer.observations, observer.fresh_reads
        logs = await check_against_logs(cluster, clients)
        _check_log_time(logs)
        outcome.submissions = len(clients.records)


async def live_again(cluster: ChaosCluster, clients: Clients, *, bound_s: float = LIVENESS_S) -> float:
    """Seconds until every node has executed an order entered at it; an assertion fails where that takes too long."""
    began = time.monotonic()

    async def execute_an_order(node_id: str) -> None:
        for number in itertools.count(1):
            order = new_order("probe", f"probe-{node_id}-{number}", "buy", "1.00")
            report = None
            while report is None:
                assert time.monotonic() - began < bound_s, f"{node_id} executes nothing {bound_s:g} s after healing"
                attempt = await clients.enter(node_id, order, wait_s=1.0)
                if attempt.outcome == "definite":
                    report = attempt.report
                else:
                    await asyncio.sleep(POLL_S)
            if report["status"] == "accepted":
                return
            # When log time jumps, with a leader whose clock is ahead, what was entered just before has expired.
            assert report["reason"] == "submission_expired", report

    async with asyncio.TaskGroup() as probes:
        for node_id in cluster.node_ids:
            probes.create_task(execute_an_order(node_id))
    took_s = time.monotonic() - began
    assert took_s < bound_s, f"{took_s:.1f} s from the healing to an execution at every node"
    return took_s


def _longest_gap_s(clients: Clients, began: float, ended: float) -> float:
    answered = (a.answered_at for record in clients.records for a in record.attempts if a.outcome == "definite")
    times = [began, *sorted(at for at in answered if began < at < ended), ended]
    return max(after - before for before, after in itertools.pairwise(times))


def _highest_reported_index(clients: Clients) -> int:
    reports = (
        attempt.report for record in clients.records for attempt in record.attempts if attempt.outcome == "definite"
    )
    return max((report["log_index"] for report in reports if report is not None), default=0)


def _check_log_time(logs: list[ReplayedLog]) -> None:
    """Whatever the clocks of the leaders did, time in the log never falls."""
    for log in logs:
        times = [execution.timestamp for _, execution in log.executed]
        assert times == sorted(times), f"{log.node_id}: log time falls"


class Chaos:
    """Does to the cluster what the schedule says, at its times, and restarts what ended because of it."""

    def __init__(
        self,
        cluster: ChaosCluster,
        clients: Clients,
        observer: Observer,
        capabilities: Capabilities,
        outcome: Outcome,
    ) -> None:
        self._cluster = cluster
        self._clients = clients
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
    async def watching(self) -> AsyncIterator[None]:
        """X."""
        async with asyncio.TaskGroup() as tasks:
            readers = [self._keep_reading(node_id) for node_id in self._cluster.node_ids]
            watchers = [tasks.create_task(work) for work in (self._watch(), self._keep_minding(), *readers)]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()

    async def _watch(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                lives = {node_id: life.number for node_id, life in self._cluster.lives.items()}
                for node_id, status in (await self._cluster.statuses(client)).items():
                    if status is not None and self._cluster.lives[node_id].number == lives[node_id]:
                        self._observer.observe(node_id, lives[node_id], status)
                await asyncio.sleep(WATCHING_S)

    async def _keep_reading(self, node_id: str) -> None:
        url = f"{self._cluster.url(node_id)}/v1/book/ACME"
        async with httpx.AsyncClient(trust_env=False, timeout=2 * READING_S) as client:
            while True:
                reported_index = _highest_reported_index(self._clients)
                self._clients.barriers += 1
                # A node that is down, cut off or paused gives no answer, or no good one.
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(url, params={"consistency": "linearizable", "wait_s": f"{READING_S:g}"})
                    if answer.status_code == httpx.codes.OK:
                        self._observer.read(node_id, int(answer.headers["Raftbook-Log-Index"]), reported_index)
                await asyncio.sleep(WATCHING_S)

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
                # It comes back under this chaos, which may take longer than a command may.
                options = ["--config", str(self._cluster.config_path(node_id)), "--id", node_id, "--no-rejoin"]
                ended = await asyncio.to_thread(raftbook, "node", "rebuild", *options, folder=self._cluster.folder)
                assert ended.returncode == 0, f"{node_id} cannot be rebuilt: {ended.stderr}"
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
