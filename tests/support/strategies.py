"""Hypothesis strategies for the engine's values: every command that is valid by its shape, sensible or not."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from hypothesis import strategies as st

from raftbook.codec import RawRun, encode_command
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.types import (
    MAX_DECIMALS,
    MAX_INTEGER,
    Number,
    OrderType,
    Role,
    SelfTradePrevention,
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
optional_numbers = st.none() | numbers
optional_times = st.none() | st.just(0) | positive_integers
not_after = optional_times
sides = st.sampled_from(Side)

self_trade_preventions = st.none() | st.sampled_from(SelfTradePrevention)
order_names = st.tuples(positive_integers, st.none()) | st.tuples(st.none(), identifiers)


def with_any_of(command, **later_fields):
    """The commands of `command`, as often without all of the later fields as with some of them."""
    return command | st.builds(
        lambda fields, later: fields._replace(**later), command, st.fixed_dictionaries(later_fields)
    )


new_orders = with_any_of(
    st.builds(
        NewOrder,
        symbols,
        identifiers,
        identifiers,
        sides,
        st.sampled_from(OrderType),
        st.sampled_from(TimeInForce),
        optional_numbers,
        numbers,
        st.booleans(),
        not_after,
        *[st.none()] * 4,
    ),
    stop_price=optional_numbers,
    display_quantity=optional_numbers,
    expire_time=optional_times,
    self_trade_prevention=self_trade_preventions,
)
cancel_orders = st.builds(
    lambda account, name, late: CancelOrder(account, *name, late), identifiers, order_names, not_after
)
replace_orders = with_any_of(
    st.builds(
        lambda account, name, price, quantity, late: ReplaceOrder(account, *name, price, quantity, late),
        identifiers,
        order_names,
        optional_numbers,
        optional_numbers | st.just(Number(0, 0)),
        not_after,
    ),
    stop_price=optional_numbers,
    display_quantity=optional_numbers | st.just(Number(0, 0)),
    expire_time=optional_times,
)
new_instruments = with_any_of(
    st.builds(AddInstrument, symbols, decimals, decimals, numbers, numbers, not_after, *[st.none()] * 7),
    min_quantity=optional_numbers,
    max_quantity=optional_numbers,
    min_notional=optional_numbers,
    price_band=optional_numbers,
    market_protection=optional_numbers,
    max_open_orders=st.none() | positive_integers,
    self_trade_prevention=self_trade_preventions,
)
key_ids = st.from_regex(r"[a-z0-9]{8,32}", fullmatch=True)
new_keys = st.builds(
    CreateKey,
    key_ids,
    st.from_regex(r"[A-Za-z0-9._:@\-]{1,64}", fullmatch=True),
    st.sampled_from(Role),
    st.just(("*",)) | st.lists(identifiers, max_size=8, unique=True).map(sorted).map(tuple),
    st.binary(min_size=32, max_size=32).map(lambda raw: urlsafe_b64encode(raw).decode().rstrip("=")),
    not_after,
)
commands: st.SearchStrategy[Command] = st.one_of(
    new_orders,
    cancel_orders,
    replace_orders,
    st.builds(CancelAll, identifiers, st.none() | symbols, st.none() | sides, not_after),
    new_instruments,
    st.builds(SetStatus, symbols, st.sampled_from(TradingStatus), not_after),
    st.builds(Uncross, symbols, st.sampled_from([TradingStatus.TRADING, TradingStatus.CLOSED]), not_after),
    st.builds(Tick, not_after),
    new_keys,
    st.builds(RevokeKey, key_ids, not_after),
)

timestamps = st.just(0) | positive_integers
raw_commands = st.lists(commands.map(encode_command) | st.binary(max_size=20), max_size=5).map(tuple)
raw_runs = st.builds(RawRun, identifiers, st.integers(1, MAX_INTEGER - 10) | st.just(1), raw_commands)
