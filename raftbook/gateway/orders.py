"""Handlers about orders and submissions."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final

import cbor2
from starlette.routing import Route

from raftbook.engine.commands import CancelAll, CancelOrder
from raftbook.engine.types import MAX_INTEGER, OrderStatus, Side
from raftbook.errors import InvalidCommandError, ProblemError
from raftbook.gateway.body import CBOR, JSON, read_body, require_media_type
from raftbook.gateway.cbor import commands_from_cbor_array
from raftbook.gateway.market import instrument_of
from raftbook.gateway.query import (
    READ_PARAMETERS,
    SUBMIT_PARAMETERS,
    Query,
    malformed,
    nearest,
    read_identifier,
    read_integer,
    read_origin,
    settle_read,
)
from raftbook.gateway.responses import encoded_response, json_response
from raftbook.gateway.submissions import malformed_report, report_json, submit, submit_one
from raftbook.json_format import (
    DEFAULT_ACCOUNT,
    command_from_fields,
    command_from_json,
    commands_from_json_array,
    dumps,
    fields_from_json,
    order_to_json,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.engine.commands import Command
    from raftbook.engine.events import OrderState
    from raftbook.gateway.service import Service

MAX_ORDERS_PER_ANSWER: Final = 10_000
NEAR_CANDIDATES: Final = 200
"""Of how many of the latest ids of an account the near ones are looked for; the search blocks the loop."""
NEXT_HEADER: Final = "Raftbook-Next-Order-Id"

_STATUSES: Final = {
    **{status.label: (status,) for status in OrderStatus},
    "open": (OrderStatus.OPEN, OrderStatus.UNTRIGGERED),
    "all": tuple(OrderStatus),
}
"""What `status` selects. Open are all that may still trade, so stops that were not triggered yet as well."""
_SIDES: Final = {side.label: side for side in Side}


class OrderHandlers:
    """Submits commands, and reads what became of them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.config.limits

    def routes(self) -> list[Route]:
        by_client_id = "/v1/orders/by-client-id/{account}/{client_order_id}"
        return [
            Route("/v1/orders", self.new_order, methods=["POST"]),
            Route("/v1/orders", self.list_orders, methods=["GET"]),
            Route("/v1/orders", self.cancel_all, methods=["DELETE"]),
            Route("/v1/orders/{order_id}", self.get_order, methods=["GET"]),
            Route("/v1/orders/{order_id}", self.replace_order, methods=["PATCH"]),
            Route("/v1/orders/{order_id}", self.cancel_order, methods=["DELETE"]),
            Route(by_client_id, self.get_order, methods=["GET"]),
            Route(by_client_id, self.replace_order, methods=["PATCH"]),
            Route(by_client_id, self.cancel_order, methods=["DELETE"]),
            Route("/v1/commands", self.commands, methods=["POST"]),
            Route("/v1/submissions/{origin}/{sequence}", self.submission, methods=["GET"]),
        ]

    # ---------------------------------------------------------------- one command

    async def new_order(self, request: Request) -> Response:
        """POST /v1/orders: an order without `client_order_id` gets a random one, which its report names."""
        wait_s = Query(request, *SUBMIT_PARAMETERS).submission_wait_s()
        require_media_type(request, JSON)
        body = await read_body(request, self._limits.max_body_bytes)
        command = command_from_json(body, "new", generate_client_order_id=_random_client_order_id)
        return await submit_one(self._service, command, wait_s)

    async def replace_order(self, request: Request) -> Response:
        """PATCH of an order: what is to be changed, as the command `replace` takes it."""
        query = Query(request, "account", *SUBMIT_PARAMETERS)
        wait_s = query.submission_wait_s()
        require_media_type(request, JSON)
        fields: dict[str, object] = dict(fields_from_json(await read_body(request, self._limits.max_body_bytes)))
        for name in ("order_id", "client_order_id", "op"):
            if name in fields:
                malformed(name, "the path names the order already; leave this out of the body")
        if "account" in fields and ("account" in query or "account" in request.path_params):
            malformed("account", "given twice; leave it out of the body")
        account, order_id, client_order_id = _named_order(request, query)
        if "account" not in fields:
            fields["account"] = account or DEFAULT_ACCOUNT
        if order_id is not None:
            fields["order_id"] = order_id
        else:
            fields["client_order_id"] = client_order_id
        return await submit_one(self._service, command_from_fields("replace", fields), wait_s)

    async def cancel_order(self, request: Request) -> Response:
        query = Query(request, "account", *SUBMIT_PARAMETERS)
        wait_s = query.submission_wait_s()
        account, order_id, client_order_id = _named_order(request, query)
        command = CancelOrder(account or DEFAULT_ACCOUNT, order_id, client_order_id)
        return await submit_one(self._service, command, wait_s)

    async def cancel_all(self, request: Request) -> Response:
        """DELETE /v1/orders: whose orders must be said, so that nobody's go by mistake."""
        query = Query(request, "account", "symbol", "side", *SUBMIT_PARAMETERS)
        account = query.account()
        if account is None:
            malformed("account", "name whose orders to cancel, as in DELETE /v1/orders?account=alice")
        command = CancelAll(account, query.symbol(), query.choice("side", _SIDES, None))
        return await submit_one(self._service, command, query.submission_wait_s())

    # ---------------------------------------------------------------- many commands

    async def commands(self, request: Request) -> Response:
        """POST /v1/commands: the reports in the order of the commands, in the format of the request.

        An element that is no command is answered in its place and stops nothing. 202 where a report is pending.
        """
        service = self._service
        wait_s = Query(request, *SUBMIT_PARAMETERS).submission_wait_s()
        media_type = require_media_type(request, JSON, CBOR)
        body = await read_body(request, self._limits.max_body_bytes)
        read_array = commands_from_cbor_array if media_type == CBOR else commands_from_json_array
        elements = read_array(
            body, self._limits.max_commands_per_request, generate_client_order_id=_random_client_order_id
        )
        commands: list[Command] = [element for element in elements if not isinstance(element, InvalidCommandError)]
        reports = iter(await submit(service, commands, wait_s) if commands else ())
        documents = [
            malformed_report(element)
            if isinstance(element, InvalidCommandError)
            else report_json(service, next(reports))
            for element in elements
        ]
        status = 202 if any(document["status"] == "pending" for document in documents) else 200
        encoded = cbor2.dumps(documents) if media_type == CBOR else dumps(documents)
        return encoded_response(encoded, media_type, service.state.index, status=status)

    async def submission(self, request: Request) -> Response:
        """GET /v1/submissions/{origin}/{sequence}: one report, or with `count` an array of so many from there on."""
        service = self._service
        query = Query(request, "count", "wait_s")
        origin = read_origin(request.path_params["origin"])
        sequence = read_integer("sequence", request.path_params["sequence"], 1, MAX_INTEGER)
        count = query.integer("count", 1, 1, self._limits.max_commands_per_request)
        wait_s = query.seconds("wait_s", 0.0)
        reports = await service.submission(origin, sequence, count, wait_s=wait_s)
        documents = [report_json(service, report) for report in reports]
        status = 202 if any(document["status"] == "pending" for document in documents) else 200
        return json_response(documents if "count" in query else documents[0], service.state.index, status=status)

    # ---------------------------------------------------------------- reads

    async def list_orders(self, request: Request) -> Response:
        """GET /v1/orders: open and untriggered ones unless `status` says otherwise, by rising order id.

        At most `limit`; where there are more, a header names the order id to go on from (`from_order_id`).
        """
        query = Query(request, "account", "symbol", "side", "status", "limit", "from_order_id", *READ_PARAMETERS)
        account, symbol = query.account(), query.symbol()
        side = query.choice("side", _SIDES, None)
        statuses = query.choice("status", _STATUSES, _STATUSES["open"])
        limit = query.integer("limit", MAX_ORDERS_PER_ANSWER, 1, MAX_ORDERS_PER_ANSWER)
        first = query.integer("from_order_id", 0, 0, MAX_INTEGER)
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        if symbol is not None:
            instrument_of(exchange, symbol)
        found = exchange.iterate_orders(account, symbol, side, statuses, first)
        page = list(itertools.islice(found, limit + 1))
        headers = {NEXT_HEADER: str(page[limit].order_id)} if len(page) > limit else None
        documents = [order_to_json(order, exchange.instruments) for order in page[:limit]]
        return json_response(documents, log_index, headers=headers)

    async def get_order(self, request: Request) -> Response:
        query = Query(request, "account", *READ_PARAMETERS)
        account, order_id, client_order_id = _named_order(request, query)
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        order: OrderState | None
        if order_id is not None:
            order = exchange.order(order_id)
        else:
            assert account is not None
            assert client_order_id is not None
            order = exchange.order_by_client_id(account, client_order_id)
        if order is None or (account is not None and order.account != account):
            raise self._unknown_order(account, order_id, client_order_id)
        return json_response(order_to_json(order, exchange.instruments), log_index)

    def _unknown_order(self, account: str | None, order_id: int | None, client_order_id: str | None) -> ProblemError:
        of_account = "" if account is None else f" of account {account}"
        if client_order_id is None:
            detail = f"there is no order {order_id}{of_account}; GET /v1/orders lists those that are open"
            return ProblemError(404, "unknown_order", detail, members={"near": []})
        orders = self._service.state.exchange.orders(account)
        near = nearest(client_order_id, (order.client_order_id for order in orders[-NEAR_CANDIDATES:]))
        hint = f"; near: {', '.join(near)}" if near else "; GET /v1/orders lists those that are open"
        detail = f"there is no order {client_order_id}{of_account}{hint}"
        return ProblemError(404, "unknown_order", detail, members={"near": near})


def _random_client_order_id() -> str:
    return f"gw-{secrets.token_hex(12)}"


def _named_order(request: Request, query: Query) -> tuple[str | None, int | None, str | None]:
    """(account, order id, client order id) that path and query name; one of the ids is None."""
    path = request.path_params
    if "order_id" in path:
        return query.account(), read_integer("order_id", path["order_id"], 1, MAX_INTEGER), None
    if "account" in query:
        malformed("account", "the path names it already; leave it out of the query")
    account = read_identifier("account", path["account"])
    return account, None, read_identifier("client_order_id", path["client_order_id"])
