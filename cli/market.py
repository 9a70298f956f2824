"""`raftbook book`, `trades`, `instruments` and `instrument …`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from cli import options
from cli.access import DEFAULT_ACCESS, Access, talk, talking
from cli.errors import WrongUsageError
from cli.output import print_json, print_table, wants_table
from cli.submission import submit_and_report
from raftbook.engine.commands import AddInstrument
from raftbook.engine.types import SelfTradePrevention, TradingStatus

app = typer.Typer()
instrument_app = typer.Typer(help="Add an instrument, or change whether and how it trades.", no_args_is_help=True)

STATUSES = options.labels(TradingStatus)
STATUSES_BEHIND_AUCTION = options.labels((TradingStatus.TRADING, TradingStatus.CLOSED))
PREVENTIONS = options.labels(SelfTradePrevention)
DEFAULT_DEPTH: Final = 10


@app.command()
@talking
def book(
    symbol: options.Symbol,
    depth: Annotated[
        int, typer.Option("--depth", parser=options.whole_number(1), metavar="N", help="Price levels on each side.")
    ] = DEFAULT_DEPTH,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the book live until Ctrl-C; as JSON, a line for each change.")
    ] = False,
    consistency: options.Consistency = None,
    at_least: options.AtLeast = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Shows the order book as a ladder, with the log index at which it stood so."""
    if watch:
        if consistency is not None or at_least is not None:
            raise WrongUsageError("--watch follows the feed as it comes; leave out --consistency and --at-least")
        from cli.live_book import print_book, watch_book

        follow = watch_book if wants_table(output) else print_book
        talk(access, lambda client: follow(client, symbol, depth))
        return
    found = talk(access, lambda client: client.book(symbol, depth=depth, consistency=consistency, at_least=at_least))
    if wants_table(output):
        from cli.render import ladder

        print_table(ladder(found))
    else:
        print_json(found)


@app.command()
@talking
def trades(
    symbol: options.Symbol,
    from_trade_id: Annotated[
        int | None,
        typer.Option(
            "--from-trade-id", parser=options.whole_number(1), metavar="N", help="Default: the latest trades."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", parser=options.whole_number(1), metavar="N", help="At most so many, up to 1000. Default: 100."
        ),
    ] = None,
    consistency: options.Consistency = None,
    at_least: options.AtLeast = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Lists trades by rising trade id: the latest ones, or those from --from-trade-id on.

    Nodes hold the last 1,000 trades of an instrument; older ones are not listed.
    """
    found = talk(
        access,
        lambda client: client.trades(
            symbol, from_trade_id=from_trade_id, limit=limit, consistency=consistency, at_least=at_least
        ),
    )
    if wants_table(output):
        from cli.render import trades_table

        print_table(trades_table(symbol, found))
    else:
        print_json(found)


@app.command()
@talking
def instruments(
    consistency: options.Consistency = None,
    at_least: options.AtLeast = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Lists the instruments and whether they trade."""
    found = talk(access, lambda client: client.instruments(consistency=consistency, at_least=at_least))
    if wants_table(output):
        from cli.render import instruments_table

        print_table(instruments_table(found))
    else:
        print_json(found)


@instrument_app.command()
@talking
def add(
    spec: Annotated[
        AddInstrument,
        typer.Argument(
            parser=options.instrument_spec,
            metavar="SPEC",
            help="ACME,price_decimals=2,quantity_decimals=0,tick_size=0.01,lot_size=1,…",
        ),
    ],
    min_quantity: Annotated[
        str | None, typer.Option("--min-quantity", metavar="Q", help="The least quantity of an order.")
    ] = None,
    max_quantity: Annotated[
        str | None, typer.Option("--max-quantity", metavar="Q", help="The largest quantity of an order.")
    ] = None,
    min_notional: Annotated[
        str | None, typer.Option("--min-notional", metavar="N", help="The least price times quantity of an order.")
    ] = None,
    price_band: Annotated[
        str | None,
        typer.Option(
            "--price-band",
            metavar="PERCENT",
            help="How far from the last trade an order's price may be; a trade further off starts an auction.",
        ),
    ] = None,
    market_protection: Annotated[
        str | None,
        typer.Option(
            "--market-protection", metavar="PERCENT", help="How far from the best price a market order may trade."
        ),
    ] = None,
    max_open_orders: Annotated[
        int | None,
        typer.Option(
            "--max-open-orders",
            parser=options.whole_number(1),
            metavar="N",
            help="Open orders that an account may have.",
        ),
    ] = None,
    self_trade_prevention: Annotated[
        str | None,
        options.choice("--self-trade-prevention", PREVENTIONS, "The mode of orders that name none. Default: none."),
    ] = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Adds an instrument, through the log, on all nodes at once. Limits may stand in SPEC or as options."""
    from raftbook.json_format import command_to_json

    fields = command_to_json(spec)
    limits = {
        "min_quantity": min_quantity,
        "max_quantity": max_quantity,
        "min_notional": min_notional,
        "price_band": price_band,
        "market_protection": market_protection,
        "max_open_orders": max_open_orders,
        "self_trade_prevention": self_trade_prevention,
    }
    for name, value in limits.items():
        if value is not None and name in fields:
            raise WrongUsageError(f"SPEC has {name} already; leave out --{name.replace('_', '-')}")
    submit_and_report("add_instrument", {**limits, **fields}, access=access, output=output)


@instrument_app.command()
@talking
def status(
    symbol: options.Symbol,
    new_status: Annotated[
        str,
        options.choice_argument(
            "STATUS",
            STATUSES,
            "trading; auction: orders gather until they are uncrossed; halted: cancels only; closed: nothing.",
        ),
    ],
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Changes whether an instrument trades. A change from auction to trading uncrosses."""
    fields = {"symbol": symbol, "status": new_status}
    submit_and_report("set_status", fields, access=access, output=output)


@instrument_app.command()
@talking
def uncross(
    symbol: options.Symbol,
    then: Annotated[
        str, options.choice("--then", STATUSES_BEHIND_AUCTION, "The trading status afterwards.")
    ] = TradingStatus.TRADING.label,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Ends an instrument's auction: what can trade trades at one price."""
    fields = {"symbol": symbol, "status": then}
    submit_and_report("uncross", fields, access=access, output=output)
