"""Which problem codes come with which status. The gateway's tests hold every problem that they get against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_CANCELED_ORDERS: Final = frozenset(
    {
        Reason.REQUESTED,
        Reason.IOC,
        Reason.FOK,
        Reason.NO_LIQUIDITY,
        Reason.REPLACED_TO_ZERO,
        Reason.MASS_CANCEL,
        Reason.SELF_TRADE,
        Reason.MARKET_PROTECTION,
        Reason.ICEBERG_REFRESH,
        Reason.VOLATILITY,
    }
)
"""Reasons of events, for which no command is refused."""

REFUSALS: Final = tuple(reason.value for reason in Reason if reason not in _OF_CANCELED_ORDERS)

ALWAYS: Final[Mapping[int, tuple[str, ...]]] = {
    400: ("malformed",),
    406: ("not_acceptable",),
    500: ("internal_error",),
}
"""Of whatever request."""

OUTSIDE: Final[Mapping[int, tuple[str, ...]]] = {
    400: ("malformed_request",),
    403: ("foreign_origin", "foreign_host"),
    404: ("no_such_endpoint", "no_such_asset"),
    405: ("method_not_allowed",),
    408: ("request_timeout",),
    426: ("upgrade_required",),
    429: ("busy",),
    431: ("header_too_large",),
    503: ("too_many_connections",),
}
"""Of what is no request of any operation: no HTTP, no such path, a page from elsewhere, too much of all clients."""

PROTECTED: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("unauthenticated", "signature_invalid", "timestamp_outside_window", "replayed", "key_revoked"),
    403: ("forbidden", "foreign_origin", "foreign_host"),
    429: ("rate_limited",),
}
"""Of a request that needs a key, where keys are required."""

READING: Final[Mapping[int, tuple[str, ...]]] = {
    429: ("busy",),
    503: ("not_caught_up", "no_quorum"),
    507: ("storage_full",),
}
"""A linearizable read sends a tick through the log, so it is refused as a command is."""

SUBMITTING: Final[Mapping[int, tuple[str, ...]]] = {
    429: ("busy",),
    503: ("draining", "not_caught_up"),
    507: ("storage_full",),
}

ONE_COMMAND: Final[Mapping[int, tuple[str, ...]]] = {409: REFUSALS, 503: ("outcome_unknown",)}

WITH_BODY: Final[Mapping[int, tuple[str, ...]]] = {
    413: ("body_too_large",),
    415: ("unsupported_media_type",),
}
UNKNOWN_SYMBOL: Final[Mapping[int, tuple[str, ...]]] = {404: ("unknown_symbol",)}
UNKNOWN_ORDER: Final[Mapping[int, tuple[str, ...]]] = {404: ("unknown_order",)}
NOT_HELD: Final[Mapping[int, tuple[str, ...]]] = {404: ("not_held",)}
