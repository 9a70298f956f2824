"""Lies about a cluster: each changes an honest history in one thing, and names the checkers that must notice.

They are named alone wherever the lie breaks only one sentence of the promise. Some break several: an answer that
names another index, for instance, is neither where it says nor what the log says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from raftbook.codec import RawRun, encode_command, encode_entry, split_entry
from raftbook.engine import CancelOrder, EventKind, NewOrder, Number, OrderEvent, Reason, Tick, Trade, TradingStatus
from raftbook.simulation.history import Attempt, Decided, History, LogEntry, SeenEffects, SeenExecution
from raftbook.state_machine import StateMachine
from tests.simulation.honest_history import CONFIGURATION, run_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine import Execution
    from raftbook.simulation.history import Dot, FinalNode


class Lie(NamedTuple):
    """`checkers` are those that report it, no more and no fewer; `sentence` is what one of them says (a pattern).

    `exotic_share` is the honest history's.
    """

    tell: Callable[[History], None]
    checkers: frozenset[str]
    sentence: str
    exotic_share: float


LIES: dict[str, Lie] = {}


def lie(
    *checkers: str, saying: str, exotic_share: float = 0.0
) -> Callable[[Callable[[History], None]], Callable[[History], None]]:
    def register(tell: Callable[[History], None]) -> Callable[[History], None]:
        name = tell.__name__.strip("_")
        assert name not in LIES
        LIES[name] = Lie(tell, frozenset(checkers), saying, exotic_share)
        return tell

    return register


# What the lies are about.


def answered(history: History, command: type = NewOrder) -> list[Attempt]:
    """Attempts that were accepted, in the order of their places in the log."""
    attempts = [
        attempt
        for attempt in history.attempts
        if attempt.execution is not None and attempt.execution.accepted and isinstance(attempt.command, command)
    ]
    return sorted(attempts, key=lambda attempt: (attempt.execution.log_index, attempt.sequence))


def unanswered(history: History) -> list[Attempt]:
    """Clients' attempts that were executed, though nobody was told."""
    return [
        attempt
        for attempt in history.attempts
        if attempt.client != CONFIGURATION and attempt.execution is None and attempt.dot in history.executions
    ]


def last_tick(history: History) -> Attempt:
    """The last submission of its origin, so that the log can do without it and lose nothing else."""
    return next(attempt for attempt in reversed(history.attempts) if attempt.client == "reader")


def executions_with(history: History, matches: Callable[[object], bool]) -> Iterator[tuple[Dot, Execution]]:
    for dot, [seen] in history.executions.items():
        if any(matches(event) for event in seen.execution.events):
            yield dot, seen.execution


def effects_with(history: History, matches: Callable[[object], bool]) -> Iterator[tuple[int, SeenEffects]]:
    for index, [seen] in history.effects.items():
        if any(matches(event) for execution in seen.executions for event in execution.events):
            yield index, seen


def is_expiry(event: object) -> bool:
    return isinstance(event, OrderEvent) and event.reason is Reason.EXPIRED and event.order.filled_quantity == 0


def is_first_acceptance(event: object) -> bool:
    return isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED and not event.duplicate


def say_that_it_was(history: History, dot: Dot, execution: Execution) -> None:
    """All nodes agree on another result."""
    [seen] = history.executions[dot]
    history.executions[dot] = [SeenExecution(execution, seen.seen_in)]


def log_of(history: History) -> dict[int, Decided]:
    return dict(history.decided())


def without(decided: Decided, dot: Dot) -> Decided:
    """The entry without that submission; the same term and time."""
    if decided.entry is None:
        return decided
    timestamp, runs = split_entry(decided.entry)
    left = []
    for run in runs:
        place = dot[1] - run.first_sequence if run.origin == dot[0] else len(run.raw_commands)
        assert not 0 <= place < len(run.raw_commands) - 1, "only the last one leaves no gap"
        if run.raw_commands[:place]:
            left.append(run._replace(raw_commands=run.raw_commands[:place]))
    return decided._replace(entry=encode_entry(timestamp, left))


