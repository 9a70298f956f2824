"""`raftbook top`: what is made of a node's answers, and the screen, driven by its keys against running nodes."""

from __future__ import annotations

import asyncio
import json

import pytest
from textual.widgets import DataTable, Static
from typer.testing import CliRunner

from cli.main import app
from cli.rates import Rate
from cli.top.app import HelpScreen, TopApp
from cli.top.book_screen import BookScreen
from cli.top.columns import MARKET_COLUMNS, NODE_COLUMNS, fitting, rate_text
from cli.top.overview import Overviews, disagreeing
from cli.top.source import Source
from raftbook.client import RaftbookClient
from raftbook.gateway import make_app
from tests.cli.served_node import served_node
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S, two_nodes
from tests.support.sample_orders import ACME, sell
from tests.support.server import serve
from tests.support.single_node import single_node

OMEGA = {"symbol": "OMEGA", "price_decimals": 0, "quantity_decimals": 0}


class TestRates:
    def test_are_the_growth_over_the_window(self):
        rate = Rate(window_s=2.0)
        for second, value in enumerate([100, 110, 130, 160]):
            rate.read(value, float(second))
        assert rate.per_s == (160 - 110) / 2
        assert list(rate.history) == [10.0, 15.0, 25.0]

    def test_are_nothing_before_there_are_two_readings_or_time_has_passed(self):
        rate = Rate()
        assert rate.per_s == 0.0
        rate.read(5, 1.0)
        rate.read(9, 1.0)
        assert rate.per_s == 0.0

    def test_begin_anew_where_the_counter_does(self):
        rate = Rate()
        for second, value in enumerate([1_000, 1_010, 3, 5]):
            rate.read(value, float(second))
        assert rate.per_s == 2.0

    @pytest.mark.parametrize(
        ("per_s", "text"), [(0.0, "·"), (0.04, "·"), (0.5, "0.5"), (99.94, "99.9"), (1234.5, "1,234")]
    )
    def test_in_words(self, per_s, text):
        assert rate_text(per_s) == text


class TestOverview:
    def test_nodes_disagree_where_their_digests_differ_at_one_index(self):
        def node(node_id, index, digest):
            return {"id": node_id, "digest_index": index, "digest": digest}

        assert disagreeing([node("n1", 7, "a"), node("n2", 7, "a"), node("n3", 8, "b"), node("n4", None, None)]) == ()
        assert disagreeing([node("n1", 7, "a"), node("n2", 7, "b"), node("n3", 8, "b")]) == ("n1", "n2")

    def test_rates_go_on_where_another_node_tells(self):
        nodes = [{"id": f"n{number}", "api_address": f"h:{number}", "digest_index": None} for number in (1, 2)]
        overviews = Overviews()

        def tickers(total, sequence, trade_count):
            acme = {"symbol": "ACME", "sequence": sequence, "day": {"trade_count": trade_count}}
            totals = {"orders_accepted": total, "trades_executed": total, "submissions_executed": 2 * total}
            return {"log_index": 9, "timestamp": 0, "tickers": [acme], **totals}

        overviews.of("http://h:1", {"nodes": nodes}, tickers(100, 50, 10), 10.0)
        second = overviews.of("http://h:2", {"nodes": nodes}, tickers(150, 90, 14), 11.0)
        assert (second.node_id, dict(second.per_s)) == ("n2", {"orders": 50.0, "trades": 50.0, "submissions": 100.0})
        assert (second.markets[0].events_per_s, second.markets[0].trades_per_s) == (40.0, 4.0)
        assert second.to_json()["markets"][0]["events_per_s"] == 40.0

    @pytest.mark.parametrize("columns", [NODE_COLUMNS, MARKET_COLUMNS], ids=["nodes", "markets"])
    def test_the_columns_fit_into_every_terminal(self, columns):
        borders, padding, scrollbar = 2, 2, 1
        for width in range(80, 141):
            shown = fitting(columns, width)
            assert sum(column.width + padding for column in shown) + borders + scrollbar <= width
            assert (len(shown) == len(columns)) == (width >= max(column.from_width for column in columns))


# ---------------------------------------------------------------- the screen


