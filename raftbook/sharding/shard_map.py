"""Which shard has which instrument, and so where a command goes.

A command goes to the shard of its symbol. Those that name no symbol:

| command | goes to |
|---|---|
| `cancel`, `replace` with `symbol` or `shard` beside their own fields | that shard |
| `cancel`, `replace` by `client_order_id` alone | the shard that has such an order, which has to be found |
| `cancel`, `replace` by `order_id` alone | nowhere: order ids count in each shard, so many orders have this one |
| `cancel_all` without a symbol, `tick` | every shard, each at its own moment |
| keys | nowhere: each shard keeps its own |

Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.types import IDENTIFIER_PATTERN, SYMBOL_PATTERN
from raftbook.errors import InvalidCommandError, ProblemError
from raftbook.gateway.query import nearest
from raftbook.json_format import DEFAULT_ACCOUNT, OPERATIONS, value_of_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHARD_NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,23}", re.ASCII)
"""Short, and without a colon: it stands before the origin of a report, and that before ids in cursors."""

_NAMING_AN_ORDER: Final = ("cancel", "replace")
_OF_EVERY_SHARD: Final = ("cancel_all", "tick")
_KEYS: Final = ("create_key", "revoke_key")


class Shard(NamedTuple):
    """`nodes` are the URLs of its nodes; the others of its cluster are learned from them. `ca_file` is for https."""

    name: str
    nodes: tuple[str, ...]
    symbols: tuple[str, ...]
    ca_file: str | None = None


class OrderName(NamedTuple):
    """How an account calls its order. Unique in a shard; of two shards each may have one."""

    account: str
    client_order_id: str


class Routed(NamedTuple):
    """A command as its shard is to get it, with the fields that are the gateway's own taken out.

    `shards` is empty where the one that has `order` must be found first. `order` is also that of a new order.
    """

    document: dict[str, object]
    shards: tuple[str, ...]
    order: OrderName | None = None

    @property
    def is_new(self) -> bool:
        return self.document["op"] == "new"


class ShardMap:
    """`shards` in the order of the file. Every look-up is O(1)."""

    def __init__(self, name: str, shards: Iterable[Shard]) -> None:
        self.name = name
        self.shards = tuple(shards)
        self.names = tuple(shard.name for shard in self.shards)
        self._by_symbol = {symbol: shard.name for shard in self.shards for symbol in shard.symbols}
        assert len(self._by_symbol) == sum(len(shard.symbols) for shard in self.shards), "each symbol has one shard"

    def shard_of(self, symbol: str) -> str:
        """The name of the shard that has it. A 404 problem where none does."""
        shard = self._by_symbol.get(symbol)
        if shard is not None:
            return shard
        near = nearest(symbol, self._by_symbol)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "a new one needs a place in the gateway's shard map first"
        )
        detail = f"no shard has {symbol}; {hint}"
        raise ProblemError(404, "unknown_symbol", detail, members={"near": near})

    def checked_name(self, shard: str) -> str:
        """`shard`, where there is such a one; else a 404 problem."""
        if shard in self.names:
            return shard
        near = nearest(shard, self.names)
        detail = f"there is no shard {shard[:40]!a}; there are {', '.join(self.names)}"
        raise ProblemError(404, "unknown_shard", detail, members={"near": near})

    def has_symbol(self, shard: str, symbol: str) -> bool:
        return self._by_symbol.get(symbol) == shard

    def route(self, fields: Mapping[str, object]) -> Routed:
        """Where the command that `fields` (its `op` among them) says goes; values may be Raw JSON.

        Only what routing needs is read: whether it is a command in all else, its shard judges.

        Raises InvalidCommandError, or ProblemError where there is no such symbol or shard, or nowhere to go.
        """
        document = dict(fields)
        op = document["op"] = value_of_field(document.get("op"))
        if op not in OPERATIONS:
            raise InvalidCommandError(f"op: must be one of {', '.join(OPERATIONS)}", "op")
        if op in _KEYS:
            detail = "each shard keeps keys of its own; manage them at a node of the shard"
            raise ProblemError(403, "not_across_shards", detail)
        names_an_order = op in _NAMING_AN_ORDER
        symbol = _text(document, "symbol")
        shard = None
        if names_an_order or op in _OF_EVERY_SHARD:
            shard = _text(document, "shard")
            document.pop("shard", None)
        if names_an_order:
            document.pop("symbol", None)
        order = _order_name(document) if names_an_order or op == "new" else None
        if symbol is not None:
            if not SYMBOL_PATTERN.fullmatch(symbol):
                raise InvalidCommandError("symbol: expected a string of 1 to 24 of A-Z a-z 0-9 . _ -", "symbol")
            place = self.shard_of(symbol)
            if shard is not None and shard != place:
                raise InvalidCommandError(f"shard: {symbol} is in {place}; leave one of the two out", "shard")
            return Routed(document, (place,), order)
        if shard is not None:
            return Routed(document, (self.checked_name(shard),), order)
        if op in _OF_EVERY_SHARD:
            return Routed(document, self.names)
        if not names_an_order:
            raise InvalidCommandError("symbol: missing; expected a string of 1 to 24 of A-Z a-z 0-9 . _ -", "symbol")
        if order is None:
            detail = "order ids count in each shard by itself; add `symbol` or `shard`, or name it by client_order_id"
            raise InvalidCommandError(f"symbol: missing; {detail}", "symbol")
        # The shards are asked for it, and what is no name may be no URL either.
        for name, value in order._asdict().items():
            if not IDENTIFIER_PATTERN.fullmatch(value):
                raise InvalidCommandError(f"{name}: expected a string of 1 to 36 of A-Z a-z 0-9 . _ : -", name)
        return Routed(document, (), order)


def _order_name(document: dict[str, object]) -> OrderName | None:
    client_order_id = _text(document, "client_order_id")
    if client_order_id is None:
        return None
    return OrderName(_text(document, "account") or DEFAULT_ACCOUNT, client_order_id)


def _text(document: dict[str, object], name: str) -> str | None:
    """The text of a field, which is then read in `document` as well; None where it is absent or null."""
    value = value_of_field(document.get(name))
    if value is None:
        document.pop(name, None)
        return None
    if not isinstance(value, str):
        raise InvalidCommandError(f"{name}: expected a string", name)
    document[name] = value
    return value
