"""What a client may say on the stream, read strictly: each frame is one request, or a fault that says what to send."""

from __future__ import annotations

import io
import secrets
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import cbor2
import msgspec
from msgspec import UNSET, UnsetType

from raftbook.codec.cbor import NO_TAGS, refuse_tag
from raftbook.engine.commands import Command
from raftbook.engine.types import IDENTIFIER_PATTERN, MAX_INTEGER, SYMBOL_PATTERN
from raftbook.errors import InvalidCommandError
from raftbook.feed import AccountOrders, MarketChannel, market_channel
from raftbook.feed.channels import MARKET_CHANNELS
from raftbook.gateway.query import MAX_WAIT_S, SUBMISSION_WAIT_S, nearest
from raftbook.gateway.websocket_frames import Encoding
from raftbook.json_format import (
    MAX_COMMAND_JSON_BYTES,
    OPERATIONS,
    command_from_fields,
    fields_from_json,
    value_of_field,
)
from raftbook.json_format.forms import CancelOrderForm, NewOrderForm, ReplaceOrderForm
from raftbook.json_format.hot_forms import command_of
from raftbook.json_format.market import ORDERS

if TYPE_CHECKING:
    from collections.abc import Mapping


MIN_INTERVAL_MS: Final = 50
MAX_INTERVAL_MS: Final = 10_000
MAX_REQUEST_ID_BYTES: Final = 256

CHANNELS: Final = (*MARKET_CHANNELS, ORDERS)
_MAX_CBOR_DEPTH: Final = 4

SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"
PING: Final = "ping"
AUTHENTICATE: Final = "authenticate"

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    SUBSCRIBE: ("channel", "symbol", "account", "from_sequence", "interval_ms", "request_id"),
    UNSUBSCRIBE: ("channel", "symbol", "account", "request_id"),
    PING: ("request_id",),
    AUTHENTICATE: ("key_id", "timestamp", "nonce", "signature", "token", "request_id"),
}
_ALL_OPERATIONS: Final = (*_FIELDS, *OPERATIONS)

NO_REQUEST_ID: Final = UNSET


class Request(NamedTuple):
    """A frame in its fields; `request_id` is to be given back as it is, NO_REQUEST_ID where there is none."""

    op: str
    fields: dict[str, object]
    request_id: object
    encoding: Encoding

    @property
    def is_command(self) -> bool:
        return self.op in OPERATIONS


class SubscribeRequest(NamedTuple):
    channel: MarketChannel | AccountOrders
    from_sequence: int | None
    interval_s: float


class CommandRequest(NamedTuple):
    """`wait_s`: for the report, before it is told as pending. `request_id` and `encoding` as in Request."""

    command: Command
    wait_s: float
    request_id: object
    encoding: Encoding


class MalformedFrameError(InvalidCommandError):
    """A frame that is no request. What could be read of it says how to answer."""

    def __init__(
        self, message: str, field: str | None = None, request_id: object = NO_REQUEST_ID, *, is_command: bool = False
    ) -> None:
        super().__init__(message, field)
        self.request_id = request_id
        self.is_command = is_command


class _PlainNew(NewOrderForm, tag_field="op", tag="new", forbid_unknown_fields=True, kw_only=True):
    request_id: msgspec.Raw | UnsetType = UNSET
    wait: Literal["committed", "pending"] | None = None
    wait_s: float | None = None


class _PlainCancel(CancelOrderForm, tag_field="op", tag="cancel", forbid_unknown_fields=True, kw_only=True):
    request_id: msgspec.Raw | UnsetType = UNSET
    wait: Literal["committed", "pending"] | None = None
    wait_s: float | None = None


class _PlainReplace(ReplaceOrderForm, tag_field="op", tag="replace", forbid_unknown_fields=True, kw_only=True):
    request_id: msgspec.Raw | UnsetType = UNSET
    wait: Literal["committed", "pending"] | None = None
    wait_s: float | None = None


_plain_decoder: Final = msgspec.json.Decoder(_PlainNew | _PlainCancel | _PlainReplace)


def read_plain_command(data: bytes) -> CommandRequest | None:
    """What `read_request` and `read_command` make of a JSON frame, for nearly all orders, in a fifth of the time.

    None where a frame is anything else, or not right: that is read with care, and told in words.
    """
    if len(data) > MAX_COMMAND_JSON_BYTES:
        return None
    try:
        form = _plain_decoder.decode(data)
        command = command_of(form, _random_client_order_id)
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidCommandError):
        return None
    request_id = form.request_id
    if request_id is not UNSET:
        if len(request_id) > MAX_REQUEST_ID_BYTES:
            return None
        request_id = request_id.copy()
    wait_s = form.wait_s
    if wait_s is None:
        wait_s = 0.0 if form.wait == "pending" else SUBMISSION_WAIT_S
    elif form.wait == "pending" or not 0 <= wait_s <= MAX_WAIT_S:
        return None
    return CommandRequest(command, wait_s, request_id, Encoding.JSON)


def read_request(data: bytes, encoding: Encoding) -> Request:
    """The request that a frame holds, of a known operation. Raises MalformedFrameError."""
    try:
        fields: dict[str, object] = dict(fields_from_json(data)) if encoding is Encoding.JSON else _from_cbor(data)
    except InvalidCommandError as error:
        raise MalformedFrameError(str(error), error.field) from error
    request_id = _take_request_id(fields, encoding)
    op = value_of_field(fields.pop("op", None))
    if not isinstance(op, str):
        raise MalformedFrameError(f"op: missing; expected one of {', '.join(_ALL_OPERATIONS)}", "op", request_id)
    if op not in _ALL_OPERATIONS:
        near = nearest(op, _ALL_OPERATIONS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(_ALL_OPERATIONS)}"
        raise MalformedFrameError(f"op: unknown operation {_shown(op)}; {hint}", "op", request_id)
    request = Request(op, fields, request_id, encoding)
    if not request.is_command:
        _check_names(request)
    return request


