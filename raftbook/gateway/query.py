"""Strict reading of path and query parameters: a fault is a problem that names the parameter and the fix.

What a parameter may be is declared once, as a Parameter: reading and OpenAPI both go by it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeVar

from raftbook.engine.types import IDENTIFIER_PATTERN, KEY_ID_PATTERN, MAX_INTEGER, SYMBOL_PATTERN, Side
from raftbook.errors import ProblemError
from raftbook.json_format import pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from raftbook.gateway.service import Service

MAX_WAIT_S: Final = 60.0
SUBMISSION_WAIT_S: Final = 6.0
"""A little longer than a submission lives by default, so that the usual answer is a definite one."""
READ_WAIT_S: Final = 5.0

_INTEGER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)
_ORIGIN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}", re.ASCII)
_FLAGS: Final[Mapping[str, bool]] = {"": True, "true": True, "1": True, "false": False, "0": False}

_ValueT = TypeVar("_ValueT")


class Parameter(NamedTuple):
    """A parameter of a path or query: `schema` is JSON Schema; one with a default is there even if it is not given.

    `limit` is the key of [limits] that sets its maximum, where the handler checks that.
    """

    name: str
    schema: Mapping[str, object]
    description: str
    required: bool = False
    limit: str | None = None


def integer_parameter(
    name: str, description: str, *, minimum: int = 0, maximum: int = MAX_INTEGER, default: int | None = None
) -> Parameter:
    schema: dict[str, object] = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Parameter(name, schema if default is None else {**schema, "default": default}, description)


def seconds_parameter(name: str, description: str, default: float) -> Parameter:
    return Parameter(
        name, {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": default}, f"{description} In seconds."
    )


def choice_parameter(name: str, description: str, choices: Iterable[str], default: str | None = None) -> Parameter:
    schema: dict[str, object] = {"type": "string", "enum": list(choices)}
    return Parameter(name, schema if default is None else {**schema, "default": default}, description)


def flag_parameter(name: str, description: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": list(_FLAGS), "default": "false"}, description)


def _text_parameter(name: str, pattern: re.Pattern[str], example: str, description: str) -> Parameter:
    schema = {"type": "string", "pattern": pattern_of(pattern.pattern), "examples": [example]}
    return Parameter(name, schema, description)


ACCOUNT: Final = _text_parameter("account", IDENTIFIER_PATTERN, "alice", "Whose orders.")
SYMBOL: Final = _text_parameter("symbol", SYMBOL_PATTERN, "ACME", "The instrument.")
SIDES: Final[Mapping[str, Side]] = {side.label: side for side in Side}
SIDE: Final = choice_parameter("side", "Buy or sell orders alone.", SIDES)

READ_PARAMETERS: Final = (
    choice_parameter(
        "consistency",
        "`local`: the state of this node as it is. `linearizable`: behind all that was ordered before the request; "
        "that needs a majority.",
        ("local", "linearizable"),
        "local",
    ),
    integer_parameter("at_least", "Waits until this node has applied the log up to here; goes without `consistency`."),
    seconds_parameter("wait_s", "How long to wait for that.", READ_WAIT_S),
)
SUBMIT_PARAMETERS: Final = (
    choice_parameter(
        "wait",
        "`committed`: the answer tells what became of the command. `pending`: it comes when the node has taken it.",
        ("committed", "pending"),
        "committed",
    ),
    seconds_parameter("wait_s", "How long to wait for the execution; goes without `wait=pending`.", SUBMISSION_WAIT_S),
)

PATH_PARAMETERS: Final[Mapping[str, Parameter]] = {
    parameter.name: parameter._replace(required=True)
    for parameter in (
        SYMBOL,
        ACCOUNT,
        _text_parameter("client_order_id", IDENTIFIER_PATTERN, "a1", "As the order was submitted with."),
        integer_parameter("order_id", "As the order's report has it.", minimum=1),
        _text_parameter("origin", _ORIGIN, "n1.1", "As the submission's report has it."),
        _text_parameter("key_id", KEY_ID_PATTERN, "1f0c8a52b7d94e36", "The second part of the key, which names it."),
        integer_parameter("sequence", "As the submission's report has it (`origin_sequence`).", minimum=1),
    )
}


def malformed(field: str, detail: str, **members: object) -> NoReturn:
    """Raises the 400 problem that names `field`."""
    raise ProblemError(400, "malformed", f"{field}: {detail}", members={"field": field, **members})


MOST_COMPARED: Final = 64
"""A comparison of two names may take 50 µs of the loop, and any client may ask for what does not exist."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of `known` that look like `name` in whatever case, best first.

    Where there are very many, of those that begin with the same letter. O(known), and MOST_COMPARED comparisons.
    """
    wanted = name[:64].casefold()
    folded = {candidate.casefold(): candidate for candidate in known}
    compared: Iterable[str] = folded
    if len(folded) > MOST_COMPARED:
        compared = islice((candidate for candidate in folded if candidate[:1] == wanted[:1]), MOST_COMPARED)
    return [folded[match] for match in difflib.get_close_matches(wanted, list(compared), n=3, cutoff=0.5)]


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
    """The query parameters of one request: each known, and given at most once. What it is asked for was declared."""

    def __init__(self, request: Request, known: Mapping[str, Parameter]) -> None:
        self._known = known
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

    def integer(self, name: str) -> int:
        """The number, or the parameter's default."""
        default = self._known[name].schema["default"]
        assert isinstance(default, int)
        value = self.optional_integer(name)
        return default if value is None else value

    def optional_integer(self, name: str) -> int | None:
        schema = self._known[name].schema
        minimum, maximum = schema["minimum"], schema["maximum"]
        assert isinstance(minimum, int)
        assert isinstance(maximum, int)
        return read_integer(name, self._values[name], minimum, maximum) if name in self._values else None

    def seconds(self, name: str) -> float:
        default = self._known[name].schema["default"]
        assert isinstance(default, float)
        text = self._values.get(name)
        if text is None:
            return default
        value = float(text) if _SECONDS.fullmatch(text) else -1.0
        if not 0 <= value <= MAX_WAIT_S:
            malformed(name, f"{_shown(text)} is no number of seconds from 0 to {MAX_WAIT_S:g}")
        return value

    def flag(self, name: str) -> bool:
        """True for `?name`, `?name=true` and `?name=1`."""
        assert name in self._known, name
        text = self._values.get(name, "false")
        if text not in _FLAGS:
            malformed(name, f"{_shown(text)} is neither true nor false")
        return _FLAGS[text]

    def choice(self, name: str, choices: Mapping[str, _ValueT], default: _ValueT) -> _ValueT:
        assert self._known[name].schema["enum"] == list(choices), f"{name} is declared otherwise"
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

    def side(self) -> Side | None:
        return self.choice("side", SIDES, None)

    def submission_wait_s(self) -> float:
        """How long a submission waits for its execution: 0 for `wait=pending`."""
        committed = self.choice("wait", {"committed": True, "pending": False}, default=True)
        if not committed and "wait_s" in self:
            malformed("wait_s", "wait=pending waits for nothing; leave one of the two out")
        return self.seconds("wait_s") if committed else 0.0


async def settle_read(service: Service, query: Query) -> int:
    """Waits until the node's state is as recent as the request demands; the log index of that state.

    The caller then reads the state without awaiting anything, so that index is the one it answers for.
    """
    linearizable = query.choice("consistency", {"local": False, "linearizable": True}, default=False)
    at_least = query.optional_integer("at_least")
    wait_s = query.seconds("wait_s")
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
