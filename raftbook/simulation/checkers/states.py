"""The replicated state: the same at every node, true to the engine's invariants, and what the semantics say."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from raftbook.codec import decode_entry
from raftbook.engine import Rejection, Trade
from raftbook.engine.types import NO_ORIGIN
from raftbook.simulation.checkers.decided_log import decided_log
from raftbook.simulation.checkers.violation import Finding, checker, dot_name, node_names
from raftbook.simulation.naive_exchange import NaiveExchange
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from raftbook.engine import Execution
    from raftbook.simulation.history import FinalNode, History

_REPLAY = "the log, executed again"


@checker
def check_one_state_per_index(history: History) -> Iterator[Finding]:
    """At an index, every node had the digest chain that executing the log again gives, and ends in its very state.

    Only the first index that differs is reported, since digests behind it differ too. O(digests + nodes x state).
    """
    digests: dict[int, dict[bytes, set[str]]] = {
        index: {digest: set(node_ids) for digest, node_ids in alternatives.items()}
        for index, alternatives in history.digests.items()
    }
    for node in history.final_nodes:
        alternatives = digests.setdefault(node.applied_index, {})
        alternatives.setdefault(node.chain_digest, set()).add(node.node_id)
        alternatives.setdefault(node.state.chain_digest, set()).add(node.node_id)
    final_nodes = _by_applied_index(history.final_nodes)
    other_states: list[Finding] = []
    for index, state in _replayed(history):
        digests.setdefault(index, {}).setdefault(state.chain_digest, set()).add(_REPLAY)
        if index in final_nodes:
            expected = state.to_snapshot()
            for node in final_nodes[index]:
                if node.state.to_snapshot() != expected:
                    sentence = f"the state of {node.node_id} at index {index} is not that of {_REPLAY}"
                    other_states.append(Finding(sentence))

    differing = sorted(index for index, alternatives in digests.items() if len(alternatives) > 1)
    if differing:
        alternatives = digests[differing[0]]
        more = f", and at {len(differing) - 1} later ones" if len(differing) > 1 else ""
        yield Finding(
            f"there were {len(alternatives)} states at index {differing[0]}{more}",
            tuple(f"{digest.hex()[:16]}: {node_names(node_ids)}" for digest, node_ids in alternatives.items()),
        )
    yield from other_states


def _by_applied_index(nodes: Iterable[FinalNode]) -> dict[int, list[FinalNode]]:
    found: defaultdict[int, list[FinalNode]] = defaultdict(list)
    for node in nodes:
        found[node.applied_index].append(node)
    return found


def _replayed(history: History) -> Iterator[tuple[int, StateMachine]]:
    """The state at index 0 and at each later one; always the same object, which goes on with the iteration."""
    state = StateMachine()
    yield 0, state
    for index, entry in decided_log(history):
        if entry is None:
            state.advance(index)
        else:
            state.apply(index, entry)
        yield index, state


@checker
def check_books(history: History) -> Iterator[Finding]:
    """The engine's invariants hold in every final state, and each order is filled by its trades, and by no others.

    A trade fills a buyer and a seller alike, so bought equals sold. O(nodes x (state + trades)).
    """
    events = (event for execution in history.first_executions() for event in execution.events)
    trades = [event for event in events if isinstance(event, Trade)]
    for node in history.final_nodes:
        exchange = node.state.exchange
        try:
            exchange.check()
        except AssertionError as error:
            yield Finding(f"{node.node_id} at index {node.applied_index}: {error}")
        traded: Counter[int] = Counter()
        for trade in trades:
            if trade.log_index <= node.applied_index:
                traded[trade.maker_order_id] += trade.quantity
                traded[trade.taker_order_id] += trade.quantity
        for order in exchange.orders(open_only=False):
            if order.filled_quantity != traded[order.order_id]:
                yield Finding(
                    f"{node.node_id} says that {order.filled_quantity} of order {order.order_id} are filled; "
                    f"its trades come to {traded[order.order_id]}",
                    (order,),
                )


@checker
def check_serial_replay(history: History) -> Iterator[Finding]:
    """The log, executed one command after the other by the naive oracle, gives what the nodes did and their books.

    Compares every event but for its words: trades with maker, taker, price and quantity, acceptances, cancels,
    refusals with their reasons, orders that expire, auctions' indications; in the end each order that rests or is
    remembered. Reports the first execution that differs, since those behind it differ too. O(log x orders known), so
    this is the one that takes its time.
    """
    naive = NaiveExchange()
    final_nodes = _by_applied_index(history.final_nodes)
    for index, raw_entry in decided_log(history):
        entry = None if raw_entry is None else decode_entry(raw_entry)
        executions = [] if entry is None else naive.apply(index, entry)
        # Executions and effects that are missing, or have several results, are check_executed_once's.
        own = tuple(execution for execution in executions if execution.origin == NO_ORIGIN)
        effects = history.effects.get(index)
        if effects is not None and effects[0].executions != own:
            sentence = f"the entry at index {index} itself had another effect than serial execution has"
            yield Finding(sentence, (f"seen:   {effects[0].executions}", f"serial: {own}"))
            return
        for execution in executions:
            alternatives = history.executions.get((execution.origin, execution.sequence))
            seen = execution if alternatives is None else _without_words(alternatives[0].execution)
            if seen != execution:
                yield _difference(seen, execution)
                return
        for node in final_nodes.get(index, ()):
            yield from _compare_books(node, naive)


def _without_words(execution: Execution) -> Execution:
    events = (replace(event, detail=None) if isinstance(event, Rejection) else event for event in execution.events)
    return replace(execution, events=tuple(events))


def _difference(seen: Execution, expected: Execution) -> Finding:
    name = f"{dot_name((seen.origin, seen.sequence))} at index {expected.log_index}"
    trades, expected_trades = ([e for e in x.events if isinstance(e, Trade)] for x in (seen, expected))
    if trades != expected_trades:
        sentence = f"{name} made {len(trades)} trades; serial execution makes {len(expected_trades)}, or others"
        return Finding(sentence, (f"seen:   {trades}", f"serial: {expected_trades}"))
    return Finding(f"{name} had another result than serial execution", (f"seen:   {seen}", f"serial: {expected}"))


def _compare_books(node: FinalNode, naive: NaiveExchange) -> Iterator[Finding]:
    exchange = node.state.exchange
    name = f"{node.node_id} at index {node.applied_index}"
    instruments = {symbol: (book.instrument, book.status) for symbol, book in naive.books.items()}
    if {symbol: (exchange.instruments[symbol], status) for symbol, status in exchange.statuses.items()} != instruments:
        yield Finding(f"{name} has other instruments than serial execution", (exchange.statuses, instruments))
        return
    for symbol, book in naive.books.items():
        level3, expected = exchange.level3(symbol), book.level3()
        if level3 != expected:
            sentence = f"{name} has another book of {symbol} than serial execution"
            yield Finding(sentence, (f"seen:   {level3}", f"serial: {expected}"))
    if exchange.orders(open_only=False) != naive.all_orders(open_only=False):
        yield Finding(f"{name} knows other orders than serial execution")
