"""`raftbook book --watch`: its frames, and what they show when the node dies."""

from __future__ import annotations

import asyncio
import io
import json
from itertools import pairwise

import pytest
from rich.console import Console

from cli.diagnosis import no_quorum
from cli.ladder_view import LadderFrame, levels_that_fit, live_ladder
from cli.live_book import LiveLadder, node_names, print_book
from raftbook.client import RaftbookClient
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S, two_nodes
from tests.support.sample_orders import ACME, sell

SECOND_NS = 1_000_000_000
FRAME = LadderFrame(
    symbol="ACME",
    bids=[("99.50", "5"), ("99.00", "10")],
    asks=[("101.00", "3"), ("102.25", "1")],
    sequence=1_234,
    log_index=77,
    last_price="101.00",
    trades=[
        {"price": "100.00", "quantity": "1", "taker_side": "sell", "timestamp": 3_600 * SECOND_NS},
        {"price": "101.00", "quantity": "2", "taker_side": "buy", "timestamp": 3_661 * SECOND_NS},
    ],
    node="n1 127.0.0.1:8101",
    updates_per_s=12.0,
)


def drawn(frame, depth=5, width=100, height=24):
    """The lines of a frame, without colours, as a terminal of that size has them."""
    output = io.StringIO()
    Console(file=output, width=width, height=height, no_color=True).print(live_ladder(frame, depth, width, height))
    return output.getvalue().splitlines()


def row_of(lines, words):
    (number,) = [number for number, line in enumerate(lines) if words in line]
    return number


class TestFrame:
    def test_says_what_and_where_from(self):
        lines = drawn(FRAME)
        assert lines[0].startswith("ACME  trading   last 101.00 ▲")
        assert lines[0].rstrip().endswith("sequence 1,234   log index 77")
        assert "● n1 127.0.0.1:8101" in lines[-2]
        assert "12 events/s   Ctrl-C ends" in lines[-2]
        assert any("01:01:01" in line and "101.00" in line for line in lines), "the latest trade with its time"

    def test_has_bids_to_the_left_asks_to_the_right_and_the_spread_between(self):
        lines = drawn(FRAME, width=70)[1:]
        assert row_of(lines, "102.25") < row_of(lines, " 101.00 ") < row_of(lines, "↕ 1.50") < row_of(lines, " 99.50 ")
        bid, ask = lines[row_of(lines, " 99.00 ")], lines[row_of(lines, "102.25")]
        assert bid.index("█") < bid.index("10 ") < bid.index("99.00")
        assert ask.index("102.25") < ask.index(" 1 ")
        lengths = [lines[row_of(lines, price)].count("█") for price in (" 99.00 ", " 99.50 ")]
        assert lengths[0] // 2 == lengths[1] > 1

    @pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
    def test_fills_the_same_rows_whatever_the_book_holds(self, size):
        width, height = size
        deep = [(f"{99 - number}.50", "7") for number in range(60)]
        frames = [FRAME, FRAME._replace(bids=[], asks=[], trades=[], last_price=None), FRAME._replace(bids=deep)]
        frames.append(FRAME._replace(node=None, notice="x" * 300))
        drawings = [drawn(frame, 10, width, height) for frame in frames]
        assert len({len(lines) for lines in drawings}) == 1
        assert len(drawings[0]) <= height
        assert max(len(line) for lines in drawings for line in lines) <= width
        middles = {
            next(number for number, line in enumerate(lines) if any(word in line for word in ("↕", "empty")))
            for lines in drawings
        }
        assert len(middles) == 1, "the spread stays where it is"

    def test_shows_as_many_levels_as_fit(self):
        assert [levels_that_fit(10, height) for height in (5, 24, 27, 200)] == [1, 8, 10, 10]

    def test_an_auction_says_at_what_it_would_trade(self):
        outcome = {"price": "100.00", "quantity": "7", "imbalance_quantity": "2", "imbalance_side": "buy"}
        crossed = FRAME._replace(status="auction", indication=outcome, bids=[("102.00", "1")])
        lines = drawn(crossed)
        assert "auction   last 101.00 ▲   would trade 7 @ 100.00, imbalance 2 buy" in lines[0]
        assert any("✕ 1.00" in line for line in lines)

    @pytest.mark.parametrize(("sides", "words"), [(("bids",), "no bids"), (("asks",), "no asks")])
    def test_says_which_side_is_empty(self, sides, words):
        assert any(words in line for line in drawn(FRAME._replace(**{side: [] for side in sides})))


