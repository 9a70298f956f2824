"""The JSON that contract and code agree on: exact numbers, fixed names, and errors that say what to do."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    CreateKey,
    Malformed,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.events import (
    AuctionEvent,
    Execution,
    Indication,
    InstrumentEvent,
    KeyEvent,
    MassCanceled,
    OrderEvent,
    OrderState,
    Rejection,
    Ticked,
    Trade,
)
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import (
    MAX_INTEGER,
    EventKind,
    Number,
    OrderStatus,
    OrderType,
    Reason,
    Role,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.errors import InvalidCommandError
from raftbook.json_format import (
    MAX_COMMAND_JSON_BYTES,
    OPERATIONS,
    book_to_json,
    command_from_fields,
    command_from_json,
    command_to_json,
    commands_from_json_array,
    decimal_text,
    dumps,
    event_to_json,
    fields_from_json,
    instrument_to_json,
    order_to_json,
    parse_instrument_spec,
    report_to_json,
)
from tests.support.strategies import commands

PUBLIC_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
NEW_KEY = {"op": "create_key", "key_id": "key00001", "name": "desk", "role": "read", "public_key": PUBLIC_KEY}
NEW = {
    "op": "new",
    "symbol": "ACME",
    "account": "alice",
    "client_order_id": "a1",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "gtc",
    "price": "100.25",
    "quantity": "5",
}
NEW_ORDER = NewOrder("ACME", "alice", "a1", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(10025, 2), Number(5, 0))


def new_with(**changes):
    """The JSON of a new order in which fields have other values, or are absent (`...`)."""
    return json.dumps({name: value for name, value in (NEW | changes).items() if value is not ...})


def new_with_quantity(text):
    return json.dumps(NEW | {"quantity": "QUANTITY"}).replace('"QUANTITY"', text)


# --- Commands in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (json.dumps(NEW), NEW_ORDER),
        (new_with(post_only=True, not_after=17), NEW_ORDER._replace(post_only=True, not_after=17)),
        (new_with(account=...), NEW_ORDER._replace(account="default")),
        (new_with(account=None, post_only=None, not_after=None), NEW_ORDER._replace(account="default")),
        (new_with(order_type=..., time_in_force=...), NEW_ORDER),
        (
            new_with(order_type="market", time_in_force=..., price=...),
            NEW_ORDER._replace(order_type=OrderType.MARKET, time_in_force=TimeInForce.IOC, price=None),
        ),
        (new_with(price=None), NEW_ORDER._replace(price=None)),
        (
            new_with(
                order_type="stop_limit",
                time_in_force="gtd",
                stop_price="99.50",
                display_quantity=2,
                expire_time=17,
                self_trade_prevention="decrement_and_cancel",
            ),
            NEW_ORDER._replace(
                order_type=OrderType.STOP_LIMIT,
                time_in_force=TimeInForce.GTD,
                stop_price=Number(9950, 2),
                display_quantity=Number(2, 0),
                expire_time=17,
                self_trade_prevention=SelfTradePrevention.DECREMENT_AND_CANCEL,
            ),
        ),
        (
            new_with(order_type="stop", time_in_force=..., price=..., stop_price=99.5),
            NEW_ORDER._replace(order_type=OrderType.STOP, price=None, stop_price=Number(995, 1)),
        ),
        (new_with(time_in_force="day"), NEW_ORDER._replace(time_in_force=TimeInForce.DAY)),
        (
            new_with(stop_price=None, display_quantity=None, expire_time=None, self_trade_prevention=None),
            NEW_ORDER,
        ),
        ('{"op":"cancel","account":"alice","client_order_id":"a1"}', CancelOrder("alice", None, "a1")),
        ('{"op":"cancel","account":"alice","order_id":7}', CancelOrder("alice", 7, None)),
        ('{"op":"cancel_all","account":"alice"}', CancelAll("alice")),
        (
            '{"op":"cancel_all","account":"alice","symbol":"ACME","side":"sell"}',
            CancelAll("alice", "ACME", Side.SELL),
        ),
        (
            '{"op":"replace","account":"alice","client_order_id":"a1","price":"100.30","quantity":"4"}',
            ReplaceOrder("alice", None, "a1", Number(10030, 2), Number(4, 0)),
        ),
        (
            '{"op":"replace","account":"alice","order_id":7,"stop_price":"99.50","display_quantity":"0","expire_time":17}',
            ReplaceOrder("alice", 7, None, None, None, None, Number(9950, 2), Number(0, 0), 17),
        ),
        (
            '{"op":"add_instrument","symbol":"ACME","price_decimals":2,"quantity_decimals":0,"tick_size":0.01,"lot_size":1}',
            AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0)),
        ),
        (
            '{"op":"add_instrument","symbol":"ACME","price_decimals":4,"quantity_decimals":3}',
            AddInstrument("ACME", 4, 3, Number(1, 4), Number(1, 3)),
        ),
        (
            (
                '{"op":"add_instrument","symbol":"ACME","price_decimals":2,"quantity_decimals":0,"min_quantity":"2",'
                '"max_quantity":1000,"min_notional":"50","price_band":"5","market_protection":2.5,"max_open_orders":200,'
                '"self_trade_prevention":"cancel_oldest"}'
            ),
            AddInstrument(
                "ACME",
                2,
                0,
                Number(1, 2),
                Number(1, 0),
                None,
                Number(2, 0),
                Number(1000, 0),
                Number(50, 0),
                Number(5, 0),
                Number(25, 1),
                200,
                SelfTradePrevention.CANCEL_OLDEST,
            ),
        ),
        ('{"op":"set_status","symbol":"ACME","status":"halted"}', SetStatus("ACME", TradingStatus.HALTED)),
        ('{"op":"set_status","symbol":"ACME","status":"auction"}', SetStatus("ACME", TradingStatus.AUCTION)),
        ('{"op":"uncross","symbol":"ACME"}', Uncross("ACME", TradingStatus.TRADING)),
        ('{"op":"uncross","symbol":"ACME","status":"trading"}', Uncross("ACME", TradingStatus.TRADING)),
        ('{"op":"uncross","symbol":"ACME","status":"closed"}', Uncross("ACME", TradingStatus.CLOSED)),
        ('{"op":"tick"}', Tick()),
        (
            json.dumps(NEW_KEY | {"role": "trade", "accounts": ["bob", "alice"]}),
            CreateKey("key00001", "desk", Role.TRADE, ("alice", "bob"), PUBLIC_KEY),
        ),
        (
            json.dumps(NEW_KEY | {"role": "admin"}),
            CreateKey("key00001", "desk", Role.ADMIN, ("*",), PUBLIC_KEY),
        ),
        (
            json.dumps(NEW_KEY),
            CreateKey("key00001", "desk", Role.READ, (), PUBLIC_KEY),
        ),
        (
            json.dumps(NEW_KEY | {"accounts": ["*"], "not_after": 17}),
            CreateKey("key00001", "desk", Role.READ, ("*",), PUBLIC_KEY, 17),
        ),
        ('{"op":"revoke_key","key_id":"key00001"}', RevokeKey("key00001")),
        (' \n{"op" : "tick"}\r\n', Tick()),
    ],
)
def test_the_contracts_commands(text, command):
    assert command_from_json(text) == command
    assert command_from_json(text.encode()) == command
    fields = fields_from_json(text)
    op = msgspec.json.decode(fields.pop("op"))
    assert command_from_fields(op, fields) == command


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100.25", Number(10025, 2)),
        ('"100.25"', Number(10025, 2)),
        ("5", Number(5, 0)),
        ('"100.250"', Number(100250, 3)),
        ("0.1", Number(1, 1)),
        ("0.30000000000000004", Number(30000000000000004, 17)),
        ("9007199254740993", Number(9007199254740993, 0)),
        ("9007199254740993.5", Number(90071992547409935, 1)),
        (str(MAX_INTEGER), Number(MAX_INTEGER, 0)),
        ("0.000000000000000001", Number(1, 18)),
        ("1e2", Number(100, 0)),
        ("1E+2", Number(100, 0)),
        ("1e-05", Number(1, 5)),
        ("12.5e1", Number(125, 0)),
        ("12.5e-1", Number(125, 2)),
        ('"1e3"', Number(1000, 0)),
    ],
)
def test_numbers_are_exact(text, number):
    assert command_from_json(new_with_quantity(text)).quantity == number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0", "0 is not above zero"),
        ('"0.00"', "not above zero"),
        ("-5", "-5 is not above zero"),
        ('"-0.01"', "not above zero"),
        ("-0", "not above zero"),
        ('"NaN"', "no decimal number"),
        ('"Infinity"', "no decimal number"),
        ('""', "no decimal number"),
        ('" 5"', "no decimal number"),
        ('"+5"', "no decimal number"),
        ('".5"', "no decimal number"),
        ('"5."', "no decimal number"),
        ('"05"', "no decimal number"),
        ('"1_000"', "no decimal number"),
        ('"1,000"', "no decimal number"),
        ('"0x10"', "no decimal number"),
        ('"\u0665"', "no decimal number"),
        ('"5', "not valid JSON"),
        ("true", "no decimal number"),
        ("null", "no decimal number"),
        ("[]", "no decimal number"),
        ('{"a":1}', "no decimal number"),
        ("NaN", "not valid JSON"),
        ("Infinity", "not valid JSON"),
        ("0.0000000000000000001", "more than 18 decimals"),
        ("1e-19", "more than 18 decimals"),
        (str(MAX_INTEGER + 1), "more digits than a signed 64-bit integer holds"),
        ("1e19", "more digits"),
        ("1e999", "more digits"),
        ("1e9999", "no decimal number"),
        ("1" * 10_000, "10000 characters"),
        ("0." + "1" * 10_000, "10002 characters"),
    ],
)
def test_a_quantity_that_is_no_number_above_zero_is_refused(text, problem):
    with pytest.raises(InvalidCommandError, match=re.escape(problem)) as caught:
        command_from_json(new_with_quantity(text))
    assert caught.value.field in {"quantity", None}
    if caught.value.field:
        assert 'expected a decimal number above zero, such as "5"' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("", None, "truncated"),
        ("{", None, "truncated"),
        (json.dumps(NEW)[:-1], None, "truncated"),
        ("[]", None, "expected a JSON object, got array"),
        ("null", None, "expected a JSON object, got null"),
        ("17", None, "expected a JSON object, got int"),
        ('{"op":"tick"} {"op":"tick"}', None, "trailing characters"),
        ('{"op":"tick"}\x00', None, "trailing characters"),
        ("{'op':'tick'}", None, "not valid JSON"),
        ('{"op":"tick",}', None, "not valid JSON"),
        ('{"symbol":"ACME"}', "op", "op: missing; expected one of new, cancel"),
        ('{"op":"nwe"}', "op", "op: .*'nwe'.*; expected one of new, cancel"),
        ('{"op":7}', "op", "op: expected `str`"),
        (new_with(symbol=...), "symbol", "symbol: missing; expected a string of 1 to 24"),
        (new_with(symbol=5), "symbol", "symbol: got int; expected a string"),
        (new_with(symbol=""), "symbol", "symbol: '' is no symbol"),
        (new_with(symbol="A" * 25), "symbol", "is no symbol"),
        (new_with(symbol="AC\u0000ME"), "symbol", "is no symbol"),
        (new_with(symbol="A" * 5000), "symbol", r"\(5000 characters\) is no symbol"),
        (new_with(account="al ice"), "account", "account: 'al ice' is no identifier"),
        (new_with(client_order_id=...), "client_order_id", "client_order_id: missing"),
        (new_with(client_order_id="a" * 37), "client_order_id", "is no identifier"),
        (new_with(client_order_id="\u0661"), "client_order_id", "is no identifier"),
        (new_with(side="by"), "side", "side: unknown value 'by'; expected buy or sell; did you mean buy?"),
        (new_with(side=1), "side", "side: got int; expected buy or sell"),
        (new_with(side="BUY"), "side", "side: unknown value 'BUY'"),
        (
            new_with(order_type="limt"),
            "order_type",
            "order_type: unknown value 'limt'; expected limit, market, stop or stop_limit; did you mean limit?",
        ),
        (new_with(order_type=3), "order_type", "order_type: got int; expected limit, market, stop or stop_limit"),
        (new_with(time_in_force="gdt"), "time_in_force", "expected gtc, ioc, fok, day or gtd; did you mean gtd?"),
        (
            new_with(self_trade_prevention="cancel_old"),
            "self_trade_prevention",
            (
                "expected none, cancel_newest, cancel_oldest, cancel_both or decrement_and_cancel; "
                "did you mean cancel_oldest?"
            ),
        ),
        (new_with(self_trade_prevention=True), "self_trade_prevention", "got bool; expected none, cancel_newest"),
        (
            new_with(stop_price="0"),
            "stop_price",
            'stop_price: "0" is not above zero; expected a decimal number above zero, such as "99.50"',
        ),
        (new_with(stop_price="x"), "stop_price", "stop_price: .* is no decimal number"),
        (new_with(display_quantity=0), "display_quantity", "display_quantity: 0 is not above zero"),
        (new_with(expire_time="soon"), "expire_time", "expire_time: got str; expected an integer from 0 to .*nanosec"),
        (new_with(expire_time=-1), "expire_time", "expire_time: -1 is out of range"),
        (new_with(expire_time=2**63), "expire_time", "out of range"),
        (new_with(stop_prize="1"), "stop_prize", "did you mean stop_price?"),
        (new_with(min_quantity="1"), "min_quantity", "'min_quantity': unknown field; did you mean quantity?"),
        (new_with(pirce="1"), "pirce", "'pirce': unknown field; did you mean price?"),
        (new_with(zzzzzz="1"), "zzzzzz", "unknown field; known are op, symbol"),
        (new_with(post_only=1), "post_only", "post_only: got int; expected true or false"),
        (new_with(post_only="true"), "post_only", "post_only: got str"),
        (json.dumps(NEW_KEY | {"key_id": "A"}), "key_id", "key_id: 'A' is none; expected a string of 8 to 32 of"),
        (json.dumps(NEW_KEY | {"name": "the desk"}), "name", "name: 'the desk' is none; expected a string of 1 to 64"),
        (json.dumps(NEW_KEY | {"role": "root"}), "role", "unknown value 'root'; expected read, trade or admin"),
        (json.dumps(NEW_KEY | {"public_key": "A" * 44}), "public_key", "is none; expected 43 characters"),
        (json.dumps(NEW_KEY | {"accounts": "alice"}), "accounts", "accounts: got str; expected an array of at most 8"),
        (json.dumps(NEW_KEY | {"accounts": ["al ice"]}), "accounts", "'al ice' is no identifier; expected an array"),
        (json.dumps(NEW_KEY | {"accounts": ["*", "a"]}), "accounts", "'\\*' is no identifier"),
        (json.dumps(NEW_KEY | {"accounts": ["a", "b", "a"]}), "accounts", "'a' is given twice"),
        (json.dumps(NEW_KEY | {"accounts": list("abcdefghi")}), "accounts", "9 are given; expected an array of at"),
        (new_with(not_after=1.5), "not_after", "not_after: got float; expected an integer from 0"),
        (new_with(not_after=-1), "not_after", "not_after: -1 is out of range"),
        (new_with(not_after=2**63), "not_after", "is out of range"),
        (new_with(not_after=10**400), "not_after", "out of range"),
        ('{"op":"replace","order_id":1,"side":"buy"}', "side", "'side': unknown field; known are op, account"),
        ('{"op":"tick","x":"y"}', "x", "'x': unknown field; known are op, not_after$"),
        ('{"op":"cancel","account":"a"}', "client_order_id", "neither is given; name the order by exactly one"),
        ('{"op":"cancel","order_id":1,"client_order_id":"a"}', "client_order_id", "both are given"),
        ('{"op":"cancel","order_id":0}', "order_id", "order_id: 0 is out of range"),
        ('{"op":"cancel","order_id":"1"}', "order_id", "order_id: got str"),
        ('{"op":"cancel","order_id":true}', "order_id", "order_id: got bool"),
        (
            '{"op":"replace","order_id":1,"quantity":-1}',
            "quantity",
            'quantity: -1 is below zero; expected a decimal number of zero or more, such as "5"',
        ),
        ('{"op":"replace","order_id":1,"display_quantity":-1}', "display_quantity", "-1 is below zero"),
        ('{"op":"replace","order_id":1,"stop_price":0}', "stop_price", "0 is not above zero"),
        ('{"op":"replace","order_id":1,"expire_time":1.5}', "expire_time", "got float"),
        ('{"op":"replace","order_id":1,"self_trade_prevention":"none"}', "self_trade_prevention", "unknown field"),
        (
            '{"op":"add_instrument","symbol":"A","price_decimals":19,"quantity_decimals":0}',
            "price_decimals",
            "price_decimals: 19 is out of range; expected an integer from 0 to 18",
        ),
        ('{"op":"add_instrument","symbol":"A","price_decimals":2}', "quantity_decimals", "missing"),
        (
            '{"op":"add_instrument","symbol":"A","price_decimals":2,"quantity_decimals":0,"price_band":"0"}',
            "price_band",
            'not above zero; expected percent as a decimal number above zero, such as "5"',
        ),
        (
            '{"op":"add_instrument","symbol":"A","price_decimals":2,"quantity_decimals":0,"max_open_orders":0}',
            "max_open_orders",
            "max_open_orders: 0 is out of range; expected an integer from 1",
        ),
        (
            '{"op":"add_instrument","symbol":"A","price_decimals":2,"quantity_decimals":0,"max_open_orders":"9"}',
            "max_open_orders",
            "max_open_orders: got str",
        ),
        (
            '{"op":"set_status","symbol":"A","status":"open"}',
            "status",
            "status: unknown value 'open'; expected trading, halted, closed or auction",
        ),
        ('{"op":"set_status","symbol":"A","status":1}', "status", "got int; expected trading, halted, closed or auct"),
        ('{"op":"set_status","symbol":"A"}', "status", "status: missing; expected trading, halted, closed or auction"),
        (
            '{"op":"uncross","symbol":"A","status":"halted"}',
            "status",
            "status: unknown value 'halted'; expected trading or closed$",
        ),
        ('{"op":"uncross","symbol":"A","status":1}', "status", "status: got int; expected trading or closed$"),
        ('{"op":"uncross"}', "symbol", "symbol: missing"),
        ('{"op":"uncros","symbol":"A"}', "op", "op: .*expected one of new, cancel, .*, create_key, revoke_key$"),
        ('{"op":"new","symbol":"A","quantity":' + "[" * 16_000, None, "nested too deeply"),
        ("[" * 10_000_000, None, "at most 16384 bytes"),
    ],
)
def test_an_error_names_the_field_the_problem_and_what_is_expected(text, field, message):
    with pytest.raises(InvalidCommandError, match=message) as caught:
        command_from_json(text)
    assert caught.value.field == field or "unknown field" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("fields", "time_in_force"),
    [
        ({"order_type": "limit"}, TimeInForce.GTC),
        ({"order_type": "market"}, TimeInForce.IOC),
        ({"order_type": "stop"}, TimeInForce.GTC),
        ({"order_type": "stop_limit"}, TimeInForce.GTC),
        ({"order_type": "limit", "expire_time": 1}, TimeInForce.GTD),
        ({"order_type": "stop", "expire_time": 0}, TimeInForce.GTD),
        ({"order_type": "market", "expire_time": 1}, TimeInForce.GTD),
        ({"order_type": "limit", "expire_time": None}, TimeInForce.GTC),
        ({"order_type": "limit", "expire_time": 1, "time_in_force": "ioc"}, TimeInForce.IOC),
    ],
)
def test_a_time_in_force_that_is_not_said(fields, time_in_force):
    assert command_from_json(new_with(**{"time_in_force": ..., **fields})).time_in_force is time_in_force


def test_the_uncross_of_a_path_is_held_to_what_may_follow_an_auction():
    assert command_from_json('{"symbol":"A","status":"closed"}', "uncross") == Uncross("A", TradingStatus.CLOSED)
    for status in ("auction", 7):
        with pytest.raises(InvalidCommandError, match=r"expected trading or closed$"):
            command_from_json(json.dumps({"symbol": "A", "status": status}), "uncross")


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(InvalidCommandError, match="UTF-8"):
        command_from_json(b'{"op":"set_status","symbol":"\xff","status":"halted"}')
    with pytest.raises(InvalidCommandError, match="Unicode"):
        command_from_json('{"op":"\ud800"}')
    with pytest.raises(InvalidCommandError, match="Unicode"):
        fields_from_json('{"op":"\ud800"}')


def test_a_number_whose_bytes_are_not_utf_8_is_the_fault_of_its_own_element_alone():
    sound = json.dumps(NEW).encode()
    broken = new_with_quantity('"QUANTITY"').encode().replace(b"QUANTITY", b"5\xff")
    with pytest.raises(InvalidCommandError, match=r"quantity: .* is no decimal number"):
        command_from_json(broken)
    first, second = commands_from_json_array(b"[%b,%b]" % (broken, sound), 2)
    assert isinstance(first, InvalidCommandError)
    assert second == command_from_json(sound)


def test_a_missing_client_order_id_comes_from_the_caller():
    text = new_with(client_order_id=...)
    assert command_from_json(text, generate_client_order_id=lambda: "made-1").client_order_id == "made-1"
    assert command_from_json(json.dumps(NEW), generate_client_order_id=lambda: "made-1").client_order_id == "a1"


def test_op_may_come_from_elsewhere():
    without_op = {name: value for name, value in NEW.items() if name != "op"}
    assert command_from_json(json.dumps(without_op), "new") == NEW_ORDER
    assert command_from_json(json.dumps(NEW), "new") == NEW_ORDER
    with pytest.raises(InvalidCommandError, match="op: only cancel can stand here; write that or leave it out"):
        command_from_json(json.dumps(NEW), "cancel")
    with pytest.raises(InvalidCommandError, match=r"op: unknown operation 'cancle'.*did you mean cancel\?"):
        command_from_json("{}", "cancle")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.1", Number(1, 1)),
        (5, Number(5, 0)),
        (0.1, Number(1, 1)),
        (Decimal("100.250"), Number(100250, 3)),
        (msgspec.Raw(b"9007199254740993.5"), Number(90071992547409935, 1)),
    ],
)
def test_fields_may_be_values_of_python(value, number):
    assert command_from_fields("new", NEW | {"op": "new", "quantity": value}).quantity == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"5", [5], {"a": 5}, object(), 2**70, -1, "\ud800"])
def test_fields_that_are_no_values_of_json_are_refused(value):
    with pytest.raises(InvalidCommandError):
        command_from_fields("new", NEW | {"quantity": value})
    with pytest.raises(InvalidCommandError):
        command_from_fields("replace", {"order_id": 1, "price": value})


def test_an_array_keeps_its_order_and_its_errors_in_place():
    good, bad = json.dumps(NEW), '{"op":"tick","not_after":"soon"}'
    first, second, third, fourth = commands_from_json_array(f'[{good},{bad},17,{{"op":"tick"}}]'.encode(), 4)
    assert first == NEW_ORDER
    assert isinstance(second, InvalidCommandError)
    assert second.field == "not_after"
    assert isinstance(third, InvalidCommandError)
    assert fourth == Tick()
    assert commands_from_json_array(b"[]", 4) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"{}", "expected a JSON array, got object"),
        (b"[1,2,3,4,5]", "5 commands; send at most 4 at a time"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b"[1]\xff", "not valid JSON"),
    ],
)
def test_an_array_that_is_none_or_too_long_is_refused(data, message):
    with pytest.raises(InvalidCommandError, match=message):
        commands_from_json_array(data, 4)


def test_one_command_of_an_array_is_bounded_too():
    big = b'[{"op":"tick","x":"' + b"x" * MAX_COMMAND_JSON_BYTES + b'"}]'
    (error,) = commands_from_json_array(big, 1)
    assert isinstance(error, InvalidCommandError)
    assert "at most 16384 bytes" in str(error)


def test_an_instrument_spec():
    assert parse_instrument_spec("ACME,price_decimals=2,quantity_decimals=0,tick_size=0.05,lot_size=100") == (
        AddInstrument("ACME", 2, 0, Number(5, 2), Number(100, 0))
    )
    assert parse_instrument_spec("X, price_decimals=4, quantity_decimals=1").tick_size == Number(1, 4)
    assert parse_instrument_spec("X,price_decimals=00000000000000000000004,quantity_decimals=0").price_decimals == 4


def test_an_instrument_spec_with_every_limit():
    spec = parse_instrument_spec(
        "ACME,price_decimals=2,quantity_decimals=0,min_quantity=2,max_quantity=1000,min_notional=50,price_band=5,"
        "market_protection=2.5,max_open_orders=200,self_trade_prevention=cancel_both"
    )
    assert spec == AddInstrument(
        "ACME", 2, 0, Number(1, 2), Number(1, 0), None, Number(2, 0), Number(1000, 0), Number(50, 0), Number(5, 0),
        Number(25, 1), 200, SelfTradePrevention.CANCEL_BOTH,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "missing"),
        ("ACME", "price_decimals: missing"),
        ("ACME,price_decimals", "must be name=value"),
        ("ACME,price_decimals=", "must be name=value"),
        ("ACME,price_decimals=1,price_decimals=1", "given twice"),
        ("ACME,symbol=B", "given twice"),
        ("ACME,price_decimal=1", "did you mean price_decimals?"),
        ("ACME,price_decimals=two,quantity_decimals=0", "price_decimals: got str; expected an integer from 0 to 18"),
        ("ACME,price_decimals=2,quantity_decimals=0,tick_size=-1", "tick_size: -1 is not above zero|not above zero"),
        ("AC ME,price_decimals=2,quantity_decimals=0", "symbol: 'AC ME' is no symbol"),
        ("ACME,price_decimals=" + "9" * 9000 + ",quantity_decimals=0", "out of range"),
        ("ACME,price_decimals=2,quantity_decimals=0,max_open_orders=0", "max_open_orders: 0 is out of range"),
        ("ACME,price_decimals=2,quantity_decimals=0,max_open_orders=many", "max_open_orders: got str"),
        ("ACME,price_decimals=2,quantity_decimals=0,price_band=5%", "price_band: .*5%.* is no decimal number"),
        ("ACME,price_decimals=2,quantity_decimals=0,price_bnad=5", "did you mean price_band?"),
        ("ACME,price_decimals=2,quantity_decimals=0,self_trade_prevention=all", "expected none, cancel_newest"),
    ],
)
def test_an_instrument_spec_that_is_none(spec, message):
    with pytest.raises(InvalidCommandError, match=message):
        parse_instrument_spec(spec)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_random_text_is_a_command_or_an_error(data):
    # Any other exception fails the test.
    with suppress(InvalidCommandError):
        assert not isinstance(command_from_json(data), Malformed)


FIELD_NAMES = sorted({name for form in (NewOrder, ReplaceOrder, AddInstrument, CreateKey) for name in form._fields})


@given(
    st.dictionaries(
        st.sampled_from([*FIELD_NAMES, "op", "zzz"]), st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    )
)
def test_random_fields_are_a_command_or_an_error(fields):
    for op in OPERATIONS:
        with suppress(InvalidCommandError):
            command = command_from_json(json.dumps(fields), op)
            assert command_from_json(dumps(command_to_json(command))) == command


# --- Commands out ----------------------------------------------------------------------------------------------------


@given(commands)
def test_a_command_comes_back_from_its_json(command):
    text = dumps(command_to_json(command))
    assert command_from_json(text) == command
    assert command_from_json(json.dumps(json.loads(text))) == command


def test_a_command_as_json_has_the_contracts_names():
    assert command_to_json(NEW_ORDER) == NEW
    stop = NEW_ORDER._replace(
        order_type=OrderType.STOP_LIMIT,
        time_in_force=TimeInForce.GTD,
        stop_price=Number(9950, 2),
        display_quantity=Number(2, 0),
        expire_time=17,
        self_trade_prevention=SelfTradePrevention.NONE,
    )
    assert command_to_json(stop) == NEW | {
        "order_type": "stop_limit",
        "time_in_force": "gtd",
        "stop_price": "99.50",
        "display_quantity": "2",
        "expire_time": 17,
        "self_trade_prevention": "none",
    }
    assert command_to_json(Uncross("ACME", TradingStatus.CLOSED)) == {
        "op": "uncross",
        "symbol": "ACME",
        "status": "closed",
    }


@given(st.integers(0, MAX_INTEGER), st.integers(0, 36))
def test_a_decimal_text_has_exactly_the_decimals_asked_for(units, decimals):
    text = decimal_text(units, decimals)
    assert Decimal(text) == Decimal(units).scaleb(-decimals)
    assert len(text.partition(".")[2]) == decimals


# --- Events and reports ----------------------------------------------------------------------------------------------

INSTRUMENTS = {"ACME": Instrument("ACME", 2, 1, 5, 10)}
ORDER = OrderState(
    1, "a1", "alice", "ACME", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 10025, 50, 20, 30, 200500,
    OrderStatus.OPEN,
)  # fmt: skip
ORDER_JSON = {
    "order_id": 1,
    "client_order_id": "a1",
    "account": "alice",
    "symbol": "ACME",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "gtc",
    "price": "100.25",
    "quantity": "5.0",
    "filled_quantity": "2.0",
    "leaves_quantity": "3.0",
    "notional": "200.500",
    "status": "open",
}
TRADE = Trade(
    EventKind.TRADE, "ACME", 7, 12, 99, 3, 10025, 20, 1, "b1", "bob", 2, "a1", "alice", Side.BUY
)  # fmt: skip
TRADE_JSON = {
    "event": "trade",
    "symbol": "ACME",
    "sequence": 7,
    "log_index": 12,
    "timestamp": 99,
    "trade_id": 3,
    "price": "100.25",
    "quantity": "2.0",
    "maker_order_id": 1,
    "maker_client_order_id": "b1",
    "maker_account": "bob",
    "taker_order_id": 2,
    "taker_client_order_id": "a1",
    "taker_account": "alice",
    "taker_side": "buy",
}
STOP_LIMIT = replace(
    ORDER,
    order_type=OrderType.STOP_LIMIT,
    time_in_force=TimeInForce.GTD,
    status=OrderStatus.UNTRIGGERED,
    stop_price=9950,
    display_quantity=20,
    visible_quantity=0,
    expire_time=17,
    self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST,
)
STOP_LIMIT_JSON = ORDER_JSON | {
    "order_type": "stop_limit",
    "time_in_force": "gtd",
    "status": "untriggered",
    "stop_price": "99.50",
    "display_quantity": "2.0",
    "visible_quantity": "0.0",
    "expire_time": 17,
    "self_trade_prevention": "cancel_oldest",
}
ACCEPTED = OrderEvent(EventKind.ORDER_ACCEPTED, "ACME", 6, 12, 99, ORDER)
INDICATION = AuctionEvent(EventKind.INDICATIVE_CHANGED, "ACME", 6, 12, 99, 10025, 50, 15, Side.SELL)
PLACE_JSON = {"symbol": "ACME", "sequence": 6, "log_index": 12, "timestamp": 99}


def test_an_order_as_json():
    assert order_to_json(ORDER, INSTRUMENTS) == ORDER_JSON
    market = replace(ORDER, price=None, order_type=OrderType.MARKET, time_in_force=TimeInForce.IOC, post_only=True)
    market_json = order_to_json(market, INSTRUMENTS)
    assert "price" not in market_json
    assert market_json["order_type"] == "market"
    assert market_json["post_only"] is True
    assert order_to_json(STOP_LIMIT, INSTRUMENTS) == STOP_LIMIT_JSON


def test_what_the_book_shows_of_an_order_is_told_of_an_iceberg_only():
    assert "visible_quantity" not in order_to_json(replace(ORDER, visible_quantity=30), INSTRUMENTS)
    iceberg = order_to_json(replace(ORDER, display_quantity=20, visible_quantity=10), INSTRUMENTS)
    assert (iceberg["display_quantity"], iceberg["visible_quantity"]) == ("2.0", "1.0")


def test_every_field_of_an_order_is_told():
    told = order_to_json(replace(STOP_LIMIT, post_only=True), INSTRUMENTS)
    assert set(told) == set(OrderState.__struct_fields__)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (TRADE, TRADE_JSON),
        (ACCEPTED, {"event": "order_accepted", **PLACE_JSON, **ORDER_JSON}),
        (
            replace(ACCEPTED, kind=EventKind.ORDER_CANCELED, reason=Reason.NO_LIQUIDITY),
            {"event": "order_canceled", **PLACE_JSON, **ORDER_JSON, "reason": "no_liquidity"},
        ),
        (replace(TRADE, auction=True), TRADE_JSON | {"auction": True}),
        (
            replace(ACCEPTED, kind=EventKind.ORDER_TRIGGERED, order=replace(STOP_LIMIT, status=OrderStatus.OPEN)),
            {"event": "order_triggered", **PLACE_JSON, **STOP_LIMIT_JSON, "status": "open"},
        ),
        (
            replace(ACCEPTED, kind=EventKind.ORDER_RESTATED, reason=Reason.ICEBERG_REFRESH),
            {"event": "order_restated", **PLACE_JSON, **ORDER_JSON, "reason": "iceberg_refresh"},
        ),
        (
            replace(
                ACCEPTED,
                kind=EventKind.ORDER_CANCELED, reason=Reason.SELF_TRADE, prevented_by_order_id=9,
                order=replace(ORDER, status=OrderStatus.CANCELED),
            ),
            {
                "event": "order_canceled",
                **PLACE_JSON,
                **ORDER_JSON,
                "status": "canceled",
                "reason": "self_trade",
                "prevented_by_order_id": 9,
            },
        ),
        (
            replace(
                ACCEPTED,
                kind=EventKind.ORDER_CANCELED, reason=Reason.EXPIRED, order=replace(ORDER, status=OrderStatus.EXPIRED)
            ),
            {"event": "order_canceled", **PLACE_JSON, **ORDER_JSON, "status": "expired", "reason": "expired"},
        ),
        (
            INDICATION,
            {
                "event": "indicative_changed",
                **PLACE_JSON,
                "price": "100.25",
                "quantity": "5.0",
                "imbalance_quantity": "1.5",
                "imbalance_side": "sell",
            },
        ),
        (
            replace(
                INDICATION,
                kind=EventKind.AUCTION_UNCROSSED, price=None, quantity=0, imbalance_quantity=0, imbalance_side=None
            ),
            {"event": "auction_uncrossed", **PLACE_JSON, "quantity": "0.0", "imbalance_quantity": "0.0"},
        ),
        (
            InstrumentEvent(
                EventKind.STATUS_CHANGED, "ACME", 6, 12, 99, INSTRUMENTS["ACME"], TradingStatus.AUCTION,
                Reason.VOLATILITY,
            ),
            {
                "event": "status_changed",
                **PLACE_JSON,
                "price_decimals": 2,
                "quantity_decimals": 1,
                "tick_size": "0.05",
                "lot_size": "1.0",
                "status": "auction",
                "reason": "volatility",
            },
        ),
        (
            Rejection(
                EventKind.STATUS_REJECTED, "ACME", 6, 12, 99, Uncross("ACME", TradingStatus.CLOSED, 5),
                Reason.NOT_IN_AUCTION,
            ),
            {
                "event": "status_rejected",
                **PLACE_JSON,
                "requested_status": "closed",
                "status": "rejected",
                "reason": "not_in_auction",
            },
        ),
        (
            replace(ACCEPTED, sequence=None, duplicate=True),
            {
                "event": "order_accepted",
                "symbol": "ACME",
                "log_index": 12,
                "timestamp": 99,
                **ORDER_JSON,
                "duplicate": True,
            },
        ),
        (
            Rejection(
                EventKind.ORDER_REJECTED, "NONE", None, 12, 99, NEW_ORDER._replace(symbol="NONE", not_after=5),
                Reason.UNKNOWN_SYMBOL, "add the instrument first",
            ),
            {
                "event": "order_rejected",
                "symbol": "NONE",
                "log_index": 12,
                "timestamp": 99,
                "account": "alice",
                "client_order_id": "a1",
                "side": "buy",
                "order_type": "limit",
                "time_in_force": "gtc",
                "price": "100.25",
                "quantity": "5",
                "status": "rejected",
                "reason": "unknown_symbol",
                "detail": "add the instrument first",
            },
        ),
        (
            Rejection(
                EventKind.REPLACE_REJECTED, "ACME", 6, 12, 99,
                ReplaceOrder("alice", 1, None, Number(100251, 3), None), Reason.PRICE_TOO_PRECISE, None, ORDER,
            ),
            {
                "event": "replace_rejected",
                **PLACE_JSON,
                "account": "alice",
                "order_id": 1,
                "price": "100.251",
                "status": "rejected",
                "reason": "price_too_precise",
                "order": ORDER_JSON,
            },
        ),
        (
            Rejection(
                EventKind.STATUS_REJECTED, "NONE", None, 12, 99, SetStatus("NONE", TradingStatus.HALTED),
                Reason.UNKNOWN_SYMBOL,
            ),
            {
                "event": "status_rejected",
                "symbol": "NONE",
                "log_index": 12,
                "timestamp": 99,
                "requested_status": "halted",
                "status": "rejected",
                "reason": "unknown_symbol",
            },
        ),
        (
            Rejection(
                EventKind.COMMAND_REJECTED, None, None, 12, 99, Malformed("unknown version"), Reason.MALFORMED,
                "unknown version",
            ),
            {
                "event": "command_rejected",
                "log_index": 12,
                "timestamp": 99,
                "status": "rejected",
                "reason": "malformed",
                "detail": "unknown version",
            },
        ),
        (
            Rejection(
                EventKind.ORDER_REJECTED, "ACME", None, 12, 99, NEW_ORDER._replace(price=None),
                Reason.INVALID_ORDER, "a limit order needs a price", duplicate=True,
            ),
            {
                "event": "order_rejected",
                "symbol": "ACME",
                "log_index": 12,
                "timestamp": 99,
                "account": "alice",
                "client_order_id": "a1",
                "side": "buy",
                "order_type": "limit",
                "time_in_force": "gtc",
                "quantity": "5",
                "status": "rejected",
                "reason": "invalid_order",
                "detail": "a limit order needs a price",
                "duplicate": True,
            },
        ),
        (
            MassCanceled(EventKind.MASS_CANCELED, 12, 99, "alice", "ACME", Side.SELL, 3),
            {
                "event": "mass_canceled",
                "log_index": 12,
                "timestamp": 99,
                "account": "alice",
                "symbol": "ACME",
                "side": "sell",
                "canceled_count": 3,
            },
        ),
        (
            InstrumentEvent(EventKind.INSTRUMENT_ADDED, "ACME", 6, 12, 99, INSTRUMENTS["ACME"], TradingStatus.TRADING),
            {
                "event": "instrument_added",
                **PLACE_JSON,
                "price_decimals": 2,
                "quantity_decimals": 1,
                "tick_size": "0.05",
                "lot_size": "1.0",
                "status": "trading",
            },
        ),
        (Ticked(EventKind.TICKED, 12, 99), {"event": "ticked", "log_index": 12, "timestamp": 99}),
        (
            KeyEvent(
                EventKind.KEY_REVOKED, 12, 99, KeyRecord("key00001", "desk", Role.READ, ("a", "b"), PUBLIC_KEY, 90, 99)
            ),
            {
                "event": "key_revoked",
                "log_index": 12,
                "timestamp": 99,
                "key_id": "key00001",
                "name": "desk",
                "role": "read",
                "accounts": ["a", "b"],
                "public_key": PUBLIC_KEY,
                "created_at": 90,
                "revoked_at": 99,
            },
        ),
        (
            Rejection(
                EventKind.KEY_REJECTED, None, None, 12, 99,
                CreateKey("key00001", "desk", Role.TRADE, (), PUBLIC_KEY, 100), Reason.INVALID_KEY, "no account",
            ),
            {
                "event": "key_rejected",
                "log_index": 12,
                "timestamp": 99,
                "key_id": "key00001",
                "name": "desk",
                "role": "trade",
                "accounts": [],
                "public_key": PUBLIC_KEY,
                "status": "rejected",
                "reason": "invalid_key",
                "detail": "no account",
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_events_as_json(event, expected):
    assert event_to_json(event, INSTRUMENTS) == expected
    assert json.loads(dumps(event_to_json(event, INSTRUMENTS))) == expected


def test_an_instrument_as_json():
    assert instrument_to_json(INSTRUMENTS["ACME"], TradingStatus.CLOSED)["status"] == "closed"


def test_an_instrument_as_json_tells_the_limits_that_it_has():
    limited = Instrument("ACME", 2, 1, 5, 10, 20, 10_000, 50_000, 525, 25, 200, SelfTradePrevention.CANCEL_NEWEST)
    told = instrument_to_json(limited, TradingStatus.TRADING)
    assert told == {
        "symbol": "ACME",
        "price_decimals": 2,
        "quantity_decimals": 1,
        "tick_size": "0.05",
        "lot_size": "1.0",
        "min_quantity": "2.0",
        "max_quantity": "1000.0",
        "min_notional": "50.000",
        "price_band": "5.25",
        "market_protection": "0.25",
        "max_open_orders": 200,
        "self_trade_prevention": "cancel_newest",
        "status": "trading",
    }
    assert set(told) == {*Instrument._fields, "status"}
    del told["status"]
    again = command_from_fields("add_instrument", told)
    assert [number.to_units(decimals) for number, decimals in ((again.min_notional, 3), (again.price_band, 2))] == [
        50_000,
        525,
    ]


def test_a_book_that_does_not_trade_says_so():
    halted = book_to_json("ACME", 12, [], [], INSTRUMENTS["ACME"], TradingStatus.HALTED)
    assert (halted["status"], "indication" in halted) == ("halted", False)
    outcome = Indication(10025, 5, 25, Side.BUY)
    book = book_to_json("ACME", 12, [(10025, 30)], [(10020, 5)], INSTRUMENTS["ACME"], TradingStatus.AUCTION, outcome)
    assert book == {
        "book": "ACME",
        "log_index": 12,
        "bids": [["100.25", "3.0"]],
        "asks": [["100.20", "0.5"]],
        "status": "auction",
        "indication": {
            "price": "100.25",
            "quantity": "0.5",
            "imbalance_quantity": "2.5",
            "imbalance_side": "buy",
        },
    }
    assert "status" not in book_to_json("ACME", 12, [], [], INSTRUMENTS["ACME"], TradingStatus.TRADING)


def test_a_book_line():
    assert dumps(book_to_json("ACME", 12, [(10025, 30), (10020, 5)], [], INSTRUMENTS["ACME"])) == (
        b'{"book":"ACME","log_index":12,"bids":[["100.25","3.0"],["100.20","0.5"]],"asks":[]}'
    )


def test_the_report_of_an_accepted_order():
    execution = Execution("n1.1", 5, 12, 99, True, ORDER, (ACCEPTED, TRADE))
    assert report_to_json("n1.1", 5, execution, INSTRUMENTS) == {
        "status": "accepted",
        "origin": "n1.1",
        "origin_sequence": 5,
        "log_index": 12,
        "timestamp": 99,
        "order": ORDER_JSON,
        "events": [{"event": "order_accepted", **PLACE_JSON, **ORDER_JSON}, TRADE_JSON],
    }


def test_each_event_of_a_report_tells_the_order_as_it_stood_then():
    filled = replace(ORDER, filled_quantity=50, leaves_quantity=0, status=OrderStatus.FILLED)
    report = report_to_json("n1.1", 5, Execution("n1.1", 5, 12, 99, True, filled, (ACCEPTED, TRADE)), INSTRUMENTS)
    assert report["order"]["status"] == "filled"
    assert report["events"][0]["status"] == "open"


def test_the_report_of_a_repeated_submission_is_marked():
    execution = Execution("n1.1", 5, 12, 99, True, ORDER, (replace(ACCEPTED, duplicate=True),))
    report = report_to_json("n1.1", 5, execution, INSTRUMENTS)
    assert report["duplicate"] is True
    assert report["status"] == "accepted"


def test_the_report_of_a_rejected_command_gives_the_reason():
    rejection = Rejection(EventKind.ORDER_REJECTED, "ACME", 6, 12, 99, NEW_ORDER, Reason.PRICE_NOT_ON_TICK, "use 0.05")
    report = report_to_json("n1.1", 5, Execution("n1.1", 5, 12, 99, False, None, (rejection,)), INSTRUMENTS)
    assert report["status"] == "rejected"
    assert report["order"] is None
    assert report["reason"] == "price_not_on_tick"
    assert report["detail"] == "use 0.05"
    assert "duplicate" not in report


def test_the_report_of_a_refusal_that_is_repeated_is_marked():
    rejection = Rejection(
        EventKind.ORDER_REJECTED, "ACME", None, 12, 99, NEW_ORDER, Reason.INSTRUMENT_HALTED, duplicate=True
    )
    report = report_to_json("n1.1", 5, Execution("n1.1", 5, 12, 99, False, None, (rejection,)), INSTRUMENTS)
    assert (report["status"], report["reason"], report["duplicate"]) == ("rejected", "instrument_halted", True)


def test_a_pending_report_says_where_to_ask_again():
    assert report_to_json("n1.1", 5, None, INSTRUMENTS) == {
        "status": "pending",
        "origin": "n1.1",
        "origin_sequence": 5,
        "log_index": None,
        "order": None,
        "events": [],
        "next": "/v1/submissions/n1.1/5",
    }


def test_a_replace_may_take_the_quantity_down_to_zero_and_an_order_may_not():
    replace = command_from_json('{"op":"replace","account":"a","client_order_id":"x","quantity":"0"}')
    assert replace == ReplaceOrder("a", None, "x", None, Number(0, 0))
    with pytest.raises(InvalidCommandError, match="not above zero"):
        command_from_json('{"op":"new","symbol":"A","client_order_id":"x","side":"buy","price":"1","quantity":"0"}')
