"""A frame is read in one of two ways, the short one for nearly all orders: they may never differ."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.errors import InvalidCommandError
from raftbook.gateway.stream_requests import read_command, read_plain_command, read_request
from raftbook.gateway.websocket_frames import Encoding
from raftbook.json_format import command_to_json, dumps
from tests.support.strategies import commands, new_orders

NEW = {"op": "new", "symbol": "ACME", "side": "buy", "quantity": "5", "price": "1.20", "client_order_id": "c1"}


def carefully(data: bytes):
    """What the long way makes of it; the error in words where it is none."""
    try:
        request = read_request(data, Encoding.JSON)
        return read_command(request)
    except InvalidCommandError as error:
        return str(error)


def quickly(data: bytes):
    return read_plain_command(data)


around = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=3),
        "wait": st.sampled_from(["committed", "pending", None, "never", 1]),
        "wait_s": st.sampled_from([0, 1, 2.5, 60, -1, 1e9, True, None, "1"]),
    },
)


@given(commands | new_orders, around)
def test_what_is_read_quickly_is_what_is_read_with_care(command, fields):
    data = dumps(command_to_json(command) | fields)
    quick, careful = quickly(data), carefully(data)
    if quick is not None:
        assert isinstance(careful, tuple), careful
        assert told(quick) == told(careful)


def told(request):
    """Equal only where types are, too; Raw is not, though its bytes be the same."""
    request_id = request.request_id
    shown = bytes(memoryview(request_id)) if isinstance(request_id, msgspec.Raw) else request_id
    return repr(request._replace(request_id=shown))


@given(
    st.dictionaries(
        st.sampled_from([*NEW, "wait", "wait_s", "post_only", "else"]), st.none() | st.text() | st.booleans()
    )
)
def test_what_is_wrong_is_never_read_quickly(fields):
    data = json.dumps(NEW | fields).encode()
    if isinstance(carefully(data), str):
        assert quickly(data) is None


@pytest.mark.parametrize("op", ["new", "cancel", "replace"])
def test_plain_orders_are_read_quickly(op):
    fields = (
        NEW if op == "new" else {"op": op, "client_order_id": "c1", **({"quantity": "2"} if op == "replace" else {})}
    )
    data = json.dumps({**fields, "request_id": 7, "wait_s": 2}).encode()
    quick, careful = quickly(data), carefully(data)
    assert told(quick) == told(careful)
    assert bytes(memoryview(quick.request_id)) == b"7"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"op":"tick"}',
        b'{"op":"ping"}',
        json.dumps({**NEW, "request_id": "x" * 300}).encode(),
        json.dumps({**NEW, "account": "a" * 20_000}).encode(),
        json.dumps(NEW).encode()[:-1],
        json.dumps(NEW).encode() + b"x",
        json.dumps(NEW).replace("ACME", "\\ud800").encode(),
        b'{"op":"new","request_id":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
        b'{"op":"new","symbol":"ACME","else":' + b"[" * 3_000,
    ],
)
def test_all_else_is_read_with_care(data):
    assert quickly(data) is None


def test_a_number_that_nothing_holds_is_a_fault_of_its_field():
    assert "wait_s" in carefully(json.dumps(NEW).encode()[:-1] + b',"wait_s":1e999}')
