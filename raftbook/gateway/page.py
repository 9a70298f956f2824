"""The trading page: its files, read once when the node starts, and handed out with what keeps a browser safe.

The page is plain HTML, CSS and JavaScript modules in the folder web/; nothing is built, and nothing comes from
elsewhere. Only what was in that folder at the start can be asked for, by its exact name, so no path leads out of it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from raftbook.errors import ProblemError
from raftbook.gateway.query import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from starlette.requests import Request

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_COMPRESSED: Final = frozenset({".woff2"})
"""What gzip would not make smaller."""

_INDEX: Final = "index.html"

_ASK_EACH_TIME: Final = "no-cache"
"""Keep it, but ask whether it is still the same: a node that was upgraded gets its new page at once."""
_KEEP_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"
"""For what lies in vendor/, whose names hold their versions."""


class Asset:
    """A file of the page."""

    def __init__(self, name: str, body: bytes) -> None:
        """`name` is its path. An unknown ending is a programmer's mistake."""
        self._ending = name[name.rindex(".") :]
        self.body = body
        self.media_type = _MEDIA_TYPES[self._ending]
        self.cache_control = _KEEP_FOR_A_YEAR if name.startswith("vendor/") else _ASK_EACH_TIME

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        """Its gzip, None where that is no gain. Made when it is asked for, so that no node waits for it to start."""
        if self._ending in _COMPRESSED:
            return None
        compressed = gzip.compress(self.body, compresslevel=6, mtime=0)
        return compressed if len(compressed) < len(self.body) else None


class PageHandlers:
    """`api_addresses` are HOST:PORT of all nodes: the page goes on at another one when its own is gone."""

    def __init__(self, api_addresses: Sequence[str]) -> None:
        self._assets = load_assets()
        self._api_addresses = tuple(api_addresses)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/assets/{name:path}", self.asset, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """GET /: the trading page."""
        policy = content_security_policy(self._api_addresses, secure=request.url.scheme == "https")
        return answer_with(request, self._assets[_INDEX], {"Content-Security-Policy": policy})

    async def asset(self, request: Request) -> Response:
        """GET /assets/{name}: one of the page's files."""
        name = request.path_params["name"]
        asset = self._assets.get(name)
        if asset is None:
            near = nearest(name, self._assets)
            hint = f"near: {', '.join(near)}" if near else "GET / is the page that names them"
            raise ProblemError(404, "no_such_asset", f"the page has no file {name[:200]!a}; {hint}")
        return answer_with(request, asset, {})


@cache
def load_assets(folder: str = "web") -> Mapping[str, Asset]:
    """Every file in `folder` by its path below it."""
    root = importlib.resources.files("raftbook.gateway") / folder
    return {name: Asset(name, file.read_bytes()) for name, file in _files(root, "")}


def content_security_policy(api_addresses: Sequence[str], *, secure: bool) -> str:
    """Scripts, styles, fonts and images from this node alone; connections to the nodes of this cluster alone."""
    schemes = ("https", "wss") if secure else ("http", "ws")
    # The grammar of the policy has no IPv6 addresses; a page that is to move between such nodes needs their names.
    named = [address for address in api_addresses if not address.startswith("[")]
    nodes = " ".join(f"{scheme}://{address}" for address in named for scheme in schemes)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "font-src 'self'",
            f"connect-src 'self' {nodes}".rstrip(),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            yield f"{prefix}{entry.name}", entry


def answer_with(request: Request, asset: Asset, headers: Mapping[str, str]) -> Response:
    """The file, or 304 where the browser has it already."""
    headers = {
        **headers,
        "ETag": asset.etag,
        "Cache-Control": asset.cache_control,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if asset.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if asset.compressed is not None and _accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether `gzip` is among the codings that the client takes, and not with a weight of 0 (RFC 9110, 12.5.3)."""
    for coding in accept_encoding.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