async def until(pilot, condition):
    """Waits for what the next answers of a node, or the next frames, must bring."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await pilot.pause(0.01)


def rows(app, table):
    found = app.screen_stack[0].query_one(table, DataTable)
    return [[str(cell).strip() for cell in found.get_row_at(number)] for number in range(found.row_count)]


def text(app, widget):
    return str(app.screen.query_one(widget, Static).render())


@pytest.mark.parametrize("size", [(80, 24), (150, 50)], ids=["small", "large"])
async def test_the_screen_of_a_whole_node(tmp_path, size):
    async with single_node(tmp_path) as service, serve(make_app(service)) as url, RaftbookClient(url) as client:
        await client.add_instrument(ACME)
        await client.add_instrument(OMEGA)
        await client.submit_many([*numbered(3), {"op": "new", **sell("b1", quantity="2")}])
        top = TopApp(Source(client.at(url)), interval_s=0.02)
        async with top.run_test(size=size) as pilot:
            await until(pilot, lambda: rows(top, "#markets"))
            assert "leader n1" in text(top, "#head")
            assert rows(top, "#nodes")[0][:2] == ["n1", "★ leader"]
            acme, omega = rows(top, "#markets")
            assert (acme[0], acme[-1], omega[0], omega[-1]) == ("ACME", "3", "OMEGA", "0")
            assert ("13" in acme) == (size[0] > 100), "a wide terminal shows the size at the best bid"
            for table in ("#nodes", "#markets"):
                widget = top.query_one(table, DataTable)
                assert widget.virtual_size.width <= widget.size.width, "nothing is cut off"

            await client.submit(new("a9", price="100.30"))
            await until(pilot, lambda: "100.30" in rows(top, "#markets")[0])


async def test_it_goes_on_when_the_node_that_it_asks_dies():
    async with two_nodes() as nodes, RaftbookClient(nodes.first) as client:
        await client.add_instrument(ACME)
        top = TopApp(Source(client), interval_s=0.02)
        async with top.run_test() as pilot:
            await until(pilot, lambda: rows(top, "#markets"))
            assert "told by n1" in text(top, "#head")
            nodes.kill_first()
            await until(pilot, lambda: "told by n2" in text(top, "#head"))
            assert "n1 does not answer any more; n2 is asked now" in text(top, "#notice")


async def test_it_says_what_is_wrong_while_nobody_answers_and_stays():
    async with two_nodes() as nodes, RaftbookClient(nodes.first) as client:
        await client.add_instrument(ACME)
        top = TopApp(Source(client.at(nodes.first)), interval_s=0.02)
        async with top.run_test() as pilot:
            await until(pilot, lambda: rows(top, "#markets"))
            nodes.kill_first()
            await until(pilot, lambda: "no node answers" in text(top, "#notice"))
            assert rows(top, "#markets"), "what was told last is still to be seen"


async def test_its_keys():
    async with two_nodes() as nodes, RaftbookClient(nodes.second) as client:
        await client.add_instrument(OMEGA)
        await client.add_instrument(ACME)
        await client.submit_many(numbered(3))
        top = TopApp(Source(client), interval_s=0.02)
        async with top.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: rows(top, "#markets"))
            assert [row[0] for row in rows(top, "#markets")] == ["OMEGA", "ACME"]
            await pilot.press("s", "s", "s")
            assert [row[0] for row in rows(top, "#markets")] == ["ACME", "OMEGA"], "the most resting orders first"

            await pilot.press("question_mark")
            assert isinstance(top.screen, HelpScreen)
            await pilot.press("escape")

            await pilot.press("p")
            assert "PAUSED" in text(top, "#head")
            await pilot.press("p")

            await pilot.press("enter")
            await until(pilot, lambda: isinstance(top.screen, BookScreen))
            await until(pilot, lambda: "100.25" in shown_ladder(top))
            await client.submit(new("a9", price="100.27"))
            await until(pilot, lambda: "100.27" in shown_ladder(top))
            await pilot.press("escape", "down", "enter")
            await until(pilot, lambda: isinstance(top.screen, BookScreen) and "OMEGA" in shown_ladder(top))
            await pilot.press("escape", "q")
        assert top.return_code == 0


def shown_ladder(app):
    """The text of the whole screen."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


class TestTheCommand:
    def run(self, *arguments, **variables):
        return CliRunner().invoke(app, ["top", *arguments], env=variables)

    def test_one_snapshot_as_json(self):
        with served_node(new("a1")) as url:
            result = self.run("--interval", "0.01", RAFTBOOK_URL=url)
        assert result.exit_code == 0, result.stderr
        snapshot = json.loads(result.stdout)
        assert (snapshot["markets"][0]["symbol"], snapshot["markets"][0]["best_bid"]) == ("ACME", ["100.25", "5"])
        assert snapshot["totals"] == {"orders": 1, "trades": 0, "submissions": 2}
        assert set(snapshot["per_s"]) == {"orders", "trades", "submissions"}

    def test_without_a_node_it_ends_as_any_other_command_does(self):
        result = self.run("--output", "table", RAFTBOOK_URL="http://127.0.0.1:1")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no node answers at http://127.0.0.1:1" in result.stderr
