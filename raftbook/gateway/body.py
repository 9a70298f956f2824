"""Strict reading of request bodies: bounded before they are read, typed before they are decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.errors import ProblemError
from raftbook.gateway.cbor import commands_from_cbor_array, fields_from_cbor
from raftbook.gateway.media_types import CBOR, body_media_type
from raftbook.json_format import command_from_fields, command_from_json, commands_from_json_array, fields_from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from raftbook.engine.commands import Command
    from raftbook.errors import InvalidCommandError
    from raftbook.node.config import LimitsConfig


async def read_command(
    request: Request, op: str, limits: LimitsConfig, *, generate_client_order_id: Callable[[], str] | None = None
) -> Command:
    """The command of kind `op` that the body says. Raises InvalidCommandError, or a 413 or 415 problem."""
    media_type = body_media_type(request)
    body = await read_body(request, limits.max_body_bytes)
    if media_type == CBOR:
        return command_from_fields(op, fields_from_cbor(body), generate_client_order_id=generate_client_order_id)
    return command_from_json(body, op, generate_client_order_id=generate_client_order_id)


async def read_fields(request: Request, limits: LimitsConfig) -> dict[str, object]:
    """The fields of the body, for callers that add to them what the path says; see `command_from_fields`."""
    media_type = body_media_type(request)
    body = await read_body(request, limits.max_body_bytes)
    return fields_from_cbor(body) if media_type == CBOR else dict(fields_from_json(body))


async def read_commands(
    request: Request, limits: LimitsConfig, *, generate_client_order_id: Callable[[], str]
) -> list[Command | InvalidCommandError]:
    """The commands of the body's array, an error in the place of each element that is none."""
    media_type = body_media_type(request)
    body = await read_body(request, limits.max_body_bytes)
    read_array = commands_from_cbor_array if media_type == CBOR else commands_from_json_array
    return read_array(body, limits.max_commands_per_request, generate_client_order_id=generate_client_order_id)


async def read_body(request: Request, max_body_bytes: int) -> bytes:
    """The whole body. A 413 problem as soon as it is, or says that it will be, longer than `max_body_bytes`."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > max_body_bytes):
        raise _too_large(max_body_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_body_bytes:
            raise _too_large(max_body_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_body_bytes: int) -> ProblemError:
    return ProblemError(
        413,
        "body_too_large",
        f"the body is larger than {max_body_bytes} bytes; nothing was taken, send smaller requests",
        members={"max_body_bytes": max_body_bytes},
    )
