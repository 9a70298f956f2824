"""What will go wrong, when and where, drawn from a seed alone: the same on every machine, whatever that can do.

    print(draw_schedule(seed=7, node_ids=["n1", "n2", "n3"], duration_s=8.0))

Swarm style: each seed switches its own set of kinds on, since some bugs show only where others' faults keep still.
"""

from __future__ import annotations

import itertools
import random
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.system.chaos.capabilities import Capabilities

LEADER: Final = "leader"
"""As a target: whoever leads when the fault comes."""
MEAN_PAUSE_S: Final = (0.3, 1.2)
"""Between the beginnings of two faults on three nodes; each seed has its own pace within these bounds."""
COMPACTING_SHARE: Final = 0.25
"""Of the seeds, in which all nodes but one witness write snapshots and compact their logs all the time."""


class FaultKind(StrEnum):
    KILL = "kill"
    """SIGKILL, and a start later on."""
    KILL_STORM = "kill storm"
    """SIGKILL again and again, at once after the start or in its midst."""
    KILL_ALL = "kill all"
    """All nodes at the same time."""
    PAUSE = "pause"
    """SIGSTOP, later SIGCONT."""
    TERMINATE = "terminate"
    """SIGTERM, which the node must follow with exit code 0, and a start."""
    WIPE = "wipe"
    """An empty disk, where a majority remains that has a log and a vote."""
    REBUILD = "rebuild"
    """`raftbook node rebuild`, under the same condition."""
    CUT_ONE_WAY = "cut one way"
    CUT_LINK = "cut a link"
    ISOLATE = "isolate"
    SPLIT = "split"
    """Into a minority and a majority."""
    SLOW_LINK = "slow link"
    BREAK_CONNECTIONS = "break connections"
    """Of one node with its peers; they may connect again at once."""
    LOSE_PACKETS = "lose packets"
    """Some of those between two nodes."""
    DROP_PACKETS = "drop packets"
    """All of those from one node to another."""
    LOSE_CLIENT_PACKETS = "lose clients' packets"
    RESET_BY_PACKETS = "reset by packets"
    """Whatever one node sends to another is answered with a reset."""
    DELAY_PACKETS = "delay packets"
    """All packets of all, so that some overtake others."""
    FULL_DISK = "full disk"
    SYNC_ERROR = "sync error"
    WRITE_ERROR = "write error"
    SLOW_SYNC = "slow sync"
    CLOCK_JUMP = "clock jump"


OF_LINK: Final = frozenset(
    {
        FaultKind.CUT_ONE_WAY,
        FaultKind.CUT_LINK,
        FaultKind.SLOW_LINK,
        FaultKind.LOSE_PACKETS,
        FaultKind.DROP_PACKETS,
        FaultKind.RESET_BY_PACKETS,
    }
)
OF_ALL: Final = frozenset({FaultKind.KILL_ALL, FaultKind.SPLIT, FaultKind.DELAY_PACKETS})


class _Draw(NamedTuple):
    """How often a kind comes, and the bounds of its duration and of its amount, in the unit that the kind has."""

    weight: int
    duration_s: tuple[float, float]
    amount: tuple[float, float] = (0.0, 0.0)


_MENU: Final = {
    FaultKind.KILL: _Draw(4, (0.0, 1.5)),
    FaultKind.KILL_STORM: _Draw(2, (0.0, 1.2), (2, 4)),
    FaultKind.KILL_ALL: _Draw(1, (0.0, 0.5)),
    FaultKind.PAUSE: _Draw(4, (0.1, 3.0)),
    FaultKind.TERMINATE: _Draw(3, (0.0, 1.0)),
    FaultKind.WIPE: _Draw(2, (0.0, 1.0)),
    FaultKind.REBUILD: _Draw(1, (0.0, 0.0)),
    FaultKind.CUT_ONE_WAY: _Draw(3, (0.2, 3.0)),
    FaultKind.CUT_LINK: _Draw(2, (0.2, 3.0)),
    FaultKind.ISOLATE: _Draw(3, (0.2, 3.0)),
    FaultKind.SPLIT: _Draw(2, (0.2, 3.0)),
    FaultKind.SLOW_LINK: _Draw(2, (0.5, 3.0), (0.02, 0.4)),
    FaultKind.BREAK_CONNECTIONS: _Draw(3, (0.0, 0.3)),
    FaultKind.LOSE_PACKETS: _Draw(3, (0.5, 3.0), (0.05, 0.5)),
    FaultKind.DROP_PACKETS: _Draw(3, (0.2, 3.0)),
    FaultKind.LOSE_CLIENT_PACKETS: _Draw(2, (0.5, 3.0), (0.05, 0.4)),
    FaultKind.RESET_BY_PACKETS: _Draw(2, (0.1, 1.0)),
    FaultKind.DELAY_PACKETS: _Draw(1, (0.5, 3.0), (0.005, 0.06)),
    FaultKind.FULL_DISK: _Draw(2, (0.3, 2.0)),
    FaultKind.SYNC_ERROR: _Draw(2, (0.1, 0.8)),
    FaultKind.WRITE_ERROR: _Draw(2, (0.1, 0.8)),
    FaultKind.SLOW_SYNC: _Draw(3, (0.5, 3.0), (0.05, 2.0)),
    FaultKind.CLOCK_JUMP: _Draw(3, (0.0, 0.0), (-600.0, 600.0)),
}


