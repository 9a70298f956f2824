"""Do the nodes' logs hold what the clients were told, all of it, once, in its order, and nothing else?

The nodes are stopped, and what they left on disk is executed again from the first entry on; so the check relies on
nothing that a node says. A node that has compacted its log is compared by its digests alone, and then another
one must be a witness that has kept everything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from raftbook.engine.commands import AddInstrument, Command, Tick
from raftbook.engine.events import Execution, OrderEvent
from raftbook.engine.types import NO_ORIGIN, EventKind, Side
from raftbook.json_format import command_from_fields, dumps, report_to_json
from raftbook.offline import EntryKind, StoredNode
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from raftbook.offline import LogEntry
    from tests.system.clients import Clients, Record
    from tests.system.system_cluster import SystemCluster


class ExecutedCommand(NamedTuple):
    command: Command
    execution: Execution


class ReplayedLog(NamedTuple):
    """What a node's folder gives: the state, and every command from entry `base_index` + 1 on in its order."""

    node_id: str
    base_index: int
    state: StateMachine
    executed: list[ExecutedCommand]

    @property
    def is_whole(self) -> bool:
        return self.base_index == 0


def replay(node_id: str, folder: Path, index: int | None = None) -> ReplayedLog:
    """Execute the log of a stopped node, up to `index` where that is given; behind it only no-ops may follow.

    A node that has compacted its log up to such a no-op gives the state there; the digest shows that it is the same.
    """
    with StoredNode.open(folder) as node:
        assert not node.problems
        assert node.identity is not None
        assert node.identity.node_id == node_id
        lowest, end = node.rebuildable_indexes()[-1]
        if index is not None:
            _check_nothing_follows(node, index)
            end = max(index, lowest)
        snapshots = {snapshot.index: node.replay(snapshot.index).finish() for snapshot in node.snapshots}
        replay = node.replay(end, after=lowest)
        executed: list[ExecutedCommand] = []
        for entry, executions in replay:
            executed += _with_commands(entry, executions)
            if entry.log_index in snapshots:
                expected = snapshots[entry.log_index].to_snapshot()
                assert replay.state.to_snapshot() == expected, f"{node_id}: the snapshot at {entry} is another state"
        return ReplayedLog(node_id, node.base_index, replay.state, executed)


def _check_nothing_follows(node: StoredNode, index: int) -> None:
    for entry in node.entries(max(index + 1, node.first_index)) if index < node.last_index else ():
        assert not entry.decode().runs, f"{node.folder}: entry {entry.log_index} holds commands behind {index}"


def _with_commands(entry: LogEntry, executions: list[Execution]) -> Iterable[ExecutedCommand]:
    decoded = entry.decode()
    assert decoded.kind is not EntryKind.UNREADABLE, f"entry {entry.log_index} is none"
    commands = {
        (run.origin, sequence): command
        for run in decoded.runs
        for sequence, command in enumerate(run.commands, run.first_sequence)
    }
    for execution in executions:
        if execution.origin == NO_ORIGIN:
            continue
        yield ExecutedCommand(commands[execution.origin, execution.sequence], execution)


async def check_against_logs(cluster: SystemCluster, clients: Clients) -> list[ReplayedLog]:
    """The end of every test: see the module's docstring. Stops the nodes; returns what their folders gave."""
    index, digest = await cluster.wait_for_rest()
    verification = await clients.at(cluster.node_ids[0]).verify()
    assert verification.agree, verification
    assert not verification.missing, verification
    assert {node.state_digest for node in verification.nodes} != {None}
    exit_codes = await cluster.terminate()
    assert exit_codes == dict.fromkeys(cluster.node_ids, 0), f"SIGTERM ends a node with 0, not {exit_codes}"

    logs = [replay(node_id, cluster.data_folder(node_id), index) for node_id in cluster.node_ids]
    for log in logs:
        # What lies behind `index` are no-ops, which a snapshot may cover and the digest does not know.
        assert log.state.index >= index, f"{log.node_id} ends at {log.state.index}, before {index}"
        assert log.state.chain_digest.hex() == digest, f"{log.node_id}: another state"
        log.state.exchange.check()
        _check_bought_equals_sold(log)
    witnesses = [log for log in logs if log.is_whole]
    assert witnesses, "no node has kept its whole log"
    for log in witnesses:
        check_records(clients.records, log, barriers=clients.barriers)
    check_real_time_order(clients.records)
    return logs


def check_records(records: list[Record], log: ReplayedLog, *, barriers: int = 0) -> None:
    """Hold one whole log to the clients' records, and the other way round."""
    assert len({record.key for record in records}) == len(records)
    _check_everything_was_sent(records, log, barriers)
    executed = {(one.execution.origin, one.execution.sequence): one for one in log.executed}
    assert len(executed) == len(log.executed), "nothing is executed twice"
    instruments = log.state.exchange.instruments
    entered: defaultdict[tuple[str, str], list[ExecutedCommand]] = defaultdict(list)
    for one in log.executed:
        for event in one.execution.events:
            if isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED and not event.duplicate:
                entered[event.order.account, event.order.client_order_id].append(one)
    assert all(len(times) == 1 for times in entered.values()), "no order is entered twice"

    for record in records:
        op, account, client_order_id = record.key
        assert record.report is not None, f"never settled: {record}"
        for attempt in record.attempts:
            if attempt.outcome == "definite":
                report = attempt.report
                assert report is not None
                origin, sequence = report["origin"], report["origin_sequence"]
                one = executed.get((origin, sequence))
                assert one is not None, f"{log.node_id} lost what was reported: {record}"
                expected = msgspec.json.decode(dumps(report_to_json(origin, sequence, one.execution, instruments)))
                assert report == expected, f"the log of {log.node_id} says otherwise: {record}"
        if op == "new":
            check_order(record, entered.get((account, client_order_id), []), executed)


