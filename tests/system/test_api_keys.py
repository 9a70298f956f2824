"""API keys on real nodes: made and revoked at one, good and refused at all, after restarts and from snapshots too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import msgspec

from cli.local_cluster import PROJECT_FOLDER
from raftbook.client import RaftbookClient
from raftbook.engine.types import Role
from raftbook.errors import ProblemError
from raftbook.node.config import KeyConfig, LimitsConfig, SecurityConfig
from raftbook.security.signing import NODE_HEADER, format_key, parse_key
from tests.support.api_keys import headers_for, key_of, public_key_of
from tests.support.prepared_processes import run_prepared
from tests.support.sample_orders import order
from tests.system.raftbook_command import environment
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from tests.system.system_cluster import SystemCluster

    Headers = dict[str, str]

OPERATOR = key_of(Role.ADMIN, "operator1")
MONITOR = key_of(Role.READ, "monitor01")
FOUNDING_KEYS = tuple(
    KeyConfig(id=key.key_id, name=key.key_id, role=key.role.label, public_key=public_key_of(key))
    for key in (OPERATOR, MONITOR)
)
COMPACTING = LimitsConfig(snapshot_entries=20, log_retain_entries=0)


def account(cluster: SystemCluster, *arguments: str):
    """`raftbook account …` as the operator types it; what it prints as JSON."""
    finished = run_prepared(
        ["account", *arguments, "--output", "json"],
        folder=PROJECT_FOLDER,
        environment=environment()
        | {"RAFTBOOK_URL": ",".join(cluster.urls.values()), "RAFTBOOK_API_KEY": format_key(OPERATOR)},
        text="",
        timeout_s=DEADLINE_S,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


async def trade(cluster: SystemCluster, node_id: str, api_key: str, client_order_id: str) -> str:
    """What becomes of an order of carol's there."""
    async with RaftbookClient(cluster.url(node_id), api_key=api_key) as client:
        try:
            fields = order(client_order_id, account="carol")
            report = await client.at(cluster.url(node_id)).submit({"op": "new", **fields})
        except ProblemError as problem:
            return problem.code
        return report["status"]


async def send_signed(cluster: SystemCluster, node_id: str, api_key: str, name: str) -> tuple[Headers, httpx.Response]:
    """An order, signed for the node of this name; the headers that were sent, and the answer."""
    async with httpx.AsyncClient() as wire:
        request = wire.build_request("POST", f"{cluster.url(node_id)}/v1/orders", json=order("wire", account="carol"))
        headers = {
            "content-type": "application/json",
            **headers_for(parse_key(api_key), name, request),
        }
        request.headers.update(headers)
        return headers, await wire.send(request)


async def wait_for_log(cluster: SystemCluster, at_least: int = 0) -> int:
    """The last index of all nodes, when all have applied it."""

    def at_rest(statuses):
        indexes = {None if status is None else status["applied_index"] for status in statuses.values()}
        return indexes.pop() if len(indexes) == 1 and None not in indexes and min(indexes) >= at_least else None

    return await cluster.wait_until(at_rest, deadline_s=DEADLINE_S, awaited="all nodes at one index")


async def test_a_key_trades_everywhere_until_it_is_revoked_and_nowhere_ever_after(make_cluster):
    cluster = make_cluster(limits=COMPACTING, security=SecurityConfig(require_keys=True))
    cluster.config = msgspec.structs.replace(cluster.config, keys=FOUNDING_KEYS)
    cluster.read_key = format_key(MONITOR)
    await cluster.start_and_elect()

    # Nobody gets in without a key, and the founding ones are there.
    async with httpx.AsyncClient() as nobody:
        for url in cluster.urls.values():
            assert (await nobody.get(f"{url}/v1/orders")).json()["code"] == "unauthenticated"
            assert (await nobody.get(f"{url}/healthz")).status_code == 200
    made = account(cluster, "create", "carol", "--role", "trade", "--accounts", "carol")
    other = account(cluster, "create", "carols-other", "--role", "trade", "--accounts", "carol")
    assert parse_key(made["key"]).key_id == made["key_id"]
    assert [key["key_id"] for key in account(cluster, "list", "--consistency", "linearizable")] == [
        *(key.key_id for key in (OPERATOR, MONITOR)),
        made["key_id"],
        other["key_id"],
    ]
    await wait_for_log(cluster, 1)
    for number, node_id in enumerate(cluster.node_ids):
        assert await trade(cluster, node_id, made["key"], f"c{number}") == "accepted"

    # What was signed for a node is good neither at another one nor, once it was used, there.
    first, second, third = cluster.node_ids
    async with httpx.AsyncClient() as wire:
        name_of_first = (await wire.get(f"{cluster.url(first)}/healthz")).headers[NODE_HEADER]
        headers, taken = await send_signed(cluster, first, made["key"], name_of_first)
        assert taken.status_code == 200
        for node_id, code in ((first, "replayed"), (second, "signature_invalid")):
            copy = await wire.post(f"{cluster.url(node_id)}/v1/orders", content=taken.request.content, headers=headers)
            # The machine may be busy for longer than the window is wide.
            assert copy.json()["code"] in (code, "timestamp_outside_window")

    # Revoked while one node is away, whose disk is lost: it learns of it with a snapshot, and the others at once.
    cluster.kill(third)
    cluster.wipe(third)
    revoked = account(cluster, "revoke", made["key_id"])
    for number, node_id in enumerate((first, second)):
        async with RaftbookClient(cluster.url(node_id), api_key=format_key(MONITOR)) as monitor:
            await monitor.at(cluster.url(node_id)).instruments(at_least=revoked["log_index"])
        assert await trade(cluster, node_id, made["key"], f"late-{number}") == "key_revoked"
        assert await trade(cluster, node_id, other["key"], f"other-{number}") == "accepted"
    async with RaftbookClient(cluster.url(first), api_key=format_key(MONITOR)) as monitor:
        while (await monitor.node())["base_index"] < revoked["log_index"]:
            await monitor.instruments(consistency="linearizable")
    cluster.start(third)
    index = await wait_for_log(cluster, revoked["log_index"])
    assert await trade(cluster, third, made["key"], "third") == "key_revoked"
    assert await trade(cluster, third, other["key"], "third-other") == "accepted"

    # And after all of them were down.
    await cluster.terminate()
    cluster.start()
    await wait_for_log(cluster, index)
    await cluster.wait_for_leader(deadline_s=DEADLINE_S)
    for node_id in cluster.node_ids:
        assert await trade(cluster, node_id, made["key"], "again") == "key_revoked"
    assert await trade(cluster, second, other["key"], "again-other") == "accepted"
    _, refused = await send_signed(cluster, first, other["key"], name_of_first)
    assert refused.json()["code"] == "signature_invalid", "it was signed for the node as it was before its restart"
    listed = {key["key_id"]: key for key in account(cluster, "list", "--consistency", "linearizable")}
    assert listed[made["key_id"]]["revoked_at"] > listed[made["key_id"]]["created_at"]
    assert "revoked_at" not in listed[other["key_id"]]


def test_a_cluster_that_requires_keys_and_founds_none_does_not_start(make_cluster):
    cluster = make_cluster(node_count=1, security=SecurityConfig(require_keys=True))
    cluster.start()
    assert cluster._wait("n1", DEADLINE_S) == 1
    assert "raftbook account create NAME --role admin --offline" in cluster.log_path("n1").read_text()
