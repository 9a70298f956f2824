"""The screen of `raftbook top`: nodes above, rates in the middle, markets below."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Sparkline, Static

from cli.cluster import advice
from cli.render import DIM_STYLE
from cli.top.book_screen import BookScreen
from cli.top.columns import (
    MARKET_COLUMNS,
    NODE_COLUMNS,
    SORT_COLUMNS,
    cells,
    fitting,
    header,
    rate_text,
    sorted_markets,
)
from cli.top.overview import ORDERS, SUBMISSIONS, TRADES
from raftbook.errors import ProblemError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.binding import BindingType

    from cli.top.columns import Column, Row
    from cli.top.overview import Market, Overview
    from cli.top.source import Source

WidgetT = TypeVar("WidgetT", bound=Widget)

RATES: Final = ((SUBMISSIONS, "commands/s"), (ORDERS, "orders/s"), (TRADES, "trades/s"))
NODE_TABLE_FRAME: Final = 3
"""Rows of the table of nodes besides the nodes: headers and border."""
HELP: Final = """\
[b]raftbook top[/b] asks one node every second for its view of the cluster
and for all markets. When that node is gone, it asks another one.

[b]↑ ↓[/b]       choose a market            [b]enter[/b]    its book, live
[b]s[/b]         sort by the next rate      [b]escape[/b]   back
[b]p[/b]         pause, or go on            [b]q[/b]        quit