def read_subscribe(request: Request) -> SubscribeRequest:
    """Raises MalformedFrameError, as all that follow."""
    channel = read_channel(request)
    from_sequence = _optional_integer(request, "from_sequence", 0, MAX_INTEGER)
    interval_ms = _optional_integer(request, "interval_ms", MIN_INTERVAL_MS, MAX_INTERVAL_MS)
    if interval_ms is not None and isinstance(channel, AccountOrders):
        raise _fault(request, "interval_ms", "orders are told one entry at a time; leave it out")
    return SubscribeRequest(channel, from_sequence, (interval_ms or 0) / 1000)


def read_channel(request: Request) -> MarketChannel | AccountOrders:
    """What a `subscribe` or `unsubscribe` is about."""
    name = value_of_field(request.fields.get("channel"))
    if name not in CHANNELS:
        near = nearest(name, CHANNELS) if isinstance(name, str) else []
        hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}"
        problem = "missing" if name is None else f"{_shown(name)} is no channel"
        raise _fault(request, "channel", f"{problem}; {hint}")
    assert isinstance(name, str)
    symbol = value_of_field(request.fields.get("symbol"))
    if symbol is not None and not (isinstance(symbol, str) and SYMBOL_PATTERN.fullmatch(symbol)):
        raise _fault(request, "symbol", f"{_shown(symbol)} is no symbol: write 1 to 24 of A-Z a-z 0-9 . _ -")
    account = value_of_field(request.fields.get("account"))
    if name == ORDERS:
        if not (isinstance(account, str) and IDENTIFIER_PATTERN.fullmatch(account)):
            raise _fault(request, "account", "name whose orders: a string of 1 to 36 of A-Z a-z 0-9 . _ : -")
        return AccountOrders(account, symbol)
    if account is not None:
        raise _fault(request, "account", f"goes with orders only; {name} is of a symbol")
    if symbol is None:
        raise _fault(request, "symbol", f'missing; name the instrument, as in {{"channel":"{name}","symbol":"ACME"}}')
    return market_channel(name, symbol)


def read_command(request: Request) -> CommandRequest:
    fields = dict(request.fields)
    wait = value_of_field(fields.pop("wait", None))
    wait_s = value_of_field(fields.pop("wait_s", None))
    if wait not in (None, "committed", "pending"):
        raise _fault(request, "wait", f"{_shown(wait)} is neither committed nor pending")
    if wait_s is not None:
        if wait == "pending":
            raise _fault(request, "wait_s", '"wait":"pending" waits for nothing; leave one of the two out')
        if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= MAX_WAIT_S:
            raise _fault(request, "wait_s", f"{_shown(wait_s)} is no number of seconds from 0 to {MAX_WAIT_S:g}")
    try:
        command = command_from_fields(request.op, fields, generate_client_order_id=_random_client_order_id)
    except InvalidCommandError as error:
        raise MalformedFrameError(str(error), error.field, request.request_id, is_command=True) from error
    if wait == "pending":
        wait_s = 0.0
    elif wait_s is None:
        wait_s = SUBMISSION_WAIT_S
    return CommandRequest(command, float(wait_s), request.request_id, request.encoding)


def plain_fields(request: Request) -> dict[str, object]:
    """The fields with their values read."""
    return {name: value_of_field(value) for name, value in request.fields.items()}


def _from_cbor(data: bytes) -> dict[str, object]:
    stream = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=refuse_tag,
        semantic_decoders=NO_TAGS,
        max_depth=_MAX_CBOR_DEPTH,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        fields = decoder.decode()
    except cbor2.CBORDecodeError as error:
        raise InvalidCommandError(f"not the CBOR of one flat map: {error}") from error
    if stream.tell() != len(data):
        raise InvalidCommandError("the frame goes on after its CBOR map; send one map and nothing else")
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise InvalidCommandError("a binary frame must be one CBOR map with text keys; send JSON in a text frame")
    return fields


def _take_request_id(fields: dict[str, object], encoding: Encoding) -> object:
    request_id = fields.pop("request_id", NO_REQUEST_ID)
    if request_id is NO_REQUEST_ID:
        return request_id
    if isinstance(request_id, msgspec.Raw):
        size_bytes = memoryview(request_id).nbytes
        # The frame it came in is not to be kept for it.
        request_id = request_id.copy()
    else:
        size_bytes = len(cbor2.dumps(request_id))
    if size_bytes > MAX_REQUEST_ID_BYTES:
        message = f"request_id: of {size_bytes} bytes; send at most {MAX_REQUEST_ID_BYTES}, such as a number"
        raise MalformedFrameError(message, "request_id")
    assert encoding is Encoding.CBOR or isinstance(request_id, msgspec.Raw)
    return request_id


def _check_names(request: Request) -> None:
    known = _FIELDS[request.op]
    for name in request.fields:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{request.op} takes {', '.join(known)}"
            raise _fault(request, name[:64], f"unknown field; {hint}")


def _optional_integer(request: Request, name: str, lowest: int, highest: int) -> int | None:
    value = value_of_field(request.fields.get(name))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _fault(request, name, f"{_shown(value)} is no integer from {lowest} to {highest}")
    return value


def _fault(request: Request, field: str, problem: str) -> MalformedFrameError:
    return MalformedFrameError(f"{field}: {problem}", field, request.request_id, is_command=request.is_command)


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a map"
    text = ascii(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _random_client_order_id() -> str:
    return f"gw-{secrets.token_hex(12)}"