def append(history: History, *tails: tuple[str, list[tuple[int, bytes]]]) -> None:
    """Give nodes entries that nobody committed, as (term, entry), behind what was applied."""
    end = max(history.applied)
    for node in history.final_nodes:
        node.entries = [entry for entry in node.entries if entry.index <= end]
        for node_id, tail in tails:
            if node.node_id == node_id:
                node.entries += [LogEntry(end + 1 + place, *entry) for place, entry in enumerate(tail)]


def tick_entry(sequence: int) -> bytes:
    return encode_entry(0, [RawRun("n1.99", sequence, (encode_command(Tick()),))])


def replace_entry(node: FinalNode, index: int, **changes: object) -> None:
    node.entries = [entry._replace(**changes) if entry.index == index else entry for entry in node.entries]


# --- The log ---------------------------------------------------------------------------------------------------------


@lie("check_one_leader_per_term", saying=r"term \d+ had 2 leaders: n\d, n\d")
def two_leaders_in_a_term(history: History) -> None:
    term, [leader] = next(iter(history.leaders.items()))
    history.leads(term, "n1" if leader != "n1" else "n2")


@lie("check_log_matching", saying=r"n1 and the log of n3 have different entries at index \d+ of term \d+")
def two_entries_of_one_index_and_term(history: History) -> None:
    append(history, ("n1", [(99, tick_entry(1))]), ("n3", [(99, tick_entry(2))]))


@lie("check_log_matching", saying="n1 and the log of n3 have different predecessors")
def one_entry_with_two_predecessors(history: History) -> None:
    append(history, ("n1", [(98, tick_entry(1)), (99, tick_entry(2))]), ("n3", [(97, b""), (99, tick_entry(2))]))


@lie("check_log_matching", saying=r"the log of n2 has index \d+ right behind \d+")
def a_log_with_a_gap(history: History) -> None:
    append(history, ("n2", [(98, tick_entry(1)), (98, tick_entry(2))]))
    node = history.final_nodes[1]
    del node.entries[-2]


@lie("check_log_matching", "check_one_entry_per_index", "check_answered_in_every_log", saying="have different entries")
def two_entries_swapped_in_one_log(history: History) -> None:
    node = history.final_nodes[0]
    first, second = next(
        (one.index, other.index)
        for one in node.entries
        for other in node.entries
        if one.index < other.index <= node.applied_index and one.term == other.term and one.entry and other.entry
    )
    entries = {entry.index: entry.entry for entry in node.entries}
    replace_entry(node, first, entry=entries[second])
    replace_entry(node, second, entry=entries[first])


@lie("check_log_matching", "check_one_entry_per_index", saying="n1 holds another entry at index")
def one_byte_of_an_entry_altered_in_one_log(history: History) -> None:
    node = history.final_nodes[0]
    index = answered(history)[0].execution.log_index
    timestamp, runs = split_entry(next(entry.entry for entry in node.entries if entry.index == index))
    replace_entry(node, index, entry=encode_entry(timestamp + 1, runs))


@lie("check_one_entry_per_index", saying=r"2 entries were applied at index 2, by n1, n2 and by n3")
def another_entry_applied_by_one_node(history: History) -> None:
    [(decided, node_ids)] = history.applied[2].items()
    node_ids.remove("n3")
    history.applied[2][decided._replace(term=decided.term + 1)] = {"n3"}


@lie("check_one_entry_per_index", saying="n1 holds another entry at index")
def the_last_entry_of_another_term_in_one_log(history: History) -> None:
    append(history)
    node = history.final_nodes[0]
    node.entries[-1] = node.entries[-1]._replace(term=99)


