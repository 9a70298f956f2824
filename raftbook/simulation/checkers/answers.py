"""What clients were told, held to what the logs hold and what the nodes did."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from raftbook.codec import decode_command, encode_command
from raftbook.engine import EventKind, Execution, OrderEvent
from raftbook.simulation.checkers.decided_log import decided_log, final_log, placed_submissions
from raftbook.simulation.checkers.violation import Finding, attempt_name, checker, dot_name
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.simulation.history import Attempt, Dot, History


@checker
def check_answered_in_every_log(history: History) -> Iterator[Finding]:
    """Whatever was answered stands in every node's log in the end, where the answer says. O(nodes x log)."""
    if not history.final_nodes:
        yield Finding("no node's log was kept, so there is nothing to hold the answers to")
    for node in history.final_nodes:
        places = {placed.dot: placed.log_index for placed in placed_submissions(final_log(history, node))}
        for attempt in history.attempts:
            if attempt.execution is None:
                continue
            told = attempt.execution.log_index
            place = None if attempt.dot is None else places.get(attempt.dot)
            if place is None:
                sentence = f"{node.node_id} has lost {attempt_name(attempt)}, which was reported at index {told}"
                yield Finding(sentence, (attempt,))
            elif place != told:
                sentence = f"{attempt_name(attempt)} was reported at index {told}; {node.node_id} has it at {place}"
                yield Finding(sentence, (attempt,))


@checker
def check_answers_are_the_logs(history: History) -> Iterator[Finding]:
    """Each answer is, to the last field, what executing the log again gives for that submission. O(log)."""
    state = StateMachine()
    results: dict[Dot, Execution] = {}
    for index, entry in decided_log(history):
        if entry is not None:
            for execution in state.apply(index, entry):
                results.setdefault((execution.origin, execution.sequence), execution)
    for attempt in history.attempts:
        # What the log does not hold at all is check_answered_in_every_log's.
        result = None if attempt.dot is None else results.get(attempt.dot)
        if attempt.execution is not None and result is not None and attempt.execution != result:
            names = [
                name
                for name in Execution.__struct_fields__
                if getattr(attempt.execution, name) != getattr(result, name)
            ]
            sentence = f"{attempt_name(attempt)} was answered otherwise than the log says, in its {', '.join(names)}"
            yield Finding(sentence, (f"told: {attempt.execution}", f"log:  {result}"))


@checker
def check_real_time_order(history: History) -> Iterator[Finding]:
    """What was answered before something else was sent has the lower index. O(n log n).

    Also where that other one was never answered, as long as it was executed.
    """
    answered = sorted(
        (
            (attempt.answered_at, attempt.execution.log_index, attempt)
            for attempt in history.attempts
            if attempt.answered_at is not None and attempt.execution is not None
        ),
        key=lambda answer: answer[0],
    )
    place = 0
    highest_index = 0
    latest: Attempt | None = None
    for attempt in sorted(history.attempts, key=lambda attempt: attempt.sent_at):
        while place < len(answered) and answered[place][0] < attempt.sent_at:
            _, answered_index, earlier = answered[place]
            if answered_index > highest_index:
                highest_index, latest = answered_index, earlier
            place += 1
        index = _index_of(history, attempt)
        if latest is not None and index is not None and index <= highest_index:
            yield Finding(
                f"{attempt_name(attempt)} was sent at {attempt.sent_at:.6f} s and executed at index {index}, "
                f"though {attempt_name(latest)} at index {highest_index} had been answered before",
                (attempt, latest),
            )


def _index_of(history: History, attempt: Attempt) -> int | None:
    if attempt.execution is not None:
        return attempt.execution.log_index
    if attempt.dot is None or attempt.dot not in history.executions:
        return None
    return history.executions[attempt.dot][0].execution.log_index


@checker
def check_refused_not_executed(history: History) -> Iterator[Finding]:
    """Whoever was told that nothing was taken can rely on it. O(n)."""
    owned = {attempt.dot for attempt in history.attempts}
    stray: defaultdict[str, list[tuple[Dot, bytes]]] = defaultdict(list)
    for placed in placed_submissions(decided_log(history)):
        if placed.dot not in owned:
            stray[_node_id_of(placed.dot)].append((placed.dot, placed.raw))
    for attempt in history.attempts:
        if not attempt.refused:
            continue
        if attempt.dot is not None:
            executed_as = [attempt.dot] if attempt.dot in history.executions else []
        else:
            executed_as = [dot for dot, raw in stray[attempt.node_id] if _is_as_submitted(attempt, raw)]
        for dot in executed_as:
            sentence = f"{attempt_name(attempt)} was refused, and yet was executed as {dot_name(dot)}"
            yield Finding(sentence, (attempt, *history.executions.get(dot, ())))


def _node_id_of(dot: Dot) -> str:
    return dot[0].partition(".")[0]


