"""API keys for tests: each with its secret, and clients that use them as a careful client does."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx

from raftbook.engine.commands import CreateKey
from raftbook.security.signing import ApiKey, derive_public_key, request_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.types import Role


def key_of(role: Role, key_id: str) -> ApiKey:
    """The same one for the same id."""
    return ApiKey(role, key_id, sha256(key_id.encode()).digest())


def creation_of(key: ApiKey, *accounts: str) -> CreateKey:
    return CreateKey(key.key_id, f"{key.role.label}-key", key.role, tuple(sorted(accounts)), public_key_of(key))


def public_key_of(key: ApiKey) -> str:
    return derive_public_key(key.secret)


def target_of(url: httpx.URL) -> str:
    return url.raw_path.decode("ascii")


def headers_for(key: ApiKey, node: str, request: httpx.Request) -> dict[str, str]:
    """What a client sends with this request now."""
    return request_headers(
        key,
        node,
        request.method,
        target_of(request.url),
        body=request.content,
        timestamp=time.time_ns(),
        nonce=secrets.token_urlsafe(16),
    )


class KeyAuth(httpx.Auth):
    """Every request of a client under one key. `node` is what the node says of itself in `Raftbook-Node`."""

    requires_request_body = True

    def __init__(self, key: ApiKey, node: str) -> None:
        self.key = key
        self.node = node

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:
        request.headers.update(headers_for(self.key, self.node, request))
        yield request
