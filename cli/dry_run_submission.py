"""`raftbook submit --dry-run`: asks a node for the market, and tells what would become of the commands."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from cli.access import Access, talk
from cli.bulk_submission import command_of, opened, refusal
from cli.dry_run import CAVEAT, DryRun, MarketView, in_words
from cli.errors import ExitCode, tell
from cli.json_lines import CHUNK_BYTES, LineSplitter
from cli.output import OutputFormat, print_json, wants_table
from cli.submission import new_client_order_id
from raftbook.errors import InvalidCommandError
from raftbook.json_format import command_from_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cli.json_lines import Line
    from raftbook.client import Order, OrderBook, RaftbookClient
    from raftbook.engine.commands import Command

    Report = Mapping[str, Any]


def dry_run_order(fields: Mapping[str, object], *, access: Access, output: OutputFormat | None) -> None:
    """Says what would become of the new order that `fields` say; leaves with 1 where it would be refused."""
    command = command_from_fields("new", fields, generate_client_order_id=new_client_order_id)
    dry_run = _dry_run_of([command], access)
    outcome = dry_run.try_out(command)
    if wants_table(output):
        print(in_words(outcome))
        tell(f"not submitted; an estimate at log index {dry_run.log_index}: {CAVEAT}")
    else:
        print_json(outcome)
    if outcome["status"] == "rejected":
        raise typer.Exit(ExitCode.FAILED)


def dry_run_file(file: str, *, access: Access, output: OutputFormat | None) -> None:
    """As `dry_run_order` for each line of `file`, each finding what the ones before it left. Holds the whole file."""
    lines: list[tuple[Line, Command | InvalidCommandError]] = []
    for line in _lines_of(file):
        try:
            lines.append((line, command_of(line)))
        except InvalidCommandError as error:
            lines.append((line, error))
    dry_run = _dry_run_of((command for _, command in lines if not isinstance(command, InvalidCommandError)), access)
    as_words = wants_table(output)
    counts: Counter[str] = Counter()
    for line, command in lines:
        if isinstance(command, InvalidCommandError):
            outcome: Report = {"dry_run": True, "log_index": dry_run.log_index, **refusal(line, command)}
        else:
            outcome = {**dry_run.try_out(command), "line": line.number}
        counts[outcome["status"]] += 1
        if as_words:
            print(f"line {line.number} {in_words(outcome)}")
        else:
            print_json(outcome)
    outcomes = ", ".join(f"{count:,} would be {status}" for status, count in sorted(counts.items())) or "no commands"
    tell(f"{outcomes}; nothing submitted; an estimate at log index {dry_run.log_index}: {CAVEAT}")
    if counts["rejected"]:
        raise typer.Exit(ExitCode.FAILED)


def _dry_run_of(commands: Iterable[Command], access: Access) -> DryRun:
    kept = list(commands)
    return DryRun(talk(access, lambda client: view_for(client, kept)), time.time_ns())


async def view_for(client: RaftbookClient, commands: Iterable[Command]) -> MarketView:
    """The market as far as these commands have to do with it."""
    kept = list(commands)
    instruments = await client.instruments()
    accounts = {str(account) for command in kept if (account := getattr(command, "account", None)) is not None}
    orders: list[Order] = []
    for account in sorted(accounts):
        orders += await client.orders(account=account, status="all")
    # An account's orders may be anywhere, and a command may name one of them by its number alone.
    concerned = {getattr(command, "symbol", None) for command in kept} | {order["symbol"] for order in orders}
    books: dict[str, OrderBook] = {}
    last_prices: dict[str, str] = {}
    known = [instrument["symbol"] for instrument in instruments]
    for symbol in known:
        if symbol in concerned:
            books[symbol] = await client.book(symbol, level=3)
            last_prices.update([(symbol, trade["price"]) for trade in await client.trades(symbol, limit=1)])
    return MarketView(instruments, books, last_prices, [order for order in orders if order["symbol"] in known])


def _lines_of(file: str) -> list[Line]:
    splitter = LineSplitter()
    lines: list[Line] = []
    with opened(file) as descriptor:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            lines += splitter.feed(chunk)
    return [*lines, *splitter.finish()]
