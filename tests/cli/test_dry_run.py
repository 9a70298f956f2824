"""`submit --dry-run`: what it says would happen, held against what then happens."""

from __future__ import annotations

import random

import httpx
import pytest

from cli.dry_run import DryRun, average_price, in_words
from cli.dry_run_submission import view_for
from raftbook.client import RaftbookClient
from raftbook.engine.instrument import Instrument
from raftbook.gateway import make_app
from raftbook.json_format import command_from_fields
from tests.support.direct_service import START_TIME, DirectService

SPEC = {"op": "add_instrument", "symbol": "ACME", "price_decimals": 2, "quantity_decimals": 0}
NOW = START_TIME + 10**12


@pytest.fixture
async def client():
    transport = httpx.ASGITransport(make_app(DirectService()))
    async with RaftbookClient("http://localhost", transport=transport) as client:
        yield client


def new(account, client_order_id, side, quantity, price=None, **further):
    fields = {"account": account, "client_order_id": client_order_id, "side": side, "quantity": quantity}
    return {"op": "new", "symbol": "ACME", **fields, **({} if price is None else {"price": price}), **further}


async def try_out(client, *documents):
    """What a dry run says of these commands, one after the other."""
    commands = [command_from_fields(document["op"], without_op(document)) for document in documents]
    dry_run = DryRun(await view_for(client, commands), NOW)
    return [dry_run.try_out(command) for command in commands]


def without_op(document):
    return {name: value for name, value in document.items() if name != "op"}


async def submit(client, *documents):
    for document in documents:
        report = await client.submit(document)
        assert report["status"] == "accepted", report
    return report


@pytest.fixture
async def book(client):
    """Asks of 3 at 100.20 and 4 at 100.30 by two accounts, bids of 5 and 2 at 100.00; one trade at 100.10."""
    await submit(
        client,
        SPEC | {"tick_size": "0.10", "lot_size": "1", "max_quantity": "50", "price_band": "5.00"},
        new("bob", "s0", "sell", "1", "100.10"),
        new("carol", "t0", "buy", "1", "100.10"),
        new("bob", "s1", "sell", "3", "100.20"),
        new("carol", "s2", "sell", "4", "100.30"),
        new("bob", "b1", "buy", "5", "100.00"),
        new("carol", "b2", "buy", "2", "100.00"),
    )
    return client


