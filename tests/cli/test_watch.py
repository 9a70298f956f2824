"""`raftbook watch`: a feed as lines, across the death of its node and to its end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.errors import BROKEN_PIPE_EXIT_CODE
from cli.main import app
from cli.render import feed_line
from cli.watch import Subscription, print_feed
from raftbook.client import RaftbookClient
from tests.cli.command_line import PROJECT_ROOT, environment
from tests.cli.served_node import served_node
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S, two_nodes
from tests.support.sample_orders import ACME, sell

BOOK = Subscription("book", "ACME", None, None)
TRADES = Subscription("trades", "ACME", None, None)
ORDERS = Subscription("orders", None, "alice", None)


@pytest.fixture
async def nodes():
    async with two_nodes() as nodes:
        async with RaftbookClient(nodes.second) as client:
            await client.add_instrument(ACME)
        yield nodes


@pytest.fixture
async def client(nodes):
    async with RaftbookClient(nodes.first) as client:
        yield client


class Printing:
    """A feed that is printed beside the test, and the messages so far."""

    def __init__(self, client, subscription, **options):
        self.messages = []
        self._came = asyncio.Event()
        options = {"limit": None, "follow": True, **options}
        self.task = asyncio.create_task(print_feed(client, subscription, None, self._take, **options))

    def _take(self, message):
        self.messages.append(message)
        self._came.set()

    async def reach(self, sequence):
        """Returns when that sequence is printed."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.messages or self.messages[-1]["sequence"] < sequence:
                await self._came.wait()
                self._came.clear()


async def watched(client, subscription, *, from_sequence=None, limit=None, follow=True):
    """The messages that are printed, when it has ended by itself."""
    messages = []
    async with asyncio.timeout(PATIENCE_S):
        await print_feed(client, subscription, from_sequence, messages.append, limit=limit, follow=follow)
    return messages


def sequences(messages):
    return [message["sequence"] for message in messages]


class TestFollowing:
    async def test_it_goes_on_at_another_node_without_a_gap_and_says_where(self, client, nodes, capsys):
        printing = Printing(client, BOOK, limit=9)
        await printing.reach(1)
        await client.submit_many(numbered(4))
        await printing.reach(5)
        nodes.kill_first()
        await client.submit_many(numbered(4, first=4))
        async with asyncio.timeout(PATIENCE_S):
            await printing.task
        messages = printing.messages
        assert [message["type"] for message in messages] == ["snapshot"] + ["update"] * 8
        assert sequences(messages) == list(range(1, 10))
        assert capsys.readouterr().err == f"raftbook: the feed goes on at {nodes.second}, with sequence 6\n"

    async def test_it_begins_behind_what_was_seen(self, client):
        await client.submit_many(numbered(5))
        assert sequences(await watched(client, BOOK, from_sequence=3, limit=2)) == [4, 5]

    async def test_updates_are_merged(self, client):
        printing = Printing(client, Subscription("book", "ACME", None, 50))
        await printing.reach(1)
        await client.submit_many(numbered(30))
        await printing.reach(31)
        printing.task.cancel()
        await asyncio.wait([printing.task])
        assert len(printing.messages) < 10
        assert printing.messages[1]["first_sequence"] == 2


class TestWithoutFollowing:
    async def test_there_is_the_snapshot_alone(self, client):
        await client.submit_many(numbered(2))
        for subscription in (BOOK, TRADES, ORDERS):
            (message,) = await watched(client, subscription, follow=False)
            assert message["type"] == "snapshot"

    async def test_behind_a_sequence_there_is_what_came_until_now(self, client):
        await client.submit_many(numbered(4))
        assert sequences(await watched(client, BOOK, from_sequence=2, follow=False)) == [3, 4, 5]
        assert await watched(client, BOOK, from_sequence=5, follow=False) == []

    async def test_of_trades_until_the_last_one_though_more_has_happened_since(self, client):
        await client.submit_many([new("a1"), {"op": "new", **sell("b1", quantity="1")}, new("a2"), new("a3")])
        (trade,) = await watched(client, TRADES, from_sequence=1, follow=False)
        assert (trade["type"], trade["quantity"]) == ("update", "1")
        assert await watched(client, TRADES, from_sequence=trade["sequence"], follow=False) == []
        assert await watched(client, TRADES, from_sequence=10_000, follow=False) == []


