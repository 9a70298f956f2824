"""`raftbook match`: commands on standard input through an engine of its own, without a cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cli import options
from cli.output import console, wants_table, write_lines
from raftbook.engine.commands import AddInstrument

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from raftbook.json_format import Json

app = typer.Typer()


@app.command()
def match(
    instrument: Annotated[
        list[AddInstrument] | None,
        typer.Option(
            "--instrument",
            parser=options.instrument_spec,
            metavar="SPEC",
            help="Add an instrument first: ACME,price_decimals=2,quantity_decimals=0,tick_size=0.01,lot_size=1,…, "
            "with limits such as price_band=5. May be repeated.",
        ),
    ] = None,
    book: Annotated[bool, typer.Option("--book", help="Print the final book of each instrument at the end.")] = False,
    output: options.Output = None,
) -> None:
    """Runs commands from standard input, a JSON object a line, through the matching engine; prints what happens.

    Each command is a log entry of its own: 1, 2, 3 and so on, after one for each --instrument. It may carry a
    `timestamp` (nanoseconds); without one time stands still, and with one the orders whose time has come expire
    before it. A missing `account` is "default", a new order's
    missing `client_order_id` is "line-N" for its line N.

    {"op":"book","symbol":"ACME","depth":5} answers with the book and is no entry. A line that is no command is
    answered with `command_rejected`, is no entry either, and stops nothing.
    """
    from cli.json_lines import read_batches
    from cli.matcher import Matcher

    matcher = Matcher(instrument or ())
    write = _table_writer() if wants_table(output) else _json_writer()
    write(matcher.instrument_events)
    for batch in read_batches(cast("BufferedReader", sys.stdin.buffer)):
        write([answer for line in batch for answer in matcher.answer(line)])
    if book:
        write([matcher.book(symbol) for symbol in matcher.exchange.instruments])


def _json_writer() -> Callable[[list[Json]], None]:
    from raftbook.json_format import dumps

    return lambda values: write_lines(dumps(value) for value in values)


def _table_writer() -> Callable[[list[Json]], None]:
    from cli.render import event_line, ladder

    screen = console()

    def write(values: list[Json]) -> None:
        for value in values:
            if "book" in value:
                screen.print(ladder(value))
            else:
                print(event_line(value))

    return write
