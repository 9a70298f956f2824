"""The live ladder of `raftbook book --watch`: one frame of it, for a terminal of any size. Pure; nothing here prints.

A frame has the same number of rows whatever the book holds, the best prices always stand on the same two of them, and
columns do not become narrower: what moves on the screen is the market alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.render import ASK_STYLE, BID_STYLE, DIM_STYLE, SIDE_STYLES, STATUS_STYLES, auction_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

Level = tuple[str, str]
"""Price and quantity."""

LEFT_PARTS: Final = " ▏▎▍▌▋▊▉"
BID_BAR_STYLE: Final = "#2b8a62"
ASK_BAR_STYLE: Final = "#b0473c"
FRAME_ROWS: Final = 7
"""Of a frame, the rows that are no levels: title, rule, headers, spread, rule, two lines about the connection."""
MIN_WIDTH_WITH_TRADES: Final = 76
TRADES_WIDTH: Final = 27
LEAST_BAR: Final = 4
LARGEST_BAR: Final = 40


class LadderFrame(NamedTuple):
    """What a frame shows. `trades` are the latest ones, the last of them last, as the feed tells them.

    `node` is the address of the node that tells it all, None while there is none; `notice` is what happened to the
    connection last. `updates_per_s` counts the symbol's events.
    """

    symbol: str
    bids: Sequence[Level]
    asks: Sequence[Level]
    sequence: int
    log_index: int
    status: str = "trading"
    last_price: str | None = None
    indication: Mapping[str, Any] | None = None
    trades: Sequence[Mapping[str, Any]] = ()
    node: str | None = None
    notice: str | None = None
    updates_per_s: float = 0.0


def levels_that_fit(depth: int, height: int) -> int:
    """Price levels of each side, at most `depth`, for a terminal of `height` rows."""
    return max(1, min(depth, (height - FRAME_ROWS) // 2))


def live_ladder(frame: LadderFrame, depth: int, width: int, height: int, hint: str = "Ctrl-C ends") -> RenderableType:
    """The frame for a terminal of `width` by `height`; `hint` says how to leave it."""
    count = levels_that_fit(depth, height)
    with_trades = width >= MIN_WIDTH_WITH_TRADES
    ladder_width = width - TRADES_WIDTH - 2 if with_trades else width
    ladder = _ladder(frame, count, ladder_width)
    middle: RenderableType = ladder
    if with_trades:
        sides = Table.grid(padding=(0, 1))
        sides.add_column(width=ladder_width)
        sides.add_column(width=TRADES_WIDTH)
        sides.add_row(ladder, _trades(frame.trades, 2 * count + 2))
        middle = sides
    rule = Rule(style=DIM_STYLE)
    return Group(_title(frame, width), rule, middle, rule, *_connection(frame, width, hint))


def _title(frame: LadderFrame, width: int) -> Table:
    title = Text.assemble((frame.symbol, "bold"), "  ", (frame.status, STATUS_STYLES.get(frame.status, "")))
    if frame.last_price is not None:
        direction, style = _direction(frame.trades)
        title.append("   last ", style=DIM_STYLE).append(f"{frame.last_price}{direction}", style=f"bold {style}")
    if frame.indication is not None:
        title.append(f"   would trade {auction_words(frame.indication)}", style="magenta")
    place = f"sequence {frame.sequence:,}   log index {frame.log_index:,}"
    if width < title.cell_len + len(place):
        place = f"#{frame.log_index:,}"
    return _ends(title, Text(place, style=DIM_STYLE), width)


def _direction(trades: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Did the last change of the price lead up or down?"""
    prices = [Decimal(trade["price"]) for trade in trades]
    for earlier, later in zip(reversed(prices[:-1]), reversed(prices[1:]), strict=True):
        if later != earlier:
            return (" ▲", BID_STYLE) if later > earlier else (" ▼", ASK_STYLE)
    return "", ""


