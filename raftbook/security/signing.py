"""API keys as text, and requests signed with them: the one place that clients and nodes share.

An API key is one string, `rb_<role>_<key_id>_<secret>`; the secret is 32 random bytes as base64url without padding.
It is the seed of an Ed25519 key pair (RFC 8032), of which a node keeps the public key alone.

- A `read` key is a bearer token: it is sent whole (`Authorization: Bearer rb_read_…`), over TLS or loopback.
- A `trade` or `admin` key never leaves its owner: it signs each request, and the four headers of `signed_headers` are
  sent. What is signed names the node that the request is for, so that nobody can send it again to another one, and a
  time and a nonce, so that this one recognises a copy.

What is signed, with a newline between the lines and none at the end (`target` is path?query as it is sent):

    raftbook-v1
    {node_id}
    {METHOD}
    {target}
    {timestamp, nanoseconds since the epoch}
    {nonce}
    {SHA-256 of the body, in hexadecimal}

Pure: time and nonces are handed in. The three texts from outside (key, signature, nonce) have exactly one form each.
"""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raftbook.engine.types import KEY_ID_PATTERN, Role
from raftbook.errors import InvalidKeyError

KEY_HEADER: Final = "Raftbook-Key"
TIMESTAMP_HEADER: Final = "Raftbook-Timestamp"
NONCE_HEADER: Final = "Raftbook-Nonce"
SIGNATURE_HEADER: Final = "Raftbook-Signature"
NODE_HEADER: Final = "Raftbook-Node"
"""Stands in every answer: the id of the node, which the signature of the next request names."""

STREAM_TARGET: Final = "/v1/stream"
"""What an `authenticate` message on a WebSocket signs, as a GET without a body."""

SECRET_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NONCE_PATTERN: Final = re.compile(r"[A-Za-z0-9_\-]{16,64}", re.ASCII)

_PREFIX: Final = "rb"
_ROLES: Final = {role.label: role for role in Role}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_\-]*", re.ASCII)
_WHAT_A_KEY_IS: Final = "an API key is rb_<role>_<key id>_<secret>, as `raftbook account create` printed it"


class ApiKey(NamedTuple):
    """A key with its secret; `repr`, and so what is printed or logged, does not show the secret."""

    role: Role
    key_id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"ApiKey({self.role.label}, {self.key_id}, secret hidden)"


def format_key(key: ApiKey) -> str:
    """The string that its owner keeps."""
    assert KEY_ID_PATTERN.fullmatch(key.key_id), key.key_id
    assert len(key.secret) == SECRET_BYTES, len(key.secret)
    return f"{_PREFIX}_{key.role.label}_{key.key_id}_{_to_base64url(key.secret)}"


def parse_key(text: str) -> ApiKey:
    """The key that this string is; InvalidKeyError, which never shows the secret, where it is none."""
    parts = text.split("_", 3)
    if len(parts) != 4 or parts[0] != _PREFIX:
        raise InvalidKeyError(f"this is no API key: {_WHAT_A_KEY_IS}")
    _, role, key_id, encoded = parts
    if role not in _ROLES:
        raise InvalidKeyError(f"the key has no known role: {_WHAT_A_KEY_IS}; roles: {', '.join(_ROLES)}")
    if KEY_ID_PATTERN.fullmatch(key_id) is None:
        raise InvalidKeyError(f"the key has no valid key id: {_WHAT_A_KEY_IS}")
    secret = _from_base64url(encoded, SECRET_BYTES)
    if secret is None:
        raise InvalidKeyError(f"the secret of key {key_id} was cut off or altered: {_WHAT_A_KEY_IS}")
    return ApiKey(_ROLES[role], key_id, secret)


def derive_public_key(secret: bytes) -> str:
    """The public key of a secret as base64url: all that a node keeps of it. About 50 µs."""
    return _to_base64url(Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def text_to_sign(node_id: str, method: str, target: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """What a signature covers; `target` is path?query as it is sent."""
    lines = ("raftbook-v1", node_id, method, target, str(timestamp), nonce, sha256(body).hexdigest())
    return "\n".join(lines).encode()


def sign(secret: bytes, text: bytes) -> str:
    """The signature of `text` as base64url, 86 characters. About 40 µs."""
    return _to_base64url(Ed25519PrivateKey.from_private_bytes(secret).sign(text))


def verify(public_key: str, signature: str, text: bytes) -> bool:
    """Did the owner of `public_key` sign `text`? About 100 µs."""
    raw_key = _from_base64url(public_key, PUBLIC_KEY_BYTES)
    raw_signature = _from_base64url(signature, SIGNATURE_BYTES)
    if raw_key is None or raw_signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw_key).verify(raw_signature, text)
    except InvalidSignature:
        return False
    return True


def signed_headers(
    key: ApiKey, node_id: str, method: str, target: str, *, body: bytes = b"", timestamp: int, nonce: str
) -> dict[str, str]:
    """The headers by which `node_id` knows that the key's owner sent this request.

    `timestamp` is now (nanoseconds since the epoch), `nonce` 16 to 64 random characters that were never used before,
    such as `secrets.token_urlsafe(16)`. One set of headers is good for one request to one node.
    """
    assert NONCE_PATTERN.fullmatch(nonce), nonce
    assert "\n" not in target, target
    return {
        KEY_HEADER: key.key_id,
        TIMESTAMP_HEADER: str(timestamp),
        NONCE_HEADER: nonce,
        SIGNATURE_HEADER: sign(key.secret, text_to_sign(node_id, method, target, timestamp, nonce, body)),
    }


def bearer_headers(key: ApiKey) -> dict[str, str]:
    """The header by which any node knows the holder of a `read` key; other keys are never sent."""
    assert key.role is Role.READ, "only a read key is a bearer token; others sign"
    return {"Authorization": f"Bearer {format_key(key)}"}


def request_headers(
    key: ApiKey, node_id: str, method: str, target: str, *, body: bytes = b"", timestamp: int, nonce: str
) -> dict[str, str]:
    """The headers that a request needs under this key, whatever its role is."""
    if key.role is Role.READ:
        return bearer_headers(key)
    return signed_headers(key, node_id, method, target, body=body, timestamp=timestamp, nonce=nonce)


def _to_base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _from_base64url(text: str, size_bytes: int) -> bytes | None:
    """The bytes, None where they are not so many, or the text is not the one form that they have."""
    if len(text) != -(-size_bytes * 4 // 3) or _BASE64URL.fullmatch(text) is None:
        return None
    raw = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    return raw if _to_base64url(raw) == text else None
