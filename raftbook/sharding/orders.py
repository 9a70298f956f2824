"""HTTP: commands. Each handler says what a node's would; `submissions` finds the shard.

`cancel` and `replace` may name `symbol` or `shard` (in the query, or in a command of /v1/commands).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raftbook.engine.types import MAX_INTEGER
from raftbook.gateway.body import read_body
from raftbook.gateway.cbor import fields_from_cbor
from raftbook.gateway.endpoint import Answer
from raftbook.gateway.market import MarketHandlers
from raftbook.gateway.media_types import CBOR, body_media_type
from raftbook.gateway.orders import OrderHandlers
from raftbook.gateway.query import SYMBOL, malformed, read_identifier, read_integer, read_symbol
from raftbook.json_format import fields_from_json, value_of_field
from raftbook.sharding.routes import SHARD, as_on_nodes
from raftbook.sharding.submissions import Submissions, as_json, commands_of_array, commands_of_cbor_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.query import Parameter, Query
    from raftbook.node.config import LimitsConfig


class CommandHandlers:
    def __init__(self, submissions: Submissions, limits: LimitsConfig) -> None:
        self._submissions = submissions
        self._limits = limits

    def routes(self) -> list[EndpointRoute]:
        both = (SYMBOL, SHARD)
        of_one: list[tuple[Callable[..., Any], str, tuple[Parameter, ...]]] = [
            (OrderHandlers.new_order, "new", ()),
            (OrderHandlers.replace_order, "replace", both),
            (OrderHandlers.cancel_order, "cancel", both),
            (OrderHandlers.cancel_all, "cancel_all", both),
            (MarketHandlers.add_instrument, "add_instrument", ()),
            (MarketHandlers.set_status, "set_status", ()),
            (MarketHandlers.uncross, "uncross", ()),
        ]
        return [
            *(route for original, op, query in of_one for route in self._of_one(original, op, query)),
            *as_on_nodes(OrderHandlers.commands, self._commands),
        ]

    def _of_one(self, original: Callable[..., Any], op: str, query: tuple[Parameter, ...]) -> list[EndpointRoute]:
        async def answer(request: Request, given: Query) -> Answer | Response:
            wait_s = given.submission_wait_s()
            fields = {} if request.method == "DELETE" else await self._fields(request)
            if value_of_field(fields.pop("op", op)) != op:
                malformed("op", f"only {op} can stand here; write that or leave it out")
            for name, value in _fields_outside(request).items():
                if name in fields:
                    malformed(name, "the path or the query says this already; leave it out of the body")
                fields[name] = value
            if op == "cancel_all" and fields.get("account") is None:
                malformed("account", "name whose orders to cancel, as in DELETE /v1/orders?account=alice")
            return await self._submissions.submit_one({**fields, "op": op}, wait_s)

        return as_on_nodes(original, answer, query)

    async def _fields(self, request: Request) -> dict[str, object]:
        media_type = body_media_type(request)
        body = await read_body(request, self._limits.max_body_bytes)
        return as_json(fields_from_cbor(body)) if media_type == CBOR else {**fields_from_json(body)}

    async def _commands(self, request: Request, query: Query) -> Answer:
        wait_s = query.submission_wait_s()
        media_type = body_media_type(request)
        body = await read_body(request, self._limits.max_body_bytes)
        read_array = commands_of_cbor_array if media_type == CBOR else commands_of_array
        commands = read_array(body, self._limits.max_commands_per_request)
        reports = await self._submissions.submit(commands, wait_s)
        return Answer(reports, None, 202 if any(report["status"] == "pending" for report in reports) else 200)


def _fields_outside(request: Request) -> dict[str, object]:
    """Those of the command that path and query say."""
    fields: dict[str, object] = {}
    for name, value in (*request.path_params.items(), *request.query_params.items()):
        if name in ("account", "client_order_id"):
            fields[name] = read_identifier(name, value)
        elif name == "order_id":
            fields[name] = read_integer(name, value, 1, MAX_INTEGER)
        elif name == "symbol":
            fields[name] = read_symbol(value)
        elif name in ("shard", "side"):
            fields[name] = value
    return fields
