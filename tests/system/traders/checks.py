"""What must be true when the traders have stopped: of their books and feeds, and of the nodes' logs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.client import RaftbookClient
from raftbook.engine.commands import AddInstrument, NewOrder, Tick
from raftbook.engine.events import OrderEvent, Trade
from raftbook.engine.types import EventKind
from raftbook.json_format import command_from_fields, dumps, report_to_json
from tests.system.clients import POLL_S, wait_for
from tests.system.log_checks import ExecutedCommand, check_order, check_real_time_order, replay
from tests.system.traders.traders import SYMBOL

if TYPE_CHECKING:
    from raftbook.engine.commands import Command
    from tests.system.clients import Record
    from tests.system.log_checks import ReplayedLog
    from tests.system.system_cluster import SystemCluster
    from tests.system.traders.traders import Trader

    Key = tuple[str, str, str]


TELLING_S: Final = 10.0
"""For what was executed last to be told to everybody."""


async def check_books(cluster: SystemCluster, traders: list[Trader]) -> None:
    """Every client's book is, at its last sequence, the book of every node, and its feed had neither gap nor repeat."""
    snapshots = []
    for url in cluster.urls.values():
        async with RaftbookClient(url) as client:
            node = client.at(url)
            async with node.feed("book", SYMBOL) as levels, node.feed("l3", SYMBOL) as orders:
                snapshots.append((await anext(levels), await anext(orders)))
    (levels, orders), *others = snapshots
    assert all(other == (levels, orders) for other in others), "the nodes differ"
    await wait_for(
        lambda: all(trader.book.sequence == levels["sequence"] for trader in traders), "all books at the end"
    )
    for trader in traders:
        book, followed = trader.book, trader.book_messages
        assert [list(level) for level in book.bids] == levels["bids"], trader.account
        assert [list(level) for level in book.asks] == levels["asks"], trader.account
        assert book.top == (next(iter(book.bids), None), next(iter(book.asks), None)), trader.account
        assert book.last_price == levels.get("last_price"), trader.account
        if trader.has_orders:
            assert (book.orders("buy"), book.orders("sell")) == (orders["bids"], orders["asks"]), trader.account
        # The follower insists on every number; only a snapshot in between could hide one.
        assert followed.snapshots == 1, f"{trader.account} was told {followed.snapshots} snapshots"
        assert followed.sequence == levels["sequence"]


async def check_orders(cluster: SystemCluster, traders: list[Trader]) -> None:
    """The feed of its own orders told every client of its orders, fills and cancels, each once."""
    async with RaftbookClient(*cluster.urls.values()) as client:
        for trader in traders:
            orders = await client.orders(account=trader.account, status="all")
            expected = {
                order["order_id"]: (order["status"] == "canceled", order["filled_quantity"]) for order in orders
            }
            assert trader.order_messages.snapshots == 1, (
                f"{trader.account}: {trader.order_messages.snapshots} snapshots"
            )
            last_index = max((event["log_index"] for event in trader.order_messages.events), default=0)
            deadline = time.monotonic() + TELLING_S
            while _told(trader) != expected and time.monotonic() < deadline:  # noqa: ASYNC110 (bounded)
                await asyncio.sleep(POLL_S)
            told = _told(trader)
            wrong = {number: (told.get(number), expected.get(number)) for number in {*told, *expected}}
            wrong = {number: values for number, values in wrong.items() if values[0] != values[1]}
            assert not wrong, f"{trader.account} was told up to {last_index}, (told, true) of its orders: {wrong}"


