"""The HTTP reference, from the OpenAPI document that a node serves at /openapi.json."""

from __future__ import annotations

import asyncio
import functools
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import httpx

from raftbook.engine.types import Reason
from raftbook.gateway.http_api import make_app
from raftbook.gateway.problem_codes import REFUSALS
from tests.support.direct_service import DirectService

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_SHOWN_ENUM_SIZE: Final = 12
_COMMON_STATUSES: Final = ("400", "401", "403", "406", "500")
_COMMON_CODES: Final = ("rate_limited",)
_SHARED_BY: Final = 6
"""A parameter of so many endpoints is explained once for all of them."""


@functools.cache
def openapi_document() -> Json:
    """What the interface answers to GET /openapi.json, in front of an exchange in this process."""

    async def ask() -> Json:
        transport = httpx.ASGITransport(app=make_app(DirectService()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8101") as client:
            answer = await client.get("/openapi.json")
            answer.raise_for_status()
            document: Json = answer.json()
            return document

    return asyncio.run(ask())


def problem_codes() -> dict[str, set[int]]:
    """Every code that a problem may have, with its statuses."""
    found: dict[str, set[int]] = {}
    for _, _, operation in _operations():
        for status, codes in _problems(operation).items():
            for code in codes:
                found.setdefault(code, set()).add(int(status))
    return found


def render_refusals() -> str:
    """The reasons for which a command is refused, and those for which an order ends or changes."""
    ends = [reason.value for reason in Reason if reason.value not in REFUSALS]
    return (
        f"{_listed(REFUSALS)}.\n\nThe events of an order name a reason too, where it ends or changes otherwise than "
        f"its owner asked: {_listed(ends)}."
    )


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def render() -> str:
    """What holds for all endpoints, each endpoint under its tag, then what the answers are made of."""
    document = openapi_document()
    lines = [document["info"]["description"].strip(), ""]
    common = _common_problems()
    told = "; ".join(f"{status} {_codes(codes)}" for status, codes in common.items())
    lines += [f"Besides the codes at each endpoint, any of them may answer {told}.", ""]
    shared = _shared_parameters()
    lines += ["## Shared parameters", "", "| parameter | type | |", "|---|---|---|", *shared, ""]
    lines += ["In the tables below a `?` stands at what may be left out.", ""]
    tags = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    for _, _, operation in _operations():
        tags.setdefault(operation["tags"][0], "")
    for tag, description in tags.items():
        lines += [f"## {tag}", "", description, ""]
        for path, method, operation in _operations():
            if operation["tags"][0] == tag:
                lines += _endpoint(path, method, operation, common, shared)
    lines += ["## Schemas", "", "What stands in requests and answers, by name.", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += _schema_section(name, schema)
    return "\n".join(lines)


def _operations() -> Iterator[tuple[str, str, Json]]:
    for path, methods in openapi_document()["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method.upper(), methods[method]


# ---------------------------------------------------------------- one endpoint


def _shared_parameters() -> list[str]:
    count = Counter(_row(parameter) for *_, operation in _operations() for parameter in operation.get("parameters", []))
    return [row for row, times in count.items() if times >= _SHARED_BY]


def _row(parameter: Json) -> str:
    where = " (path)" if parameter["in"] == "path" else ""
    words = _explained(parameter["schema"], parameter.get("description", ""))
    return f"| `{parameter['name']}`{where} | {_type(parameter['schema'])} | {words} |"


def _endpoint(path: str, method: str, operation: Json, common: dict[str, list[str]], shared: list[str]) -> list[str]:
    lines = [f"### {method} {path}", "", _sentence(operation.get("summary", "")), operation.get("description", ""), ""]
    parameters = operation.get("parameters", [])
    rows = [_row(parameter) for parameter in parameters if _row(parameter) not in shared]
    if rows:
        lines += ["| parameter | type | |", "|---|---|---|", *rows, ""]
    others = ", ".join(f"`{parameter['name']}`" for parameter in parameters if _row(parameter) in shared)
    if others:
        lines += [f"[Shared](#shared-parameters): {others}.", ""]
    body = operation.get("requestBody")
    if body:
        kinds = ", ".join(f"`{kind}`" for kind in body["content"])
        schema = next(iter(body["content"].values()))["schema"]
        lines += [f"**Body** ({kinds})", ""]
        lines += _properties(schema) if "properties" in schema else [_type(schema), ""]
    lines += ["| answer | |", "|---:|---|"]
    for status, response in operation["responses"].items():
        codes = [code for code in _problems(operation).get(status, []) if code not in common.get(status, [])]
        contents = response.get("content", {})
        if "application/problem+json" in contents:
            if codes:
                lines.append(f"| {status} | {_codes(codes)} |")
        else:
            shown = _type(next(iter(contents.values()))["schema"]) if contents else ""
            lines.append(f"| {status} | {shown or response.get('description', '')} |")
    return [*lines, ""]


def _problems(operation: Json) -> dict[str, list[str]]:
    """Status -> codes of the problems that an endpoint may answer."""
    found = {}
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/problem+json")
        if content is not None:
            parts = content["schema"].get("allOf", [content["schema"]])
            properties = [part.get("properties", {}).get("code", {}) for part in parts]
            found[status] = [code for part in properties for code in part.get("enum", [])]
    return found


def _common_problems() -> dict[str, list[str]]:
    """What has nothing to do with the endpoint: who asks, how often, and in which form."""
    common: dict[str, list[str]] = {}
    for code, statuses in sorted(problem_codes().items()):
        for status in map(str, sorted(statuses)):
            if status in _COMMON_STATUSES or code in _COMMON_CODES:
                common.setdefault(status, []).append(code)
    return dict(sorted(common.items()))


def _codes(codes: list[str]) -> str:
    if len(codes) > _SHOWN_ENUM_SIZE:
        return f"the [reason of the refusal](errors.md#refusals), such as `{codes[0]}`"
    return _listed(codes)


# ---------------------------------------------------------------- schemas


def _schema_section(name: str, schema: Json) -> list[str]:
    lines = [f"### {name}", ""]
    if "description" in schema:
        lines += [schema["description"], ""]
    if "properties" in schema:
        return [*lines, *_properties(schema)]
    return [*lines, _type(schema), ""]


def _properties(schema: Json) -> list[str]:
    required = schema.get("required", [])
    lines = ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        mark = "" if name in required or not required else " ?"
        lines.append(f"| `{name}`{mark} | {_type(field)} | {_explained(field, field.get('description', ''))} |")
    return [*lines, ""]


def _type(schema: Json) -> str:
    """A schema in a few words; a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{_text(schema['const'])}`"
    if "enum" in schema:
        values = [f"`{_text(value)}`" for value in schema["enum"] if value != ""]
        return ", ".join(values[:_SHOWN_ENUM_SIZE]) + (", …" if len(values) > _SHOWN_ENUM_SIZE else "")
    for union in ("anyOf", "oneOf"):
        if union in schema:
            kinds = [_type(member) for member in schema[union] if member.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(item) for item in schema["prefixItems"]) + "]"
        return f"array of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    return str(kind if isinstance(kind, str) else " or ".join(member for member in kind if member != "null"))


def _explained(schema: Json, description: str) -> str:
    words = [_sentence(description)] if description else []
    if not description:
        words += [_sentence(member["description"]) for member in schema.get("anyOf", []) if "description" in member][:1]
    if schema.get("default") not in (None, ""):
        words.append(f"Default: `{_text(schema['default'])}`.")
    if "minimum" in schema and schema.get("maximum", 2**62) < 2**62:
        words.append(f"{schema['minimum']:,} to {schema['maximum']:,}.")
    return re.sub(r"\s+", " ", " ".join(words)).replace("|", "\\|")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".:?!" else f"{text}."