@checker
def check_only_what_was_submitted(history: History) -> Iterator[Finding]:
    """Every submission that the log executes was made by a client, and its bytes are as it was made. O(n)."""
    attempts = {attempt.dot: attempt for attempt in history.attempts}
    for placed in placed_submissions(decided_log(history)):
        attempt = attempts.get(placed.dot)
        if attempt is None:
            sentence = f"the entry at index {placed.log_index} executes {dot_name(placed.dot)}, which nobody submitted"
            yield Finding(sentence, (decode_command(placed.raw),))
        elif not _is_as_submitted(attempt, placed.raw):
            sentence = f"the entry at index {placed.log_index} holds {attempt_name(attempt)} otherwise than it was sent"
            yield Finding(sentence, (f"sent: {attempt.command}", f"log:  {decode_command(placed.raw)}"))


def _is_as_submitted(attempt: Attempt, raw: bytes) -> bool:
    """`raw` is the command as it was sent; a `not_after` that the client did not give is the node's to choose."""
    return raw == encode_command(attempt.command, decode_command(raw).not_after)


@checker
def check_numbered_once(history: History) -> Iterator[Finding]:
    """No two submissions get the same number, or one of them would pass for the other's copy. O(n)."""
    owners: dict[Dot, Attempt] = {}
    for attempt in history.attempts:
        if attempt.dot is not None:
            owner = owners.setdefault(attempt.dot, attempt)
            if owner is not attempt:
                sentence = f"{attempt_name(owner)} and {attempt_name(attempt)} were given the same number"
                yield Finding(sentence, (owner, attempt))


@checker
def check_executed_once(history: History) -> Iterator[Finding]:
    """What the log executes was executed once by each process, at that index, with one result; and nothing else was.

    It does not matter whether it was answered, and how often the log holds it. What an entry did by itself, it did at
    every node. O(n).
    """
    places = {placed.dot: placed.log_index for placed in placed_submissions(decided_log(history))}
    for dot, index in places.items():
        if dot not in history.executions:
            yield Finding(f"the entry at index {index} holds {dot_name(dot)}, but no node has executed it")
    for dot, alternatives in history.executions.items():
        place = places.get(dot)
        indexes = sorted({seen.execution.log_index for seen in alternatives})
        evidence = tuple(alternatives)
        if place is None:
            sentence = f"{dot_name(dot)} was executed at index {indexes[0]}, though the log has no place for it"
            yield Finding(sentence, evidence)
        elif indexes != [place]:
            where = " and at ".join(map(str, indexes))
            yield Finding(f"{dot_name(dot)} was executed at index {where}; its place is {place}", evidence)
        elif len(alternatives) > 1:
            yield Finding(f"{dot_name(dot)} had {len(alternatives)} different results at index {place}", evidence)
        processes = Counter(process for seen in alternatives for process in seen.seen_in)
        for (node_id, life), count in processes.items():
            if count > 1:
                yield Finding(f"{node_id} executed {dot_name(dot)} {count} times in its life {life}", evidence)
    for index, effects in history.effects.items():
        if len(effects) > 1:
            sentence = f"the entry at index {index} itself had {len(effects)} different effects"
            yield Finding(sentence, tuple(effects))


@checker
def check_never_late(history: History) -> Iterator[Finding]:
    """Nothing takes effect when log time has passed its `not_after`. O(n).

    The `not_after` that counts is the client's, or where it gave none, the one that its node wrote into the log. A
    copy of an order that is known already is answered whenever it comes: it has no effect.
    """
    attempts = {attempt.dot: attempt for attempt in history.attempts}
    for placed in placed_submissions(decided_log(history)):
        attempt = attempts.get(placed.dot)
        not_after = None if attempt is None else attempt.command.not_after
        if not_after is None:
            not_after = decode_command(placed.raw).not_after
        if not_after is None or placed.time <= not_after:
            continue
        for seen in history.executions.get(placed.dot, ()):
            # One that was executed elsewhere than at its place is check_executed_once's.
            if _has_effect(seen.execution) and seen.execution.log_index == placed.log_index:
                name = dot_name(placed.dot) if attempt is None else attempt_name(attempt)
                yield Finding(
                    f"{name} took effect at log time {placed.time}, {placed.time - not_after} ns after its not_after",
                    (seen,),
                )


def _has_effect(execution: Execution) -> bool:
    is_copy = any(isinstance(event, OrderEvent) and event.duplicate for event in execution.events)
    return execution.accepted and not is_copy


@checker
def check_one_order_per_client_order_id(history: History) -> Iterator[Finding]:
    """However often and wherever an account enters a client order id, it makes one order. O(events).

    Copies are answered with that order. It is remembered for CLOSED_ORDERS_KEPT more orders of the account.
    """
    entered: defaultdict[tuple[str, str], dict[int, OrderEvent]] = defaultdict(dict)
    for alternatives in history.executions.values():
        for seen in alternatives:
            for event in seen.execution.events:
                if isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED:
                    order = event.order
                    entered[order.account, order.client_order_id].setdefault(order.order_id, event)
    for (account, client_order_id), events in entered.items():
        if len(events) > 1:
            order_ids = " and ".join(map(str, sorted(events)))
            sentence = f"{account}'s client order id {client_order_id!r} made the orders {order_ids}"
            yield Finding(sentence, tuple(events.values()))
