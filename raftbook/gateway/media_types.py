"""In which form a request's body is, and in which its answer is to be: JSON or CBOR, with the same fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

JSON: Final = "application/json"
CBOR: Final = "application/cbor"

_MOST_RANGES: Final = 32
"""No client names more; the search is quadratic."""


def body_media_type(request: Request, accepted: tuple[str, ...] = (JSON, CBOR)) -> str:
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


def accepted_media_type(request: Request, available: tuple[str, ...]) -> str:
    """That of `available` which the client likes best; else a 406 problem that names them.

    Of two that it likes as well comes that of its own body, then the first. (RFC 9110, 12.5.1: the most specific range
    that covers a type gives its weight, and 0 rules it out.)
    """
    header = ",".join(request.headers.getlist("accept"))
    if not header.strip():
        header = "*/*"
    weights = _weights(header)
    own = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    best, best_rank = "", (0.0, False)
    for media_type in available:
        rank = (_weight_of(media_type, weights), media_type == own)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = media_type, rank
    if not best:
        detail = f"the answer comes as {' or '.join(available)}, which Accept: {header[:80]!a} rules out"
        raise ProblemError(406, "not_acceptable", detail, members={"available": list(available)})
    return best


def _weights(accept: str) -> dict[str, float]:
    """Media range -> weight; what is no range, or has no proper weight, is passed over."""
    weights: dict[str, float] = {}
    for element in accept.split(",")[:_MOST_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _parsed_weight(value.strip())
        if media_range and 0 <= weight <= 1:
            weights[media_range] = weight
    return weights


def _parsed_weight(text: str) -> float:
    """0 to 1 with up to three decimals; -1 for anything else."""
    whole, point, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or (point and decimals and not decimals.isdecimal()):
        return -1.0
    return float(text) if text.isascii() else -1.0


def _weight_of(media_type: str, weights: dict[str, float]) -> float:
    family = media_type.partition("/")[0]
    for media_range in (media_type, f"{family}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0


def _unsupported(detail: str, accepted: tuple[str, ...]) -> ProblemError:
    return ProblemError(415, "unsupported_media_type", detail, members={"accepted": list(accepted)})
