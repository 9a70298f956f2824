"""Strict reading of path and query parameters: a fault is a problem that names the parameter and the fix."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from raftbook.engine.types import IDENTIFIER_PATTERN, MAX_INTEGER, SYMBOL_PATTERN
from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.requests import Request

    from raftbook.gateway.service import Service

MAX_WAIT_S: Final = 60.0
SUBMISSION_WAIT_S: Final = 6.0
"""A little longer than a submission lives by default, so that the usual answer is a definite one."""
READ_WAIT_S: Final = 5.0

READ_PARAMETERS: Final = ("consistency", "at_least", "wait_s")
SUBMIT_PARAMETERS: Final = ("wait", "wait_s")

_INTEGER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,6})?", re.ASCII)
_ORIGIN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}", re.ASCII)

_ValueT = TypeVar("_ValueT")


def malformed(field: str, detail: str, **members: object) -> NoReturn:
    """Raises the 400 problem that names `field`."""
    raise ProblemError(400, "malformed", f"{field}: {detail}", members={"field": field, **members})


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of `known` that look like `name` in whatever case, best first."""
    folded = {candidate.casefold(): candidate for candidate in known}
    return [folded[match] for match in difflib.get_close_matches(name[:64].casefold(), folded, n=3, cutoff=0.5)]


def read_integer(field: str, text: str, minimum: int, maximum: int) -> int:
    value = int(text) if _INTEGER.fullmatch(text) else -1
    if not minimum <= value <= maximum:
        malformed(field, f"{_shown(text)} is no whole number from {minimum} to {maximum}")
    return value


def read_symbol(text: str) -> str:
    if not SYMBOL_PATTERN.fullmatch(text):
        malformed("symbol", f"{_shown(text)} is no symbol: write 1 to 24 of A-Z a-z 0-9 . _ -")
    return text


def read_identifier(field: str, text: str) -> str:
    if not IDENTIFIER_PATTERN.fullmatch(text):
        malformed(field, f"{_shown(text)} is not accepted: write 1 to 36 of A-Z a-z 0-9 . _ : -")
    return text


def read_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        malformed("origin", f"{_shown(text)} is no origin: write it as the report of the submission has it")
    return text


class Query:
    """The query parameters of one request: each known, and given at most once."""

    def __init__(self, request: Request, *known: str) -> None:
        self._values: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                near = nearest(name, known)
                fix = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(known) or 'none'}"
                malformed(name[:64], f"no such query parameter; {fix}", near=near)
            if name in self._values:
                malformed(name, "given more than once; give it once")
            self._values[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str, default: int, minimum: int, maximum: int) -> int:
        return read_integer(name, self._values[name], minimum, maximum) if name in self._values else default

    def optional_integer(self, name: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int | None:
        return read_integer(name, self._values[name], minimum, maximum) if name in self._values else None

    def seconds(self, name: str, default: float) -> float:
        text = self._values.get(name)
        if text is None:
            return default
        value = float(text) if _SECONDS.fullmatch(text) else -1.0
        if not 0 <= value <= MAX_WAIT_S:
            malformed(name, f"{_shown(text)} is no number of seconds from 0 to {MAX_WAIT_S:g}")
        return value

    def flag(self, name: str) -> bool:
        """True for `?name`, `?name=true` and `?name=1`."""
        text = self._values.get(name, "false").lower()
        if text not in ("", "true", "1", "false", "0"):
            malformed(name, f"{_shown(text)} is neither true nor false")
        return text in ("", "true", "1")

    def choice(self, name: str, choices: Mapping[str, _ValueT], default: _ValueT) -> _ValueT:
        text = self._values.get(name)
        if text is None:
            return default
        if text not in choices:
            malformed(name, f"{_shown(text)} is none of {', '.join(choices)}", near=nearest(text, choices))
        return choices[text]

    def symbol(self) -> str | None:
        return read_symbol(self._values["symbol"]) if "symbol" in self._values else None

    def account(self) -> str | None:
        return read_identifier("account", self._values["account"]) if "account" in self._values else None

    def submission_wait_s(self) -> float:
        """How long a submission waits for its execution: 0 for `wait=pending`."""
        committed = self.choice("wait", {"committed": True, "pending": False}, default=True)
        if not committed and "wait_s" in self:
            malformed("wait_s", "wait=pending waits for nothing; leave one of the two out")
        return self.seconds("wait_s", SUBMISSION_WAIT_S) if committed else 0.0


async def settle_read(service: Service, query: Query) -> int:
    """Waits until the node's state is as recent as the request demands; the log index of that state.

    The caller then reads the state without awaiting anything, so that index is the one it answers for.
    """
    linearizable = query.choice("consistency", {"local": False, "linearizable": True}, default=False)
    at_least = query.optional_integer("at_least")
    wait_s = query.seconds("wait_s", READ_WAIT_S)
    if at_least is not None and "consistency" in query:
        malformed("at_least", "goes without consistency; leave one of the two out")
    if at_least is not None and service.state.index < at_least:
        await service.wait_applied(at_least, timeout_s=wait_s)
    if linearizable:
        await service.barrier(timeout_s=wait_s)
    return service.state.index


def _shown(text: str) -> str:
    """`text` as a message shows it: what cannot be printed escaped, and never long."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
