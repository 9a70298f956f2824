"""Endpoints declared where they are handled: from one declaration come the route, what its query may hold, and OpenAPI.

    @endpoint("GET", "/v1/book/{symbol}", query=(DEPTH, LEVEL, *READ_PARAMETERS), answers={200: Book}, problems=READ)
    async def book(self, request: Request, query: Query) -> Answer: ...

A handler returns an Answer, which leaves as JSON or CBOR, whichever the request accepts, or raises a problem. Whether
the client accepts either is settled before the handler runs, so that nothing is done in vain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from raftbook.gateway.media_types import CBOR, JSON, accepted_media_type
from raftbook.gateway.query import Parameter, Query
from raftbook.gateway.responses import encoded_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROBLEM: Final = "application/problem+json"

Codes = Mapping[int, tuple[str, ...]]
"""Status -> the problem codes that may come with it."""


class Access(StrEnum):
    """The least role that a client needs, where keys are required; which accounts, the handler judges."""

    OPEN = "open"
    READ = "read"
    TRADE = "trade"
    ADMIN = "admin"


class Body(NamedTuple):
    """What the request's body must be.

    `form` is the `op` of the command whose fields it has, without those that the path says (`in_path`); None for an
    array of commands of any kind.
    """

    form: str | None
    in_path: tuple[str, ...] = ()


class Endpoint(NamedTuple):
    """One method of one path. `answers`: status -> types of its document; `media_types`: its forms."""

    method: str
    path: str
    query: tuple[Parameter, ...]
    body: Body | None
    answers: Mapping[int, tuple[object, ...]]
    problems: Codes
    access: Access
    tag: str
    media_types: tuple[str, ...]
    has_log_index: bool
    headers: Mapping[str, str]
    """Of an answer that is no problem: name -> description; there only now and then."""


class Answer(NamedTuple):
    """`document` is of plain values; `log_index` is that of the state that it was read from, None without one."""

    document: object
    log_index: int | None
    status: int = 200
    headers: Mapping[str, str] = {}


Handler = Callable[[Request, Query], Awaitable[Answer | Response]]
_HandlerT = TypeVar("_HandlerT", bound=Callable[..., Awaitable[Answer | Response]])

_DECLARED: Final = "__endpoints__"


class EndpointRoute(Route):
    """A route that knows its declaration."""

    def __init__(self, declared: Endpoint, handler: Handler) -> None:
        names = {parameter.name: parameter for parameter in declared.query}

        async def answer(request: Request) -> Response:
            media_type = accepted_media_type(request, declared.media_types)
            result = await handler(request, Query(request, names))
            if isinstance(result, Response):
                return result
            return encoded_answer(result.document, media_type, result.log_index, result.status, result.headers)

        super().__init__(declared.path, answer, methods=[declared.method])
        self.declared = declared
        self.description = handler.__doc__ or ""
        self.operation_id = handler.__name__


def endpoint(
    method: str,
    path: str,
    *,
    answers: Mapping[int, object],
    query: Sequence[Parameter] = (),
    body: Body | None = None,
    problems: Sequence[Codes] = (),
    access: Access = Access.READ,
    tag: str,
    media_types: tuple[str, ...] = (JSON, CBOR),
    has_log_index: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Callable[[_HandlerT], _HandlerT]:
    """Declares the method below it, which takes (request, query), as the handler of `method` on `path`.

    May stand several times above one handler. An answer of several types is any of them, given as a tuple.
    """
    declared = Endpoint(
        method,
        path,
        tuple(query),
        body,
        {status: kind if isinstance(kind, tuple) else (kind,) for status, kind in answers.items()},
        _merged(problems),
        access,
        tag,
        media_types,
        has_log_index,
        headers or {},
    )

    def declare(handler: _HandlerT) -> _HandlerT:
        setattr(handler, _DECLARED, (declared, *getattr(handler, _DECLARED, ())))
        return handler

    return declare


def declarations_of(handler: object) -> tuple[Endpoint, ...]:
    """What is declared above a handler, for one who answers the same elsewhere."""
    declared: tuple[Endpoint, ...] = getattr(handler, _DECLARED)
    return declared


def routes_of(handlers: object) -> list[EndpointRoute]:
    """The routes of all that is declared in the class of `handlers`, in the order of the source."""
    return list(_routes_of(handlers))


def _routes_of(handlers: object) -> Iterator[EndpointRoute]:
    for name, function in vars(type(handlers)).items():
        for declared in getattr(function, _DECLARED, ()):
            yield EndpointRoute(declared, getattr(handlers, name))


def _merged(problems: Sequence[Codes]) -> Codes:
    """All of `problems`; a status that stands in several has the codes of each."""
    merged: dict[int, tuple[str, ...]] = {}
    for codes in problems:
        for status, names in codes.items():
            merged[status] = tuple(dict.fromkeys((*merged.get(status, ()), *names)))
    return dict(sorted(merged.items()))
