"""Holds answers of the HTTP interface against its own OpenAPI document: all that is answered must stand there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import cbor2
import jsonschema_rs

from raftbook.gateway.problem_codes import OUTSIDE

if TYPE_CHECKING:
    import httpx


class OpenApiCheck:
    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + r"\Z"), operations)
            for path, operations in document["paths"].items()
        ]
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that a request is for; HEAD is GET without a body."""
        name = "get" if method == "HEAD" else method.lower()
        for pattern, operations in self._paths:
            if pattern.match(path) and name in operations:
                return operations[name]
        return None

    async def check(self, response: httpx.Response) -> None:
        """An event hook of httpx; an AssertionError names what does not stand in the document."""
        content = await response.aread()
        request = response.request
        fault = self.fault_of(request.method, request.url.path, response.status_code, dict(response.headers), content)
        assert fault is None, f"{request.method} {request.url}: {fault}"

    def fault_of(self, method: str, path: str, status: int, headers: dict[str, str], content: bytes) -> str | None:
        operation = self.operation(method, path)
        media_type = headers.get("content-type", "").partition(";")[0]
        if operation is None:
            return self._fault_outside(status, media_type, content)
        answer = operation["responses"].get(str(status))
        if answer is None:
            if json.loads(content)["code"] in OUTSIDE.get(status, ()):
                return None
            return f"status {status} is not declared"
        for name, header in answer.get("headers", {}).items():
            if header.get("required") and name.lower() not in headers:
                return f"header {name} is missing"
        if media_type not in answer["content"]:
            return f"media type {media_type} is not declared for {status}"
        if method == "HEAD":
            return None
        return self.fault_of_document(answer["content"][media_type]["schema"], decoded(media_type, content))

    def _fault_outside(self, status: int, media_type: str, content: bytes) -> str | None:
        if media_type != "application/problem+json":
            return None
        problem = json.loads(content)
        if problem["code"] not in OUTSIDE.get(status, ()):
            return f"problem {problem['code']} belongs to no operation"
        return self.fault_of_document({"$ref": "#/components/schemas/Problem"}, problem)

    def fault_of_document(self, schema: dict[str, Any], document: object) -> str | None:
        key = json.dumps(schema)
        validator = self._validators.get(key)
        if validator is None:
            whole = {**schema, "components": self.document["components"]}
            validator = self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        return next((f"{error} in {document}" for error in validator.iter_errors(document)), None)


def decoded(media_type: str, content: bytes) -> Any:
    if media_type == "text/plain":
        return content.decode()
    return cbor2.loads(content) if media_type == "application/cbor" else json.loads(content)
