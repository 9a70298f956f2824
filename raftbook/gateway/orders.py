"""Handlers about orders and submissions."""

from __future__ import annotations

import heapq
import secrets
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import CancelAll, CancelOrder
from raftbook.engine.types import MAX_INTEGER, OrderStatus
from raftbook.errors import InvalidCommandError, NotHeldError, ProblemError, RaftbookError
from raftbook.gateway import problem_codes
from raftbook.gateway.body import read_command, read_commands, read_fields
from raftbook.gateway.caller import Caller, caller_of
from raftbook.gateway.disclosure import is_own, report_json, reports_document
from raftbook.gateway.endpoint import Access, Answer, Body, endpoint, routes_of
from raftbook.gateway.market import instrument_of
from raftbook.gateway.media_types import CBOR, JSON, accepted_media_type
from raftbook.gateway.query import (
    ACCOUNT,
    MOST_COMPARED,
    READ_PARAMETERS,
    SIDE,
    SUBMIT_PARAMETERS,
    SYMBOL,
    Query,
    choice_parameter,
    integer_parameter,
    malformed,
    nearest,
    read_identifier,
    read_integer,
    read_origin,
    seconds_parameter,
    settle_read,
)
from raftbook.gateway.submissions import command_endpoint, refused_report, submit, submit_one
from raftbook.json_format import DEFAULT_ACCOUNT, command_from_fields, order_to_json
from raftbook.json_format import answers as documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.engine.commands import Command
    from raftbook.engine.events import OrderState
    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Report, Service

MAX_ORDERS_PER_ANSWER: Final = 10_000
NEAR_CANDIDATES: Final = MOST_COMPARED
"""Of how many of the latest ids of an account the near ones are looked for; the search blocks the loop."""
NEXT_HEADER: Final = "Raftbook-Next-Order-Id"

_STATUSES: Final = {
    **{status.label: (status,) for status in OrderStatus},
    "open": (OrderStatus.OPEN, OrderStatus.UNTRIGGERED),
    "all": tuple(OrderStatus),
}
"""What `status` selects. Open are all that may still trade, so stops that were not triggered yet as well."""

_TAG: Final = "Orders"
_BY_ID: Final = "/v1/orders/{order_id}"
_BY_CLIENT_ID: Final = "/v1/orders/by-client-id/{account}/{client_order_id}"

_STATUS: Final = choice_parameter(
    "status", "`open`: all that may still trade, stops that are not triggered yet among them.", _STATUSES, "open"
)
_LIMIT: Final = integer_parameter(
    "limit", "At most so many.", minimum=1, maximum=MAX_ORDERS_PER_ANSWER, default=MAX_ORDERS_PER_ANSWER
)
_FROM_ORDER_ID: Final = integer_parameter("from_order_id", "The first order id of the page.", default=0)
_COUNT: Final = integer_parameter(
    "count",
    "So many submissions from there on, as an array.",
    minimum=1,
    default=1,
)._replace(limit="max_commands_per_request")
_WAIT_S: Final = seconds_parameter("wait_s", "How long to wait for the execution.", 0.0)


