"""Clients of a simulated cluster: they trade, and write down what they sent and what they were told.

A client has an account or two of its own, sends a few commands at a time to one node, and waits for all the answers.
Where an answer does not come in time it does what the contract says: the same command, under the same client order
id, goes to another node, until there is a definite answer or the client loses patience.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.commands import AddInstrument, CancelAll, NewOrder, Tick
from raftbook.engine.types import Number
from raftbook.errors import BusyError, StorageFullError
from raftbook.simulation.history import Attempt
from raftbook.simulation.node import START_TIME_NS
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.simulation.cluster import SimulatedCluster
    from raftbook.simulation.node import SimulatedNode

ANSWER_DELAY_S: Final = (0.0001, 0.001)
PATIENCE_S: Final = 1.5
MAX_ATTEMPTS: Final = 6
LIFETIME_NS: Final = 5_000_000_000


class ClientSettings(NamedTuple):
    """`batch_sizes` are drawn from; `pause_s` is the mean time between an answer and the next request."""

    batch_sizes: tuple[int, ...] = (1, 1, 2, 5, 20)
    pause_s: float = 0.3
    sets_not_after: bool = True
    exotic_share: float = 0.0
    """See OrderFlow."""
    odd_share: float = 0.03
    """Of commands other than an order flow's: new instruments, mass cancels, ticks."""


@dataclass(slots=True, eq=False)
class _Request:
    """Commands that were sent together; `current` are the attempts that are waited for."""

    unanswered: list[Command]
    current: list[Attempt] = field(default_factory=list)
    attempts_made: int = 0


class SimulatedClient:
    """`name` is its account's too. It starts to trade when `start` is called, and stops after `stop`."""

    def __init__(self, cluster: SimulatedCluster, name: str, settings: ClientSettings) -> None:
        self.name = name
        self._cluster = cluster
        self._settings = settings
        self._random = random.Random(f"{cluster.seed}/{name}")  # noqa: S311 (repeatable numbers are wanted)
        accounts = (name, f"{name}-2")
        self._flow = OrderFlow(
            self._random.randrange(1 << 30),
            accounts=accounts,
            client_order_id_prefix=f"{name}-",
            exotic_share=settings.exotic_share,
            clock=lambda: _time_ns(cluster),
        )
        self._is_stopped = False
        self._node = self._random.choice(list(cluster.nodes.values()))
        self._open: list[_Request] = []

    def start(self) -> None:
        self._later(self._random.uniform(0.0, self._settings.pause_s), self._send_next)

    def stop(self) -> None:
        """Nothing new; what is under way is still waited for and sent again."""
        self._is_stopped = True

    @property
    def is_idle(self) -> bool:
        return not self._open

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._cluster.scheduler.after(delay_s, action)

    def _send_next(self) -> None:
        if self._is_stopped:
            return
        size = self._random.choice(self._settings.batch_sizes)
        request = _Request([self._next_command() for _ in range(size)])
        self._open.append(request)
        self._send(request)

    def _next_command(self) -> Command:
        if self._random.random() < self._settings.odd_share:
            return self._random.choice(
                (
                    AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0)),
                    CancelAll(self.name),
                    Tick(),
                )
            )
        command = next(self._flow)
        if self._settings.sets_not_after and isinstance(command, NewOrder):
            return command._replace(not_after=_time_ns(self._cluster) + LIFETIME_NS)
        return command

    def _send(self, request: _Request) -> None:
        """What of the request has no definite answer, to the node of the moment."""
        request.attempts_made += 1
        now = self._cluster.scheduler.now
        attempts = [Attempt(self.name, self._node.node_id, command, now) for command in request.unanswered]
        for attempt in attempts:
            self._cluster.checks.history.submitted(attempt)
        request.current = attempts
        node = self._node
        self._later(self._random.uniform(*ANSWER_DELAY_S), lambda: self._arrive(node, request, attempts))
        self._later(PATIENCE_S, lambda: self._give_up(request, attempts))

    def _arrive(self, node: SimulatedNode, request: _Request, attempts: list[Attempt]) -> None:
        if not node.is_running:
            self._later(self._random.uniform(*ANSWER_DELAY_S), lambda: self._refused(request, attempts))
            return
        node.run(lambda: self._enter(node, request, attempts))

    def _enter(self, node: SimulatedNode, request: _Request, attempts: list[Attempt]) -> None:
        """In the node's process: its gateway takes the commands."""
        try:
            first_sequence = node.enter([attempt.command for attempt in attempts])
        except (BusyError, StorageFullError):
            self._later(self._random.uniform(*ANSWER_DELAY_S), lambda: self._refused(request, attempts))
            return
        origin = node.member.origin
        for sequence, attempt in enumerate(attempts, first_sequence):
            attempt.origin, attempt.sequence = origin, sequence

            def answer(execution: Execution, attempt: Attempt = attempt) -> None:
                # The report leaves the node here; that it arrives is not certain.
                node.later(
                    self._random.uniform(*ANSWER_DELAY_S), lambda: self._answered(request, attempts, attempt, execution)
                )

            node.waiting[origin, sequence] = answer

    def _refused(self, request: _Request, attempts: list[Attempt]) -> None:
        """Nothing was taken, which is a definite answer of this node; another one may take it."""
        now = self._cluster.scheduler.now
        for attempt in attempts:
            attempt.refused = True
            attempt.answered_at = now
        self._try_elsewhere(request, attempts)

    def _answered(self, request: _Request, attempts: list[Attempt], attempt: Attempt, execution: Execution) -> None:
        if request.current is not attempts:
            # The client has hung up.
            return
        attempt.execution = execution
        attempt.answered_at = self._cluster.scheduler.now
        request.unanswered.remove(attempt.command)
        if not request.unanswered:
            self._done(request)

    def _give_up(self, request: _Request, attempts: list[Attempt]) -> None:
        self._try_elsewhere(request, attempts)

    def _try_elsewhere(self, request: _Request, attempts: list[Attempt]) -> None:
        if request.current is not attempts:
            return
        request.current = []
        self._node = self._random.choice(self._cluster.others(self._node) or [self._node])
        if request.attempts_made < MAX_ATTEMPTS:
            self._later(self._random.uniform(0.01, 0.2), lambda: self._send(request))
        else:
            self._done(request)

    def _done(self, request: _Request) -> None:
        request.current = []
        self._open.remove(request)
        self._later(self._random.expovariate(1 / self._settings.pause_s), self._send_next)


def _time_ns(cluster: SimulatedCluster) -> int:
    """A client's wall clock, which is right."""
    return START_TIME_NS + int(cluster.scheduler.now * 1e9)


def flood(cluster: SimulatedCluster, node: SimulatedNode, count: int, number: int, exotic_share: float = 0.0) -> None:
    """In the node's process: someone enters `count` commands at once, and goes away without the answers.

    `number` keeps the ids of several floods apart.
    """
    name = f"flood-{number}"
    flow = OrderFlow(
        number,
        accounts=(name,),
        client_order_id_prefix=f"{name}-",
        exotic_share=exotic_share,
        clock=lambda: _time_ns(cluster),
    )
    now = cluster.scheduler.now
    attempts = [Attempt(name, node.node_id, next(flow), now) for _ in range(count)]
    for attempt in attempts:
        cluster.checks.history.submitted(attempt)
    try:
        first_sequence = node.enter([attempt.command for attempt in attempts])
    except (BusyError, StorageFullError):
        for attempt in attempts:
            attempt.refused = True
            attempt.answered_at = now
        return
    for sequence, attempt in enumerate(attempts, first_sequence):
        attempt.origin, attempt.sequence = node.member.origin, sequence
