"""OpenAPI 3.1 of the node's HTTP interface, made from its routes and from the types that decode its requests.

Nothing is described here that is not declared elsewhere: paths, parameters and problem codes stand at the handlers
(endpoint.py), bodies are the forms of commands (json_format/forms.py), answers are types that the tests hold against
what is really written (answers.py).
"""

from __future__ import annotations

import re
from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import TYPE_CHECKING, Any, Final

import msgspec

import raftbook
from raftbook.gateway import problem_codes
from raftbook.gateway.answers import Problem
from raftbook.gateway.endpoint import PROBLEM, Access
from raftbook.gateway.media_types import CBOR, JSON
from raftbook.gateway.query import PATH_PARAMETERS
from raftbook.gateway.responses import LOG_INDEX_HEADER
from raftbook.json_format.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from raftbook.gateway.endpoint import Body, Endpoint, EndpointRoute
    from raftbook.gateway.query import Parameter
    from raftbook.node.config import LimitsConfig

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"

_ABOUT: Final = """\
Any node of the cluster takes any request; each command is executed exactly once, at one place in one order, and every
answer says in `Raftbook-Log-Index` which state of the log it tells.

Bodies and answers are JSON or, with the same fields, CBOR (`Content-Type`, `Accept`). Prices and quantities are decimal
strings, times are nanoseconds since the epoch. Errors are `application/problem+json` (RFC 9457); test for their `code`.
An answer that was lost is no trouble: send the command again, to any node, under the same `client_order_id`.

Feeds and order entry over WebSocket are at `/v1/stream`.
"""

_ONE_NAME: Final = [
    {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("order_id", "client_order_id")
]
"""An order is named by exactly one of the two."""

_NEW: Final = {"symbol": "ACME", "account": "alice", "client_order_id": "a1", "side": "buy", "price": "100.25"}
_EXAMPLES: Final[Mapping[str | None, object]] = {
    "new": {**_NEW, "quantity": "5"},
    "replace": {"price": "100.30", "quantity": "4"},
    "add_instrument": {
        "symbol": "ACME",
        "price_decimals": 2,
        "quantity_decimals": 0,
        "tick_size": "0.01",
        "lot_size": "1",
    },
    "set_status": {"status": "auction"},
    "uncross": {"status": "trading"},
    "create_key": {
        "key_id": "k3m9x2p7",
        "name": "alice@desk-1",
        "role": "trade",
        "accounts": ["alice"],
        "public_key": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    },
    None: [
        {"op": "new", **_NEW, "quantity": "5"},
        {"op": "cancel", "account": "alice", "client_order_id": "a1"},
    ],
}
"""Of bodies, by their form."""

_KEY_HEADERS: Final = ("Raftbook-Key", "Raftbook-Timestamp", "Raftbook-Nonce", "Raftbook-Signature")

_TAGS: Final[Mapping[str, str]] = {
    "Orders": "Entering, changing and canceling orders, and what became of them.",
    "Market": "Instruments, books and trades.",
    "Cluster": "How the node and its cluster are.",
}


def openapi_document(routes: Iterable[EndpointRoute], limits: LimitsConfig, *, requires_keys: bool = False) -> Json:
    """`requires_keys`: whether the node wants an API key from its clients."""
    routes = list(routes)
    schemas = _Schemas(routes, limits)
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _operation(route, schemas, requires_keys=requires_keys)
        paths.setdefault(route.path, {})[route.declared.method.lower()] = operation
    tags = dict.fromkeys(route.declared.tag for route in routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftbook",
            "version": raftbook.__version__,
            "summary": "A small, highly available exchange.",
            "description": _ABOUT + _outside(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This node."}],
        "tags": [{"name": name, **({"description": _TAGS[name]} if name in _TAGS else {})} for name in tags],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _security_schemes()},
    }


def _outside() -> str:
    told = "; ".join(
        f"{status} {', '.join(f'`{code}`' for code in codes)}" for status, codes in problem_codes.OUTSIDE.items()
    )
    return f"\nWhat is no request of any operation is answered with {told}.\n"


class _Schemas:
    """JSON Schema of every type that a route names; `components` holds those with a name."""

    def __init__(self, routes: Sequence[EndpointRoute], limits: LimitsConfig) -> None:
        self.limits = limits
        kinds: list[Any] = [kind for route in routes for kinds in route.declared.answers.values() for kind in kinds]
        commands = reduce(or_, FORMS.values())
        schemas, self.components = msgspec.json.schema_components([commands, Problem, *kinds], ref_template=_REF)
        self.any_command, self.problem = schemas[:2]
        self._of_kind = list(zip(kinds, schemas[2:], strict=True))
        for name in ("CancelOrderForm", "ReplaceOrderForm"):
            self.components[name]["oneOf"] = _ONE_NAME
        for component in self.components.values():
            _write_constants(component)

    def of(self, kinds: tuple[object, ...]) -> Json:
        found = [next(schema for kind, schema in self._of_kind if kind == wanted) for wanted in kinds]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def of_body(self, body: Body) -> Json:
        """The form's schema without what the path says. `op` may be left out, and must where the path says more."""
        if body.form is None:
            anything = {
                "description": "What is no command is answered in its place, by a report with `reason` malformed."
            }
            most = self.limits.max_commands_per_request
            return {"type": "array", "maxItems": most, "items": {"anyOf": [self.any_command, anything]}}
        form = self.components[FORMS[body.form].__name__]
        left_out = {*body.in_path, *(("op",) if body.in_path else ())}
        kept = {name: schema for name, schema in form["properties"].items() if name not in left_out}
        schema = {**form, "title": body.form, "properties": kept}
        schema["required"] = [name for name in form["required"] if name in kept and name != "op"]
        if "client_order_id" in left_out:
            del schema["oneOf"]
        return schema


def _write_constants(component: Json) -> None:
    """An enumeration of one value is a constant, and a default of null says nothing: so readers show it better."""
    for schema in component.get("properties", {}).values():
        if schema.get("default", ...) is None:
            del schema["default"]
        if isinstance(schema.get("enum"), list) and len(schema["enum"]) == 1:
            schema["const"] = schema.pop("enum")[0]


def _operation(route: EndpointRoute, schemas: _Schemas, *, requires_keys: bool) -> Json:
    declared = route.declared
    description = _paragraphs(route.description)
    operation: Json = {
        "operationId": _operation_id(route),
        "tags": [declared.tag],
        "summary": re.split("[;:.]", description.replace("`", ""), maxsplit=1)[0],
        "description": description,
        "parameters": [
            *(_parameter(PATH_PARAMETERS[name], "path", schemas.limits) for name in route.param_convertors),
            *(_parameter(parameter, "query", schemas.limits) for parameter in declared.query),
        ],
    }
    if declared.body is not None:
        said = {"schema": schemas.of_body(declared.body), "example": _EXAMPLES[declared.body.form]}
        content = dict.fromkeys((JSON, CBOR), said)
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        **{str(status): _answer(declared, status, schemas.of(kinds)) for status, kinds in declared.answers.items()},
        **{str(status): _problem(status, codes, schemas) for status, codes in _problems(declared).items()},
    }
    if requires_keys and declared.access is not Access.OPEN:
        signed: Json = {name: [] for name in _KEY_HEADERS}
        operation["security"] = [{"Bearer": []}, signed] if declared.access is Access.READ else [signed]
    return operation


