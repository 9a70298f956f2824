"""Does every node's log say what the clients were told? Reads the logs of stopped nodes and replays them.

One log is replayed from its first entry through the same state machine that the nodes run; the others are compared
with it, entry by entry and byte by byte, and each node's digest with that of the replay. So what holds for the one
log holds for all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raftbook.engine.events import Execution, OrderEvent
from raftbook.engine.types import NO_ORIGIN, EventKind
from raftbook.errors import DamagedLogError, NotHeldError
from raftbook.json_format import report_to_json
from raftbook.offline import Replay, StoredNode
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cli.demo.ledger import Answer, Ledger, OrderName
    from raftbook.offline import LogEntry

EXAMPLES_SHOWN: Final = 3


class LogCheck(NamedTuple):
    """`lost`: accepted orders that the log lacks. `duplicated`: orders that it holds more than once.

    `problems` says in words all that does not hold, those two included; empty when all is well.
    """

    orders: int
    trades: int
    refused: int
    lost: int
    duplicated: int
    problems: tuple[str, ...]


class Executed:
    """What a log says, gathered from the executions that its entries lead to."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        self.executions: dict[tuple[str, int], tuple[int, bool, int | None, str | None]] = {}
        """(origin, sequence) -> (log index, accepted, order id, filled quantity), as a report would have them."""
        self.placed: Counter[OrderName] = Counter()
        """How often each order was entered."""
        self.order_ids: dict[OrderName, int] = {}
        self.trades = 0
        replay = Replay(StateMachine(), iter(entries), entries[-1].log_index if entries else 0)
        self.state = replay.state
        for _, executions in replay:
            for execution in executions:
                if execution.origin != NO_ORIGIN:
                    self._gather(execution)

    def _gather(self, execution: Execution) -> None:
        instruments = self.state.exchange.instruments
        report: dict[str, Any] = report_to_json(execution.origin, execution.sequence, execution, instruments)
        order = report["order"] or {}
        self.executions[execution.origin, execution.sequence] = (
            execution.log_index,
            execution.accepted,
            order.get("order_id"),
            order.get("filled_quantity"),
        )
        for event in execution.events:
            if event.kind is EventKind.TRADE:
                self.trades += 1
            elif isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED and not event.duplicate:
                name = (event.order.account, event.order.client_order_id)
                self.placed[name] += 1
                self.order_ids[name] = event.order.order_id


def read_log(folder: Path) -> list[LogEntry]:
    """The entries of a stopped node's log, from the first on."""
    with StoredNode.open(folder) as node:
        if node.problems:
            raise DamagedLogError(node.problems[0])
        if node.first_index != 1:
            raise NotHeldError(f"the log in {folder} does not begin with entry 1; run the demo for a shorter time")
        return list(node.entries())


def check_logs(
    logs: Mapping[str, Sequence[LogEntry]], digests: Mapping[str, str], index: int, ledger: Ledger
) -> LogCheck:
    """Holds the clients' `ledger` against the nodes' `logs`; `digests` are what the nodes said at `index`. Pure."""
    first, *others = logs
    executed = Executed(logs[first][:index])
    problems = [
        f"the log of {node_id} differs from that of {first} before index {index}"
        for node_id in others
        if logs[node_id][:index] != logs[first][:index]
    ]
    if executed.state.index != index:
        problems.append(f"the log of {first} ends at index {executed.state.index}, though {index} was applied")
    replayed = executed.state.chain_digest.hex()
    problems += [
        f"{node_id} said digest {digest} at index {index}, its log replayed gives {replayed}"
        for node_id, digest in digests.items()
        if digest != replayed
    ]
    lost = [
        answer for answer in ledger.answers if answer.order and answer.is_accepted and not executed.placed[answer.order]
    ]
    duplicated = [name for name, count in executed.placed.items() if count > 1]
    problems += _examples("accepted orders are in no log", [str(answer.order) for answer in lost])
    problems += _examples("orders were entered more than once", [str(name) for name in duplicated])
    problems += _contradictions(ledger, executed)
    return LogCheck(
        orders=len(executed.placed),
        trades=executed.trades,
        refused=sum(not accepted for _, accepted, _, _ in executed.executions.values()),
        lost=len(lost),
        duplicated=len(duplicated),
        problems=tuple(problems),
    )


def _contradictions(ledger: Ledger, executed: Executed) -> list[str]:
    """Answers that the log does not bear out, and orders in the log that no client handed in."""
    told = [
        f"{answer} against {executed.executions.get((answer.origin, answer.sequence))}"
        for answer in ledger.answers
        if not _is_borne_out(answer, executed)
    ]
    strangers = [str(name) for name in executed.placed if name not in ledger.submitted_orders]
    refused = {answer.order for answer in ledger.answers if answer.order and not answer.is_accepted}
    undead = [str(name) for name in refused if executed.placed[name]]
    return [
        *_examples("answers differ from the log", told),
        *_examples("orders in the log were never submitted", strangers),
        *_examples("orders that were refused are in the log", undead),
    ]


def _is_borne_out(answer: Answer, executed: Executed) -> bool:
    """The log executed the same submission at the same index with the same result."""
    execution = executed.executions.get((answer.origin, answer.sequence))
    if execution != (answer.log_index, answer.is_accepted, answer.order_id, answer.filled_quantity):
        return False
    if answer.order is None or not answer.is_accepted:
        return True
    return executed.order_ids.get(answer.order) == answer.order_id


def _examples(what: str, cases: Sequence[str]) -> list[str]:
    if not cases:
        return []
    return [f"{len(cases)} {what}, such as {'; '.join(cases[:EXAMPLES_SHOWN])}"]
