"""A submission's life in the logs, at level debug: taken, executed on every node, answered.

Its dot, as `origin/sequence` in reports and as `submission` in every line here, is the one name by which it can be
followed over all nodes; the line of its taking also has the id of the request that brought it. At any other level
nothing of this costs more than asking for the level.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from structlog import get_logger

from raftbook.engine.events import Rejection
from raftbook.engine.types import NO_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.errors import RaftbookError
    from raftbook.node.publisher import Report
    from raftbook.state_machine import StateMachine

_log = get_logger(__name__)
_is_wanted = logging.getLogger(__name__).isEnabledFor


class SubmissionLog:
    """An observer of the replicated state (ReplicaObserver), and told by the service what it takes and answers."""

    def taken(self, origin: str, first_sequence: int, commands: Sequence[Command]) -> None:
        if _is_wanted(logging.DEBUG):
            for sequence, command in enumerate(commands, first_sequence):
                _log.debug("submission taken", submission=f"{origin}/{sequence}", command=type(command).__name__)

    def refused(self, commands: Sequence[Command], error: RaftbookError) -> None:
        """Before it got a name, so it has only that of its request."""
        if _is_wanted(logging.DEBUG):
            _log.debug("submissions refused", count=len(commands), code=error.code, error=str(error))

    def answered(self, reports: Sequence[Report], took_s: float) -> None:
        if _is_wanted(logging.DEBUG):
            for origin, sequence, execution in reports:
                status = "pending" if execution is None else "accepted" if execution.accepted else "rejected"
                _log.debug(
                    "submission answered",
                    submission=f"{origin}/{sequence}",
                    status=status,
                    took_ms=round(1e3 * took_s, 3),
                )

    def executed(self, executions: list[Execution], _watermarks: Mapping[str, int]) -> None:
        if _is_wanted(logging.DEBUG):
            for execution in executions:
                if execution.origin != NO_ORIGIN:
                    self._tell(execution)

    def applied(self, index: int) -> None: ...

    def decoded(self, state: StateMachine) -> None: ...

    def restored(self, watermarks: Mapping[str, int]) -> None: ...

    def _tell(self, execution: Execution) -> None:
        reasons = [event.reason.value for event in execution.events if isinstance(event, Rejection)]
        _log.debug(
            "submission executed",
            submission=f"{execution.origin}/{execution.sequence}",
            log_index=execution.log_index,
            accepted=execution.accepted,
            **({} if execution.order is None else {"order_id": execution.order.order_id}),
            **({"reason": reasons[0]} if reasons else {}),
        )
