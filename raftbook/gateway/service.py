"""What the gateway needs of a node; raftbook/node/service.py provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.core import Metric

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.feed import Feed
    from raftbook.node.config import Config
    from raftbook.state_machine import StateMachine


class Report(Protocol):
    """What became of one submission; `execution` is None while it is pending."""

    @property
    def origin(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def execution(self) -> Execution | None: ...


class Status(Protocol):
    """A NamedTuple about one node; `leader` is the id of the leader that the node knows of."""

    @property
    def node_id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def leader(self) -> str | None: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def applied_index(self) -> int: ...

    def _asdict(self) -> dict[str, object]: ...


class PeerStatus(Protocol):
    """A NamedTuple about one configured node, as this node sees it; figures are None where it never heard of it."""

    @property
    def commit_index(self) -> int | None: ...
    @property
    def applied_index(self) -> int | None: ...
    @property
    def reachable(self) -> bool: ...

    def _asdict(self) -> dict[str, object]: ...


class Service(Protocol):
    """A node. All of it belongs to the one asyncio loop; the gateway reads `state` and never changes it."""

    @property
    def config(self) -> Config: ...
    @property
    def state(self) -> StateMachine: ...
    @property
    def origin(self) -> str:
        """Under which the node submits: its id and the number of its start, so another one after each start."""
        ...

    @property
    def feed(self) -> Feed:
        """The market data of `state`, and the latest updates of it."""
        ...

    def listen_to_feed(self, listener: Callable[[], None]) -> None:
        """`listener` is called whenever there is something new in it, at most once in a turn of the loop."""
        ...

    @property
    def ready(self) -> bool:
        """Serving and caught up, with a leader."""
        ...

    @property
    def draining(self) -> bool:
        """On its way out: answers what it has, takes nothing new."""
        ...

    @property
    def has_joined(self) -> bool:
        """`wait_joined` would return at once."""
        ...

    async def wait_joined(self, *, timeout_s: float) -> None:
        """Returns when the node may take submissions, a moment after its start at most.

        NotReadyError: it has just started and is behind the others.
        """
        ...

    async def submit(self, commands: Sequence[Command], *, wait_s: float) -> Sequence[Report]:
        """Takes all of them in order and waits for their executions so long.

        BusyError, StorageFullError: it took none of them.
        """
        ...

    def enter(self, commands: Sequence[Command], on_reports: Callable[[Sequence[Report]], None]) -> int:
        """Takes all of them in order; the sequence of the first.

        `on_reports` is called with the reports of those that are executed at a time, once for each command: later, on
        the loop, and it must not raise. An execution is None where the node does not hold it (NotHeldError elsewhere).

        BusyError, StorageFullError: it took none of them.
        """
        ...

    def stop_waiting(self, sequence: int) -> None:
        """Nobody waits any more for the report of this submission, which was entered here."""
        ...

    async def submission(self, origin: str, first_sequence: int, count: int, *, wait_s: float) -> Sequence[Report]:
        """Reports of `count` submissions; NotHeldError if the node does not hold one of them."""
        ...

    async def wait_applied(self, index: int, *, timeout_s: float) -> None:
        """Returns when the log is applied to `index`; NotReadyError after `timeout_s`."""
        ...

    async def barrier(self, *, timeout_s: float) -> None:
        """Returns when everything ordered before the call is applied here; NoQuorumError after `timeout_s`."""
        ...

    async def state_digest(self) -> tuple[int, str]:
        """(index, digest) of the whole state; NotReadyError where that takes too long."""
        ...

    def collect_metrics(self) -> Iterable[Metric]:
        """For Prometheus."""
        ...

    def status(self) -> Status: ...
    def cluster(self) -> Sequence[PeerStatus]: ...
