"""Recorded order flow: rows of a real market's messages, as commands.

The format is CSV, `row,op,id,side,price,qty,maker,kind`, prices and quantities as integers in the instrument's
units. Several commands may share a `row`, the line of the source that they restore.

| op       | command                                                                                    |
|----------|--------------------------------------------------------------------------------------------|
| `new`    | a limit order, good till canceled                                                         |
| `ioc`    | a limit order, immediate or cancel, that must trade with the order `maker` in full         |
| `reduce` | takes `qty` off an order, which keeps its place: a replace by what is left of its quantity |
| `cancel` | a cancel                                                                                   |

Pure parsing: whoever has a file opens it and hands in its lines.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.commands import AddInstrument, CancelOrder, Command, NewOrder, ReplaceOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.errors import InvalidCommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS: Final = ("row", "op", "id", "side", "price", "qty", "maker", "kind")

_SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}
_TIMES_IN_FORCE: Final = {"new": TimeInForce.GTC, "ioc": TimeInForce.IOC}


class RecordedCommand(NamedTuple):
    """`expected_maker` is the client order id of the order that an `ioc` must trade with, else None."""

    row: int
    command: Command
    expected_maker: str | None


def recorded_instrument(symbol: str, price_decimals: int = 4) -> AddInstrument:
    """The instrument that recorded flow trades in: any price that its decimals can express, whole quantities."""
    return AddInstrument(symbol, price_decimals, 0, Number(1, price_decimals), Number(1, 0))


def read_recorded_flow(
    lines: Iterable[str], *, symbol: str, account: str, price_decimals: int = 4
) -> Iterator[RecordedCommand]:
    """The commands of a file's lines, the first of which names the columns.

    Remembers the quantity of every order that was entered, since `reduce` says what goes and a replace what
    stays: O(orders) memory. Raises InvalidCommandError, which names the line, for a line that is none of these.
    """
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None or tuple(header) != COLUMNS:
        raise InvalidCommandError(f"line 1: expected the columns {','.join(COLUMNS)}, found {header!r}")
    quantities: dict[str, int] = {}
    for fields in reader:
        try:
            row, operation, recorded_name, side, price, quantity, maker, _ = fields
            order_name = _client_order_id(recorded_name)
            yield RecordedCommand(
                int(row),
                _command(
                    operation,
                    symbol,
                    account,
                    order_name,
                    side,
                    Number(int(price), price_decimals),
                    int(quantity),
                    quantities,
                ),
                _client_order_id(maker) if maker else None,
            )
        except (KeyError, ValueError) as error:
            message = f"line {reader.line_num}: expected {','.join(COLUMNS)}, found {','.join(fields)} ({error!r})"
            raise InvalidCommandError(message) from error


def _client_order_id(recorded_name: str) -> str:
    """The recording marks an order that came back with a tilde, which no client order id may hold."""
    return recorded_name.replace("~", ":")


def _command(
    operation: str,
    symbol: str,
    account: str,
    order_name: str,
    side: str,
    price: Number,
    quantity: int,
    quantities: dict[str, int],
) -> Command:
    if operation == "cancel":
        return CancelOrder(account, None, order_name)
    if operation == "reduce":
        quantities[order_name] -= quantity
        # What has traded counts into a replace's quantity, so nothing left to trade means canceled.
        return ReplaceOrder(account, None, order_name, None, Number(quantities[order_name], 0))
    quantities[order_name] = quantity
    return NewOrder(
        symbol,
        account,
        order_name,
        _SIDES[side],
        OrderType.LIMIT,
        _TIMES_IN_FORCE[operation],
        price,
        Number(quantity, 0),
    )
