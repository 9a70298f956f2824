"""Hypothesis strategies for the engine's values: every command that is valid by its shape, sensible or not."""

from __future__ import annotations

from hypothesis import strategies as st

from raftbook.codec import RawRun, encode_command
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Tick,
)
from raftbook.engine.types import (
    MAX_DECIMALS,
    MAX_INTEGER,
    Number,
    OrderType,
    Side,
    TimeInForce,
    TradingStatus,
)

symbols = st.from_regex(r"[A-Za-z0-9._\-]{1,24}", fullmatch=True)
identifiers = st.from_regex(r"[A-Za-z0-9._:\-]{1,36}", fullmatch=True)
decimals = st.integers(0, MAX_DECIMALS)
# CBOR's heads and the engine's limit are where an encoder goes wrong.
EDGES = (1, 23, 24, 255, 256, 1023, 1024, 65_535, 65_536, 2**32 - 1, 2**32, MAX_INTEGER - 1, MAX_INTEGER)
positive_integers = st.sampled_from(EDGES) | st.integers(1, MAX_INTEGER)
numbers = st.builds(Number, positive_integers, decimals)
not_after = st.none() | st.just(0) | positive_integers
sides = st.sampled_from(Side)

order_names = st.tuples(positive_integers, st.none()) | st.tuples(st.none(), identifiers)

new_orders = st.builds(
    NewOrder,
    symbols,
    identifiers,
    identifiers,
    sides,
    st.sampled_from(OrderType),
    st.sampled_from(TimeInForce),
    st.none() | numbers,
    numbers,
    st.booleans(),
    not_after,
)
cancel_orders = st.builds(
    lambda account, name, late: CancelOrder(account, *name, late), identifiers, order_names, not_after
)
replace_orders = st.builds(
    lambda account, name, price, quantity, late: ReplaceOrder(account, *name, price, quantity, late),
    identifiers,
    order_names,
    st.none() | numbers,
    st.none() | numbers,
    not_after,
)
commands: st.SearchStrategy[Command] = st.one_of(
    new_orders,
    cancel_orders,
    replace_orders,
    st.builds(CancelAll, identifiers, st.none() | symbols, st.none() | sides, not_after),
    st.builds(AddInstrument, symbols, decimals, decimals, numbers, numbers, not_after),
    st.builds(SetStatus, symbols, st.sampled_from(TradingStatus), not_after),
    st.builds(Tick, not_after),
)

timestamps = st.just(0) | positive_integers
raw_commands = st.lists(commands.map(encode_command) | st.binary(max_size=20), max_size=5).map(tuple)
raw_runs = st.builds(RawRun, identifiers, st.integers(1, MAX_INTEGER - 10) | st.just(1), raw_commands)