def _ladder(frame: LadderFrame, count: int, width: int) -> Table:
    bids, asks = list(frame.bids[:count]), list(frame.asks[:count])
    prices = [price for price, _ in (*frame.bids, *frame.asks)]
    quantities = [quantity for _, quantity in (*frame.bids, *frame.asks)]
    price_width = max([9, *map(len, prices)])
    quantity_width = max([6, *map(len, quantities)])
    bar_width = max(LEAST_BAR, min(LARGEST_BAR, (width - price_width - 2 * quantity_width - 8) // 2))
    largest = max([Decimal(quantity) for _, quantity in (*bids, *asks)], default=Decimal(1))
    table = Table.grid(padding=(0, 1))
    for justify, column_width in (
        ("right", bar_width),
        ("right", quantity_width),
        ("center", price_width + 2),
        ("left", quantity_width),
        ("left", bar_width),
    ):
        table.add_column(justify=justify, width=column_width, no_wrap=True)  # type: ignore[arg-type]
    table.add_row("", *(Text(header, style=DIM_STYLE) for header in ("bid", "price", "ask")), "")
    for number in reversed(range(count)):
        if number >= len(asks):
            table.add_row()
            continue
        price, quantity = asks[number]
        weight = "bold " if number == 0 else ""
        table.add_row(
            "",
            "",
            Text(price, style=weight + ASK_STYLE),
            Text(quantity, style=weight),
            _bar(quantity, largest, bar_width),
        )
    table.add_row("", "", Text(_middle(bids, asks), style=DIM_STYLE), "", "")
    for number in range(count):
        if number >= len(bids):
            table.add_row()
            continue
        price, quantity = bids[number]
        weight = "bold " if number == 0 else ""
        bar = _bar_from_the_right(quantity, largest, bar_width)
        table.add_row(bar, Text(quantity, style=weight), Text(price, style=weight + BID_STYLE), "", "")
    return table


def _middle(bids: Sequence[Level], asks: Sequence[Level]) -> str:
    if not bids or not asks:
        return "no bids" if asks else "no asks" if bids else "empty"
    spread = Decimal(asks[0][0]) - Decimal(bids[0][0])
    return f"↕ {spread}" if spread >= 0 else f"✕ {-spread}"


def _bar(quantity: str, largest: Decimal, width: int) -> Text:
    whole, eighths = divmod(_eighths(quantity, largest, width), 8)
    return Text("█" * whole + (LEFT_PARTS[eighths] if eighths else ""), style=ASK_BAR_STYLE)


def _bar_from_the_right(quantity: str, largest: Decimal, width: int) -> Text:
    """In halves of a character: of its right part there is no smaller block."""
    whole, eighths = divmod(_eighths(quantity, largest, width), 8)
    return Text(("▐" if eighths >= 4 or not whole else "") + "█" * whole, style=BID_BAR_STYLE)


def _eighths(quantity: str, largest: Decimal, width: int) -> int:
    """A bar's length in eighths of a character; something for whatever there is."""
    return max(1, int(Decimal(quantity) * width * 8 / largest)) if largest else 1


def _trades(trades: Sequence[Mapping[str, Any]], rows: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="left", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, min_width=9)
    table.add_column(justify="right", no_wrap=True, min_width=6)
    table.add_row(*(Text(header, style=DIM_STYLE) for header in ("UTC", "traded at", "qty")))
    for trade in list(reversed(trades))[: rows - 1]:
        style = "magenta" if trade.get("auction") else SIDE_STYLES.get(str(trade["taker_side"]), "")
        time = Text(clock_time(int(trade["timestamp"])), style=DIM_STYLE)
        table.add_row(time, Text(str(trade["price"]), style=style), str(trade["quantity"]))
    return table


def clock_time(timestamp: int) -> str:
    """Nanoseconds since the epoch as `13:30:00`, UTC."""
    seconds = timestamp // 1_000_000_000 % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _connection(frame: LadderFrame, width: int, hint: str) -> tuple[Table, Text]:
    node = Text.assemble(("● ", BID_STYLE), frame.node) if frame.node is not None else Text("○ no node", style="yellow")
    rate = f"{frame.updates_per_s:,.0f} events/s   {hint}"
    notice = Text(frame.notice or "", style="yellow", no_wrap=True, overflow="ellipsis")
    return _ends(node, Text(rate, style=DIM_STYLE), width), notice


def _ends(left: Text, right: Text, width: int) -> Table:
    """One line with a text at each end."""
    line = Table.grid()
    line.add_column(width=max(1, width - right.cell_len), no_wrap=True, overflow="ellipsis")
    line.add_column(width=right.cell_len, no_wrap=True)
    line.add_row(left, right)
    return line
