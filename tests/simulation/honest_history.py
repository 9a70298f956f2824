"""Histories of clusters that keep their promise, made without a network: the seed decides what happens.

Everything that an honest cluster may do happens in them: clients that give up, answers of `pending`, copies of an order
at several nodes, with the same and with other content; submissions that come too late, and such that no intake took;
entries that repeat what is in the log, or leave gaps, or hold nothing; orders that expire, and auctions; leaders that
change; nodes that start again from a snapshot or from nothing; a compacted log, and one with a tail that nobody
committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine import CancelAll, NewOrder, Number, OrderType, Side, Tick, TimeInForce
from raftbook.simulation.history import Attempt, Decided, FinalNode, History, LogEntry
from raftbook.simulation.workload import PRICE_DECIMALS, OrderFlow
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.engine import Command
    from raftbook.simulation.history import Dot

MEMBERS: Final = ("n1", "n2", "n3")
NS: Final = 1_000_000_000
START_NS: Final = 1_700_000_000 * NS
LIFETIME_NS: Final = 5 * NS
CONFIGURATION: Final = "configuration"


@dataclass
class _Origin:
    """One process' numbering. `waiting` are the submissions that are not in the log yet, in sequence."""

    name: str
    last_sequence: int = 0
    waiting: list[Attempt] = field(default_factory=list)