def check_order(
    record: Record, entered: list[ExecutedCommand], executed: dict[tuple[str, int], ExecutedCommand]
) -> None:
    """An accepted order is in the log once, under the id that its client was told; a refused one is not.

    But for this: where nodes fill in `not_after`, another attempt that was never answered may outlive a refusal, on
    a node that was paused for instance, and find a book that takes the order. Not before log time has passed the
    refused one's `not_after`, though, until which the engine remembers the refusal (refused_orders.py). So with one
    `not_after` for all attempts none can: by then it is late itself.
    """
    for attempt in record.attempts:
        report = attempt.report
        if attempt.outcome != "definite" or report is None:
            continue
        if report["status"] == "accepted":
            assert len(entered) == 1, f"{len(entered)} times in the log: {record}"
            execution = entered[0].execution
            assert execution.order is not None
            assert report["order"]["order_id"] == execution.order.order_id, record
            if "duplicate" not in report:
                assert report["log_index"] == execution.log_index, record
        else:
            refused = executed[report["origin"], report["origin_sequence"]]
            for one in entered:
                assert _may_come_after(refused, one, record), f"refused, and yet in the log: {record}"


def _may_come_after(refused: ExecutedCommand, entered: ExecutedCommand, record: Record) -> bool:
    """Could the order be entered although this copy of it was refused?"""
    node_id = entered.execution.origin.partition(".")[0]
    not_after = refused.command.not_after
    return (
        any(attempt.node_id == node_id and attempt.outcome == "unknown" for attempt in record.attempts)
        and entered.execution.log_index > refused.execution.log_index
        and not_after is not None
        and entered.execution.timestamp > not_after
    )


def _check_everything_was_sent(records: list[Record], log: ReplayedLog, barriers: int) -> None:
    """No command of the log is anything that nobody sent, to that node, that often."""
    sent = {record.key: record for record in records}
    taken: Counter[tuple[str, tuple[str, str, str]]] = Counter()
    ticks = instruments = 0
    for command, execution in log.executed:
        node_id = execution.origin.partition(".")[0]
        if isinstance(command, Tick):
            ticks += 1
        elif isinstance(command, AddInstrument):
            instruments += execution.accepted
        else:
            fields = {**_fields_of(command)}
            record = sent.get((fields["op"], fields["account"], fields["client_order_id"]))
            assert record is not None, f"nobody sent {command}"
            expected = _command_of(record)
            assert command._replace(not_after=expected.not_after) == expected, f"{command} is not what was sent"
            assert command.not_after is not None
            assert expected.not_after in (None, command.not_after)
            taken[node_id, record.key] += 1
    may_have_taken = Counter(
        (attempt.node_id, record.key)
        for record in records
        for attempt in record.attempts
        if attempt.outcome != "refused"
    )
    assert taken <= may_have_taken, f"executed more often than sent: {taken - may_have_taken}"
    assert ticks <= barriers, f"{ticks} ticks for {barriers} linearizable reads"
    assert instruments == 1, "the configured instrument is added once"


def _fields_of(command: Command) -> dict[str, Any]:
    op = {"NewOrder": "new", "CancelOrder": "cancel"}[type(command).__name__]
    return {"op": op, **command._asdict()}


def _command_of(record: Record) -> Command:
    fields = {name: value for name, value in record.command.items() if name != "op"}
    return command_from_fields(record.command["op"], fields)


def check_real_time_order(records: list[Record]) -> None:
    """Whatever was reported before something else was sent has the lower place in the log."""
    answered = sorted(
        (attempt.answered_at, attempt.report["log_index"])
        for record in records
        for attempt in record.attempts
        if attempt.outcome == "definite" and attempt.report is not None
    )
    sent = sorted(
        (attempt.sent_at, attempt.report["log_index"])
        for record in records
        for attempt in record.attempts
        if attempt.outcome == "definite" and attempt.report is not None
    )
    highest = place = 0
    for sent_at, log_index in sent:
        while place < len(answered) and answered[place][0] < sent_at:
            highest = max(highest, answered[place][1])
            place += 1
        assert log_index > highest, f"sent after entry {highest} was reported, executed in entry {log_index}"


def _check_bought_equals_sold(log: ReplayedLog) -> None:
    filled: Counter[Side] = Counter()
    for order in log.state.exchange.orders(open_only=False):
        filled[order.side] += order.filled_quantity
    assert filled[Side.BUY] == filled[Side.SELL], f"{log.node_id}: {filled}"
