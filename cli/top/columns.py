"""The columns of both tables of `raftbook top`: which, how wide, and what stands in them. Pure.

A terminal of 80 columns shows the ones that matter most; the wider it is, the more.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeVar

from rich.text import Text

from cli.render import ASK_STYLE, BID_STYLE, DIM_STYLE, STATUS_STYLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.top.overview import Market
    from raftbook.client import ClusterNode

Row = TypeVar("Row")

DIGEST_SHOWN: Final = 8


class Column(NamedTuple, Generic[Row]):
    """It is shown in terminals of at least `from_width` columns.

    `sort_key` is what the table is sorted by where this column is chosen, the largest first.
    """

    title: str
    width: int
    justify: Literal["left", "right"]
    cell: Callable[[Row], Text | str]
    from_width: int = 0
    sort_key: Callable[[Row], float] | None = None


def fitting(columns: Sequence[Column[Row]], width: int) -> list[Column[Row]]:
    """Those for a terminal so wide."""
    return [column for column in columns if width >= column.from_width]


def cells(columns: Sequence[Column[Row]], row: Row) -> list[Text]:
    """One row's cells, aligned as their columns are."""
    texts = []
    for column in columns:
        cell = column.cell(row)
        text = cell if isinstance(cell, Text) else Text(cell)
        text.justify = column.justify
        texts.append(text)
    return texts


def header(column: Column[Row], *, is_sorted_by: bool = False) -> Text:
    return Text(column.title, justify=column.justify, style="bold underline" if is_sorted_by else "")


# ---------------------------------------------------------------- nodes


def _role(node: ClusterNode) -> Text:
    if not node["reachable"]:
        return Text("unreachable", style="bold red")
    role = node["role"] or "unknown"
    return Text(f"★ {role}" if role == "leader" else f"  {role}", style=STATUS_STYLES.get(role, ""))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _lag(node: ClusterNode) -> Text:
    lag = node["lag"]
    return Text(_number(lag), style="yellow" if lag is not None and lag > LARGE_LAG else "")


def _storage(node: ClusterNode) -> Text:
    full = node.get("storage_full")
    return Text("full", style="bold red") if full else Text("-" if full is None else "ok", style=DIM_STYLE)


def _heard(node: ClusterNode) -> Text:
    heard_s_ago = node.get("heard_s_ago")
    return Text("-" if heard_s_ago is None else f"{heard_s_ago:.1f} s ago", style=DIM_STYLE)


LARGE_LAG: Final = 1_000
"""Entries to apply: more than any node has for long."""
NODE_COLUMNS: Final[tuple[Column[ClusterNode], ...]] = (
    Column("node", 5, "left", lambda node: Text(node["id"], style="bold")),
    Column("role", 11, "left", _role),
    Column("term", 4, "right", lambda node: _number(node["term"])),
    Column("commit", 11, "right", lambda node: _number(node["commit_index"]), from_width=92),
    Column("applied", 11, "right", lambda node: _number(node["applied_index"])),
    Column("lag", 5, "right", _lag),
    Column("digest", DIGEST_SHOWN, "left", lambda node: Text((node["digest"] or "-")[:DIGEST_SHOWN], style=DIM_STYLE)),
    Column("address", 16, "left", lambda node: node["api_address"]),
    Column("storage", 7, "left", _storage, from_width=102),
    Column("heard", 10, "left", _heard, from_width=114),
)

# ---------------------------------------------------------------- markets


def _status(market: Market) -> Text:
    status = market.ticker["status"]
    return Text(status, style=STATUS_STYLES.get(status, ""))


def _best(side: Literal["best_bid", "best_ask"], part: int, style: str) -> Callable[[Market], Text]:
    def cell(market: Market) -> Text:
        level = market.ticker.get(side)
        return Text("-", style=DIM_STYLE) if level is None else Text(level[part], style=style)

    return cell


def _spread(market: Market) -> Text:
    bid, ask = market.ticker.get("best_bid"), market.ticker.get("best_ask")
    return Text("" if bid is None or ask is None else str(Decimal(ask[0]) - Decimal(bid[0])), style=DIM_STYLE)


def _last(market: Market) -> Text:
    return Text(market.ticker.get("last_price", "-"), style="bold")


def _change(market: Market) -> Text:
    """Of the day, in percent."""
    day = market.ticker.get("day")
    if day is None:
        return Text("")
    change = (Decimal(day["close"]) / Decimal(day["open"]) - 1) * 100
    return Text(f"{change:+.2f} %", style=BID_STYLE if change > 0 else ASK_STYLE if change < 0 else DIM_STYLE)


def _volume(market: Market) -> str:
    day = market.ticker.get("day")
    return "" if day is None else f"{Decimal(day['volume']):,}"


def rate_text(per_s: float) -> str:
    """`1,234`, `12.3`, and nothing where nothing happens."""
    if per_s < RATE_SHOWN:
        return "·"
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}"


RATE_SHOWN: Final = 0.05
MARKET_COLUMNS: Final[tuple[Column[Market], ...]] = (
    Column("symbol", 7, "left", lambda market: Text(market.ticker["symbol"], style="bold")),
    Column("status", 7, "left", _status),
    Column("size", 8, "right", _best("best_bid", 1, ""), from_width=100),
    Column("bid", 8, "right", _best("best_bid", 0, BID_STYLE)),
    Column("ask", 8, "right", _best("best_ask", 0, ASK_STYLE)),
    Column("size", 8, "right", _best("best_ask", 1, ""), from_width=100),
    Column("spread", 7, "right", _spread, from_width=119),
    Column("last", 8, "right", _last),
    Column("day", 8, "right", _change, from_width=110),
    Column("volume", 10, "right", _volume, from_width=131),
    Column("trades/s", 8, "right", lambda market: rate_text(market.trades_per_s), sort_key=lambda m: m.trades_per_s),
    Column("events/s", 8, "right", lambda market: rate_text(market.events_per_s), sort_key=lambda m: m.events_per_s),
    Column(
        "resting",
        7,
        "right",
        lambda market: f"{market.ticker['resting_orders']:,}",
        sort_key=lambda market: market.ticker["resting_orders"],
    ),
)
SORT_COLUMNS: Final = (None, *(column for column in MARKET_COLUMNS if column.sort_key is not None))
"""What the markets may be sorted by; None: as the instruments were added."""


def sorted_markets(markets: Sequence[Market], by: Column[Market] | None) -> list[Market]:
    if by is None or by.sort_key is None:
        return list(markets)
    return sorted(markets, key=by.sort_key, reverse=True)