@lie("check_one_entry_per_index", saying=r"n2 does not hold index \d+ as committed, but it was applied")
def an_applied_entry_not_committed_at_one_node(history: History) -> None:
    history.final_nodes[1].commit_index -= 1


@lie("check_commit_index_never_falls", saying=r"the commit index of n2 went from \d+ back to 1 in its life 1")
def a_commit_index_that_falls(history: History) -> None:
    history.commit_index_seen("n2", 1, 1)


@lie("check_durable_on_majority", saying="was applied and reported when it was on the disks of n2; a majority is 2")
def an_answer_that_one_disk_held(history: History) -> None:
    history.holders[answered(history)[0].execution.log_index] = frozenset({"n2"})


@lie("check_durable_on_majority", saying="index 1 was applied when it was on no disk; a majority is 2")
def an_entry_that_no_disk_held(history: History) -> None:
    history.holders[1] = frozenset()


@lie("check_durable_on_majority", saying="on the disks of n2; a majority is 2")
def a_majority_of_disks_of_which_one_is_no_members(history: History) -> None:
    history.holders[answered(history)[0].execution.log_index] = frozenset({"n2", "n9"})


# --- The states ------------------------------------------------------------------------------------------------------


def flipped(digest: bytes) -> bytes:
    return bytes([digest[0] ^ 1]) + digest[1:]


@lie("check_one_state_per_index", saying="there were 2 states at index 5$")
def another_digest_at_one_index_of_one_node(history: History) -> None:
    [(digest, node_ids)] = history.digests[5].items()
    node_ids.remove("n2")
    history.digests[5][flipped(digest)] = {"n2"}


@lie("check_one_state_per_index", saying="there were 2 states at index 5, and at 1 later ones")
def digests_that_all_nodes_agree_on_but_the_log_does_not_give(history: History) -> None:
    for index in (5, 6):
        history.digests[index] = {flipped(digest): node_ids for digest, node_ids in history.digests[index].items()}


@lie("check_one_state_per_index", saying="there were 2 states at index")
def another_digest_in_the_end(history: History) -> None:
    node = history.final_nodes[2]
    node.chain_digest = flipped(node.chain_digest)


@lie("check_one_state_per_index", saying="the state of n2 at index .* is not that of the log, executed again")
def a_flipped_bit_in_one_nodes_memory(history: History) -> None:
    """The digests do not tell yet: they are of events, and no event has come from it so far."""
    history.final_nodes[1].state.exchange.registry.last_order_id ^= 1 << 40


@lie("check_books", "check_one_state_per_index", "check_serial_replay", saying="are filled; its trades come to")
def an_order_that_one_node_believes_filled_by_more_than_its_trades(history: History) -> None:
    orders = history.final_nodes[0].state.exchange.registry.orders.values()
    order = next(order for order in orders if order.filled_quantity > 0)
    order.filled_quantity += 1


@lie("check_books", saying="n3 at index .* broken invariant: ACME (buy|sell) .* the sums are those over its orders")
def a_level_that_is_not_the_sum_of_its_orders(history: History) -> None:
    [book] = history.final_nodes[2].state.exchange.books.values()
    level = book.bids.best or book.asks.best
    level.quantity += 1


@lie("check_serial_replay", saying="trades; serial execution makes 1")
def a_trade_at_another_price(history: History) -> None:
    dot, execution = next(
        (dot, one)
        for dot, one in executions_with(history, lambda event: isinstance(event, Trade))
        if sum(isinstance(event, Trade) for event in one.events) == 1
    )
    events = tuple(
        structs.replace(event, price=event.price + 1) if isinstance(event, Trade) else event
        for event in execution.events
    )
    say_that_it_was(history, dot, structs.replace(execution, events=events))


@lie("check_serial_replay", saying="trades; serial execution makes")
def a_trade_with_another_maker(history: History) -> None:
    dot, execution = next(executions_with(history, lambda event: isinstance(event, Trade)))
    events = tuple(
        structs.replace(event, maker_account="mallory") if isinstance(event, Trade) else event
        for event in execution.events
    )
    say_that_it_was(history, dot, structs.replace(execution, events=events))


