"""Whose request is this? Keys shown or signatures made with them, held against the keys that there are.

Decides without I/O: time is handed in, and the keys are looked up in the state whenever they are needed, so that a
revoked one is refused from the moment at which this node has applied its revocation. Every failure is a ProblemError
of status 401, which means that nothing was taken.

A copy of a signed request is recognised: the text that is signed names the node and its start, so a copy is good at no
other node and after no restart; its time must be within WINDOW_NS of this node's clock; and within that time every
nonce is remembered.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import MAX_INTEGER, Role
from raftbook.errors import BusyError, InvalidKeyError, ProblemError
from raftbook.security.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    NONCE_PATTERN,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    derive_public_key,
    parse_key,
    text_to_sign,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftbook.engine.api_keys import KeyRecord

WINDOW_NS: Final = 5_000_000_000
"""How far a request's timestamp may be from the node's clock, either way."""

MOST_NONCES: Final = 200_000
"""Signed requests that are remembered; beyond it the answer is `busy`. Some 20,000 a second fill it."""

_MOST_TOKENS: Final = 20_000
_TIMESTAMP: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_BEARER: Final = re.compile(r"Bearer +(\S+) *", re.ASCII | re.IGNORECASE)


class SignedClaim(NamedTuple):
    """Whose a request says that it is, in its headers or in the op `authenticate`; nothing of it is checked yet."""

    key_id: str
    timestamp: int
    nonce: str
    signature: str


def unauthenticated(code: str, detail: str) -> ProblemError:
    return ProblemError(401, code, detail)


def token_of(headers: Mapping[str, str]) -> str | None:
    """The bearer token of a request, None without one. A 401 problem where `Authorization` is of another kind."""
    header = headers.get("authorization")
    if header is None:
        return None
    match = _BEARER.fullmatch(header)
    if match is None:
        raise unauthenticated("unauthenticated", "Authorization must be `Bearer <read key>`; other keys sign requests")
    return match[1]


def claim_of(headers: Mapping[str, str]) -> SignedClaim | None:
    """What the four headers of a signed request say, None without any. A 401 problem where they are not whole."""
    names = (KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
    key_id, timestamp, nonce, signature = (headers.get(name.lower()) for name in names)
    if key_id is None and timestamp is None and nonce is None and signature is None:
        return None
    if key_id is None or timestamp is None or nonce is None or signature is None:
        missing = [name for name in names if name.lower() not in headers]
        raise unauthenticated("unauthenticated", f"a signed request has four headers; missing: {', '.join(missing)}")
    if not _TIMESTAMP.fullmatch(timestamp) or int(timestamp) > MAX_INTEGER:
        raise unauthenticated("unauthenticated", f"{TIMESTAMP_HEADER} must be nanoseconds since the epoch, in digits")
    return SignedClaim(key_id, int(timestamp), nonce, signature)


class NonceMemory:
    """Which signed requests there were lately; a copy is one of the same key, timestamp and nonce.

    Kept by the WINDOW_NS in which their timestamps lie, so that forgetting costs nothing for each. O(1).
    """

    __slots__ = ("_count", "_most", "_oldest", "_seen")

    def __init__(self, most: int = MOST_NONCES) -> None:
        self._most = most
        self._count = 0
        self._oldest = 0
        self._seen: dict[int, set[tuple[str, int, str]]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, claim: SignedClaim, now: int) -> bool:
        """Is it new, for all that is remembered? Its timestamp is within WINDOW_NS of `now`.

        Where the clock was set back, some of what it lets in is of a time that was forgotten: that counts as a copy.
        BusyError where no more can be remembered.
        """
        self._forget(now)
        window = claim.timestamp // WINDOW_NS
        if window < self._oldest:
            return False
        seen = self._seen.setdefault(window, set())
        key = (claim.key_id, claim.timestamp, claim.nonce)
        if key in seen:
            return False
        if self._count >= self._most:
            raise BusyError("more signed requests than the node can keep apart; come again in a moment", 1.0)
        seen.add(key)
        self._count += 1
        return True

    def _forget(self, now: int) -> None:
        """Drop what a copy would be too old for."""
        self._oldest = max(self._oldest, (now - WINDOW_NS) // WINDOW_NS)
        for window in [window for window in self._seen if window < self._oldest]:
            self._count -= len(self._seen.pop(window))


class Authenticator:
    """`incarnation` names this node and its start; it is what requests are signed for.

    `key_of` gives the record of a key id as the state has it now, None for an unknown one.
    """

    def __init__(self, incarnation: str, key_of: Callable[[str], KeyRecord | None]) -> None:
        self.incarnation = incarnation
        self._key_of = key_of
        self._nonces = NonceMemory()
        self._public_keys: dict[bytes, str] = {}
        """SHA-256 of tokens that were good once -> their public keys, which take 50 µs to derive."""

    def check_token(self, token: str) -> KeyRecord:
        """The key that was shown. 1 µs for one that was shown before."""
        try:
            key = parse_key(token)
        except InvalidKeyError as error:
            raise unauthenticated("unauthenticated", str(error)) from error
        if key.role is not Role.READ:
            raise unauthenticated(
                "unauthenticated",
                f"a {key.role.label} key signs requests and is never sent; key {key.key_id} has now been shown to the "
                f"node and whatever lies between, so revoke it: raftbook account revoke {key.key_id}",
            )
        digest = sha256(token.encode()).digest()
        public_key = self._public_keys.get(digest) or derive_public_key(key.secret)
        record = self._key_of(key.key_id)
        if record is None or record.public_key != public_key or record.role is not Role.READ:
            raise unauthenticated("unauthenticated", f"there is no read key {key.key_id} with this secret")
        _refuse_revoked(record)
        if len(self._public_keys) >= _MOST_TOKENS:
            self._public_keys.clear()
        self._public_keys[digest] = public_key
        return record

    def check_claim(self, claim: SignedClaim, now: int) -> KeyRecord:
        """The key that the request claims, if the claim can be good: all that costs nothing to check.

        `now` is the node's clock (nanoseconds since the epoch). What must follow is `check_signature`.
        """
        record = self._key_of(claim.key_id)
        if record is None:
            raise unauthenticated("unauthenticated", f"there is no key {claim.key_id[:64]!a}; ask an admin for one")
        _refuse_revoked(record)
        if record.role is Role.READ:
            raise unauthenticated("unauthenticated", "a read key signs nothing; send it as `Authorization: Bearer …`")
        if NONCE_PATTERN.fullmatch(claim.nonce) is None:
            raise unauthenticated("unauthenticated", f"{NONCE_HEADER} must be 16 to 64 of A-Z a-z 0-9 _ -")
        if abs(now - claim.timestamp) > WINDOW_NS:
            off_s = (claim.timestamp - now) / 1e9
            raise unauthenticated(
                "timestamp_outside_window",
                f"the request's timestamp is {abs(off_s):.1f} s {'ahead of' if off_s > 0 else 'behind'} this node's "
                "clock, more than 5 s; set the clock (chrony, ntp), and sign just before sending",
            )
        return record

    def check_signature(
        self, claim: SignedClaim, record: KeyRecord, *, method: str, target: str, body: bytes, now: int
    ) -> None:
        """The request is what the owner of the key signed, and no copy of one that came before. About 100 µs."""
        text = text_to_sign(self.incarnation, method, target, claim.timestamp, claim.nonce, body)
        if not verify(record.public_key, claim.signature, text):
            raise unauthenticated(
                "signature_invalid",
                f"the signature is not that of key {record.key_id} over this request to node {self.incarnation}: sign "
                "the Raftbook-Node of this node's latest answer, the method, path?query as sent, and the exact body",
            )
        if not self._nonces.add(claim, now):
            raise unauthenticated(
                "replayed", "this request was made before; sign each one anew, with a nonce of its own"
            )

    def current(self, record: KeyRecord) -> KeyRecord:
        """The key as it stands now, for a connection that outlives one request."""
        latest = self._key_of(record.key_id)
        if latest is None or latest.public_key != record.public_key:
            raise unauthenticated("key_revoked", f"key {record.key_id} is known no more; ask an admin for another one")
        _refuse_revoked(latest)
        return latest


def _refuse_revoked(record: KeyRecord) -> None:
    if record.revoked_at is not None:
        raise unauthenticated("key_revoked", f"key {record.key_id} was revoked; ask an admin for another one")
