"""Who a client is: its API key, and the headers by which a node knows it.

A key that signs names the node in what it signs, so the client must know who answers at a URL. It learns that from the
header that every answer carries; before the first one it asks for GET /healthz, which needs no key.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from raftbook.engine.types import Role
from raftbook.errors import ConfigError, ProblemError
from raftbook.security.signing import NODE_HEADER, bearer_headers, parse_key, signed_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class Authenticator:
    """`api_key` None: requests go without any. Raises InvalidKeyError where the text is no key."""

    def __init__(self, api_key: str | None) -> None:
        self._key = None if api_key is None else parse_key(api_key)
        self._node_ids: dict[str, str] = {}

    @property
    def signs(self) -> bool:
        return self._key is not None and self._key.role is not Role.READ

    def heard(self, url: str, headers: Mapping[str, str]) -> bool:
        """What `url` answered; True where it is another node than was known, so that a refusal may be no last word."""
        node_id = headers.get(NODE_HEADER)
        if node_id is None or self._node_ids.get(url) == node_id:
            return False
        self._node_ids[url] = node_id
        return True

    async def headers(
        self, url: str, method: str, target: str, body: bytes, ask_who: Callable[[str], Awaitable[None]]
    ) -> dict[str, str]:
        """The headers for one request to the node at `url`; `target` is path?query as it will be sent.

        `ask_who` has `heard` hear an answer of that node. ConfigError where others would hear a key that is sent.
        """
        if self._key is None:
            return {}
        if not self.signs:
            _check_unheard(url)
            return bearer_headers(self._key)
        if url not in self._node_ids:
            await ask_who(url)
        if url not in self._node_ids:
            raise ProblemError(
                200, "unexpected_answer", f"what answers at {url} does not say which node it is; check the URL"
            )
        return signed_headers(
            self._key,
            self._node_ids[url],
            method,
            target,
            body=body,
            timestamp=time.time_ns(),
            nonce=secrets.token_urlsafe(16),
        )


def _check_unheard(url: str) -> None:
    """A read key is sent as it is: over TLS, or not beyond this machine."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "ws") and not _is_loopback(parts.hostname or ""):
        raise ConfigError(f"a read key would go to {url} in clear text; write https://, or name the node on loopback")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
