"""The URLs of nodes: those that a client is given, and those that a node tells of its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from raftbook.errors import ConfigError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.client.http import Answer

DEFAULT_URL: Final = "http://127.0.0.1:8101"


def checked_urls_of(urls: Iterable[str | Iterable[str]]) -> list[str]:
    """What was given as one or several strings, commas between URLs or not; the default where nothing was given."""
    texts = [text for given in urls for text in ([given] if isinstance(given, str) else given)]
    return [_checked_url(url.strip()) for text in texts or [DEFAULT_URL] for url in text.split(",")]


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url!r} is no URL ({error}); write one such as {DEFAULT_URL}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ConfigError(f"{url!r} is no URL of a node; write one such as {DEFAULT_URL}")
    return url.rstrip("/")


def is_https(url: str) -> bool:
    return url.startswith("https:")


class _Member(msgspec.Struct):
    api_address: str


class _Members(msgspec.Struct):
    nodes: list[_Member]


def urls_of_members(answer: Answer) -> list[str]:
    """Of all nodes of the cluster that `answer`, to GET /v1/cluster, tells; under the scheme by which it came.

    ProblemError where it tells none.
    """
    try:
        members = msgspec.convert(answer.document, _Members).nodes
    except msgspec.ValidationError as error:
        raise ProblemError(
            200, "unexpected_answer", f"{answer.url} does not tell its cluster's nodes: {error}"
        ) from error
    scheme = answer.url.partition("://")[0]
    return [f"{scheme}://{member.api_address}" for member in members]