class Fault(NamedTuple):
    """`targets` are node ids or LEADER: of a link source and target, of a split the minority, else the one afflicted.

    `amount` is a delay or a jump in seconds, a probability, or how many kills.
    """

    at_s: float
    kind: FaultKind
    targets: tuple[str, ...]
    duration_s: float
    amount: float

    def __str__(self) -> str:
        text = f"{self.at_s:6.2f} s  {self.kind} {' '.join(self.targets)}".rstrip()
        if self.duration_s:
            text += f", for {self.duration_s:.2f} s"
        return text + (f", by {self.amount:.3g}" if self.amount else "")


class Schedule(NamedTuple):
    """`witness` is spared by every fault and keeps its whole log, where all other nodes compact theirs."""

    seed: int
    kinds: tuple[FaultKind, ...]
    witness: str | None
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        heading = f"seed {self.seed}: {', '.join(self.kinds)}"
        if self.witness is not None:
            heading += f"; all nodes but {self.witness} compact their logs"
        return "\n".join([heading, *map(str, self.faults)])


def draw_schedule(seed: int, node_ids: Sequence[str], duration_s: float) -> Schedule:
    """The faults that begin within `duration_s`, in their order. Pure: a function of its arguments."""
    randomness = random.Random(f"{seed}/{len(node_ids)}")
    witness = node_ids[0] if randomness.random() < COMPACTING_SHARE else None
    kinds = [kind for kind in FaultKind if randomness.random() < 0.5]
    if witness is not None:
        kinds = [kind for kind in kinds if kind not in OF_ALL]
    while len(kinds) < 3:
        kinds += [kind for kind in FaultKind if kind not in kinds and kind not in OF_ALL and randomness.random() < 0.2]
    weights = [_MENU[kind].weight for kind in kinds]
    nodes = [node_id for node_id in node_ids if node_id != witness]
    faults: list[Fault] = []
    pace = len(node_ids) / 3 / randomness.uniform(*MEAN_PAUSE_S)
    at_s = randomness.expovariate(pace)
    while at_s < duration_s:
        (kind,) = randomness.choices(kinds, weights)
        draw = _MENU[kind]
        amount = randomness.uniform(*draw.amount)
        if kind is FaultKind.KILL_STORM:
            amount = round(amount)
        targets = _targets(kind, nodes, len(node_ids), randomness)
        faults.append(Fault(at_s, kind, targets, randomness.uniform(*draw.duration_s), amount))
        at_s += randomness.expovariate(pace)
    return Schedule(seed, tuple(kinds), witness, tuple(faults))


def _targets(kind: FaultKind, nodes: list[str], node_count: int, randomness: random.Random) -> tuple[str, ...]:
    if kind is FaultKind.SPLIT:
        return tuple(sorted(randomness.sample(nodes, randomness.randint(1, (node_count - 1) // 2))))
    if kind in OF_LINK:
        return tuple(randomness.choice(list(itertools.permutations(nodes, 2))))
    if kind in OF_ALL:
        return ()
    return (LEADER if randomness.random() < 0.4 else randomness.choice(nodes),)


def lacking_for(kind: FaultKind, capabilities: Capabilities) -> str | None:
    """Why this machine cannot do it; None where it can."""
    match kind:
        case FaultKind.SYNC_ERROR | FaultKind.WRITE_ERROR | FaultKind.SLOW_SYNC | FaultKind.CLOCK_JUMP:
            return capabilities.lacking_compiler
        case (
            FaultKind.LOSE_PACKETS | FaultKind.DROP_PACKETS | FaultKind.LOSE_CLIENT_PACKETS | FaultKind.RESET_BY_PACKETS
        ):
            return capabilities.lacking_packet_filter
        case FaultKind.DELAY_PACKETS:
            return capabilities.lacking_packet_delay
        case FaultKind.FULL_DISK:
            return capabilities.lacking_mount
        case _:
            return None