@lie("check_serial_replay", "check_books", saying="made 0 trades; serial execution makes")
def a_trade_that_did_not_happen(history: History) -> None:
    dot, execution = next(executions_with(history, lambda event: isinstance(event, Trade)))
    events = tuple(event for event in execution.events if not isinstance(event, Trade))
    say_that_it_was(history, dot, structs.replace(execution, events=events))


@lie("check_serial_replay", saying="had another result than serial execution")
def a_cancel_for_another_reason(history: History) -> None:
    def is_cancel(event: object) -> bool:
        return isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_CANCELED

    dot, execution = next(executions_with(history, is_cancel))
    events = tuple(structs.replace(event, reason=None) if is_cancel(event) else event for event in execution.events)
    say_that_it_was(history, dot, structs.replace(execution, events=events))


@lie("check_serial_replay", "check_one_state_per_index", saying="n3 at index .* has other instruments than serial")
def an_instrument_that_one_node_has_halted(history: History) -> None:
    [book] = history.final_nodes[2].state.exchange.books.values()
    book.status = TradingStatus.HALTED


@lie("check_serial_replay", "check_one_state_per_index", saying="n1 at index .* has another book of ACME")
def two_orders_that_changed_places_in_the_queue(history: History) -> None:
    [book] = history.final_nodes[0].state.exchange.books.values()
    for side in (book.bids, book.asks):
        for order in side.orders():
            level = order.level
            if level.head is not level.tail:
                first = level.head
                side.remove(first)
                side.add(first)
                return
    raise AssertionError("no level has two orders")


# --- What clients were told ------------------------------------------------------------------------------------------


@lie("check_answered_in_every_log", saying=r"n1 has lost reader's Tick at n3 as n3\.\d+/\d+, which was reported at")
def an_answered_command_that_no_log_holds(history: History) -> None:
    """The cluster is consistent, but has forgotten it."""
    lost = last_tick(history)
    run_log(history, {index: without(decided, lost.dot) for index, decided in history.decided()})


@lie("check_answered_in_every_log", "check_one_entry_per_index", saying="n1 has lost")
def an_answered_command_beyond_the_end_of_one_log(history: History) -> None:
    node = history.final_nodes[0]
    index = last_tick(history).execution.log_index
    node.entries = [entry for entry in node.entries if entry.index < index]


@lie("check_answered_in_every_log", saying="n3 has lost")
def an_answered_command_that_one_node_holds_and_has_not_executed(history: History) -> None:
    node = history.final_nodes[2]
    node.applied_index = last_tick(history).execution.log_index - 1
    state = StateMachine()
    for index, decided in history.decided():
        if index > node.applied_index:
            break
        if decided.entry is None:
            state.advance(index)
        else:
            state.apply(index, decided.entry)
    node.state, node.chain_digest = state, state.chain_digest


@lie("check_answered_in_every_log", saying="there is nothing to hold the answers to")
def no_final_log_at_all(history: History) -> None:
    history.final_nodes.clear()


@lie("check_answered_in_every_log", "check_answers_are_the_logs", saying="was reported at index .*; n1 has it at")
def an_answer_that_names_another_index(history: History) -> None:
    attempt = answered(history)[-1]
    attempt.execution = structs.replace(attempt.execution, log_index=attempt.execution.log_index + 1)


@lie("check_answers_are_the_logs", saying="was answered otherwise than the log says, in its order")
def one_unit_of_an_answer_altered(history: History) -> None:
    attempt = answered(history)[0]
    order = attempt.execution.order
    attempt.execution = structs.replace(attempt.execution, order=structs.replace(order, quantity=order.quantity + 1))


