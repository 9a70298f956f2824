"""Two shards of real processes behind a gateway: what one of them goes through is no affair of the other's."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cli.local_cluster import ACME, free_ports
from raftbook.client import RaftbookClient
from raftbook.engine.events import EventKind, OrderEvent
from raftbook.errors import RaftbookError
from tests.support.prepared_processes import PreparedProcess
from tests.system.log_checks import replay
from tests.system.raftbook_command import environment
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.system.system_cluster import SystemCluster

BETA = msgspec.structs.replace(ACME, symbol="BETA")


@contextmanager
def gateway(folder: Path, shards: Mapping[str, SystemCluster]) -> Iterator[str]:
    """`raftbook gateway start`, and its URL; it must leave in order."""
    tables = ['[gateway]\nname = "system"\n']
    for name, cluster in shards.items():
        symbols = [instrument.symbol for instrument in cluster.config.instruments]
        first = next(iter(cluster.urls.values()))  # The others are learned from it.
        tables.append(f'[[shards]]\nname = "{name}"\nnodes = ["{first}"]\nsymbols = {symbols}\n')
    (folder / "shards.toml").write_text("\n".join(tables))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = PreparedProcess(
        ["gateway", "start", "--shards", "shards.toml", "--listen", address],
        folder=folder,
        environment=environment(),
        stdin=Path(os.devnull),
        stdout=folder / "gateway.log",
        stderr=folder / "gateway.log",
    )
    try:
        yield f"http://{address}"
        process.terminate()
        assert process.wait(DEADLINE_S) == 0, (folder / "gateway.log").read_text()
    finally:
        process.kill()


def order(number: int, symbol: str) -> dict[str, object]:
    """Buys and sells in turn, at one price: every second one trades with the one before."""
    side = "buy" if number % 4 < 2 else "sell"
    return {
        "op": "new",
        "symbol": symbol,
        "account": side,
        "client_order_id": f"{symbol}-{number}",
        "side": side,
        "price": "100.00",
        "quantity": "1",
    }


async def test_a_killed_leader_of_one_shard_loses_nothing_and_does_not_disturb_the_other(make_cluster, tmp_path):
    north = make_cluster(node_count=1)
    south = make_cluster(instruments=(BETA,))
    north.start()
    leader = await south.start_and_elect()
    await north.wait_for_leader(deadline_s=DEADLINE_S)

    with gateway(tmp_path, {"north": north, "south": south}) as url:
        reports: dict[str, list[dict[str, object]]] = {"ACME": [], "BETA": []}
        async with RaftbookClient(url) as client:
            await _until_ready(client)
            following = asyncio.create_task(_follow(client, trades=20))
            async with client.session() as session:

                async def enter(number: int, symbol: str) -> None:
                    reports[symbol].append(await session.submit(order(number, symbol), wait_s=DEADLINE_S))

                for number in range(20):
                    await asyncio.gather(enter(number, "ACME"), enter(number, "BETA"))
                south.kill(leader)
                in_doubt = [asyncio.create_task(enter(number, "BETA")) for number in range(20, 40)]
                answered_meanwhile = 0
                for number in range(20, 60):
                    await enter(number, "ACME")
                    answered_meanwhile += not any(task.done() for task in in_doubt)
                await asyncio.gather(*in_doubt)
                assert session.reconnections == 0, "the gateway hides the failover"
            assert answered_meanwhile > 0, "the other shard answers while this one elects"

            books = {symbol: await client.book(symbol) for symbol in reports}
            assert [(books[symbol]["bids"], books[symbol]["asks"]) for symbol in books] == [([], []), ([], [])]
            for symbol, told in reports.items():
                found = await client.orders(symbol=symbol, status="all")
                assert sorted(order["client_order_id"] for order in found) == sorted(
                    report["order"]["client_order_id"] for report in told
                )
                assert {order["status"] for order in found} == {"filled"}
            await asyncio.wait_for(following, DEADLINE_S)

        south.start(leader)
        for name, cluster, symbol in (("north", north, "ACME"), ("south", south, "BETA")):
            await _check_against_logs(cluster, name, reports[symbol])


async def _until_ready(client: RaftbookClient) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await client.get("/readyz")
            except RaftbookError:
                await asyncio.sleep(0.05)
            else:
                return


async def _follow(client: RaftbookClient, *, trades: int) -> None:
    """Hear of all trades of the shard whose leader is killed, one after the other."""
    heard = 0
    async with client.feed("trades", "BETA") as feed:
        async for message in feed:
            heard = max([heard, *(trade["trade_id"] for trade in message.get("trades", [message]))])
            if heard == trades:
                return


async def _check_against_logs(cluster: SystemCluster, shard: str, reports: list[dict[str, object]]) -> None:
    """Every node has executed what was reported, where it was reported, and each order once."""
    index, digest = await cluster.wait_for_rest()
    assert await cluster.terminate() == dict.fromkeys(cluster.node_ids, 0)
    told = {(report["origin"], report["origin_sequence"]): report["log_index"] for report in reports}
    for node_id in cluster.node_ids:
        log = replay(node_id, cluster.data_folder(node_id), index)
        assert log.state.chain_digest.hex() == digest, node_id
        executions = [one.execution for one in log.executed]
        places = {(f"{shard}:{one.origin}", one.sequence): one.log_index for one in executions}
        assert told.items() <= places.items(), node_id
        entered = [
            event.order.client_order_id
            for one in executions
            for event in one.events
            if isinstance(event, OrderEvent) and event.kind is EventKind.ORDER_ACCEPTED and not event.duplicate
        ]
        assert sorted(entered) == sorted(report["order"]["client_order_id"] for report in reports), node_id
