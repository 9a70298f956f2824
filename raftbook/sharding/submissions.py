"""Commands on their way to their shards, and their answers on the way back."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec

from raftbook.errors import InvalidCommandError, OutcomeUnknownError, ProblemError, RaftbookError
from raftbook.gateway.cbor import fields_from_cbor_array
from raftbook.gateway.submissions import answer_to_one
from raftbook.json_format import fields_from_json
from raftbook.sharding.batches import join, split
from raftbook.sharding.upstream import Upstream, problem_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from raftbook.gateway.endpoint import Answer
    from raftbook.json_format import Json
    from raftbook.sharding.batches import Element, Outcome
    from raftbook.sharding.shard_map import OrderName, Routed, ShardMap

_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class Submissions:
    """`upstreams` has every shard of the map."""

    def __init__(self, shard_map: ShardMap, upstreams: Mapping[str, Upstream]) -> None:
        self._map = shard_map
        self._upstreams = upstreams

    async def submit_one(self, fields: Mapping[str, object], wait_s: float) -> Answer | Response:
        """The answer to a single command, as a node gives it.

        Raises InvalidCommandError, ProblemError: it was not taken; 504 where nobody knows.
        """
        element = await self.placed(self._map.route(fields), {})
        (report,) = await self._reports([element], wait_s)
        if report["status"] == "rejected" and report["origin"] is None and "shards" not in report:
            raise _refusal(report)
        log_index = report["log_index"]
        assert log_index is None or isinstance(log_index, int)
        return answer_to_one(report, log_index, wait_s)

    async def submit(self, commands: Sequence[Mapping[str, object] | InvalidCommandError], wait_s: float) -> list[Json]:
        """The reports of `commands`, in order; one that goes nowhere has a report that says so."""
        elements: list[Element] = []
        new_orders: dict[OrderName, str] = {}
        for fields in commands:
            try:
                if isinstance(fields, InvalidCommandError):
                    raise fields
                element = await self.placed(self._map.route(fields), new_orders)
                if element.is_new and element.order is not None:
                    new_orders[element.order] = element.shards[0]
                elements.append(element)
            except (InvalidCommandError, ProblemError) as error:
                elements.append(error)
        return await self._reports(elements, wait_s)

    async def placed(self, routed: Routed, new_orders: Mapping[OrderName, str]) -> Routed:
        """The command with its shards. `new_orders` are on their way, so that no shard knows them yet.

        Raises ProblemError as `shard_with` does.
        """
        if routed.shards:
            return routed
        order = routed.order
        assert order is not None, "a command that names neither a shard nor an order goes nowhere"
        if order in new_orders:
            return routed._replace(shards=(new_orders[order],))
        return routed._replace(shards=(await self.shard_with(order),))

    async def shard_with(self, order: OrderName) -> str:
        """The shard that has an order of that name. Raises ProblemError: 404 where none has one, 409 where several."""
        upstreams = self._upstreams.values()
        found = await asyncio.gather(*(upstream.has_order(order) for upstream in upstreams), return_exceptions=True)
        for result in found:
            if isinstance(result, BaseException):
                raise result
        having = [upstream.name for upstream, has in zip(upstreams, found, strict=True) if has]
        if len(having) > 1:
            detail = (
                f"{' and '.join(having)} each have an order {order.client_order_id} of {order.account}; add `symbol`"
            )
            raise ProblemError(409, "ambiguous_order", detail, members={"shards": having})
        if not having:
            detail = f"no shard has an order {order.client_order_id} of {order.account}; GET /v1/orders lists open ones"
            raise ProblemError(404, "unknown_order", detail, members={"near": []})
        return having[0]

    async def _reports(self, elements: Sequence[Element], wait_s: float) -> list[Json]:
        """Raises ProblemError as `batches.join` raises."""
        positions = split(elements)
        outcomes = await asyncio.gather(
            *(self._outcome(shard, elements, places, wait_s) for shard, places in positions.items())
        )
        try:
            return join(elements, dict(zip(positions, outcomes, strict=True)))
        except OutcomeUnknownError as error:
            raise problem_from("gateway", error) from error

    async def _outcome(self, shard: str, elements: Sequence[Element], places: Sequence[int], wait_s: float) -> Outcome:
        documents = [element.document for place in places if not isinstance(element := elements[place], RaftbookError)]
        try:
            return await self._upstreams[shard].submit(documents, wait_s=wait_s)
        except RaftbookError as error:
            return error


def _refusal(report: Json) -> RaftbookError:
    """What a report says that a node gave of a command which it did not take, as the node would have said it alone."""
    detail, field = str(report["detail"]), report.get("field")
    if report["reason"] == InvalidCommandError.code:
        return InvalidCommandError(detail, str(field) if field is not None else None)
    return ProblemError(403, str(report["reason"]), detail, members={"shard": report["shard"]})


def commands_of_array(body: bytes, max_commands: int) -> list[dict[str, object] | InvalidCommandError]:
    """The fields of each command of a JSON array, an error in the place of what is none.

    Raises InvalidCommandError where the whole is no array, or has more than `max_commands`.
    """
    try:
        items = _array_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidCommandError(f"the body must be one JSON array of commands: {error}") from error
    if len(items) > max_commands:
        raise InvalidCommandError(f"the array has {len(items)} commands; send at most {max_commands} at a time")
    commands: list[dict[str, object] | InvalidCommandError] = []
    for item in items:
        try:
            commands.append({**fields_from_json(bytes(item))})
        except InvalidCommandError as error:
            commands.append(error)
    return commands


def commands_of_cbor_array(body: bytes, max_commands: int) -> list[dict[str, object] | InvalidCommandError]:
    """As `commands_of_array`, of CBOR."""
    commands: list[dict[str, object] | InvalidCommandError] = []
    for fields in fields_from_cbor_array(body, max_commands):
        try:
            commands.append(fields if isinstance(fields, InvalidCommandError) else as_json(fields))
        except InvalidCommandError as error:
            commands.append(error)
    return commands


def as_json(fields: dict[str, object]) -> dict[str, object]:
    """Fields that came as CBOR, for a shard to get as JSON. Raises InvalidCommandError for what JSON cannot say."""
    for name, value in fields.items():
        for item in value if isinstance(value, list) else (value,):
            is_plain = item is None or isinstance(item, str | bool | int | float)
            if not is_plain or (isinstance(item, float) and not math.isfinite(item)):
                raise InvalidCommandError(f"{name[:40]}: expected text, a number, true, false or null", name[:40])
    return fields
