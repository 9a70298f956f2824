"""Handlers about API keys: an admin makes them, lists them and revokes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.gateway import problem_codes
from raftbook.gateway.body import read_command
from raftbook.gateway.caller import caller_of
from raftbook.gateway.endpoint import Access, Answer, Body, endpoint, routes_of
from raftbook.gateway.query import READ_PARAMETERS, Query, settle_read
from raftbook.gateway.submissions import command_endpoint, submit_one
from raftbook.json_format import answers as documents
from raftbook.json_format import command_from_fields, key_to_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Service

_TAG: Final = "API keys"


class KeyHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.config.limits

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @command_endpoint("POST", "/v1/keys", Body("create_key"), access=Access.ADMIN, tag=_TAG)
    async def create_key(self, request: Request, query: Query) -> Answer | Response:
        """Creates a key; whoever will use it makes the secret and says its public key alone.

        `raftbook account create` does both.
        """
        wait_s = query.submission_wait_s()
        command = await read_command(request, "create_key", self._limits)
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)

    @endpoint(
        "GET",
        "/v1/keys",
        query=READ_PARAMETERS,
        answers={200: list[documents.ApiKey]},
        problems=(problem_codes.READING,),
        access=Access.ADMIN,
        tag=_TAG,
    )
    async def list_keys(self, _: Request, query: Query) -> Answer:
        """All keys, in the order in which they were created, revoked ones too."""
        log_index = await settle_read(self._service, query)
        records = self._service.state.exchange.api_keys.records
        return Answer([key_to_json(record) for record in records.values()], log_index)

    @command_endpoint("DELETE", "/v1/keys/{key_id}", None, access=Access.ADMIN, tag=_TAG)
    async def revoke_key(self, request: Request, query: Query) -> Answer | Response:
        """Revokes a key: each node refuses it from the moment at which it has applied this."""
        wait_s = query.submission_wait_s()
        command = command_from_fields("revoke_key", {"key_id": request.path_params["key_id"]})
        return await submit_one(self._service, caller_of(request.scope), command, wait_s)