[b]lag[/b]       committed log entries that a node has yet to apply
[b]digest[/b]    of all events so far; nodes that differ are told in red
[b]commands[/b]  whatever was executed, also what was refused
[b]orders[/b]    those that were accepted
[b]events[/b]    everything that happens to a market: its sequence
[b]resting[/b]   orders in the book"""


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        yield Static(HELP, id="help")


class MarketTable(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [("enter", "select_cursor", "Book")]


class RatePanel(Vertical):
    """A rate in figures, and how it was of late."""

    def __init__(self, name: str, title: str) -> None:
        super().__init__(id=f"rate-{name}", classes="panel")
        self.border_title = title

    def compose(self) -> ComposeResult:
        yield Sparkline([], summary_function=max)

    def show(self, per_s: float, history: Sequence[float]) -> None:
        self.border_subtitle = rate_text(per_s)
        self.query_one(Sparkline).data = list(history)[-max(1, self.size.width) :]


class TopApp(App[None]):
    """`interval_s` lies between two questions to a node."""

    CSS_PATH = "top.tcss"
    TITLE = "raftbook top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort"),
        ("p", "pause", "Pause"),
        ("question_mark", "help", "Help"),
    ]

    def __init__(self, source: Source, interval_s: float) -> None:
        super().__init__()
        self._source = source
        self._interval_s = interval_s
        self._latest: Overview | None = None
        self._problem: str | None = None
        self._is_composed = False
        self._is_paused = False
        self._sort = 0
        self._node: str | None = None
        self._notice: str | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        nodes: DataTable[Text] = DataTable(id="nodes", classes="panel", cursor_type="none")
        nodes.can_focus = False
        nodes.border_title = "nodes"
        yield nodes
        with Horizontal(id="rates"):
            for name, title in RATES:
                yield RatePanel(name, title)
        markets = MarketTable(id="markets", classes="panel", cursor_type="row", zebra_stripes=True)
        markets.border_title = "markets"
        yield markets
        yield Static(id="notice")
        yield Footer()

    def on_mount(self) -> None:
        self._is_composed = True
        self._widget("#markets", DataTable).focus()
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        while True:
            if not self._is_paused:
                try:
                    self._latest = await self._source.read()
                    self._problem = None
                except (UnreachableError, ProblemError) as error:
                    self._problem = str(error)
                self.show()
            await asyncio.sleep(self._interval_s)

    def on_resize(self, _: events.Resize) -> None:
        self.show()

    def _widget(self, selector: str, kind: type[WidgetT]) -> WidgetT:
        """One of this screen's own, also while another screen lies over it."""
        return self.screen_stack[0].query_one(selector, kind)

    # ---------------------------------------------------------------- what is shown

    def show(self) -> None:
        """Draws the latest overview, and what is wrong."""
        if not (self._is_composed and self.is_running):
            return  # An answer may come while the screen is being taken down.
        with self.batch_update():
            self._widget("#head", Static).update(self._head())
            overview = self._latest
            if overview is not None:
                self._note_node(overview)
                self._widget("#nodes", DataTable).styles.height = len(overview.cluster["nodes"]) + NODE_TABLE_FRAME
                self._fill("#nodes", fitting(NODE_COLUMNS, self.size.width), overview.cluster["nodes"], None)
                self._mark_disagreeing(overview)
                for name, _ in RATES:
                    self._widget(f"#rate-{name}", RatePanel).show(overview.per_s[name], overview.history[name])
                by = SORT_COLUMNS[self._sort]
                markets = sorted_markets(overview.markets, by)
                self._fill("#markets", fitting(MARKET_COLUMNS, self.size.width), markets, by)
            notices = self._notices()
            self._widget("#notice", Static).update(notices)
            self._widget("#notice", Static).display = bool(notices)

    def _head(self) -> Text:
        if self._latest is None:
            return Text("raftbook top", style="bold")
        overview, cluster = self._latest, self._latest.cluster
        head = Text.assemble(("raftbook top", "bold"), "  ", (cluster["name"], "bold cyan"), "  ")
        if not cluster["quorum"]:
            head.append("NO QUORUM", style="bold white on red")
        elif cluster["leader"] is None:
            head.append("no leader", style="bold yellow")
        else:
            head.append(f"leader {cluster['leader']}", style="bold green")
        head.append(f"  {overview.reachable}/{len(cluster['nodes'])} nodes")
        head.append(f"  log index {overview.tickers['log_index']:,}")
        head.append("  PAUSED" if self._is_paused else f"  told by {overview.node_id}", style=DIM_STYLE)
        return head

    def _note_node(self, overview: Overview) -> None:
        if self._node is not None and self._node != overview.node_id:
            self._notice = f"{self._node} does not answer any more; {overview.node_id} is asked now"
        self._node = overview.node_id

    def _notices(self) -> Text:
        if self._problem is not None:
            return Text(self._problem, style="bold red")
        if self._latest is None:
            return Text("asking …", style=DIM_STYLE)
        if self._latest.disagreeing:
            different = f"the digests of {', '.join(self._latest.disagreeing)} differ; see `raftbook verify`"
            return Text(different, style="bold white on red")
        sentences = [*advice(self._latest.cluster, {}), *([self._notice] if self._notice else [])]
        return Text("; ".join(sentences), style="yellow")

    def _fill(
        self, selector: str, columns: Sequence[Column[Row]], rows: Sequence[Row], sorted_by: Column[Row] | None
    ) -> None:
        """Puts the rows into the table, and the cursor back to where it was."""
        table: DataTable[Text] = self._widget(selector, DataTable)
        wanted = [header(column, is_sorted_by=column is sorted_by) for column in columns]
        if [column.label for column in table.ordered_columns] != wanted:
            table.clear(columns=True)
            for label, column in zip(wanted, columns, strict=True):
                table.add_column(label, width=column.width)
        row, scroll_y = table.cursor_row, table.scroll_y
        table.clear()
        for content in rows:
            table.add_row(*cells(columns, content))
        table.move_cursor(row=row, animate=False)
        table.scroll_to(y=scroll_y, animate=False)

    def _mark_disagreeing(self, overview: Overview) -> None:
        table: DataTable[Text] = self._widget("#nodes", DataTable)
        titles = [str(column.label) for column in table.ordered_columns]
        for number, node in enumerate(overview.cluster["nodes"]):
            if node["id"] in overview.disagreeing:
                digest = Text((node["digest"] or "")[:8], style="bold white on red")
                table.update_cell_at((number, titles.index("digest")), digest)  # type: ignore[arg-type]

    # ---------------------------------------------------------------- keys

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self.show()

    def action_sort(self) -> None:
        self._sort = (self._sort + 1) % len(SORT_COLUMNS)
        self.show()

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the tables is not to be had where another screen lies over them."""
        del parameters
        return len(self.screen_stack) == 1 or action not in ("sort", "pause", "help")

    def on_data_table_row_selected(self) -> None:
        market = self._chosen()
        if market is not None:
            self.push_screen(BookScreen(self._source.client, market.ticker["symbol"]))

    def _chosen(self) -> Market | None:
        """The market under the cursor."""
        if self._latest is None:
            return None
        markets = sorted_markets(self._latest.markets, SORT_COLUMNS[self._sort])
        row = self._widget("#markets", DataTable).cursor_row
        return markets[row] if 0 <= row < len(markets) else None
