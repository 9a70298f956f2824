"""Options and arguments that several commands share.

Use them through the module (`symbol: options.Symbol`): Typer reads the annotations at run time.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from cli import completion
from cli.output import OutputFormat
from raftbook.engine.types import MAX_INTEGER, SelfTradePrevention, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from raftbook.engine.commands import AddInstrument
    from raftbook.engine.types import OrderStatus, OrderType, TimeInForce, TradingStatus

DEFAULT_ACCOUNT: Final = "default"


def labels(
    members: Iterable[OrderStatus | OrderType | SelfTradePrevention | Side | TimeInForce | TradingStatus],
) -> list[str]:
    """The words that stand for these outside."""
    return [member.label for member in members]


def one_of(allowed: list[str]) -> Callable[[str], str]:
    """A parser that takes one of these words, and names them all where it gets another."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise typer.BadParameter(f"'{value}' is none of {', '.join(allowed)}")
        return value

    return parse


def choice(declaration: str, words: list[str], explanation: str | None = None) -> Any:
    """An option that takes one of these words, which a shell completes."""
    return typer.Option(
        declaration, parser=one_of(words), metavar="|".join(words), autocompletion=_completion(words), help=explanation
    )


def choice_argument(metavar: str, words: list[str], explanation: str) -> Any:
    """An argument that is one of these words, which a shell completes."""
    return typer.Argument(parser=one_of(words), metavar=metavar, autocompletion=_completion(words), help=explanation)


def _completion(words: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _parse_output(value: str) -> OutputFormat:
    return OutputFormat(one_of([member.value for member in OutputFormat])(value))


def whole_number(minimum: int) -> Callable[[str], int]:
    """A parser that takes an integer of at least `minimum`."""

    def parse(value: str | int) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise typer.BadParameter(f"'{value}' is no whole number of {minimum} or more")
        return number

    return parse


def moment(value: str | int) -> int:
    """A parser of moments: nanoseconds since the epoch, or an ISO 8601 time that says its offset; the nanoseconds."""
    text = str(value)
    time_ns = int(text) if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) else _nanoseconds_of(text)
    if not 0 <= time_ns <= MAX_INTEGER:
        raise typer.BadParameter(f"'{text}' is no time from 1970 to 2262")
    return time_ns


def _nanoseconds_of(text: str) -> int:
    from datetime import UTC, datetime, timedelta

    example = "write nanoseconds since the epoch, or a time such as 2026-11-30T16:00:00Z"
    if re.search(r"[.,][0-9]{7}", text):
        # Python would cut what is finer than microseconds off without a word.
        raise typer.BadParameter(f"'{text}' is finer than a microsecond; write it in nanoseconds since the epoch")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no time; {example}") from error
    if time.tzinfo is None:
        raise typer.BadParameter(f"'{text}' leaves its time zone open; {example}")
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def instrument_spec(value: str) -> AddInstrument:
    """A parser of instruments: SYMBOL,price_decimals=2,tick_size=0.01,…"""
    from raftbook.errors import InvalidCommandError
    from raftbook.json_format import parse_instrument_spec

    try:
        return parse_instrument_spec(value)
    except InvalidCommandError as error:
        raise typer.BadParameter(str(error)) from error


def seconds(value: str | float) -> float:
    """A parser of times, in seconds, above zero."""
    try:
        time_s = float(value)
    except ValueError:
        time_s = 0.0
    if not 0 < time_s < math.inf:
        raise typer.BadParameter(f"'{value}' is no number of seconds above zero")
    return time_s


Output = Annotated[
    OutputFormat | None,
    typer.Option(
        "--output", "-o", parser=_parse_output, metavar="table|json", help="Default: table on a terminal, else json."
    ),
]
Account = Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="Whose order it is.")]
ClientOrderId = Annotated[
    str | None, typer.Option("--client-order-id", metavar="ID", help="The name that the account gave the order.")
]
OrderId = Annotated[
    int | None,
    typer.Option("--order-id", parser=whole_number(1), metavar="N", help="The number that the exchange gave it."),
]
Price = Annotated[str | None, typer.Option("--price", metavar="P", help="A decimal number, such as 100.25.")]
StopPrice = Annotated[
    str | None,
    typer.Option("--stop-price", metavar="P", help="The last trade price at which a stop becomes an order."),
]
ExpireTime = Annotated[
    int | None,
    typer.Option(
        "--expire-time",
        parser=moment,
        metavar="TIME",
        help="When a gtd order expires: 2026-11-30T16:00:00Z, or nanoseconds since the epoch.",
    ),
]
Symbol = Annotated[
    str, typer.Argument(metavar="SYMBOL", autocompletion=completion.symbols, help="The instrument, such as ACME.")
]
SymbolOption = Annotated[
    str | None,
    typer.Option("--symbol", metavar="SYMBOL", autocompletion=completion.symbols, help="The instrument."),
]
SymbolFilter = Annotated[
    str | None,
    typer.Option("--symbol", metavar="SYMBOL", autocompletion=completion.symbols, help="Only this instrument."),
]
SideFilter = Annotated[str | None, choice("--side", labels(Side), "Only this side.")]


CONSISTENCIES: Final = ["local", "linearizable"]
Consistency = Annotated[
    Literal["local", "linearizable"] | None,
    typer.Option(
        "--consistency",
        parser=one_of(CONSISTENCIES),
        metavar="|".join(CONSISTENCIES),
        help="What this node has applied (default), or the latest that any client was told.",
    ),
]
AtLeast = Annotated[
    int | None,
    typer.Option(
        "--at-least",
        parser=whole_number(0),
        metavar="INDEX",
        help="Wait until this node has applied the log up to there: read your own writes at any node.",
    ),
]
