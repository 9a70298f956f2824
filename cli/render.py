"""What people see: tables and single lines made from the JSON forms. Pure; nothing here prints."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from raftbook.verification import Verification

    Json = Mapping[str, Any]

STATUS_STYLES: Final = {
    "accepted": "green",
    "open": "green",
    "filled": "cyan",
    "trading": "green",
    "rejected": "red",
    "canceled": "yellow",
    "halted": "yellow",
    "pending": "yellow",
    "closed": "red",
    "leader": "bold green",
    "candidate": "yellow",
}
SIDE_STYLES: Final = {"buy": "green", "sell": "red"}
DIGEST_SHOWN: Final = 12
"""Characters of a digest in a table; the JSON form has all of them."""


def columns(title: str | None, *headers: str, right: Sequence[str] = ()) -> Table:
    """An empty table with these columns, those in `right` aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left")
    return table


def styled(value: str, styles: Mapping[str, str]) -> Text:
    return Text(value, style=styles.get(value, ""))


def shown(value: object) -> str:
    return "" if value is None else str(value)


def count(value: int) -> str:
    return f"{value:,}"


# ---------------------------------------------------------------- orders and their events

ORDER_COLUMNS: Final = (
    "order id",
    "account",
    "client order id",
    "symbol",
    "side",
    "type",
    "tif",
    "price",
    "quantity",
    "filled",
    "leaves",
    "status",
)


def orders_table(orders: Iterable[Json], title: str | None = None) -> Table:
    table = columns(title, *ORDER_COLUMNS, right=("order id", "price", "quantity", "filled", "leaves"))
    for order in orders:
        table.add_row(
            shown(order.get("order_id")),
            shown(order.get("account")),
            shown(order.get("client_order_id")),
            shown(order.get("symbol")),
            styled(shown(order.get("side")), SIDE_STYLES),
            shown(order.get("order_type")),
            shown(order.get("time_in_force")),
            shown(order.get("price")),
            shown(order.get("quantity")),
            shown(order.get("filled_quantity")),
            shown(order.get("leaves_quantity")),
            styled(shown(order.get("status")), STATUS_STYLES),
        )
    return table


def report_lines(report: Json) -> list[Table | Text]:
    """One submission's report: its outcome, the order as it stands, and what happened on the way."""
    outcome = Text.assemble(styled(report["status"], STATUS_STYLES))
    if report.get("log_index") is not None:
        outcome.append(f" at log index {report['log_index']}")
    outcome.append(f" (submission {report['origin']} / {report['origin_sequence']})", style="dim")
    lines: list[Table | Text] = [outcome]
    if report.get("order"):
        lines.append(orders_table([report["order"]]))
    lines.extend(Text(f"  {event_line(event)}") for event in report.get("events") or ())
    if report.get("next") is not None:
        lines.append(Text(f"  ask again at {report['next']}"))
    return lines


def report_line(report: Json) -> str:
    """A report on one line, for a table of thousands."""
    if report.get("status") == "pending":
        return f"pending  {report['origin']} / {report['origin_sequence']}"
    events = report.get("events") or [{**report, "event": "command_rejected"}]  # One without a place in the log.
    return f"{report.get('status', '')}  " + "; ".join(event_line(event) for event in events)


def event_line(event: Json) -> str:
    """An event in words: `#12 trade ACME 2 @ 100.25, maker b1 of bob, taker a1 of alice (buy)`."""
    kind = str(event.get("event", "")).replace("_", " ")
    place = f"#{event['log_index']} " if event.get("log_index") is not None else ""
    if event.get("event") == "trade":
        return (
            f"{place}trade {event['symbol']} {event['quantity']} @ {event['price']}, "
            f"maker {event['maker_client_order_id']} of {event['maker_account']}, "
            f"taker {event['taker_client_order_id']} of {event['taker_account']} ({event['taker_side']})"
        )
    words = [f"{place}{kind}"]
    words += [shown(event[key]) for key in ("symbol", "client_order_id", "side") if event.get(key) is not None]
    if event.get("quantity") is not None:
        words.append(str(event["quantity"]))
    if event.get("price") is not None:
        words.append(f"@ {event['price']}")
    elif event.get("order_type") == "market":
        words.append("@ market")
    if event.get("leaves_quantity") is not None:
        words.append(f"leaves {event['leaves_quantity']}")
    if event.get("canceled_count") is not None:
        words.append(f"{event['canceled_count']} canceled")
    if event.get("status") is not None and not kind.endswith(str(event["status"])):
        words.append(str(event["status"]))
    if event.get("reason") is not None:
        words.append(f"({event['reason']}{': ' + event['detail'] if event.get('detail') else ''})")
    if event.get("duplicate"):
        refused = event.get("status") == "rejected"
        words.append(f"(duplicate: {'refused before' if refused else 'this is how it stands now'})")
    if event.get("line") is not None:
        words.append(f"on line {event['line']}")
    return " ".join(words)