class OrderHandlers:
    """Submits commands, and reads what became of them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.config.limits

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    # ---------------------------------------------------------------- one command

    @command_endpoint("POST", "/v1/orders", Body("new"), access=Access.TRADE, tag=_TAG)
    async def new_order(self, request: Request, query: Query) -> Answer | Response:
        """Enters an order; one without `client_order_id` gets a random one, which its report names.

        Sent again under the same `client_order_id` it is not entered twice: the answer tells how it stands.
        """
        wait_s = query.submission_wait_s()
        command = await read_command(request, "new", self._limits, generate_client_order_id=_random_client_order_id)
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)

    @command_endpoint(
        "PATCH",
        _BY_ID,
        Body("replace", ("order_id", "client_order_id")),
        query=(ACCOUNT,),
        access=Access.TRADE,
        tag=_TAG,
    )
    @command_endpoint(
        "PATCH",
        _BY_CLIENT_ID,
        Body("replace", ("account", "order_id", "client_order_id")),
        access=Access.TRADE,
        tag=_TAG,
    )
    async def replace_order(self, request: Request, query: Query) -> Answer | Response:
        """Changes an order; what is not given stays. The account is `default` where none is given."""
        wait_s = query.submission_wait_s()
        fields = await read_fields(request, self._limits)
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
        command = command_from_fields("replace", fields)
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)

    @command_endpoint("DELETE", _BY_ID, None, query=(ACCOUNT,), access=Access.TRADE, tag=_TAG)
    @command_endpoint("DELETE", _BY_CLIENT_ID, None, access=Access.TRADE, tag=_TAG)
    async def cancel_order(self, request: Request, query: Query) -> Answer | Response:
        """Cancels an order. The account is `default` where none is given."""
        wait_s = query.submission_wait_s()
        account, order_id, client_order_id = _named_order(request, query)
        command = CancelOrder(account or DEFAULT_ACCOUNT, order_id, client_order_id)
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)

    @command_endpoint(
        "DELETE",
        "/v1/orders",
        None,
        query=(ACCOUNT._replace(required=True), SYMBOL, SIDE),
        access=Access.TRADE,
        tag=_TAG,
    )
    async def cancel_all(self, request: Request, query: Query) -> Answer | Response:
        """Cancels all open orders of an account; whose must be said, so that nobody's go by mistake."""
        account = query.account()
        if account is None:
            malformed("account", "name whose orders to cancel, as in DELETE /v1/orders?account=alice")
        command = CancelAll(account, query.symbol(), query.side())
        return await submit_one(self._service, caller_of(request.scope), command, query.submission_wait_s())

    # ---------------------------------------------------------------- many commands

    @endpoint(
        "POST",
        "/v1/commands",
        query=SUBMIT_PARAMETERS,
        body=Body(None),
        answers={200: list[documents.Report], 202: list[documents.Report]},
        problems=(problem_codes.SUBMITTING, problem_codes.WITH_BODY),
        access=Access.TRADE,
        tag=_TAG,
    )
    async def commands(self, request: Request, query: Query) -> Answer:
        """Commands of any kind, and their reports in the same order.

        An element that is no command, or that the caller's key does not allow, is answered in its place by a report
        that says so, and stops nothing. The status is 202 where a report is pending.
        """
        service = self._service
        wait_s = query.submission_wait_s()
        elements = await read_commands(request, self._limits, generate_client_order_id=_random_client_order_id)
        caller = caller_of(request.scope)
        caller.count_commands(len(elements))
        judged = [_allowed(caller, element) for element in elements]
        commands: list[Command] = [element for element in judged if not isinstance(element, RaftbookError)]
        reports = await submit(service, caller, commands, wait_s) if commands else ()
        remaining = iter(reports)
        told = [
            refused_report(element) if isinstance(element, RaftbookError) else next(remaining) for element in judged
        ]
        written: object
        if accepted_media_type(request, (JSON, CBOR)) == JSON:
            written = reports_document(service, told, caller)
        else:
            written = [one if isinstance(one, dict) else report_json(service, one, caller) for one in told]
        return Answer(written, service.state.index, _status_of(reports))

    @endpoint(
        "GET",
        "/v1/submissions/{origin}/{sequence}",
        query=(_COUNT, _WAIT_S),
        answers={200: (documents.Report, list[documents.Report]), 202: (documents.Report, list[documents.Report])},
        problems=(problem_codes.NOT_HELD,),
        tag=_TAG,
    )
    async def submission(self, request: Request, query: Query) -> Answer:
        """The report of a submission, or with `count` an array of so many from there on; 202 while one is pending."""
        service = self._service
        origin = read_origin(request.path_params["origin"])
        sequence = read_integer("sequence", request.path_params["sequence"], 1, MAX_INTEGER)
        count = query.integer("count")
        most = self._limits.max_commands_per_request
        if count > most:
            malformed("count", f"{count} is more than this node tells at a time; ask for at most {most}")
        wait_s = query.seconds("wait_s")
        reports = await service.submission(origin, sequence, count, wait_s=wait_s)
        caller = caller_of(request.scope)
        for report in reports:
            if report.execution is not None and not is_own(report.execution, caller):
                raise NotHeldError(f"{origin}/{report.sequence} is no submission of this key's accounts")
        written = [report_json(service, report, caller) for report in reports]
        return Answer(written if "count" in query else written[0], service.state.index, _status_of(reports))

    # ---------------------------------------------------------------- reads

    @endpoint(
        "GET",
        "/v1/orders",
        query=(ACCOUNT, SYMBOL, SIDE, _STATUS, _LIMIT, _FROM_ORDER_ID, *READ_PARAMETERS),
        answers={200: list[documents.Order]},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_SYMBOL),
        tag=_TAG,
        headers={NEXT_HEADER: "Where there are more: the order id to go on from (`from_order_id`)."},
    )
    async def list_orders(self, request: Request, query: Query) -> Answer:
        """Orders by rising order id: open and untriggered ones unless `status` says otherwise.

        Without `account` those of all accounts that the caller's key is for.
        """
        caller = caller_of(request.scope)
        account, symbol = query.account(), query.symbol()
        side = query.side()
        statuses = query.choice("status", _STATUSES, _STATUSES["open"])
        limit = query.integer("limit")
        first = query.integer("from_order_id")
        if account is not None:
            caller.check_account(account)
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        if symbol is not None:
            instrument_of(exchange, symbol)
        of_each = [
            exchange.iterate_orders(name, symbol, side, statuses, first)
            for name in ((account,) if account is not None or caller.sees_all else caller.accounts)
        ]
        found = heapq.merge(*of_each, key=attrgetter("order_id"))
        page = list(islice(found, limit + 1))
        headers = {NEXT_HEADER: str(page[limit].order_id)} if len(page) > limit else {}
        listed = [order_to_json(order, exchange.instruments) for order in page[:limit]]
        return Answer(listed, log_index, headers=headers)

    @endpoint(
        "GET",
        _BY_ID,
        query=(ACCOUNT, *READ_PARAMETERS),
        answers={200: documents.Order},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_ORDER),
        tag=_TAG,
    )
    @endpoint(
        "GET",
        _BY_CLIENT_ID,
        query=READ_PARAMETERS,
        answers={200: documents.Order},
        problems=(problem_codes.READING, problem_codes.UNKNOWN_ORDER),
        tag=_TAG,
    )
    async def get_order(self, request: Request, query: Query) -> Answer:
        """An order as it stands; closed ones too, for as long as the account has not closed many since."""
        caller = caller_of(request.scope)
        account, order_id, client_order_id = _named_order(request, query)
        if account is not None:
            caller.check_account(account)
        log_index = await settle_read(self._service, query)
        exchange = self._service.state.exchange
        order: OrderState | None
        if order_id is not None:
            order = exchange.order(order_id)
        else:
            assert account is not None
            assert client_order_id is not None
            order = exchange.order_by_client_id(account, client_order_id)
        # Another's order is as unknown as one that never was.
        if order is None or not caller.is_for(order.account) or (account is not None and order.account != account):
            raise self._unknown_order(account, order_id, client_order_id)
        return Answer(order_to_json(order, exchange.instruments), log_index)

    def _unknown_order(self, account: str | None, order_id: int | None, client_order_id: str | None) -> ProblemError:
        of_account = "" if account is None else f" of account {account}"
        if client_order_id is None:
            detail = f"there is no order {order_id}{of_account}; GET /v1/orders lists those that are open"
            return ProblemError(404, "unknown_order", detail, members={"near": []})
        assert account is not None, "a client order id is an account's"
        near = nearest(client_order_id, self._latest_client_order_ids(account))
        hint = f"; near: {', '.join(near)}" if near else "; GET /v1/orders lists those that are open"
        detail = f"there is no order {client_order_id}{of_account}{hint}"
        return ProblemError(404, "unknown_order", detail, members={"near": near})

    def _latest_client_order_ids(self, name: str) -> Iterator[str]:
        """Of the account's open orders, the latest first; at most NEAR_CANDIDATES. O(1), however many it has."""
        account = self._service.state.exchange.registry.accounts.get(name)
        return islice(reversed({} if account is None else account.open_orders), NEAR_CANDIDATES)


def _random_client_order_id() -> str:
    return f"gw-{secrets.token_hex(12)}"


def _allowed(caller: Caller, element: Command | InvalidCommandError) -> Command | InvalidCommandError | ProblemError:
    """The command, or why it is none, or none of this caller's."""
    if isinstance(element, InvalidCommandError):
        return element
    try:
        caller.check_command(element)
    except ProblemError as problem:
        return problem
    return element


def _status_of(reports: Sequence[Report]) -> int:
    return 202 if any(report.execution is None for report in reports) else 200


def _named_order(request: Request, query: Query) -> tuple[str | None, int | None, str | None]:
    """(account, order id, client order id) that path and query name; one of the ids is None."""
    path = request.path_params
    if "order_id" in path:
        return query.account(), read_integer("order_id", path["order_id"], 1, MAX_INTEGER), None
    account = read_identifier("account", path["account"])
    return account, None, read_identifier("client_order_id", path["client_order_id"])