class TestWhatItSays:
    @pytest.mark.parametrize(
        ("order", "words"),
        [
            (new("alice", "a", "buy", "1", "100.20"), "would trade 1 at an average of 100.20"),
            (
                new("alice", "a", "buy", "9", "100.30"),
                "would trade 7 at an average of 100.257143, and 2 would wait at 100.30 as the first there",
            ),
            (new("alice", "a", "buy", "2", "100.00"), "2 would wait at 100.00 behind 7"),
            (
                new("alice", "a", "buy", "9", order_type="market"),
                "would trade 7 at an average of 100.257143, and 2 would be canceled (no_liquidity)",
            ),
            (
                new("alice", "a", "buy", "9", "100.20", time_in_force="ioc"),
                "would trade 3 at an average of 100.20, and 6 would be canceled (ioc)",
            ),
            (new("alice", "a", "buy", "9", "100.20", time_in_force="fok"), "9 would be canceled (fok)"),
            (
                new("alice", "a", "buy", "2", order_type="stop", stop_price="100.50"),
                "would wait until a trade at 100.50 triggers it",
            ),
            (new("alice", "a", "buy", "2", "100.20", post_only=True), "would be refused, post_only_would_trade"),
            (new("alice", "a", "buy", "2", "100.25"), "would be refused, price_not_on_tick"),
            (new("alice", "a", "buy", "51", "100.20"), "would be refused, quantity_too_large"),
            (new("alice", "a", "buy", "2", "150.00"), "would be refused, price_outside_band"),
            (new("bob", "b1", "buy", "5", "100.00"), "is known already: order 5 is open"),
            (new("carol", "t0", "buy", "1", "100.10"), "is known already: order 2 is filled"),
            (new("bob", "b1", "buy", "6", "100.00"), "would be refused, duplicate_client_order_id"),
            ({"op": "cancel", "account": "bob", "client_order_id": "b1"}, "would be done: order canceled ACME b1 buy"),
            ({"op": "cancel", "account": "alice", "order_id": 5}, "would be refused, unknown_order"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_of_an_order(self, book, order, words):
        (outcome,) = await try_out(book, order)
        assert words in in_words(outcome)

    async def test_an_unknown_symbol(self, book):
        (outcome,) = await try_out(book, {**new("alice", "a", "buy", "1", "1"), "symbol": "ACNE"})
        assert in_words(outcome) == "would be refused, unknown_symbol"

    @pytest.mark.parametrize("status", ["halted", "closed"])
    async def test_an_instrument_that_does_not_trade(self, book, status):
        await book.set_status("ACME", status)
        (outcome,) = await try_out(book, new("alice", "a", "buy", "1", "100.20"))
        assert in_words(outcome) == f"would be refused, instrument_{status}"

    async def test_an_auction_gathers_what_would_trade(self, book):
        await book.set_status("ACME", "auction")
        await submit(book, new("bob", "m", "sell", "1", order_type="market"))
        priced, unpriced = await try_out(
            book, new("alice", "a", "buy", "2", "100.30"), new("bob", "m2", "sell", "1", order_type="market")
        )
        assert in_words(priced) == "2 would wait at 100.30 as the first there"
        assert in_words(unpriced) == "1 would wait for the auction behind 1"

    async def test_its_own_orders_are_known_whole(self, book):
        """An iceberg's hidden part, and whose orders they are."""
        await submit(book, new("alice", "ice", "sell", "9", "100.10", display_quantity="1"))
        (own,) = await try_out(book, new("alice", "a", "buy", "20", "100.10"))
        assert in_words(own).startswith("would trade 9 at")
        (behind,) = await try_out(book, new("alice", "a", "sell", "2", "100.10"))
        assert in_words(behind) == "2 would wait at 100.10 behind 1", "its tip alone has a place before others"
        (by_another,) = await try_out(book, new("dave", "a", "buy", "20", "100.10"))
        assert in_words(by_another).startswith("would trade 1 at"), "nobody else sees what an iceberg hides"
        (prevented,) = await try_out(
            book, new("alice", "a", "buy", "20", "100.10", self_trade_prevention="cancel_oldest")
        )
        assert in_words(prevented) == "20 would wait at 100.10 as the first there"

    async def test_an_own_stop_is_triggered_by_what_would_trade(self, book):
        await submit(book, new("alice", "stop", "buy", "2", order_type="stop", stop_price="100.20"))
        (outcome,) = await try_out(book, new("alice", "a", "buy", "1", "100.20"))
        assert "order_triggered" in [event["event"] for event in outcome["events"]]

    async def test_commands_in_a_row_find_what_the_ones_before_left(self, book):
        first, second = await try_out(
            book, new("alice", "a", "buy", "3", "100.20"), new("alice", "b", "buy", "1", "100.30")
        )
        assert (first["average_price"], second["average_price"]) == ("100.20", "100.30")

    async def test_nothing_is_submitted_and_no_place_in_the_log_is_made_up(self, book):
        before = await book.cluster()
        (outcome,) = await try_out(book, new("alice", "a", "buy", "9", "100.30"))
        assert await book.cluster() == before
        assert outcome["log_index"] == book.log_index
        told = [outcome["order"], *outcome["events"]]
        assert not {"sequence", "log_index", "timestamp", "trade_id"} & {name for part in told for name in part}
        makers = [event["maker_order_id"] for event in outcome["events"] if event["event"] == "trade"]
        assert makers == [3, 4]
        assert not any("order_id" in part or "taker_order_id" in part for part in told)


@pytest.mark.parametrize("seed", range(6))
async def test_what_it_says_is_what_then_happens(client, seed):
    """Random flow by three accounts, without what others cannot see: each command is tried out, then submitted."""
    random_source = random.Random(seed)
    await submit(client, SPEC | {"tick_size": "0.05", "lot_size": "2", "min_quantity": "2", "max_open_orders": 9})
    traded = waiting = refused = 0
    for number in range(60):
        kind = random_source.choice(["limit", "limit", "limit", "market"])
        order = new(
            random_source.choice(["alice", "bob", "carol"]),
            f"o{number}",
            random_source.choice(["buy", "sell"]),
            str(random_source.randrange(2, 14, random_source.choice([1, 2, 2, 2]))),
            str(100 + random_source.randrange(-6, 7) / 20) if kind == "limit" else None,
            order_type=kind,
            time_in_force="ioc" if kind == "market" else random_source.choice(["gtc", "gtc", "ioc", "fok"]),
            self_trade_prevention=random_source.choice(["none", "cancel_newest", "cancel_oldest", "cancel_both"]),
        )
        (said,) = await try_out(client, order)
        report = await client.submit(order)
        assert said["status"] == report["status"]
        assert said.get("reason") == report.get("reason")
        if report["status"] == "rejected":
            refused += 1
            continue
        assert kinds(said) == kinds(report)
        for field in ("status", "filled_quantity", "leaves_quantity", "notional"):
            assert said["order"][field] == report["order"][field]
        traded += said["traded_quantity"] != "0"
        waiting += said["waiting_quantity"] != "0"
    assert min(traded, waiting, refused) > 2, "the flow had some of each"


def kinds(told):
    return [(event["event"], event.get("quantity"), event.get("price")) for event in told["events"]]


@pytest.mark.parametrize(
    ("notional", "quantity", "text"),
    [(20_050, 2, "100.25"), (10_025, 1, "100.25"), (30_075, 3, "100.25"), (20_051, 2, "100.255"), (100, 3, "0.333333")],
)
def test_an_average_is_exact_where_it_can_be(notional, quantity, text):
    instrument = Instrument("ACME", 2, 0, 1, 1)
    assert average_price(notional, quantity, instrument) == text
