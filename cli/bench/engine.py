"""The engine alone: no network, no disk, one process."""

from __future__ import annotations

import gzip
import itertools
import os
import time
import tracemalloc
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from cli.bench.bare_book import BareBook, bare_operation
from cli.bench.engine_load import CHUNK_COMMANDS, ORIGIN, SEED, Chunk, Engine, rates, timed, timestamp
from cli.bench.measurement import BATCH_COMMANDS, Announce, BenchmarkFailedError, Measurement, Scale
from cli.bench.resting import LEVELS_PER_SIDE, MIDDLE_TICKS, resting_orders
from cli.errors import tell
from cli.local_cluster import PROJECT_FOLDER
from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import CancelOrder, Command, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.node.garbage_collector import tune_garbage_collector
from raftbook.simulation.recorded_flow import read_recorded_flow, recorded_instrument
from raftbook.simulation.workload import OrderFlow
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCOUNTS: Final = tuple(f"account-{number}" for number in range(4))
GROUP: Final = "engine"
MIXED: Final = "mixed flow"
BARE: Final = "mixed flow, bare book"
RECORDED: Final = "AMZN, a day at Nasdaq"
RECORDED_FLOW_FILE: Final = "AMZN_flow_5.csv.gz"

MOST_TRADES_APART: Final = 0.05
"""A command, between the engine and the bare book, which knows no fill-or-kill and no post-only."""
SWEPT_LEVELS: Final = 10
SWEPT_ORDERS: Final = 50
"""That one order at the market takes."""


def measure_engine(scale: Scale, announce: Announce) -> list[Measurement]:
    """Real order flow is left out, with a word, where there is none on this machine."""
    tune_garbage_collector()  # As a node does.
    measured: list[Measurement] = []
    for name, step in STEPS.items():
        announce(name)
        measured += step(name, scale)
    return measured


def _measurement(name: str, how: str, figures: dict[str, float]) -> Measurement:
    return Measurement(name, how, figures, GROUP, name)


def _mixed(name: str, scale: Scale) -> list[Measurement]:
    """The engine and the bare book take turns on the same flow."""
    engine, bare, flow = Engine(), BareBook(), OrderFlow(SEED)

    def next_chunks() -> tuple[Chunk, Chunk]:
        commands = list(islice(flow, CHUNK_COMMANDS))
        return engine.execute(commands), _bare_chunk(bare, commands)

    figures, bare_figures = rates(next_chunks, scale)
    engine.exchange.check()
    if abs(figures["trades_per_command"] - bare_figures["trades_per_command"]) > MOST_TRADES_APART:
        raise BenchmarkFailedError("the bare book traded otherwise than the engine, so their speeds do not compare")
    speed = round(bare_figures["cpu_us_per_command"] / figures["cpu_us_per_command"], 3)
    return [
        _measurement(
            name,
            f"Exchange.apply on decoded entries of {BATCH_COMMANDS} commands of generated order flow (seed {SEED}, one "
            "symbol, 40 % cancels), every event and report built; all invariants hold at the end",
            {**figures, "speed_to_bare_book": speed},
        ),
        _measurement(
            BARE,
            "the same flow, by turns in the same run, through a book in plain Python that matches and does no more",
            bare_figures,
        ),
    ]


def _bare_chunk(bare: BareBook, commands: list[Command]) -> Chunk:
    """As the engine's: as many at a time, and what they led to is dropped with the clock stopped."""
    operations = list(map(bare_operation, commands))
    elapsed_s = cpu_s = 0.0
    trades = 0
    for first in range(0, len(operations), BATCH_COMMANDS):
        batch = operations[first : first + BATCH_COMMANDS]
        began_at, cpu_began_at = time.perf_counter(), time.thread_time()
        bare.apply(batch)
        cpu_s += time.thread_time() - cpu_began_at
        elapsed_s += time.perf_counter() - began_at
        trades += len(bare.trades)
        bare.trades.clear()
    return Chunk(elapsed_s, cpu_s, len(commands), trades=trades)