# ---------------------------------------------------------------- market


def ladder(book: Json) -> Table:
    """The book as traders see it: asks above, best price in the middle, bids below; a bar for each quantity."""
    bids, asks = book["bids"], book["asks"]
    table = columns(
        f"{book['book']} at log index {book['log_index']}", "bid", "price", "ask", "", right=("bid", "price", "ask")
    )
    largest = max((Decimal(quantity) for _, quantity, *_ in (*bids, *asks)), default=Decimal(1))
    for price, quantity, *_ in reversed(asks):
        table.add_row("", Text(price, style="red"), quantity, Text(_bar(quantity, largest), style="red"))
    if bids and asks:
        middle = f"spread {Decimal(asks[0][0]) - Decimal(bids[0][0])}"
    else:
        middle = "no bids" if asks else "no asks" if bids else "empty"
    table.add_row("", Text(middle, style="dim"), "", "")
    for price, quantity, *_ in bids:
        table.add_row(quantity, Text(price, style="green"), "", Text(_bar(quantity, largest), style="green"))
    return table


def _bar(quantity: str, largest: Decimal, width: int = 20) -> str:
    return "█" * max(1, int(Decimal(quantity) / largest * width))


def trades_table(symbol: str, trades: Iterable[Json]) -> Table:
    table = columns(
        f"trades of {symbol}",
        "trade id",
        "price",
        "quantity",
        "taker",
        "maker order",
        "taker order",
        "log index",
        "time (UTC)",
        right=("trade id", "price", "quantity", "maker order", "taker order", "log index"),
    )
    for trade in trades:
        table.add_row(
            str(trade["trade_id"]),
            trade["price"],
            trade["quantity"],
            styled(trade["taker_side"], SIDE_STYLES),
            str(trade["maker_order_id"]),
            str(trade["taker_order_id"]),
            str(trade["log_index"]),
            utc_time(trade["timestamp"]),
        )
    return table


def utc_time(timestamp: int) -> str:
    """Nanoseconds since the epoch as `2012-06-21 13:30:00.123456`."""
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=timestamp // 1000)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def instruments_table(instruments: Iterable[Json]) -> Table:
    headers = ("symbol", "price decimals", "quantity decimals", "tick size", "lot size", "status")
    table = columns("instruments", *headers, right=headers[1:5])
    for instrument in instruments:
        table.add_row(
            instrument["symbol"],
            str(instrument["price_decimals"]),
            str(instrument["quantity_decimals"]),
            instrument["tick_size"],
            instrument["lot_size"],
            styled(instrument["status"], STATUS_STYLES),
        )
    return table


# ---------------------------------------------------------------- cluster


def cluster_table(cluster: Json) -> Table:
    leader = cluster["leader"]
    state = f"leader {leader}" if cluster["quorum"] and leader else "no leader" if cluster["quorum"] else "NO QUORUM"
    figures = ("term", "commit index", "applied index", "lag")
    headers = ("node", "role", *figures, "digest", "address", "reachable")
    table = columns(f"{cluster['name']}: {state}", *headers, right=figures)
    for node in cluster["nodes"]:
        table.add_row(
            node["id"],
            styled(shown(node["role"]), STATUS_STYLES),
            *(shown(node[figure.replace(" ", "_")]) for figure in figures),
            short_digest(node["digest"]),
            node["api_address"],
            Text("yes") if node["reachable"] else Text("no", style="bold red"),
        )
    return table


def verification_table(verification: Verification) -> Table:
    at_index = (
        "no node answered" if verification.compared_index is None else f"at log index {verification.compared_index}"
    )
    agreeing = "all that answer agree" if verification.missing else "all nodes agree"
    outcome = agreeing if verification.agree else "THEY DIFFER" if verification.odd else "not compared"
    table = columns(f"{outcome}, {at_index}", "node", "address", "chain digest", "verdict")
    for node in verification.nodes:
        if node.node_id in verification.odd:
            verdict = Text("differs", style="bold red")
        elif node.node_id in verification.missing:
            problem, _, _advice = (node.problem or "not compared").partition(";")  # The whole would be too wide here.
            verdict = Text(problem, style="yellow")
        else:
            verdict = Text("agrees", style="green") if verification.agree or verification.odd else Text("alone")
        table.add_row(node.node_id, node.url, short_digest(node.chain_digest), verdict)
    return table


def short_digest(digest: str | None) -> str:
    return (digest or "")[:DIGEST_SHOWN]
