"""What goes wrong in a simulated cluster: a menu of faults, and a nemesis that draws from it.

Swarm style (Groce and others, "Swarm testing", 2012): each seed switches its own part of the menu on, with weights
of its own, since some bugs show only where another fault does not drown them.

A fault is never more than a cluster promises to survive without loss: any number of nodes may crash, be cut off, be
paused or slow at any time, and any disk may be full or fail; but what a disk has *lost* (a new one, flipped bits) is a
minority's at a time, until the nodes concerned have caught up. Flipped bits spare the newest half of each file: damage
to the very last batch looks like a torn tail where the mark behind it was lost with the power (write_ahead_log.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from raftbook.simulation.cluster import SimulatedCluster
    from raftbook.simulation.node import SimulatedNode

PACES_S: Final = (0.04, 0.08, 0.2, 0.8)
"""Mean time between two faults, of which each seed has one: some faults need haste, and some need time."""

SELDOM: Final = frozenset({"create", "rename", "remove", "sync_directory", "truncate"})
"""Crash points at which few processes would be killed otherwise: one of them comes upon a hundred messages."""


class Fault(NamedTuple):
    """`do` answers whether there was anything to do. One that `always` may happen is what lets others end."""

    weight: float
    do: Callable[[], bool]
    always: bool = False


class Nemesis:
    """Draws faults for one cluster from the cluster's own random numbers."""

    def __init__(self, cluster: SimulatedCluster, flood: Callable[[SimulatedNode], None]) -> None:
        """`flood` enters more commands at a node than it can take."""
        self._cluster = cluster
        self._flood_node = flood
        self._random = cluster.random
        self._voters: set[SimulatedNode] = set()
        """Members of which it is on their disks that they may vote, and a log."""
        self._rotten: set[SimulatedNode] = set()
        """Members with flipped bits on their disks that they have not been started on since."""
        self._times_healed = 0
        self.pace_s = self._random.choice(PACES_S)
        self.counts: Counter[str] = Counter()
        menu = {
            "cut one way": Fault(4, self._cut_one_way),
            "cut a link": Fault(3, self._cut_link),
            "isolate": Fault(3, self._isolate),
            "split": Fault(2, self._split),
            "break a connection": Fault(5, self._break_connection),
            "slow network": Fault(2, self._slow_network),
            "slow link": Fault(2, self._slow_link),
            "heal": Fault(12, self._heal, always=True),
            "calm": Fault(3, self._calm, always=True),
            "rest": Fault(8, lambda: True, always=True),
            "kill": Fault(3, self._kill),
            "crash point": Fault(6, self._crash_point),
            "lose power": Fault(3, self._lose_power),
            "lose all power": Fault(1, self._lose_all_power),
            "restart storm": Fault(1, self._restart_storm),
            "start": Fault(9, self._start, always=True),
            "empty disk": Fault(6, self._empty_disk),
            "pause": Fault(3, self._pause),
            "hand over": Fault(3, self._hand_over),
            "slow disk": Fault(3, self._slow_disk),
            "stall a disk": Fault(3, self._stall_disk),
            "write error": Fault(1, self._write_error),
            "sync error": Fault(1, self._sync_error),
            "disk full": Fault(2, self._disk_full),
            "flip a bit": Fault(2, self._flip_bit),
            "clock jump": Fault(2, self._clock_jump),
            "flood": Fault(1, self._flood),
            "snapshot": Fault(3, self._snapshot),
        }
        self._menu = {
            name: fault._replace(weight=fault.weight * self._random.choice((0.5, 1, 2)))
            for name, fault in menu.items()
            if self._random.random() < 0.5 or fault.always
        }

    @property
    def names(self) -> list[str]:
        """The faults of this seed."""
        return list(self._menu)

    def act(self, steps: int) -> None:
        names = list(self._menu)
        weights = [fault.weight for fault in self._menu.values()]
        for _ in range(steps):
            self._voters |= {
                node for node in self._cluster.running if node.is_durably_voter and not self._is_rotten(node)
            }
            (name,) = self._random.choices(names, weights)
            self._cluster.note(name)
            if self._menu[name].do():
                self.counts[name] += 1
            self._cluster.run_for(self._random.expovariate(1 / self.pace_s))

    def heal_everything(self) -> None:
        cluster = self._cluster
        self._times_healed += 1
        cluster.note("everything heals")
        cluster.network.heal_all()
        cluster.network.delay_s = cluster.settings.delay_s
        cluster.network.link_delay_s.clear()
        for node in cluster.nodes.values():
            node.sync_s = cluster.settings.sync_s
            node.crash_in = None
            node.disk.capacity_bytes = None
            node.disk.error_after.clear()
            if node.is_running and node.is_paused:
                node.resume()
            if node.is_running and self._is_rotten(node):
                node.kill()
            if node.is_running:
                node.resume_disk()
            else:
                self.bring_back(node)

    def bring_back(self, node: SimulatedNode) -> None:
        """Start a node; where its files are damaged, as an operator would: `raftbook node rebuild`."""
        self._rotten.discard(node)
        if node.start() or node.failure is None:
            return
        if node.failure.code in ("log_damaged", "snapshot_invalid", "state_diverged") and self._may_lose_disk(node):
            self.counts["rebuild"] += 1
            self._voters.discard(node)
            node.wipe()
            node.start()

    def _is_rotten(self, node: SimulatedNode) -> bool:
        return node in self._rotten

    def _may_lose_disk(self, node: SimulatedNode) -> bool:
        """A majority of the members remains that may vote and has a log."""
        majority = len(self._cluster.nodes) // 2 + 1
        return len(self._voters - {node}) >= majority

    # Whom it hits.

    def _node(self) -> SimulatedNode:
        return self._random.choice(list(self._cluster.nodes.values()))

    def _running(self) -> SimulatedNode | None:
        nodes = [node for node in self._cluster.running if not node.is_paused]
        return self._random.choice(nodes) if nodes else None

    def _leader_or_any(self) -> SimulatedNode:
        leaders = self._cluster.leaders
        return self._random.choice(leaders) if leaders and self._random.random() < 0.5 else self._node()

    def _pair(self) -> tuple[str, str] | None:
        if len(self._cluster.member_ids) < 2:
            return None
        first, second = self._random.sample(self._cluster.member_ids, 2)
        return first, second

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """What a fault does in a while, unless everything has healed before."""
        healed = self._times_healed

        def act() -> None:
            if self._times_healed == healed:
                action()

        self._cluster.scheduler.after(delay_s, act)

    # The network.

    def _cut_one_way(self) -> bool:
        pair = self._pair()
        if pair is not None:
            self._cluster.network.cut(*pair)
        return pair is not None

    def _cut_link(self) -> bool:
        pair = self._pair()
        if pair is not None:
            self._cluster.network.cut_off(*pair)
        return pair is not None

    def _isolate(self) -> bool:
        self._cluster.network.cut_off(self._leader_or_any().node_id)
        return True

    def _split(self) -> bool:
        """In two parts, neither of which hears the other."""
        ids = list(self._cluster.member_ids)
        self._random.shuffle(ids)
        cut = self._random.randrange(len(ids))
        for node_id in ids[:cut]:
            for other in ids[cut:]:
                self._cluster.network.cut_off(node_id, other)
        return cut > 0

    def _heal(self) -> bool:
        self._cluster.network.heal_all()
        return True

    def _calm(self) -> bool:
        """Everything heals, and for a moment nothing else happens."""
        self.heal_everything()
        self._cluster.scheduler.run_until(lambda: self._cluster.is_healthy, self._cluster.scheduler.now + 2.0)
        return True

    def _break_connection(self) -> bool:
        pair = self._pair()
        if pair is not None:
            self._cluster.network.break_connection(*pair, within_s=self._random.uniform(0.0, 0.5))
        return pair is not None

    def _slow_network(self) -> bool:
        self._cluster.network.delay_s = self._random.choice(((0.0005, 0.003), (0.02, 0.2), (0.0, 0.05)))
        return True

    def _slow_link(self) -> bool:
        pair = self._pair()
        if pair is not None:
            self._cluster.network.link_delay_s[pair] = self._random.choice(((0.05, 0.3), (0.3, 1.0)))
        return pair is not None

    # Processes.

    def _kill(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.kill()
        if self._random.random() < 0.5:
            self.bring_back(node)
        return True

    def _crash_point(self) -> bool:
        """Killed before one of its next writes, syncs, renames, removals, sends or applied entries."""
        node = self._running()
        if node is None:
            return False
        node.crash_loses_power = self._random.random() < 0.5
        node.crash_kinds = self._random.choice((None, SELDOM))
        node.crash_in = int(self._random.expovariate(1 / 30 if node.crash_kinds is None else 1 / 2))
        return True

    def _lose_power(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.lose_power()
        if self._random.random() < 0.3:
            self.bring_back(node)
        return True

    def _lose_all_power(self) -> bool:
        for node in self._cluster.running:
            node.lose_power()
        for node in self._cluster.nodes.values():
            self.bring_back(node)
        return True

    def _restart_storm(self) -> bool:
        """Some nodes are restarted again and again, faster than anybody can be elected."""
        nodes = self._random.sample(
            list(self._cluster.nodes.values()), self._random.randint(1, len(self._cluster.nodes))
        )
        for number in range(self._random.randint(3, 12)):
            for node in nodes:
                self._later(number * self._random.uniform(0.02, 0.3), lambda node=node: self._restart(node))  # type: ignore[misc]
        return True

    def _restart(self, node: SimulatedNode) -> None:
        if node.is_running:
            self._random.choice((node.kill, node.lose_power))()
        self.bring_back(node)

    def _start(self) -> bool:
        node = self._node()
        if node.is_running:
            return False
        self.bring_back(node)
        return True

    def _empty_disk(self) -> bool:
        node = self._node()
        if not self._may_lose_disk(node):
            return False
        if node.is_running:
            self._random.choice((node.kill, node.lose_power))()
        self._voters.discard(node)
        self._rotten.discard(node)
        node.wipe()
        node.start()
        return True

    def _pause(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.pause()
        life = node.life

        def resume() -> None:
            if node.is_paused and node.life == life:
                node.resume()

        self._later(self._random.uniform(0.05, 3.0), resume)
        return True

    def _hand_over(self) -> bool:
        """As before a leader is stopped in order."""
        leaders = [node for node in self._cluster.leaders if not node.is_paused]
        if not leaders:
            return False
        node = self._random.choice(leaders)
        node.run(node.hand_over)
        return True

    # Disks.

    def _slow_disk(self) -> bool:
        self._node().sync_s = self._random.choice(((0.001, 0.006), (0.05, 0.3), (0.0, 0.02)))
        return True

    def _stall_disk(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.stall_disk()
        self._later(self._random.uniform(0.1, 2.0), node.resume_disk)
        return True

    def _write_error(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.disk.error_after["append"] = self._random.randrange(10)
        return True

    def _sync_error(self) -> bool:
        """After it, what should have been written is gone, though a later sync would succeed."""
        node = self._running()
        if node is None:
            return False
        node.disk.error_after[self._random.choice(("sync", "sync", "sync_directory"))] = self._random.randrange(10)
        return True

    def _disk_full(self) -> bool:
        node = self._node()
        used_bytes = sum(len(data) for data in node.disk.contents().values()) + node.disk.reserve_bytes()
        node.disk.capacity_bytes = used_bytes + self._random.choice((0, 200, 2_000, 20_000))
        disk = node.disk

        def make_room() -> None:
            disk.capacity_bytes = None

        self._later(self._random.uniform(0.5, 4.0), make_room)
        return True

    def _flip_bit(self) -> bool:
        node = self._node()
        if not self._may_lose_disk(node):
            return False
        what = node.disk.rot(self._random, node.disk.names(), share=0.5)
        if what is None:
            return False
        self._cluster.note(what)
        self._voters.discard(node)
        self._rotten.add(node)
        if node.is_running and self._random.random() < 0.7:
            node.kill()
            self.bring_back(node)
        return True

    # The rest.

    def _clock_jump(self) -> bool:
        """The wall clock of one node; the monotonic clocks have their rates from the beginning."""
        jump_s = self._random.choice((0.05, 1.0, 6.0, 60.0)) * self._random.choice((-1, 1))
        self._node().wall_clock_ahead_ns += int(jump_s * 1e9)
        return True

    def _flood(self) -> bool:
        """More than the intake of one node holds, all at once."""
        node = self._running()
        if node is None:
            return False
        node.run(lambda: self._flood_node(node))
        return True

    def _snapshot(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.run(node.take_snapshot)
        return True