@lie("check_answers_are_the_logs", saying="was answered otherwise than the log says, in its accepted")
def a_refusal_reported_as_accepted(history: History) -> None:
    attempt = next(
        attempt for attempt in history.attempts if attempt.execution is not None and not attempt.execution.accepted
    )
    attempt.execution = structs.replace(attempt.execution, accepted=True)


@lie("check_answers_are_the_logs", saying="was answered otherwise than the log says, in its origin, ")
def the_answer_of_another_submission(history: History) -> None:
    places = Counter(attempt.execution.log_index for attempt in answered(history))
    one, other = [attempt for attempt in answered(history) if places[attempt.execution.log_index] > 1][:2]
    assert one.execution.log_index == other.execution.log_index
    one.execution = other.execution


@lie("check_real_time_order", saying="though .* had been answered before")
def an_answer_before_its_successor_was_sent(history: History) -> None:
    first, last = answered(history)[0], answered(history)[-1]
    assert first.execution.log_index < last.execution.log_index
    first.sent_at = last.answered_at + 1
    first.answered_at = first.sent_at + 1


@lie("check_real_time_order", saying="though .* had been answered before")
def an_unanswered_command_that_overtook_an_answered_one(history: History) -> None:
    unanswered(history)[0].sent_at = answered(history)[-1].answered_at + 1


@lie("check_refused_not_executed", saying=r"was refused, and yet was executed as n\d\.\d+/\d+")
def a_command_that_was_executed_and_refused(history: History) -> None:
    unanswered(history)[0].refused = True


@lie("check_refused_not_executed", "check_only_what_was_submitted", saying="was refused, and yet was executed")
def a_command_that_was_refused_and_has_no_number(history: History) -> None:
    attempt = unanswered(history)[0]
    attempt.refused = True
    attempt.origin = attempt.sequence = None


@lie("check_only_what_was_submitted", saying="which nobody submitted")
def a_command_that_nobody_sent(history: History) -> None:
    history.attempts.remove(unanswered(history)[0])


@lie("check_only_what_was_submitted", saying="which nobody submitted")
def a_command_that_a_leader_made_up(history: History) -> None:
    log = log_of(history)
    end = max(log)
    timestamp, _ = split_entry(log[end].entry)
    stray = RawRun("n2.77", 1, (encode_command(Tick()),))
    run_log(history, {**log, end + 1: Decided(log[end].term, encode_entry(timestamp, [stray]))})


@lie("check_only_what_was_submitted", saying="otherwise than it was sent")
def a_command_with_another_quantity_than_was_sent(history: History) -> None:
    attempt = answered(history)[0]
    attempt.command = attempt.command._replace(quantity=Number(attempt.command.quantity.mantissa + 1, 0))


@lie("check_only_what_was_submitted", saying="otherwise than it was sent")
def a_not_after_that_the_node_chose_against_its_client(history: History) -> None:
    attempt = next(attempt for attempt in answered(history) if attempt.command.not_after is not None)
    attempt.command = attempt.command._replace(not_after=attempt.command.not_after + 1)


@lie("check_numbered_once", saying="were given the same number")
def a_number_given_twice(history: History) -> None:
    history.attempts.append(replace(unanswered(history)[0], client="client-9"))


@lie("check_executed_once", saying=r"n1 executed n\d\.\d+/\d+ 2 times in its life 0")
def a_command_executed_twice_by_one_process(history: History) -> None:
    [seen] = history.executions[unanswered(history)[0].dot]
    seen.seen_in.append(("n1", 0))


@lie("check_executed_once", saying=r"was executed at index \d+ and at \d+; its place is")
def a_command_executed_at_two_indexes(history: History) -> None:
    dot = unanswered(history)[0].dot
    [seen] = history.executions[dot]
    later = structs.replace(seen.execution, log_index=seen.execution.log_index + 1)
    history.executions[dot].append(SeenExecution(later, [seen.seen_in.pop()]))


