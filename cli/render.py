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
    Level = Sequence[str]
    """Price, quantity and whatever else a level tells."""

STATUS_STYLES: Final = {
    "accepted": "green",
    "open": "green",
    "untriggered": "blue",
    "filled": "cyan",
    "trading": "green",
    "auction": "magenta",
    "rejected": "red",
    "canceled": "yellow",
    "expired": "yellow",
    "halted": "yellow",
    "pending": "yellow",
    "closed": "red",
    "leader": "bold green",
    "candidate": "yellow",
}
BID_STYLE: Final = "#3fb27f"
ASK_STYLE: Final = "#e5645a"
DIM_STYLE: Final = "grey58"
"""Of what moves on the screen: one green, red and grey, whatever the terminal makes of their names."""
SIDE_STYLES: Final = {"buy": BID_STYLE, "sell": ASK_STYLE}
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
    ("order id", "order_id"),
    ("account", "account"),
    ("client order id", "client_order_id"),
    ("symbol", "symbol"),
    ("side", "side"),
    ("type", "order_type"),
    ("tif", "time_in_force"),
    ("price", "price"),
    ("stop price", "stop_price"),
    ("quantity", "quantity"),
    ("display", "display_quantity"),
    ("filled", "filled_quantity"),
    ("leaves", "leaves_quantity"),
    ("status", "status"),
    ("expires (UTC)", "expire_time"),
)
"""Header and field of an order."""
_COLUMNS_OF_SOME_ORDERS: Final = ("stop_price", "display_quantity", "expire_time")
_FIGURES_OF_ORDER: Final = ("order id", "price", "stop price", "quantity", "display", "filled", "leaves")


def orders_table(orders: Iterable[Json], title: str | None = None) -> Table:
    """A column that only some orders have is left out where none of these does."""
    rows = list(orders)
    headers, fields = zip(*_needed(ORDER_COLUMNS, _COLUMNS_OF_SOME_ORDERS, rows), strict=True)
    table = columns(title, *headers, right=_FIGURES_OF_ORDER)
    for order in rows:
        table.add_row(*(_order_cell(order, field) for field in fields))
    return table


def _order_cell(order: Json, field: str) -> str | Text:
    value = order.get(field)
    if field == "side":
        return styled(shown(value), SIDE_STYLES)
    if field == "status":
        return styled(shown(value), STATUS_STYLES)
    if field == "expire_time" and value is not None:
        return utc_time(value)
    return shown(value)


def _needed(
    all_columns: Sequence[tuple[str, str]], optional: Sequence[str], rows: Sequence[Json]
) -> list[tuple[str, str]]:
    """The (header, field) pairs without those of `optional` that no row has."""
    return [
        (header, field)
        for header, field in all_columns
        if field not in optional or any(row.get(field) is not None for row in rows)
    ]


def report_lines(report: Json) -> list[Table | Text]:
    """One submission's report: its outcome, the order as it stands, and what happened on the way."""
    outcome = Text.assemble(styled(report["status"], STATUS_STYLES))
    if report.get("log_index") is not None:
        outcome.append(f" at log index {report['log_index']}")
    if report.get("origin") is not None:
        outcome.append(f" (submission {report['origin']} / {report['origin_sequence']})", style="dim")
    elif report.get("reason") is not None:
        # Refused before it had a place in the log, so no event tells why.
        outcome.append(f": {_reason(report)}")
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
            f"maker {_party(event, 'maker')}, taker {_party(event, 'taker')} ({event['taker_side']})"
            f"{', in the auction' if event.get('auction') else ''}"
        )
    if event.get("imbalance_quantity") is not None:
        return f"{place}{kind} {event['symbol']} {auction_words(event)}"
    words = [f"{place}{kind}"]
    named = ("symbol", "client_order_id", "side", "key_id", "role", "name")
    words += [shown(event[key]) for key in named if event.get(key) is not None]
    words += _terms(event)
    if event.get("canceled_count") is not None:
        words.append(f"{event['canceled_count']} canceled")
    if event.get("requested_status") is not None:
        words.append(f"to {event['requested_status']}")
    if event.get("status") is not None and not kind.endswith(str(event["status"])):
        words.append(str(event["status"]))
    if event.get("reason") is not None:
        words.append(f"({_reason(event)})")
    if event.get("duplicate"):
        refused = event.get("status") == "rejected"
        words.append(f"(duplicate: {'refused before' if refused else 'this is how it stands now'})")
    if event.get("line") is not None:
        words.append(f"on line {event['line']}")
    return " ".join(words)


def _party(trade: Json, side: str) -> str:
    """`b1 of bob`; `order 7` where the key does not allow to know whose it was."""
    account = trade.get(f"{side}_account")
    return (
        f"order {trade[f'{side}_order_id']}" if account is None else f"{trade[f'{side}_client_order_id']} of {account}"
    )


def _terms(event: Json) -> list[str]:
    """`5 @ 100.25 stop 99.50 displays 2 leaves 3`, of it what the event has."""
    words = [str(event["quantity"])] if event.get("quantity") is not None else []
    if event.get("price") is not None:
        words.append(f"@ {event['price']}")
    elif event.get("order_type") in ("market", "stop"):
        words.append("@ market")
    for name, field in (("stop", "stop_price"), ("displays", "display_quantity"), ("leaves", "leaves_quantity")):
        if event.get(field) is not None:
            words.append(f"{name} {event[field]}")
    return words


