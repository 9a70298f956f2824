"""The short way from JSON to a command gives what the general way gives, and refuses what that refuses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.errors import InvalidCommandError
from raftbook.json_format import command_to_json, commands_from_json_array, dumps, hot_forms
from raftbook.json_format.commands import MAX_COMMAND_JSON_BYTES, command_from_json
from raftbook.json_format.forms import FORMS, Form
from raftbook.json_format.hot_forms import command_of
from tests.support.strategies import commands

ORDER = {
    "op": "new",
    "symbol": "ACME",
    "account": "alice",
    "client_order_id": "a-1",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "gtc",
    "price": "100.25",
    "quantity": "5",
}
CANCEL = {"op": "cancel", "account": "alice", "client_order_id": "a-1"}
MARKET = {name: value for name, value in ORDER.items() if name not in ("price", "time_in_force")} | {
    "order_type": "market"
}
HOT = [ORDER, CANCEL, ORDER | {"post_only": True}, MARKET]

NAMES = ("", "alice", "a" * 24, "a" * 25, "a" * 36, "a" * 37, "a b", "ä", "default", "*", "a\n", None)
WORDS = (None, "buy", "sell", "limit", "market", "stop", "ioc", "day", "gtd", "cancel_newest", "Buy")
NUMBERS = (
    None,
    1,
    0,
    -1,
    100.25,
    "100.25",
    "1e-2",
    "0",
    "",
    " 1",
    "1" * 64,
    "0." + "1" * 63,
    "9" * 19,
    True,
    [],
    2**63,
)
TIMES = (None, 0, -1, 1, 2**63 - 1, 2**63, "1", 1.5)
VALUES = {
    "symbol": NAMES,
    "account": NAMES,
    "client_order_id": NAMES,
    "side": WORDS,
    "order_type": WORDS,
    "time_in_force": WORDS,
    "price": NUMBERS,
    "quantity": NUMBERS,
    "display_quantity": NUMBERS,
    "stop_price": NUMBERS,
    "post_only": (None, True, False, 1),
    "expire_time": TIMES,
    "not_after": TIMES,
    "order_id": TIMES,
    "self_trade_prevention": WORDS,
    "unknown": TIMES,
}
FIELDS = {name: st.sampled_from(values) for name, values in VALUES.items()}


def generated():
    return "gw-1"


def told(make):
    """Equal only where types and words are, too."""
    try:
        command = make()
    except InvalidCommandError as error:
        return "refused", str(error), error.field
    return type(command), repr(command)


def both_ways(data):
    try:
        form = msgspec.json.decode(data, type=Form)
    except msgspec.DecodeError:
        return  # There is no form yet.
    assert told(lambda: command_of(form, generated)) == told(lambda: form.to_command(generated))
    assert told(lambda: command_of(form, None)) == told(lambda: form.to_command(None))


@pytest.mark.parametrize("order", HOT, ids=str)
def test_both_ways_say_the_same_of_every_value_of_a_field_and_of_its_absence(order):
    for name, values in VALUES.items():
        both_ways(dumps({other: value for other, value in order.items() if other != name}))
        for value in values:
            both_ways(dumps(order | {name: value}))


@given(st.sampled_from(HOT), st.fixed_dictionaries({}, optional=FIELDS), st.sets(st.sampled_from(sorted(ORDER))))
def test_both_ways_say_the_same_of_many_changes_at_once(order, changed, left_out):
    both_ways(dumps({name: value for name, value in (order | changed).items() if name not in left_out - {"op"}}))


@given(commands)
def test_both_ways_make_the_same_of_every_command(command):
    both_ways(dumps(command_to_json(command)))


@pytest.mark.parametrize("order", HOT, ids=str)
def test_what_comes_most_goes_the_short_way(order, monkeypatch):
    form = FORMS[order["op"]]

    def general_way(*_arguments):
        raise AssertionError("the general way was taken")

    monkeypatch.setattr(form, "to_command", general_way)
    command_of(msgspec.json.decode(dumps(order), type=form), generated)


@given(st.lists(st.one_of(commands.map(command_to_json), st.fixed_dictionaries(FIELDS)), max_size=4))
def test_an_array_holds_what_each_of_its_elements_is_alone(elements):
    encoded = [dumps(element) for element in elements]
    read = commands_from_json_array(b"[" + b", ".join(encoded) + b"]", 4, generate_client_order_id=generated)
    alone = [told(lambda e=e: command_from_json(e, generate_client_order_id=generated)) for e in encoded]
    assert [told(lambda r=r: raised(r)) for r in read] == alone


def raised(command):
    if isinstance(command, InvalidCommandError):
        raise command
    return command


def test_an_element_that_is_too_long_is_refused_though_it_is_a_command():
    def padded(size_bytes):
        text = dumps(CANCEL)
        return text[:-1] + b" " * (size_bytes - len(text)) + b"}"

    data = b"[" + padded(MAX_COMMAND_JSON_BYTES) + b"," + padded(MAX_COMMAND_JSON_BYTES + 1) + b"]"
    longest, too_long = commands_from_json_array(data, 2)
    assert not isinstance(longest, InvalidCommandError)
    assert "at most 16384 bytes" in str(too_long)


def test_what_is_refused_fills_no_cache():
    before = hot_forms._symbol.cache_info().currsize
    for symbol in ("no symbol", "x" * 25):
        with pytest.raises(InvalidCommandError):
            command_from_json(dumps(ORDER | {"symbol": symbol}))
    assert hot_forms._symbol.cache_info().currsize == before
