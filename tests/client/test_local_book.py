"""A book kept from messages equals the market's own, at every sequence, by level and by order."""

from __future__ import annotations

import itertools

import pytest

from raftbook.client import Level, LocalBook
from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import SetStatus
from raftbook.engine.types import TradingStatus
from raftbook.errors import SequenceGapError
from raftbook.json_format import command_from_fields
from raftbook.json_format.market import (
    book_snapshot_to_json,
    book_update_to_json,
    level3_snapshot_to_json,
    level3_update_to_json,
)
from raftbook.market_data import MarketData
from raftbook.simulation.workload import OrderFlow
from raftbook.state_machine import StateMachine
from tests.support.sample_orders import ACME

FORMS = {
    "book": (book_snapshot_to_json, book_update_to_json),
    "l3": (level3_snapshot_to_json, level3_update_to_json),
}


def commands(seed, count):
    """Order flow in which the market is in an auction for a while."""
    flow = list(itertools.islice(OrderFlow(seed, ("ACME",), ("alice", "bob", "carol")), count))
    flow.insert(count // 3, SetStatus("ACME", TradingStatus.AUCTION))
    flow.insert(count // 2, SetStatus("ACME", TradingStatus.TRADING))
    return [command_from_fields("add_instrument", ACME), *flow]


def markets(seed, count):
    """(market, update) after every entry; a few commands make one entry."""
    state, data = StateMachine(), MarketData()
    flow = commands(seed, count)
    sequence = 1
    for index, first in enumerate(range(0, len(flow), 3), 1):
        run = RawRun("n1.1", sequence, tuple(encode_command(command) for command in flow[first : first + 3]))
        sequence += len(run.raw_commands)
        for update in data.apply(state.apply(index, encode_entry(index * 10**6, [run]))):
            yield data["ACME"], update


@pytest.mark.parametrize("channel", FORMS)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_equals_the_market_after_every_entry(channel, seed):
    to_snapshot, to_update = FORMS[channel]
    book = None
    statuses = set()
    for number, (market, update) in enumerate(markets(seed, 400)):
        if book is None or number % 90 == 0:
            book = LocalBook("ACME")
            book.apply(to_snapshot(market))
        else:
            book.apply(to_update(update, market.instrument, update.first_sequence))
        levels = book_snapshot_to_json(market)
        assert [list(level) for level in book.bids] == levels["bids"]
        assert [list(level) for level in book.asks] == levels["asks"]
        assert book.top.bid == (book.bids[0] if book.bids else None)
        assert (book.sequence, book.log_index, book.status) == (market.sequence, market.log_index, levels["status"])
        assert book.last_price == levels.get("last_price")
        assert book.indication == levels.get("indication")
        if channel == "l3":
            orders = level3_snapshot_to_json(market)
            assert (book.orders("buy"), book.orders("sell")) == (orders["bids"], orders["asks"])
            assert book.orders("buy", 2) == orders["bids"][:2]
        statuses.add(book.status)
    assert statuses == {"trading", "auction"}
    assert book.bids
    assert book.asks
    assert len(book.depth(1)[0]) == 1


def snapshot(**fields):
    return {"channel": "book", "type": "snapshot", "symbol": "ACME", "sequence": 5, "bids": [], "asks": [], **fields}


def update(sequence, **fields):
    return {"channel": "book", "type": "update", "symbol": "ACME", "sequence": sequence, **fields}


def test_a_number_at_which_nothing_changed_counts():
    book = LocalBook("ACME")
    book.apply(snapshot(bids=[["100.25", "3"]], log_index=2))
    book.apply(update(6))
    book.apply(update(7, bids=[["100.25", "0"]], asks=[["100.50", "2"]], log_index=4))
    assert (book.sequence, book.log_index, book.bids, book.asks) == (7, 4, [], [Level("100.50", "2")])


@pytest.mark.parametrize("sequence", [5, 7])
def test_what_does_not_follow_is_refused(sequence):
    book = LocalBook("ACME")
    book.apply(snapshot())
    with pytest.raises(SequenceGapError):
        book.apply(update(sequence))


def test_a_snapshot_replaces_everything():
    book = LocalBook("ACME")
    book.apply(snapshot(bids=[["1.00", "3"]], status="halted", last_price="1.00"))
    book.apply(snapshot(sequence=3, asks=[["2.00", "1"]]))
    assert (book.sequence, book.bids, book.status, book.last_price) == (3, [], "trading", None)


def test_a_level_2_book_says_that_it_knows_no_orders():
    with pytest.raises(ValueError, match="level=3"):
        LocalBook("ACME").orders("buy")