def _deep_book(name: str, scale: Scale) -> list[Measurement]:
    engine, orders = Engine(), resting_orders(ACCOUNTS)
    resting = list(islice(orders, scale.resting_orders))
    engine.execute(resting)
    waiting = iter(resting)

    def next_chunks() -> tuple[Chunk]:
        """As many come as go, the oldest first, so that the book stays as deep."""
        entered = list(islice(orders, CHUNK_COMMANDS // 2))
        nonlocal waiting
        leaving = list(islice(waiting, CHUNK_COMMANDS // 2))
        waiting = itertools.chain(waiting, entered)
        cancels = [CancelOrder(order.account, None, order.client_order_id) for order in leaving]
        return (engine.execute(itertools.chain.from_iterable(zip(entered, cancels, strict=False))),)

    (figures,) = rates(next_chunks, scale)
    engine.exchange.check()
    return [
        _measurement(
            name,
            f"{scale.resting_orders:,} orders rest at {LEVELS_PER_SIDE} prices a side; new ones join the back of their "
            "prices, and the oldest are canceled, in turn",
            figures,
        )
    ]


def _sweeps(name: str, scale: Scale) -> list[Measurement]:
    engine, numbers = Engine(), itertools.count()

    def next_chunks() -> tuple[Chunk]:
        """Only the sweeps are timed; what they take is entered before them."""
        swept = [
            _order(next(numbers), Side.SELL, MIDDLE_TICKS + place % SWEPT_LEVELS)
            for _ in range(BATCH_COMMANDS)
            for place in range(SWEPT_ORDERS)
        ]
        engine.execute(swept)
        sweeps = [
            _order(next(numbers), Side.BUY, None)._replace(quantity=Number(SWEPT_ORDERS, 0))
            for _ in range(BATCH_COMMANDS)
        ]
        return (engine.execute(sweeps),)

    (figures,) = rates(next_chunks, scale)
    if figures["trades_per_command"] != SWEPT_ORDERS:
        raise BenchmarkFailedError(f"a sweep took {figures['trades_per_command']} orders instead of {SWEPT_ORDERS}")
    figures["cpu_us_per_trade"] = round(figures["cpu_us_per_command"] / SWEPT_ORDERS, 2)
    return [
        _measurement(
            name,
            f"an order at the market that takes {SWEPT_ORDERS} orders at {SWEPT_LEVELS} prices; entering these is not "
            "in the times",
            figures,
        )
    ]


def _cancels(name: str, scale: Scale) -> list[Measurement]:
    engine, orders, random = Engine(), resting_orders(ACCOUNTS), Random(SEED)  # noqa: S311 (repeatable, no secret)

    def next_chunks() -> tuple[Chunk]:
        resting = list(islice(orders, CHUNK_COMMANDS))
        engine.execute(resting)
        random.shuffle(resting)
        return (engine.execute(CancelOrder(order.account, None, order.client_order_id) for order in resting),)

    (figures,) = rates(next_chunks, scale)
    if figures["refused_percent"]:
        raise BenchmarkFailedError("the engine refused to cancel orders that rested")
    return [
        _measurement(
            name,
            f"{CHUNK_COMMANDS:,} orders at {LEVELS_PER_SIDE} prices a side, canceled by their client order ids in any "
            "order; entering them is not in the times",
            figures,
        )
    ]


def _recorded(name: str, scale: Scale) -> list[Measurement]:
    path = find_recorded_flow()
    if path is None:
        tell(f"{name} is left out: there is no {RECORDED_FLOW_FILE}; name its folder in RAFTBOOK_TEST_DATA")
        return []
    with gzip.open(path, "rt") as lines:
        commands = [one.command for one in read_recorded_flow(lines, symbol="AMZN", account="nasdaq")]
    engine, left = Engine(()), iter(commands[:0])

    def next_chunks() -> tuple[Chunk]:
        """The day, as often as there is time for it; each time in an exchange of its own."""
        nonlocal engine, left
        chunk = list(islice(left, CHUNK_COMMANDS))
        if not chunk:
            engine, left = Engine((recorded_instrument("AMZN"),)), iter(commands)
            chunk = list(islice(left, CHUNK_COMMANDS))
        return (engine.execute(chunk),)

    (figures,) = rates(next_chunks, scale)
    if figures["refused_percent"]:
        raise BenchmarkFailedError("the engine refused what Nasdaq had accepted")
    return [
        _measurement(
            name,
            f"the {len(commands):,} commands that restore the orders and trades of AMZN at Nasdaq on 2012-06-21 "
            "(LOBSTER's sample), from its opening on and again as long as there is time",
            figures,
        )
    ]


def find_recorded_flow() -> Path | None:
    """Where the tests look for it as well."""
    named = os.environ.get("RAFTBOOK_TEST_DATA")
    path = (Path(named) if named else PROJECT_FOLDER.parent / "shared" / "data") / RECORDED_FLOW_FILE
    return path if path.is_file() else None


def _state_machine(name: str, scale: Scale) -> list[Measurement]:
    state, sequence = StateMachine(), 1
    flow: Iterator[Command] = itertools.chain(OrderFlow(SEED).instruments(), OrderFlow(SEED))

    def next_chunks() -> tuple[Chunk]:
        nonlocal sequence
        raw_entries = []
        for _ in range(CHUNK_COMMANDS // BATCH_COMMANDS):
            run = RawRun(ORIGIN, sequence, tuple(map(encode_command, islice(flow, BATCH_COMMANDS))))
            raw_entries.append(encode_entry(timestamp(sequence), [run]))
            sequence += BATCH_COMMANDS
        chunk = timed(state.apply, raw_entries, state.exchange.log_index + 1)
        if chunk.commands != CHUNK_COMMANDS:
            raise BenchmarkFailedError(f"the state machine executed {chunk.commands} of {CHUNK_COMMANDS} commands")
        return (chunk,)

    (figures,) = rates(next_chunks, scale)
    return [
        _measurement(
            name,
            f"StateMachine.apply on the mixed flow as log bytes, {BATCH_COMMANDS} commands an entry: decoding, "
            "matching, encoding of the events, digest chain; what every node does with every entry",
            figures,
        )
    ]


def _memory(name: str, scale: Scale) -> list[Measurement]:
    engine, orders = Engine(), resting_orders(ACCOUNTS)
    # Without this the interpreter's own caches would count.
    engine.execute(islice(orders, BATCH_COMMANDS))
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        for first in range(0, scale.resting_orders, BATCH_COMMANDS):
            engine.execute(islice(orders, min(BATCH_COMMANDS, scale.resting_orders - first)))
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    resting = len(engine.exchange.orders(open_only=True))
    if resting != BATCH_COMMANDS + scale.resting_orders:
        raise BenchmarkFailedError(f"{resting} orders rest where {BATCH_COMMANDS + scale.resting_orders} should")
    return [
        Measurement(
            name,
            f"tracemalloc: what {scale.resting_orders:,} more resting orders hold, their strings and indexes included, "
            f"at {LEVELS_PER_SIDE} prices a side, of {len(ACCOUNTS)} accounts",
            {"order_bytes": round((after_bytes - before_bytes) / scale.resting_orders)},
        )
    ]


def _order(number: int, side: Side, price_ticks: int | None) -> NewOrder:
    """For one; at the market where there is no price."""
    is_limit = price_ticks is not None
    return NewOrder(
        "ACME",
        ACCOUNTS[number % len(ACCOUNTS)],
        f"order-{number}",
        side,
        OrderType.LIMIT if is_limit else OrderType.MARKET,
        TimeInForce.GTC if is_limit else TimeInForce.IOC,
        None if price_ticks is None else Number(price_ticks, 2),
        Number(1, 0),
    )


STEPS: Final[dict[str, Callable[[str, Scale], list[Measurement]]]] = {
    MIXED: _mixed,
    "state machine": _state_machine,
    "deep book": _deep_book,
    "sweeps": _sweeps,
    "cancels": _cancels,
    RECORDED: _recorded,
    "memory of a resting order": _memory,
}
