"""The fields of commands as types that carry their JSON Schema: what is decoded and what OpenAPI says is one.

The schema stands in `extra_json_schema`, at which decoding does not look: what a field must be is judged in fields.py,
which says in words what is expected. A schema may say a little less than is taken (no exponent, no nineteenth digit),
never more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Raw, UnsetType

from raftbook.engine.types import (
    ALL_ACCOUNTS,
    IDENTIFIER_PATTERN,
    KEY_ID_PATTERN,
    KEY_NAME_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    MOST_ACCOUNTS_OF_KEY,
    PUBLIC_KEY_PATTERN,
    SYMBOL_PATTERN,
)
from raftbook.json_format.fields import (
    ORDER_TYPES,
    ROLES,
    SELF_TRADE_PREVENTIONS,
    SIDES,
    STATUSES,
    STATUSES_BEHIND_AUCTION,
    TIMES_IN_FORCE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_UP_TO_18_DIGITS: Final = r"^(?=(?:0\.)?(?:\.?[0-9]){1,18}$)(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
_ABOVE_ZERO: Final = _UP_TO_18_DIGITS.replace("^", "^(?=.*[1-9])", 1)

_SMALLEST_FLOAT: Final = 0.01
_LARGEST_FLOAT: Final = 9.2e18
"""The shortest text of any float between them has no more decimals and digits than are taken."""


def pattern_of(full_match: str) -> str:
    """What Python matches with `fullmatch`, as JSON Schema wants it."""
    return f"^{full_match}$"


def _text(full_match: str, example: str) -> Meta:
    return Meta(extra_json_schema={"pattern": pattern_of(full_match), "examples": [example]})


def _one_of(words: Iterable[str]) -> Meta:
    return Meta(extra_json_schema={"enum": list(words)})


def _whole_number(lowest: int, highest: int, description: str = "") -> Meta:
    bounds: dict[str, object] = {"minimum": lowest, "maximum": highest}
    return Meta(extra_json_schema={**bounds, **({"description": description} if description else {})})


def _decimal(description: str, example: str, *, optional: bool = True, takes_zero: bool = False) -> Meta:
    texts = {"type": "string", "pattern": _UP_TO_18_DIGITS if takes_zero else _ABOVE_ZERO}
    numbers = {"type": "number", "minimum": _SMALLEST_FLOAT, "maximum": _LARGEST_FLOAT}
    zero = [{"type": "integer", "const": 0}] if takes_zero else []
    null = [{"type": "null"}] if optional else []
    return Meta(
        extra_json_schema={
            "anyOf": [texts, numbers, *zero, *null],
            "description": f"{description} Exact: better a string than a number.",
            "examples": [example],
        }
    )


Symbol = Annotated[str, _text(SYMBOL_PATTERN.pattern, "ACME")]
Account = Annotated[str, _text(IDENTIFIER_PATTERN.pattern, "alice")]
ClientOrderId = Annotated[str, _text(IDENTIFIER_PATTERN.pattern, "a1")]
SideWord = Annotated[str, _one_of(SIDES)]
OrderTypeWord = Annotated[str, _one_of(ORDER_TYPES)]
TimeInForceWord = Annotated[str, _one_of(TIMES_IN_FORCE)]
SelfTradePreventionWord = Annotated[str, _one_of(SELF_TRADE_PREVENTIONS)]
StatusWord = Annotated[str, _one_of(STATUSES)]
StatusBehindAuctionWord = Annotated[str, _one_of(STATUSES_BEHIND_AUCTION)]

OrderId = Annotated[int, _whole_number(1, MAX_INTEGER)]
Count = Annotated[int, _whole_number(1, MAX_INTEGER)]
Decimals = Annotated[int, _whole_number(0, MAX_DECIMALS)]
Time = Annotated[int, _whole_number(0, MAX_INTEGER, "Nanoseconds since the epoch.")]

Quantity = Annotated[Raw, _decimal("How much, a multiple of the lot size.", "5", optional=False)]
OptionalPrice = Annotated[Raw, _decimal("The limit, on the tick.", "100.25")] | UnsetType
OptionalStopPrice = Annotated[Raw, _decimal("Elects the stop when a trade reaches it.", "99.50")] | UnsetType
OptionalDisplayQuantity = Annotated[Raw, _decimal("What the book shows at a time, of an iceberg.", "1")] | UnsetType
OptionalStep = Annotated[Raw, _decimal("The smallest step; absent: one unit of the last decimal.", "0.01")] | UnsetType
OptionalLimit = Annotated[Raw, _decimal("A bound of every order; absent: none.", "10")] | UnsetType
OptionalPercent = Annotated[Raw, _decimal("Percent; absent: none.", "2.5")] | UnsetType
NewQuantity = Annotated[Raw, _decimal("The new quantity; 0 cancels.", "4", takes_zero=True)] | UnsetType
NewDisplayQuantity = Annotated[Raw, _decimal("The new tip; 0 shows all.", "1", takes_zero=True)] | UnsetType

KeyId = Annotated[str, _text(KEY_ID_PATTERN.pattern, "k3m9x2p7")]
KeyAccounts = Annotated[
    list[str],
    Meta(
        extra_json_schema={
            "anyOf": [
                {"const": [ALL_ACCOUNTS]},
                {
                    "items": {"type": "string", "pattern": pattern_of(IDENTIFIER_PATTERN.pattern)},
                    "maxItems": MOST_ACCOUNTS_OF_KEY,
                    "uniqueItems": True,
                },
            ]
        }
    ),
]
KeyName = Annotated[str, _text(KEY_NAME_PATTERN.pattern, "alice@desk-1")]
RoleWord = Annotated[str, _one_of(ROLES)]
PublicKey = Annotated[str, _text(PUBLIC_KEY_PATTERN.pattern, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
