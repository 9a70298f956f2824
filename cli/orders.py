"""`raftbook submit`, `cancel`, `cancel-all`, `replace` and `orders`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options
from cli.access import CONNECTION_OPTIONS, DEFAULT_ACCESS, Access, talk, talking
from cli.errors import WrongUsageError
from cli.output import OutputFormat, print_json, print_table, wants_table
from cli.submission import WAIT_S, submit_and_report
from raftbook.engine.types import OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce

app = typer.Typer()

SIDES = options.labels(Side)
ORDER_TYPES = options.labels(OrderType)
TIMES_IN_FORCE = options.labels(TimeInForce)
PREVENTIONS = options.labels(SelfTradePrevention)
STATUSES = [*options.labels(OrderStatus), "all"]
WAITS = ["committed", "pending"]


@app.command()
@talking
def submit(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="Submit the commands in this file, a JSON object a line; - is stdin."
        ),
    ] = None,
    symbol: options.SymbolOption = None,
    side: Annotated[str | None, options.choice("--side", SIDES)] = None,
    quantity: Annotated[str | None, typer.Option("--quantity", metavar="Q", help="How much, such as 5.")] = None,
    price: options.Price = None,
    order_type: Annotated[
        str | None,
        options.choice(
            "--type",
            ORDER_TYPES,
            "Default: limit. limit and stop_limit need a --price, stop and stop_limit a --stop-price.",
        ),
    ] = None,
    time_in_force: Annotated[
        str | None,
        options.choice(
            "--tif", TIMES_IN_FORCE, "Time in force. Default: gtc; ioc for a market order, gtd with --expire-time."
        ),
    ] = None,
    stop_price: options.StopPrice = None,
    display_quantity: Annotated[
        str | None,
        typer.Option("--display-quantity", metavar="Q", help="Of a larger quantity, what the book shows at a time."),
    ] = None,
    expire_time: options.ExpireTime = None,
    self_trade_prevention: Annotated[
        str | None,
        options.choice(
            "--self-trade-prevention",
            PREVENTIONS,
            "What happens instead of a trade with the account's own order. Default: the instrument's mode.",
        ),
    ] = None,
    account: options.Account = options.DEFAULT_ACCOUNT,
    client_order_id: Annotated[
        str | None,
        typer.Option(
            "--client-order-id", metavar="ID", help="Your name for the order; submit again with it after any failure."
        ),
    ] = None,
    post_only: Annotated[bool, typer.Option("--post-only", help="Refuse the order where it would trade.")] = False,
    wait: Annotated[
        str,
        options.choice(
            "--wait", WAITS, "Wait until the order has its place in the log, or only until the node has taken it."
        ),
    ] = "committed",
    timeout_s: Annotated[
        float, typer.Option("--timeout", parser=options.seconds, metavar="S", help="How long to wait, in seconds.")
    ] = WAIT_S,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Submit nothing; say what would happen with the book as it is now, an estimate."
        ),
    ] = False,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Submits one order, or with --file many commands in order.

    One order: prints its report. Leaves with 1 where it was refused, with 3 where its outcome is not known: then
    submit it again with the same client order id, and it is executed once.

    A file: the reports as lines in the order of the commands, progress and rate on standard error.
    """
    if file is not None:
        _check_options_with_file(context)
        _submit_file(file, access, output, dry_run=dry_run)
        return
    fields = {
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "price": price,
        "order_type": order_type,
        "time_in_force": time_in_force,
        "client_order_id": client_order_id,
        "post_only": post_only or None,
        "stop_price": stop_price,
        "display_quantity": display_quantity,
        "expire_time": expire_time,
        "self_trade_prevention": self_trade_prevention,
        "account": account,
    }
    for name in ("symbol", "side", "quantity"):
        if fields[name] is None:
            raise WrongUsageError(f"--{name} is missing; see `raftbook submit --help`, or name commands with --file")
    if dry_run:
        from cli.dry_run_submission import dry_run_order

        dry_run_order(fields, access=access, output=output)
        return
    wait_s = timeout_s if wait == "committed" else 0.0
    submit_and_report("new", fields, access=access, output=output, wait_s=wait_s)


def _submit_file(file: str, access: Access, output: OutputFormat | None, *, dry_run: bool) -> None:
    if dry_run:
        from cli.dry_run_submission import dry_run_file

        dry_run_file(file, access=access, output=output)
    else:
        from cli.bulk_submission import submit_file

        submit_file(file, access=access, output=output)


def _check_options_with_file(context: typer.Context) -> None:
    """A file's commands say all of themselves; an option that would be passed over is refused."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        is_given = source is not None and source.name == "COMMANDLINE"
        if is_given and parameter.name not in ("file", "dry_run", "output", *CONNECTION_OPTIONS):
            raise WrongUsageError(f"--file says which commands to submit; leave out {parameter.opts[0]}")


@app.command()
@talking
def cancel(
    client_order_id: options.ClientOrderId = None,
    order_id: options.OrderId = None,
    account: options.Account = options.DEFAULT_ACCOUNT,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Cancels one order, named by --client-order-id or --order-id."""
    fields = {"account": account, "client_order_id": client_order_id, "order_id": order_id}
    submit_and_report("cancel", fields, access=access, output=output)


@app.command()
@talking
def cancel_all(
    account: Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="Whose orders to cancel.")],
    symbol: options.SymbolFilter = None,
    side: options.SideFilter = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Cancels all open and untriggered orders of an account."""
    fields = {"account": account, "symbol": symbol, "side": side}
    submit_and_report("cancel_all", fields, access=access, output=output)


@app.command()
@talking
def replace(
    client_order_id: options.ClientOrderId = None,
    order_id: options.OrderId = None,
    price: options.Price = None,
    quantity: Annotated[
        str | None,
        typer.Option("--quantity", metavar="Q", help="The whole order, including what it has traded already."),
    ] = None,
    stop_price: options.StopPrice = None,
    display_quantity: Annotated[
        str | None,
        typer.Option("--display-quantity", metavar="Q", help="What the book shows at a time; 0: the whole order."),
    ] = None,
    expire_time: options.ExpireTime = None,
    account: options.Account = options.DEFAULT_ACCOUNT,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Changes an order. Its priority stays only where its quantity alone changes, to a lower one."""
    changes = {
        "price": price,
        "quantity": quantity,
        "stop_price": stop_price,
        "display_quantity": display_quantity,
        "expire_time": expire_time,
    }
    if all(value is None for value in changes.values()):
        names = [f"--{name.replace('_', '-')}" for name in changes]
        raise WrongUsageError(f"nothing to change; give one or more of {', '.join(names)}")
    fields = {"account": account, "client_order_id": client_order_id, "order_id": order_id, **changes}
    submit_and_report("replace", fields, access=access, output=output)


@app.command()
@talking
def orders(
    account: Annotated[str | None, typer.Option("--account", metavar="ACCOUNT", help="Only this account's.")] = None,
    symbol: options.SymbolFilter = None,
    side: options.SideFilter = None,
    status: Annotated[
        str, options.choice("--status", STATUSES, "Only these; open ones include stops that are not triggered yet.")
    ] = "open",
    consistency: options.Consistency = None,
    at_least: options.AtLeast = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Lists orders: the open ones, unless --status says otherwise."""
    found = talk(
        access,
        lambda client: client.orders(
            account=account, symbol=symbol, side=side, status=status, consistency=consistency, at_least=at_least
        ),
    )
    if wants_table(output):
        from cli.render import orders_table

        print_table(
            orders_table(found, f"orders: {len(found):,}" if status == "all" else f"{status} orders: {len(found):,}")
        )
    else:
        print_json(found)