class TestLive:
    @pytest.mark.parametrize("is_drawn_meanwhile", [True, False])
    async def test_goes_on_when_its_node_dies_and_says_so(self, is_drawn_meanwhile):
        async with two_nodes() as nodes, RaftbookClient(nodes.first) as client:
            await client.add_instrument(ACME)
            await client.submit(new("a1"))
            names = await node_names(client)
            async with client.local_book("ACME") as book, client.feed("trades", "ACME") as trades:
                ladder = LiveLadder(book, names)
                following = asyncio.create_task(ladder.follow_trades(trades))
                frame = ladder.frame(0.0)
                assert (frame.node, frame.notice) == (f"n1 {nodes.first[7:]}", None)
                assert frame.bids == [("100.25", "5")]

                nodes.kill_first()
                await client.submit({"op": "new", **sell("b1", quantity="2")})
                async with asyncio.timeout(PATIENCE_S):
                    if not is_drawn_meanwhile:
                        await book.wait_until(lambda book: book.url == nodes.second and book.top.bid[1] == "3")
                    while not (frame := ladder.frame(1.0)).trades or frame.bids != [("100.25", "3")]:  # noqa: ASYNC110 (a frame is asked for)
                        await asyncio.sleep(0.005)
                assert frame.node == f"n2 {nodes.second[7:]}"
                assert f"lost n1 {nodes.first[7:]}, went on at n2 {nodes.second[7:]} without a gap" in frame.notice
                assert frame.last_price == "100.25"
                assert frame.updates_per_s > 0
                following.cancel()
                await asyncio.wait([following])

    async def test_as_json_a_line_for_each_change_of_the_levels_asked_for(self, monkeypatch):
        lines = []
        monkeypatch.setattr("cli.live_book.print_json", lambda document: lines.append(json.dumps(document)))
        async with two_nodes() as nodes, RaftbookClient(nodes.second) as client:
            await client.add_instrument(ACME)
            printing = asyncio.create_task(print_book(client, "ACME", 1))
            for commands in ([new("a1")], numbered(3, first=10), [new("deep", price="50")], [new("a5", price="101")]):
                await client.submit_many(commands)
                async with asyncio.timeout(PATIENCE_S):
                    book = await client.book("ACME", depth=1)
                    while not lines or json.loads(lines[-1])["bids"] != book["bids"]:  # noqa: ASYNC110 (it prints)
                        await asyncio.sleep(0.005)
            printing.cancel()
            await asyncio.wait([printing])
        told = [json.loads(line) for line in lines]
        assert told[-1]["bids"] == [["101.00", "5"]]
        assert all(earlier["bids"] != later["bids"] for earlier, later in pairwise(told))
        assert all(set(line) == {"book", "sequence", "log_index", "bids", "asks"} for line in told)


def test_no_quorum_names_the_missing_why_and_how_to_start_them():
    def node(node_id, port, *, reachable):
        return {"id": node_id, "peer_address": f"127.0.0.1:{port}", "reachable": reachable}

    cluster = {"nodes": [node("n1", 7101, reachable=True), node("n2", 7102, reachable=False)]}
    assert no_quorum(cluster, {"n2": "refused"}) == (
        "no quorum: 1 of 2 nodes reachable, so nothing can be ordered; n2 127.0.0.1:7102 refused; "
        "start it with `raftbook node start --config FILE --id n2`"
    )
    cluster["nodes"].append(node("n3", 7103, reachable=False))
    assert "n2 127.0.0.1:7102 refused, n3 127.0.0.1:7103 silent; start them with" in no_quorum(
        cluster, {"n2": "refused"}
    )