def _operation_id(route: EndpointRoute) -> str:
    suffix = "_by_client_order_id" if "client_order_id" in route.param_convertors else ""
    return f"{route.operation_id}{suffix}"


def _paragraphs(docstring: str) -> str:
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in docstring.split("\n\n"))


def _parameter(parameter: Parameter, place: str, limits: LimitsConfig) -> Json:
    schema = dict(parameter.schema)
    if parameter.limit is not None:
        schema["maximum"] = getattr(limits, parameter.limit)
    described: Json = {"name": parameter.name, "in": place, "description": parameter.description, "schema": schema}
    return {**described, "required": True} if parameter.required else described


def _answer(declared: Endpoint, status: int, schema: Json) -> Json:
    answer: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {media_type: {"schema": schema} for media_type in declared.media_types},
    }
    headers: Json = {name: _header(description) for name, description in declared.headers.items()}
    if declared.has_log_index:
        index = {"type": "integer", "minimum": 0}
        headers[LOG_INDEX_HEADER] = {**_header("Of the state that the answer tells.", index), "required": True}
    return {**answer, "headers": headers} if headers else answer


def _header(description: str, schema: Json | None = None) -> Json:
    return {"description": description, "schema": schema or {"type": "string"}}


def _problems(declared: Endpoint) -> dict[int, tuple[str, ...]]:
    """Status -> codes: those of the endpoint, and those that any request may lead to."""
    tables = [problem_codes.ALWAYS, declared.problems]
    if declared.access is not Access.OPEN:
        tables.append(problem_codes.PROTECTED)
    problems: dict[int, tuple[str, ...]] = {}
    for table in tables:
        for status, codes in table.items():
            problems[status] = tuple(dict.fromkeys((*problems.get(status, ()), *codes)))
    return dict(sorted(problems.items()))


def _problem(status: int, codes: tuple[str, ...], schemas: _Schemas) -> Json:
    schema = {"allOf": [schemas.problem, {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}]}
    problem: Json = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {PROBLEM: {"schema": schema}},
    }
    if status in (429, 503, 507):
        problem["headers"] = {"Retry-After": _header("Seconds.", {"type": "integer", "minimum": 1})}
    return problem


def _security_schemes() -> Json:
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "description": "A `read` key. Keys of other roles are never sent; they sign.",
    }
    signed = {
        name: {"type": "apiKey", "in": "header", "name": name, "description": "Signed requests: all four headers."}
        for name in _KEY_HEADERS
    }
    return {"Bearer": bearer, **signed}
