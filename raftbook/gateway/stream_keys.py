"""The access of one connection to the stream, by the key that its handshake or its first message shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from raftbook.engine.types import MAX_INTEGER, Role
from raftbook.errors import InvalidCommandError, ProblemError
from raftbook.gateway.caller import Caller
from raftbook.security.authentication import SignedClaim, claim_of, token_of
from raftbook.security.signing import STREAM_TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftbook.engine.api_keys import KeyRecord
    from raftbook.engine.commands import Command
    from raftbook.json_format import Json
    from raftbook.security.authentication import Authenticator

_TIMESTAMP: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


class KeyedStreamAccess:
    """A StreamAccess. The key is looked up for everything that is asked, so a revoked one is refused at once.

    `end` is the connection's to set: it is called with a reason when the key was revoked, since what was subscribed
    would go on without anything being asked.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        keys_required: bool,
        admit: Callable[[KeyRecord | None], Caller],
        wall_clock_ns: Callable[[], int],
    ) -> None:
        """`admit` counts one request of the address, and of the key where one is required; a 429 problem beyond."""
        self._authenticator = authenticator
        self._keys_required = keys_required
        self._admit = admit
        self._wall_clock_ns = wall_clock_ns
        self._record: KeyRecord | None = None
        self.end: Callable[[str], None] | None = None

    @property
    def is_authenticated(self) -> bool:
        return self._record is not None or not self._keys_required

    def authenticate_handshake(self, headers: Mapping[str, str], target: str) -> None:
        """Take the key that the handshake's headers show, if they show one. A 401 problem refuses the handshake."""
        if not self._keys_required:
            return
        token, claim = token_of(headers), claim_of(headers)
        if token is not None:
            self._record = self._authenticator.check_token(token)
        elif claim is not None:
            self._record = self._signed(claim, target)

    def authenticate(self, fields: Mapping[str, object]) -> Json:
        if not self._keys_required:
            raise ProblemError(400, "no_keys", "this node requires no keys; go on without `authenticate`")
        if self._record is not None:
            raise ProblemError(
                409, "already_authenticated", "this connection has a key; open another one for another key"
            )
        token = fields.get("token")
        if token is not None:
            if not isinstance(token, str) or len(fields.keys() & {"key_id", "timestamp", "nonce", "signature"}) > 0:
                raise InvalidCommandError("token: a read key as text, without the fields of a signature", "token")
            record = self._authenticator.check_token(token)
        else:
            record = self._signed(_claim_in(fields), STREAM_TARGET)
        self._record = record
        return {"key_id": record.key_id, "role": record.role.label}

    def _signed(self, claim: SignedClaim, target: str) -> KeyRecord:
        now = self._wall_clock_ns()
        record = self._authenticator.check_claim(claim, now)
        self._authenticator.check_signature(claim, record, method="GET", target=target, body=b"", now=now)
        return record

    def check_read(self, channel: str, symbol: str | None, account: str | None) -> None:  # noqa: ARG002 (the protocol's)
        caller = self._caller()
        caller.check_role(Role.READ)
        if account is not None:
            caller.check_account(account)

    def check_submit(self, command: Command) -> None:
        self._caller().check_command(command)

    def check_current(self) -> None:
        if self._record is not None:
            self._authenticator.current(self._record)

    @property
    def reader(self) -> Caller:
        return Caller(self._record)

    def _caller(self) -> Caller:
        """Who asks, with the key as it stands now; what is asked is counted."""
        return self._admit(None if self._record is None else self._authenticator.current(self._record))

    def end_if_revoked(self) -> None:
        """The keys have changed."""
        if self._record is None or self.end is None:
            return
        try:
            self._authenticator.current(self._record)
        except ProblemError as problem:
            self.end(problem.detail)


def _claim_in(fields: Mapping[str, object]) -> SignedClaim:
    key_id, timestamp, nonce, signature = (fields.get(name) for name in SignedClaim._fields)
    if isinstance(timestamp, str) and _TIMESTAMP.fullmatch(timestamp):
        # JavaScript has no integers of this size.
        timestamp = int(timestamp)
    if (
        not isinstance(key_id, str)
        or not isinstance(nonce, str)
        or not isinstance(signature, str)
        or type(timestamp) is not int
        or not 0 <= timestamp <= MAX_INTEGER
    ):
        raise InvalidCommandError(
            "authenticate: give key_id, nonce and signature as text and timestamp in ns, or a read key as token"
        )
    return SignedClaim(key_id, timestamp, nonce, signature)
