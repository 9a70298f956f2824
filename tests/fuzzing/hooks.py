"""What schemathesis cannot know of a node from its OpenAPI document."""

from __future__ import annotations

from typing import Any

import cbor2
import schemathesis

LONGEST_WAIT_S = 0.05
"""Where a request would wait for what never comes, it shall not take long to find out."""


@schemathesis.serializer("application/cbor")
def to_cbor(_context: Any, value: Any) -> bytes:
    return cbor2.dumps(value)


@schemathesis.deserializer("application/cbor")
def from_cbor(_context: Any, response: Any) -> Any:
    return cbor2.loads(response.content)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """What JSON Schema cannot say: which parameters go without each other, and that 21.0 is not written for 21."""
    case.body = with_integers_as_such(case.body)
    query = case.query
    if not query:
        return
    if "at_least" in query:
        query.pop("consistency", None)
        query.setdefault("wait_s", LONGEST_WAIT_S)
    if query.get("wait") == "pending":
        query.pop("wait_s", None)
    if isinstance(case.body, dict) and "account" in case.body and "account" in query:
        del case.body["account"]
    if is_long_wait(query.get("wait_s")):
        query["wait_s"] = LONGEST_WAIT_S


def is_long_wait(value: Any) -> bool:
    """Whether it is a wait that the node would accept, and longer than ours."""
    try:
        return LONGEST_WAIT_S < float(value) <= 60
    except (TypeError, ValueError):
        return False


def with_integers_as_such(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: with_integers_as_such(member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_integers_as_such(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.check
def unavailable_only_for_want_of_time(_context: Any, response: Any, _case: Any) -> None:
    """A healthy node answers 503 only to who does not give it time."""
    if response.status_code == 503:
        code = response.json()["code"]
        assert code in ("outcome_unknown", "not_caught_up", "no_quorum"), f"a healthy node answered 503 {code}"
