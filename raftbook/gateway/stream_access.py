"""What a connection to the stream may do, as the stream asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from raftbook.errors import ProblemError
from raftbook.gateway.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.websockets import WebSocket

    from raftbook.engine.commands import Command
    from raftbook.json_format import Json


class StreamAccess(Protocol):
    """Of one connection. The checks raise ProblemError (401, 403, 429); nothing is done then."""

    end: Callable[[str], None] | None
    """The connection sets it: called with a reason when its key was revoked, and closes it."""

    @property
    def reader(self) -> Caller:
        """Who gets the answers."""
        ...

    @property
    def is_authenticated(self) -> bool:
        """False only where a key is needed and none was shown yet."""
        ...

    def authenticate(self, fields: Mapping[str, object]) -> Json:
        """Takes the key that the fields of the op `authenticate` show; (key_id, role) of it."""
        ...

    def check_read(self, channel: str, symbol: str | None, account: str | None) -> None:
        """May it subscribe to this?"""
        ...

    def check_submit(self, command: Command) -> None:
        """May it enter this?"""
        ...

    def check_current(self) -> None:
        """Is its key still good, of which something was allowed already?"""
        ...


class OpenAccess:
    """Where no keys are required everybody may do everything."""

    is_authenticated = True
    reader = Caller(None)
    end: Callable[[str], None] | None = None

    def authenticate(self, fields: Mapping[str, object]) -> Json:  # noqa: ARG002 (the protocol's)
        raise ProblemError(400, "no_keys", "this node requires no keys; go on without `authenticate`")

    def check_read(self, channel: str, symbol: str | None, account: str | None) -> None:
        """Everything may be read."""

    def check_submit(self, command: Command) -> None:
        """Everything may be entered."""

    def check_current(self) -> None:
        """There is none."""


AccessFor = Callable[["WebSocket"], StreamAccess]
"""The access of a connection, from what its handshake said; raises ProblemError, and the handshake is refused."""


def open_access(_websocket: WebSocket) -> StreamAccess:
    return OpenAccess()