@lie("check_executed_once", saying=r"had 2 different results at index \d+")
def a_command_with_two_results(history: History) -> None:
    dot = unanswered(history)[0].dot
    [seen] = history.executions[dot]
    history.executions[dot].append(SeenExecution(structs.replace(seen.execution, order=None), [seen.seen_in.pop()]))


@lie("check_executed_once", saying=r"the entry at index \d+ itself had 2 different effects", exotic_share=0.8)
def an_order_that_expired_at_one_node_alone(history: History) -> None:
    index, seen = next(effects_with(history, is_expiry))
    other = seen.seen_in.pop()
    history.effects[index] = [SeenEffects((), [other]), seen]
    history.effects[index].reverse()


@lie("check_serial_replay", saying=r"the entry at index \d+ itself had another effect than serial", exotic_share=0.8)
def an_order_that_did_not_expire_anywhere(history: History) -> None:
    index, seen = next(effects_with(history, is_expiry))
    history.effects[index] = [SeenEffects((), seen.seen_in)]


@lie("check_serial_replay", saying=r"the entry at index \d+ itself had another effect than serial", exotic_share=0.8)
def an_order_that_expired_before_its_time(history: History) -> None:
    index, seen = next(effects_with(history, is_expiry))
    earlier = max(before for before, [none] in history.effects.items() if before < index and not none.executions)
    history.effects[earlier] = [SeenEffects(seen.executions, seen.seen_in)]


@lie("check_executed_once", saying="though the log has no place for it")
def a_command_executed_that_is_in_no_log(history: History) -> None:
    tick = history.executions[last_tick(history).dot][0].execution
    history.executions["n1.55", 1] = [SeenExecution(structs.replace(tick, origin="n1.55", sequence=1), [("n1", 0)])]


@lie("check_executed_once", saying="but no node has executed it")
def a_command_of_the_log_that_was_passed_over(history: History) -> None:
    del history.executions[last_tick(history).dot]


@lie("check_never_late", "check_only_what_was_submitted", saying="took effect at log time .* 1 ns after its not_after")
def a_command_that_took_effect_after_its_clients_not_after(history: History) -> None:
    attempt = next(attempt for attempt in answered(history, CancelOrder))
    attempt.command = attempt.command._replace(not_after=attempt.execution.timestamp - 1)


def late_order(history: History) -> tuple[Dot, Execution]:
    """An order that came too late, and how it would look if it had been entered all the same."""

    def is_late(event: object) -> bool:
        return getattr(event, "reason", None) == "submission_expired"

    dot, late = next(executions_with(history, is_late))
    _, example = next(executions_with(history, is_first_acceptance))
    order = structs.replace(example.order, order_id=10**6, client_order_id="late")
    return dot, structs.replace(
        late, accepted=True, order=order, events=(structs.replace(example.events[0], order=order),)
    )


@lie("check_never_late", "check_serial_replay", saying="after its not_after")
def a_late_command_that_was_executed_all_the_same(history: History) -> None:
    say_that_it_was(history, *late_order(history))


@lie("check_executed_once", "check_serial_replay", saying=r"was executed at index \d+; its place is \d+")
def a_late_command_that_was_executed_before_its_place(history: History) -> None:
    """In time, that is; the lie is only about where."""
    dot, execution = late_order(history)
    say_that_it_was(history, dot, structs.replace(execution, log_index=execution.log_index - 1))


@lie("check_one_order_per_client_order_id", "check_serial_replay", saying="made the orders")
def a_copy_that_made_an_order_of_its_own(history: History) -> None:
    dot, copy = next(executions_with(history, lambda event: isinstance(event, OrderEvent) and event.duplicate))
    [event] = copy.events
    order = structs.replace(event.order, order_id=10**6)
    say_that_it_was(
        history, dot, structs.replace(copy, order=order, events=(structs.replace(event, order=order, duplicate=False),))
    )