class _Storyteller:
    """Lets clients submit and leaders propose until the story is over; writes attempts, log and leaders."""

    def __init__(self, seed: int, submission_count: int, exotic_share: float) -> None:
        self.random = Random(seed)
        self.history = History(MEMBERS)
        self.log: dict[int, Decided] = {}
        self.now_s = 0.0
        self.term = 0
        self.flow = OrderFlow(seed, accounts=("alice", "bob", "carol"), exotic_share=exotic_share, clock=self.log_time)
        self.orders: list[NewOrder] = []
        self.state = StateMachine()
        self.origins = {node_id: _Origin(f"{node_id}.0") for node_id in MEMBERS}
        self.raw: dict[Dot, bytes] = {}

        self.elect()
        self.configure()
        while len(self.history.attempts) < submission_count:
            self.step()
        for node_id in MEMBERS:
            self.submit(node_id, Tick(), client="reader")
        while any(origin.waiting for origin in self.origins.values()):
            self.propose()

    def step(self) -> None:
        self.now_s += self.random.expovariate(4)
        draw = self.random.random()
        if draw < 0.6:
            for _ in range(self.random.randint(1, 4)):
                self.submit(self.random.choice(MEMBERS), self.wish())
        elif draw < 0.96:
            self.propose()
        elif draw < 0.98:
            self.elect()
        elif draw < 0.99:
            self.decide(encode_entry(self.log_time(), []))
        else:
            self.restart(self.random.choice(MEMBERS))

    # Clients.

    def wish(self) -> Command:
        draw = self.random.random()
        if draw < 0.1 and self.orders:
            copied = self.random.choice(self.orders)
            if draw < 0.02:
                return copied._replace(quantity=Number(copied.quantity.mantissa + 1, 0))
            return copied
        if draw < 0.12:
            return Tick()
        if draw < 0.125:
            return CancelAll("alice")
        command = next(self.flow)
        if isinstance(command, NewOrder):
            if self.random.random() < 0.3:
                lifetime_ns = self.random.choice((LIFETIME_NS, NS // 4))
                command = command._replace(not_after=self.log_time() + lifetime_ns)
            if command.order_type is OrderType.LIMIT and self.random.random() < 0.05:
                command = command._replace(
                    time_in_force=TimeInForce.FOK,
                    post_only=False,
                    price=Number(command.price.mantissa + (50 if command.side is Side.BUY else -50), PRICE_DECIMALS),
                    quantity=Number(self.random.choice((20, 2_000)), 0),
                )
            self.orders.append(command)
        return command

    def submit(self, node_id: str, command: Command, client: str | None = None) -> None:
        self.now_s += 0.001
        if client is None:
            client = f"client-{self.random.randrange(3)}"
        attempt = self.history.submitted(Attempt(client, node_id, command, self.now_s))
        if self.random.random() < 0.05 and client != "reader":
            attempt.refused = True
            attempt.answered_at = self.now_s
            return
        origin = self.origins[node_id]
        origin.last_sequence += 1
        attempt.origin, attempt.sequence = origin.name, origin.last_sequence
        assert attempt.dot is not None
        self.raw[attempt.dot] = encode_command(command, self.log_time() + LIFETIME_NS)
        origin.waiting.append(attempt)

    def restart(self, node_id: str) -> None:
        """What was waiting is lost with the process, or has reached another node."""
        name, life = self.origins[node_id].name.split(".")
        if self.random.random() < 0.5:
            while self.origins[node_id].waiting:
                self.propose()
        self.origins[node_id] = _Origin(f"{name}.{int(life) + 1}")

    # Leaders.

    def log_time(self) -> int:
        return START_NS + int(self.now_s * NS)

    def elect(self) -> None:
        self.term += self.random.randint(1, 2)
        self.history.leads(self.term, self.random.choice(MEMBERS))
        self.decide(None)

    def configure(self) -> None:
        instruments = self.flow.instruments()
        for sequence, instrument in enumerate(instruments, start=1):
            attempt = Attempt(CONFIGURATION, "n1", instrument, self.now_s, CONFIGURATION, sequence)
            self.history.submitted(attempt)
        run = RawRun(CONFIGURATION, 1, tuple(map(encode_command, instruments)))
        self.decide(encode_entry(self.log_time(), [run]))

    def propose(self) -> None:
        """Some of what waits, some that is in the log already, and now and then something behind a gap."""
        self.now_s += 0.01
        runs: list[RawRun] = []
        executed: list[Attempt] = []
        for origin in self.random.sample(list(self.origins.values()), len(self.origins)):
            chosen = origin.waiting[: self.random.randint(0, 4)]
            done = origin.last_sequence - len(origin.waiting)
            first = max(1, done + 1 - self.random.choice((0, 0, 1, 3)))
            last = done + len(chosen)
            if last >= first:
                runs.append(self.run(origin, first, last))
            executed += chosen
            del origin.waiting[: len(chosen)]
            if len(origin.waiting) > 1 and self.random.random() < 0.2:
                runs.append(self.run(origin, last + 2, last + 2))
        if runs:
            self.decide(encode_entry(self.log_time(), runs), executed)

    def run(self, origin: _Origin, first: int, last: int) -> RawRun:
        commands = tuple(self.raw[origin.name, sequence] for sequence in range(first, last + 1))
        return RawRun(origin.name, first, commands)

    def decide(self, entry: bytes | None, attempts: list[Attempt] | None = None) -> None:
        index = len(self.log) + 1
        self.log[index] = Decided(self.term, entry)
        if entry is None:
            self.state.advance(index)
            return
        results = {(result.origin, result.sequence): result for result in self.state.apply(index, entry)}
        for attempt in attempts or ():
            assert attempt.dot is not None
            if self.random.random() < 0.85 or attempt.client == "reader":
                self.now_s += 0.0005
                attempt.answered_at = self.now_s
                attempt.execution = results[attempt.dot]


def honest_history(seed: int, submission_count: int = 120, exotic_share: float = 0.0) -> History:
    """`exotic_share` as in OrderFlow: without it nothing expires, and there are no auctions."""
    story = _Storyteller(seed, submission_count, exotic_share)
    run_log(story.history, story.log, seed)
    return story.history


def run_log(history: History, log: Mapping[int, Decided], seed: int = 0) -> None:
    """Let the nodes execute this log, from the first entry on. What clients were told stays as it is."""
    randomness = Random(seed)
    history.applied, history.executions, history.effects, history.digests = {}, {}, {}, {}
    history.commit_indexes, history.holders, history.final_nodes = {}, {}, []
    end = max(log)
    middle = end // 2
    n1, n2, n3 = (StateMachine() for _ in MEMBERS)
    _apply(history, log, "n1", 0, n1, end, randomness)

    # The second one starts again from an older snapshot, and executes some entries once more.
    _apply(history, log, "n2", 0, n2, middle // 2, randomness)
    snapshot = n2.to_snapshot()
    _apply(history, log, "n2", 0, n2, middle, randomness)
    n2 = StateMachine.from_snapshot(snapshot)
    history.state_reached("n2", n2.index, n2.chain_digest)
    _apply(history, log, "n2", 1, n2, end, randomness)

    # The third one starts again with an empty disk.
    _apply(history, log, "n3", 0, n3, middle, randomness)
    n3 = StateMachine()
    _apply(history, log, "n3", 1, n3, end, randomness)

    entries = [LogEntry(index, *decided) for index, decided in log.items()]
    uncommitted = LogEntry(end + 1, log[end].term, encode_entry(0, [RawRun("n1.0", 10**6, (encode_command(Tick()),))]))
    for node_id, state, base_index, tail in (
        ("n1", n1, 0, []),
        ("n2", n2, middle, []),
        ("n3", n3, 0, [uncommitted]),
    ):
        kept = entries[base_index:] + tail
        history.final_nodes.append(FinalNode(node_id, base_index, kept, end, end, state.chain_digest, state))


def _apply(
    history: History,
    log: Mapping[int, Decided],
    node_id: str,
    life: int,
    state: StateMachine,
    upto: int,
    randomness: Random,
) -> None:
    while state.index < upto:
        index = state.index + 1
        decided = log[index]
        executions = []
        if decided.entry is None:
            state.advance(index)
        else:
            executions = state.apply(index, decided.entry)
        if randomness.random() < 0.5:
            history.commit_index_seen(node_id, life, index)
        holders = MEMBERS if randomness.random() < 0.5 else randomness.sample(MEMBERS, 2)
        history.entry_applied(node_id, life, index, decided, executions, state.chain_digest, holders)