def auction_words(event: Json) -> str:
    """`5 @ 100.25, imbalance 2 buy`, or `no price`: what would trade, or did."""
    told = "no price" if event.get("price") is None else f"{event['quantity']} @ {event['price']}"
    side = event.get("imbalance_side")
    return told if side is None else f"{told}, imbalance {event['imbalance_quantity']} {side}"


def _reason(event: Json) -> str:
    reason = str(event["reason"])
    if event.get("prevented_by_order_id") is not None:
        reason += f": prevented by order {event['prevented_by_order_id']}"
    return f"{reason}: {event['detail']}" if event.get("detail") else reason


# ---------------------------------------------------------------- market


def ladder(book: Json) -> Table:
    """The book as traders see it: asks above, best price in the middle, bids below; a bar for each quantity.

    In an auction the sides may cross; then each price has one row, with what both sides have there.
    """
    bids, asks = book["bids"], book["asks"]
    title = f"{book['book']} at log index {book['log_index']}"
    if book.get("status") is not None:
        title += f", {book['status']}"
    if book.get("indication") is not None:
        title += f": {auction_words(book['indication'])}"
    table = columns(title, "bid", "price", "ask", "", right=("bid", "price", "ask"))
    largest = max((Decimal(quantity) for _, quantity, *_ in (*bids, *asks)), default=Decimal(1))
    if bids and asks and Decimal(bids[0][0]) >= Decimal(asks[0][0]):
        _add_crossed_rows(table, bids, asks, largest)
        return table
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


def _add_crossed_rows(table: Table, bids: Sequence[Level], asks: Sequence[Level], largest: Decimal) -> None:
    bought = {price: quantity for price, quantity, *_ in bids}
    sold = {price: quantity for price, quantity, *_ in asks}
    for price in sorted({*bought, *sold}, key=Decimal, reverse=True):
        bars = Text.assemble(
            *(
                (_bar(quantities[price], largest), style)
                for quantities, style in ((bought, "green"), (sold, "red"))
                if price in quantities
            )
        )
        table.add_row(bought.get(price, ""), price, sold.get(price, ""), bars)
    crossed = Decimal(bids[0][0]) - Decimal(asks[0][0])
    table.add_row("", Text(f"crossed by {crossed}", style="dim"), "", "")


def _bar(quantity: str, largest: Decimal, width: int = 20) -> str:
    return "█" * max(1, int(Decimal(quantity) / largest * width))


def feed_line(message: Json) -> str:
    """A message of a feed in words: `#12 update of ACME to sequence 40: bid 100.25 3, ask 100.30 gone`."""
    place = f"#{message['log_index']} " if message.get("log_index") is not None else ""
    name = message.get("symbol") or message.get("account")
    words = f"{place}{message['channel']} of {name} {message['type']} at {message['sequence']}"
    parts = [
        f"{side} {quantity} @ {price}" if Decimal(quantity) else f"{side} @ {price} gone"
        for side, levels in (("bid", message.get("bids", ())), ("ask", message.get("asks", ())))
        for price, quantity in _levels(levels)
    ]
    parts += [
        f"{order['side']} order {order['order_id']} {order['quantity']} @ {order['price']}"
        if message["channel"] == "l3"
        else f"order {order['order_id']} {order['side']} {order['leaves_quantity']} {order['status']}"
        for order in message.get("orders", ())
    ]
    trades = [message] if message.get("trade_id") is not None else message.get("trades", ())
    parts += [f"trade {trade['quantity']} @ {trade['price']} ({trade['taker_side']})" for trade in trades]
    parts += [event_line(event) for event in message.get("events", ())]
    if message.get("status") is not None:
        parts.append(str(message["status"]))
    return f"{words}: {', '.join(parts)}" if parts else words


def _levels(rows: Iterable[Any]) -> Iterable[tuple[str, str]]:
    """(price, quantity) of price levels, or of single orders."""
    return ((row["price"], row["quantity"]) if isinstance(row, dict) else tuple(row[:2]) for row in rows)


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
            Text("auction", style="magenta") if trade.get("auction") else styled(trade["taker_side"], SIDE_STYLES),
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


INSTRUMENT_COLUMNS: Final = (
    ("symbol", "symbol"),
    ("price decimals", "price_decimals"),
    ("quantity decimals", "quantity_decimals"),
    ("tick size", "tick_size"),
    ("lot size", "lot_size"),
    ("min quantity", "min_quantity"),
    ("max quantity", "max_quantity"),
    ("min notional", "min_notional"),
    ("band %", "price_band"),
    ("protection %", "market_protection"),
    ("max orders", "max_open_orders"),
    ("self-trade prevention", "self_trade_prevention"),
    ("status", "status"),
)
"""Header and field of an instrument; the limits have a column where an instrument has them."""
_LIMITS: Final = tuple(field for _, field in INSTRUMENT_COLUMNS[5:-1])


def instruments_table(instruments: Iterable[Json]) -> Table:
    rows = list(instruments)
    headers, fields = zip(*_needed(INSTRUMENT_COLUMNS, _LIMITS, rows), strict=True)
    table = columns("instruments", *headers, right=[header for header, _ in INSTRUMENT_COLUMNS[1:-2]])
    for instrument in rows:
        table.add_row(
            *(
                styled(instrument[field], STATUS_STYLES) if field == "status" else shown(instrument.get(field))
                for field in fields
            )
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
