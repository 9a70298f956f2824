"""Strict reading of request bodies: bounded before they are read, typed before they are decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

JSON: Final = "application/json"
CBOR: Final = "application/cbor"


def require_media_type(request: Request, *accepted: str) -> str:
    """The media type of the body, one of `accepted`; else a 415 problem that names them."""
    header = request.headers.get("content-type", "")
    media_type, _, parameters = header.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if media_type not in accepted or charset not in ("", "charset=utf-8"):
        given = f"not {header[:80]!a}" if header else "but the request has none"
        raise _unsupported(f"Content-Type must be {' or '.join(accepted)}, {given}", accepted)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise _unsupported("Content-Encoding must be absent; send the body uncompressed", accepted)
    return media_type


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


def _unsupported(detail: str, accepted: tuple[str, ...]) -> ProblemError:
    return ProblemError(415, "unsupported_media_type", detail, members={"accepted": list(accepted)})
