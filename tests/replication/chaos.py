"""A random life of a cluster: faults and submissions drawn from a seed, then healing, then what must hold.

A fault is never more than a cluster promises to survive without loss: any number of nodes may crash, be cut off, paused
or slow, at any time; disks may be wiped, a minority's at a time, until they have caught up.

    python -m tests.replication.chaos SEED          tells the story of one seed
    python -m tests.replication.chaos FIRST LAST    runs many
"""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.codec import encode_command
from raftbook.engine.commands import AddInstrument, CancelAll, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.replication.raft_node import RaftSettings
from tests.replication.simulated_cluster import ClusterSettings, SimulatedCluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replication.simulated_cluster import SimulatedNode

CHAOS_S: Final = 8.0
CONVERGENCE_S: Final = 15.0
COMMIT_S: Final = 3.0


class Outcome(NamedTuple):
    """What one life held: entries decided, dots executed, terms, faults by name, and virtual seconds to converge."""

    decided: int
    executed: int
    terms: int
    faults: dict[str, int]
    convergence_s: float
    trace_digest: str


class Chaos:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._random = cluster.random
        self._orders = 0
        self._end = 0.0
        self._voters: set[SimulatedNode] = set()
        """Members of which it is on their disks that they may vote, and a log."""
        self.faults: dict[str, int] = {}
        self._menu: dict[str, tuple[int, Callable[[], bool]]] = {
            "submit": (40, self._submit),
            "cut one way": (4, self._cut_one_way),
            "cut a link": (3, self._cut_link),
            "isolate": (3, self._isolate),
            "heal": (12, self._heal),
            "calm": (3, self._calm),
            "break a connection": (5, self._break_connection),
            "kill": (3, self._kill),
            "lose power": (3, self._lose_power),
            "lose all power": (1, self._lose_all_power),
            "start": (9, self._start),
            "wipe": (6, self._wipe),
            "pause": (3, self._pause),
            "slow disk": (3, self._slow_disk),
            "stall a disk": (3, self._stall_disk),
            "slow network": (2, self._slow_network),
            "snapshot": (3, self._snapshot),
            "rest": (4, lambda: True),
        }

    def run(self, duration_s: float) -> None:
        self._end = self._cluster.scheduler.now + duration_s
        names = list(self._menu)
        weights = [weight for weight, _action in self._menu.values()]
        while self._cluster.scheduler.now < self._end:
            self._voters |= {node for node in self._cluster.running if node.is_durably_voter}
            (name,) = self._random.choices(names, weights)
            if self._menu[name][1]():
                self.faults[name] = self.faults.get(name, 0) + 1
                self._cluster.note(name)
            self._cluster.run_for(self._random.expovariate(1 / 0.08))

    def heal_everything(self) -> None:
        cluster = self._cluster
        cluster.note("everything heals")
        cluster.network.heal_all()
        cluster.network.delay_s = cluster.settings.delay_s
        for node in cluster.nodes.values():
            node.sync_s = cluster.settings.sync_s
            if node.is_running and node.is_paused:
                node.resume()
            if node.is_running:
                node.resume_disk()
            else:
                node.start()

    def _node(self) -> SimulatedNode:
        return self._random.choice(list(self._cluster.nodes.values()))

    def _running(self) -> SimulatedNode | None:
        nodes = [node for node in self._cluster.running if not node.is_paused]
        return self._random.choice(nodes) if nodes else None

    def _pair(self) -> tuple[str, str]:
        first, second = self._random.sample(self._cluster.member_ids, 2)
        return first, second

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._cluster.scheduler.after(delay_s, action)

    def _submit(self) -> bool:
        node = self._running()
        if node is None:
            return False
        commands = []
        for _ in range(self._random.choice((1, 1, 2, 5, 20))):
            self._orders += 1
            if self._orders == 1 or self._random.random() < 0.02:
                commands.append(encode_command(AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))))
                continue
            if self._random.random() < 0.1:
                commands.append(encode_command(CancelAll(f"account-{self._orders % 3}")))
                continue
            price = Number(self._random.randrange(990, 1010), 2)
            commands.append(
                encode_command(
                    NewOrder(
                        symbol="ACME",
                        account=f"account-{self._orders % 3}",
                        client_order_id=f"order-{self._orders}",
                        side=self._random.choice((Side.BUY, Side.SELL)),
                        order_type=OrderType.LIMIT,
                        time_in_force=TimeInForce.GTC,
                        price=price,
                        quantity=Number(self._random.randrange(1, 9), 0),
                    )
                )
            )
        node.submit(commands)
        return True

    def _cut_one_way(self) -> bool:
        self._cluster.network.cut(*self._pair())
        return True

    def _cut_link(self) -> bool:
        self._cluster.network.cut_off(*self._pair())
        return True

    def _isolate(self) -> bool:
        leaders = self._cluster.leaders
        node = self._random.choice(leaders) if leaders and self._random.random() < 0.5 else self._node()
        self._cluster.network.cut_off(node.node_id)
        return True

    def _heal(self) -> bool:
        self._cluster.network.heal_all()
        return True

    def _calm(self) -> bool:
        """Everything heals, and for a moment nothing else happens."""
        self.heal_everything()
        self._cluster.scheduler.run_until(lambda: self._cluster.is_healthy, self._cluster.scheduler.now + 2.0)
        return True

    def _break_connection(self) -> bool:
        self._cluster.network.break_connection(*self._pair(), within_s=self._random.uniform(0.0, 0.5))
        return True

    def _kill(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.kill()
        if self._random.random() < 0.5:
            node.start()
        return True

    def _lose_power(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.lose_power()
        if self._random.random() < 0.3:
            node.start()
        return True

    def _lose_all_power(self) -> bool:
        for node in self._cluster.running:
            node.lose_power()
        for node in self._cluster.nodes.values():
            node.start()
        return True

    def _start(self) -> bool:
        node = self._node()
        if node.is_running:
            return False
        node.start()
        return True

    def _wipe(self) -> bool:
        """A member gets a new disk, where a majority of the members remains that may vote and has a log."""
        node = self._node()
        majority = len(self._cluster.nodes) // 2 + 1
        if len(self._voters - {node}) < majority:
            return False
        if node.is_running:
            self._random.choice((node.kill, node.lose_power))()
        self._voters.discard(node)
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

    def _slow_network(self) -> bool:
        self._cluster.network.delay_s = self._random.choice(((0.0005, 0.003), (0.02, 0.2), (0.0, 0.05)))
        return True

    def _snapshot(self) -> bool:
        node = self._running()
        if node is None:
            return False
        node.take_snapshot()
        return True


def live(seed: int, *, story: list[str] | None = None) -> Outcome:
    """One life of a cluster; AssertionError if something did not hold."""
    settings = ClusterSettings(
        member_count=5 if seed % 3 == 0 else 3,
        raft=RaftSettings(append_limit_bytes=600 if seed % 2 else 1 << 20, window_bytes=2000 if seed % 2 else 8 << 20),
        tick_s=0.02,
        retain_entries=seed % 7,
    )
    with SimulatedCluster(seed=seed, settings=settings) as cluster:
        cluster.story = story
        if seed % 5:
            cluster.settle()
        chaos = Chaos(cluster)
        chaos.run(CHAOS_S)
        chaos.heal_everything()
        healed_at = cluster.scheduler.now
        cluster.wait(lambda: cluster.is_healthy and _all_executed(cluster), timeout_s=CONVERGENCE_S)
        convergence_s = cluster.scheduler.now - healed_at
        node = cluster.random.choice(list(cluster.nodes.values()))
        origin, sequence = node.submit([encode_command(CancelAll("account-0"))])
        cluster.wait(
            lambda: all(n.state.exchange.watermarks.get(origin, 0) >= sequence for n in cluster.nodes.values()),
            timeout_s=COMMIT_S,
        )
        cluster.settle()
        cluster.checks.finished()
        terms = max(n.raft.term for n in cluster.nodes.values())
        checks = cluster.checks
        return Outcome(
            len(checks.decided), checks.executed_count, terms, chaos.faults, convergence_s, cluster.trace_digest
        )


def _all_executed(cluster: SimulatedCluster) -> bool:
    return all(
        len(node.intake) == 0 and node.state.exchange.watermarks.get(node.intake.origin, 0) == node.intake.last_sequence
        for node in cluster.nodes.values()
    )


def _run_many(first: int, last: int) -> int:
    began = time.monotonic()
    outcomes: list[Outcome] = []
    failed: list[int] = []
    for seed in range(first, last + 1):
        try:
            outcomes.append(live(seed))
        except Exception:  # noqa: BLE001 (whatever it is, it is what the campaign looks for)
            failed.append(seed)
            print(f"seed {seed} FAILED")
            traceback.print_exc(limit=-4)
        if seed % 100 == 0:
            print(f"... {seed} after {time.monotonic() - began:.0f} s", flush=True)
    faults: dict[str, int] = {}
    for outcome in outcomes:
        for name, times in outcome.faults.items():
            faults[name] = faults.get(name, 0) + times
    slowest = sorted(outcome.convergence_s for outcome in outcomes)
    print(f"{len(outcomes)} lives, failed {failed}, {time.monotonic() - began:.0f} s")
    print(f"entries {sum(o.decided for o in outcomes)}, executed {sum(o.executed for o in outcomes)}")
    print(f"terms {sum(o.terms for o in outcomes)}, faults {faults}")
    if slowest:
        print(f"convergence median {slowest[len(slowest) // 2]:.2f} s, longest {slowest[-1]:.2f} s")
    return 1 if failed else 0


def _tell(seed: int) -> int:
    story: list[str] = []
    try:
        print(live(seed, story=story))
    finally:
        print("\n".join(story))
    return 0


if __name__ == "__main__":
    seeds = [int(argument) for argument in sys.argv[1:]]
    sys.exit(_tell(*seeds) if len(seeds) == 1 else _run_many(*seeds))
