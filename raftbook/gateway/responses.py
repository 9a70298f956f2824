"""Answers: JSON or CBOR with the log index, and problem documents (RFC 9457), which are always JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cbor2
from starlette.responses import Response

from raftbook.errors import (
    BusyError,
    InvalidCommandError,
    NoQuorumError,
    NotHeldError,
    NotReadyError,
    OutcomeUnknownError,
    ProblemError,
    RaftbookError,
    StorageFullError,
)
from raftbook.gateway.media_types import CBOR
from raftbook.json_format import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_INDEX_HEADER: Final = "Raftbook-Log-Index"

WWW_AUTHENTICATE: Final = 'Bearer realm="raftbook", Raftbook-Signature realm="raftbook"'
"""A read key is shown, any other signs (raftbook/security/signing.py); RFC 9110, section 11.6.1."""

_STATUS_OF_ERROR: Final[dict[type[RaftbookError], int]] = {
    InvalidCommandError: 400,
    NotHeldError: 404,
    BusyError: 429,
    StorageFullError: 507,
    NotReadyError: 503,
    NoQuorumError: 503,
    OutcomeUnknownError: 503,
}


def encoded_answer(
    document: object, media_type: str, log_index: int | None, status: int, headers: Mapping[str, str]
) -> Response:
    body = cbor2.dumps(document) if media_type == CBOR else dumps(document)
    all_headers = dict(headers)
    if log_index is not None:
        all_headers[LOG_INDEX_HEADER] = str(log_index)
    return Response(body, status_code=status, media_type=media_type, headers=all_headers)


def problem_response(problem: ProblemError, headers: dict[str, str] | None = None) -> Response:
    """The problem document.

    The connection stays open, also where a body is refused half-read: the server passes over the rest of it without
    keeping it, so that a client which sends before it reads still gets to the answer.
    """
    document = {
        "type": f"urn:raftbook:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **problem.members,
    }
    all_headers = dict(headers or {})
    if problem.status == 401:
        all_headers["WWW-Authenticate"] = WWW_AUTHENTICATE
    if problem.retry_after_s is not None:
        all_headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
        document["retry_after_s"] = problem.retry_after_s
    return Response(
        dumps(document), status_code=problem.status, media_type="application/problem+json", headers=all_headers
    )


def problem_of(error: RaftbookError) -> ProblemError:
    """The problem that an operating failure is to a client. What has no status here is the node's trouble: 503."""
    if isinstance(error, ProblemError):
        return error
    status = _STATUS_OF_ERROR.get(type(error), 503)
    members: dict[str, object] = {}
    if isinstance(error, InvalidCommandError) and error.field is not None:
        members["field"] = error.field
    retry_after_s = 1.0 if status == 503 else None
    if isinstance(error, BusyError | StorageFullError):
        retry_after_s = error.retry_after_s
    return ProblemError(status, error.code, str(error), members=members, retry_after_s=retry_after_s)
