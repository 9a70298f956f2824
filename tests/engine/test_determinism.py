"""One log, one outcome: whatever runs it, however often it is restored on the way, and in which batches it came."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from random import Random

import pytest
from msgspec.structs import replace

from raftbook.codec import decode_command, decode_entry, encode_command, encode_entry, split_entry
from raftbook.engine import (
    Entry,
    EventKind,
    Exchange,
    Malformed,
    NewOrder,
    OrderStatus,
    OrderType,
    Run,
    SelfTradePrevention,
    SetStatus,
    TimeInForce,
    Uncross,
)
from raftbook.simulation.workload import OrderFlow
from raftbook.state_machine import StateMachine
from tests.engine.determinism import (
    DENSE_SEEDS,
    KEPT,
    ORIGIN,
    PROJECT_ROOT,
    SUBPROCESS_TIMEOUT_S,
    dense_log,
    digest_of_log,
    digests_of,
    events_of,
    flow_log,
    logs,
    report,
    state_machine,
)

LOG_NAMES = (*(f"dense-{seed}" for seed in DENSE_SEEDS), "flow", "keys")


@pytest.fixture(scope="module")
def all_logs():
    return {log.name: log for log in logs()}


@pytest.fixture(scope="module")
def expected(all_logs):
    """The digests of each log, applied entry by entry and without a pause."""
    return {name: digests_of(log) for name, log in all_logs.items()}


def test_the_digests_are_those_that_are_kept(request):
    found = report()
    if request.config.getoption("--rewrite"):
        KEPT.write_text(found)
    kept = KEPT.read_text()
    assert found.splitlines() == kept.splitlines(), (
        "the flows draw other commands, or the engine answers them in another way; if that is meant, "
        "`pytest --rewrite tests/engine/test_determinism.py` keeps the new digests"
    )


@pytest.mark.parametrize(
    ("hash_seed", "options"), [("0", []), ("1", []), ("4294967295", ["-O"])], ids=["seed-0", "seed-1", "optimized"]
)
def test_under_another_hash_seed_they_are_the_same(hash_seed, options):
    done = subprocess.run(
        [sys.executable, *options, "-m", "tests.engine.determinism"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=SUBPROCESS_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == report().splitlines()


@pytest.mark.parametrize("name", LOG_NAMES)
def test_restored_at_any_point_it_goes_on_as_if_nothing_had_been(all_logs, expected, name):
    log, numbers = all_logs[name], Random(name)
    machine = state_machine(log.closed_orders_kept)
    restored = 0
    for index, raw in enumerate(log.raw_entries, 1):
        machine.apply(index, raw)
        if numbers.random() < 0.05:
            machine = StateMachine.from_snapshot(machine.to_snapshot())
            restored += 1
    assert restored > 0
    assert (machine.chain_digest.hex(), machine.state_digest()) == expected[name][1:]


@pytest.mark.parametrize("name", LOG_NAMES)
def test_decoded_and_encoded_again_it_is_the_same_log(all_logs, expected, name):
    log = all_logs[name]
    machine = state_machine(log.closed_orders_kept)
    again = []
    for index, raw in enumerate(log.raw_entries, 1):
        timestamp, runs = split_entry(raw)
        runs = [run._replace(raw_commands=tuple(map(encoded_again, run.raw_commands))) for run in runs]
        again.append(encode_entry(timestamp, runs))
        # What was never bytes must come to the same as what was.
        machine.apply_entry(index, decode_entry(again[-1]))
    assert digest_of_log(log._replace(raw_entries=tuple(again))) == expected[name].log
    assert (machine.chain_digest.hex(), machine.state_digest()) == expected[name][1:]


def encoded_again(raw):
    command = decode_command(raw)
    return raw if isinstance(command, Malformed) else encode_command(command)


def test_the_logs_hold_everything_there_is(all_logs):
    kinds, statuses, terms = set(), set(), set()
    for log in all_logs.values():
        machine = state_machine(log.closed_orders_kept)
        for index, raw in enumerate(log.raw_entries, 1):
            for event in events_of(machine.apply(index, raw)):
                kinds.add(event.kind)
                if event.kind is EventKind.ORDER_ACCEPTED:
                    order = event.order
                    terms |= {order.order_type.label, order.time_in_force.label, order.self_trade_prevention.label}
                    terms |= {f"post_only {order.post_only}", f"iceberg {order.display_quantity is not None}"}
        statuses |= {order.status for order in machine.exchange.orders(open_only=False)}
    assert kinds == set(EventKind)
    assert statuses == set(OrderStatus) - {OrderStatus.REJECTED}
    assert len(terms) == len(OrderType) + len(TimeInForce) + len(SelfTradePrevention) + 2 + 2


def test_the_same_seed_draws_the_same_log():
    assert dense_log(1) == dense_log(1)
    assert flow_log() == flow_log()
    assert dense_log(1).raw_entries != dense_log(2).raw_entries


class TestBatches:
    """Which commands share an entry decides about nothing but auctions and time."""

    @staticmethod
    def commands():
        flow = OrderFlow(7, ("ACME", "BTC"), exotic_share=0.5, clock=lambda: 0)
        yield from (instrument._replace(price_band=None) for instrument in flow.instruments())
        for command in flow:
            ends_in_time = isinstance(command, NewOrder) and command.time_in_force in (TimeInForce.DAY, TimeInForce.GTD)
            if not ends_in_time and not isinstance(command, SetStatus | Uncross):
                yield command

    @classmethod
    def outcome(cls, sizes, count=1_500):
        """(executions, snapshot), both without the log's indexes."""
        commands, exchange, executions = cls.commands(), Exchange(), []
        while exchange.watermarks.get(ORIGIN, 0) < count:
            first = exchange.watermarks.get(ORIGIN, 0) + 1
            batch = tuple(islice(commands, min(sizes(), count + 1 - first)))
            executions += exchange.apply(exchange.log_index + 1, Entry(0, (Run(ORIGIN, first, batch),)))
        snapshot = exchange.to_snapshot()
        snapshot[1] = None
        stripped = [
            replace(execution, log_index=0, events=tuple(replace(event, log_index=0) for event in execution.events))
            for execution in executions
        ]
        return stripped, snapshot

    def test_one_by_one_by_the_hundred_and_anyhow_it_is_the_same(self):
        one_by_one = self.outcome(lambda: 1)
        assert one_by_one[0]
        kinds = {event.kind for execution in one_by_one[0] for event in execution.events}
        assert kinds >= {EventKind.TRADE, EventKind.ORDER_TRIGGERED, EventKind.ORDER_RESTATED, EventKind.ORDER_REPLACED}
        numbers = Random(1)
        assert self.outcome(lambda: 100) == one_by_one
        assert self.outcome(lambda: numbers.randrange(1, 40)) == one_by_one