def _told(trader: Trader) -> dict[int, tuple[bool, str]]:
    """Order id -> (was it canceled, how much of it traded), from the events of the feed of own orders alone."""
    events = trader.order_messages.events
    accepted = [e["order_id"] for e in events if e["event"] == "order_accepted" and not e.get("duplicate")]
    canceled = [e["order_id"] for e in events if e["event"] == "order_canceled"]
    assert len(accepted) == len(set(accepted)), f"{trader.account} was told twice that an order was accepted"
    assert len(canceled) == len(set(canceled)), f"{trader.account} was told twice that an order was canceled"
    filled: Counter[int] = Counter()
    for event in events:
        if event["event"] == "trade":
            # Of an own order on either side; where the other side is foreign, its id is there, but not in `accepted`.
            filled[event["maker_order_id"]] += int(event["quantity"])
            filled[event["taker_order_id"]] += int(event["quantity"])
    return {order_id: (order_id in canceled, str(filled[order_id])) for order_id in accepted}


async def check_against_logs(cluster: SystemCluster, records: list[Record]) -> tuple[int, int]:
    """Stops the nodes, and holds what the clients were told against what is on their disks.

    Lost 0: what a client was told is in the log, as it was told. Doubled 0: no order was entered twice, or after a
    refusal. All copies of a command carry one `not_after`. Returns (commands executed, trades).
    """
    index, digest = await cluster.wait_for_rest()
    exit_codes = await cluster.terminate()
    assert exit_codes == dict.fromkeys(cluster.node_ids, 0), exit_codes
    logs = await asyncio.to_thread(
        lambda: [replay(node_id, cluster.data_folder(node_id), index) for node_id in cluster.node_ids]
    )
    for log in logs:
        assert log.state.chain_digest.hex() == digest, f"{log.node_id}: another state"
        log.state.exchange.check()
    witnesses = [log for log in logs if log.is_whole]
    assert witnesses, "no node has kept its whole log"
    for log in witnesses:
        check_log(records, log)
    check_real_time_order(records)
    executions = [one.execution for one in witnesses[0].executed]
    trades = sum(isinstance(event, Trade) for execution in executions for event in execution.events)
    return sum(not isinstance(one.command, AddInstrument | Tick) for one in witnesses[0].executed), trades


def check_log(records: list[Record], log: ReplayedLog) -> None:
    """One whole log and all that the clients were told."""
    sent = {record.key: record for record in records}
    assert len(sent) == len(records), "every command is told apart by its key"
    copies: defaultdict[Key, set[int | None]] = defaultdict(set)
    entered: defaultdict[tuple[str, str], list[ExecutedCommand]] = defaultdict(list)
    for one in log.executed:
        if isinstance(one.command, AddInstrument | Tick):
            continue
        key = _key(one.command)
        assert key in sent, f"nobody sent {one.command}"
        fields = {name: value for name, value in sent[key].command.items() if name != "op"}
        expected = command_from_fields(sent[key].command["op"], fields)
        assert one.command._replace(not_after=None) == expected, f"{one.command} is not what was sent"
        copies[key].add(one.command.not_after)
        for event in one.execution.events:
            if isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED and not event.duplicate:
                entered[event.order.account, event.order.client_order_id].append(one)
    assert all(len(times) == 1 and None not in times for times in copies.values()), "copies differ in not_after"
    executed = {(one.execution.origin, one.execution.sequence): one for one in log.executed}
    assert len(executed) == len(log.executed), "nothing is executed twice"
    for record in records:
        report = record.report
        assert report is not None, f"never answered: {record}"
        one = executed.get((report["origin"], report["origin_sequence"]))
        assert one is not None, f"{log.node_id} lost what was reported: {record}"
        instruments = log.state.exchange.instruments
        expected = msgspec.json.decode(
            dumps(report_to_json(report["origin"], report["origin_sequence"], one.execution, instruments))
        )
        told = report
        assert told == expected, f"the log of {log.node_id} says otherwise: {record}"
        if record.command["op"] == "new":
            check_order(record, entered.pop(record.key[1:], []), executed)
    assert not entered, f"orders that nobody was told of: {entered}"


def _key(command: Command) -> Key:
    op = "new" if isinstance(command, NewOrder) else "cancel"
    fields = command._asdict()
    return op, fields["account"], fields["client_order_id"]