class TestTheCommand:
    def run(self, *arguments, **variables):
        return CliRunner().invoke(app, ["watch", *arguments], env=variables)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "of which instrument is the book wanted?"),
            (("--channel", "orders"), "needs an --account"),
            (("ACME", "--account", "alice"), "--account goes with --channel orders"),
            (("ACME", "--channel", "tape"), "none of book, trades, l3, orders"),
            (("ACME", "--interval-ms", "20"), "50 or more"),
            (("ACME", "--interval-ms", "20000"), "above 10000"),
            (("ACME", "--channel", "trades", "--interval-ms", "100"), "--interval-ms goes with book and l3"),
            (("--channel", "orders", "--account", "a", "--no-follow", "--from-sequence", "1"), "--limit"),
        ],
    )
    def test_wrong_usage(self, arguments, words):
        result = self.run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr

    def test_prints_messages_as_they_are_or_in_words_and_ends_with_0(self):
        with served_node(new("a1")) as url:
            result = self.run("ACME", "--no-follow", RAFTBOOK_URL=url)
            assert result.exit_code == 0, result.stderr
            message = json.loads(result.stdout)
            assert (message["channel"], message["bids"]) == ("book", [["100.25", "5"]])
            in_words = self.run("ACME", "--limit", "1", "--output", "table", RAFTBOOK_URL=url)
            assert in_words.stdout.startswith("#")
            assert "bid 5 @ 100.25" in in_words.stdout

    def test_an_instrument_that_there_is_not(self):
        with served_node() as url:
            result = self.run("ACNE", RAFTBOOK_URL=url)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "ACME" in result.stderr

    @pytest.mark.parametrize("end", ["reader", "interrupt"])
    def test_ends_quietly(self, end):
        with served_node(new("a1")) as url:
            process = subprocess.Popen(
                # Whoever starts the tests in the background has SIGINT ignored; the command would ignore it as well.
                ["env", "--default-signal=INT", sys.executable, "-m", "cli", "watch", "ACME"],
                cwd=PROJECT_ROOT,
                env=environment(RAFTBOOK_URL=url),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            with process:
                assert json.loads(process.stdout.readline())["type"] == "snapshot"
                if end == "reader":
                    process.stdout.close()
                    asyncio.run(enter(url))
                else:
                    process.send_signal(signal.SIGINT)
                try:
                    code = process.wait(timeout=30)
                finally:
                    process.kill()
                assert process.stderr.read() == b""
        assert code == (BROKEN_PIPE_EXIT_CODE if end == "reader" else 130)


async def enter(url):
    async with RaftbookClient(url) as client:
        await client.submit(new("a2"))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            {"channel": "book", "type": "update", "symbol": "ACME", "sequence": 4, "log_index": 9}
            | {"bids": [["99.50", "3"], ["99.00", "0"]], "asks": []},
            "#9 book of ACME update at 4: bid 3 @ 99.50, bid @ 99.00 gone",
        ),
        ({"channel": "book", "type": "update", "symbol": "ACME", "sequence": 5}, "book of ACME update at 5"),
        (
            {"channel": "l3", "type": "update", "symbol": "ACME", "sequence": 6, "log_index": 9, "status": "halted"}
            | {
                "orders": [{"order_id": 7, "side": "buy", "price": "9", "quantity": "2", "to_back": True}],
                "trades": [],
            },
            "#9 l3 of ACME update at 6: buy order 7 2 @ 9, halted",
        ),
        (
            {"channel": "trades", "type": "update", "symbol": "ACME", "sequence": 7, "log_index": 9, "trade_id": 1}
            | {"price": "10", "quantity": "2", "taker_side": "sell"},
            "#9 trades of ACME update at 7: trade 2 @ 10 (sell)",
        ),
        (
            {"channel": "orders", "type": "snapshot", "account": "alice", "sequence": 8}
            | {"orders": [{"order_id": 7, "side": "buy", "leaves_quantity": "2", "status": "open"}]},
            "orders of alice snapshot at 8: order 7 buy 2 open",
        ),
    ],
)
def test_a_message_in_words(message, words):
    assert feed_line(message) == words
