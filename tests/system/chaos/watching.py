"""What the nodes say while everything goes wrong: their statuses, and linearizable reads, which must not be stale."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.system.chaos.chaos_cluster import ChaosCluster
    from tests.system.chaos.observer import Observer
    from tests.system.clients import Clients

INTERVAL_S: Final = 0.2
READING_S: Final = 1.0


@contextlib.asynccontextmanager
async def watching(cluster: ChaosCluster, clients: Clients, observer: Observer) -> AsyncIterator[None]:
    """As long as this lasts, the observer is told what every node says."""
    async with asyncio.TaskGroup() as tasks:
        readers = [_keep_reading(node_id, cluster, clients, observer) for node_id in cluster.node_ids]
        watchers = [tasks.create_task(work) for work in (_keep_asking(cluster, observer), *readers)]
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()


async def _keep_asking(cluster: ChaosCluster, observer: Observer) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            lives = {node_id: life.number for node_id, life in cluster.lives.items()}
            for node_id, status in (await cluster.statuses(client)).items():
                if status is not None and cluster.lives[node_id].number == lives[node_id]:
                    observer.observe(node_id, lives[node_id], status)
            await asyncio.sleep(INTERVAL_S)


async def _keep_reading(node_id: str, cluster: ChaosCluster, clients: Clients, observer: Observer) -> None:
    url = f"{cluster.url(node_id)}/v1/book/ACME"
    async with httpx.AsyncClient(trust_env=False, timeout=2 * READING_S) as client:
        while True:
            reported_index = _highest_reported_index(clients)
            clients.barriers += 1
            # A node that is down, cut off or paused gives no answer, or no good one.
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(url, params={"consistency": "linearizable", "wait_s": f"{READING_S:g}"})
                if answer.status_code == httpx.codes.OK:
                    observer.read(node_id, int(answer.headers["Raftbook-Log-Index"]), reported_index)
            await asyncio.sleep(INTERVAL_S)


def _highest_reported_index(clients: Clients) -> int:
    reports = (
        attempt.report for record in clients.records for attempt in record.attempts if attempt.outcome == "definite"
    )
    return max((report["log_index"] for report in reports if report is not None), default=0)
