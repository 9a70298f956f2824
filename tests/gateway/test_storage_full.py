"""What clients are told by a node whose disk has too little room."""

from __future__ import annotations

import httpx
import pytest

from raftbook.client import RaftbookClient
from raftbook.errors import ProblemError
from raftbook.gateway import make_app
from tests.support.sample_orders import ACME, order
from tests.support.single_node import single_node

MORE_THAN_ANY_DISK_HAS_BYTES = 1 << 40


@pytest.fixture
async def transport(tmp_path):
    async with single_node(tmp_path, storage_reserve_bytes=MORE_THAN_ANY_DISK_HAS_BYTES) as service:
        yield httpx.ASGITransport(make_app(service))


@pytest.fixture
async def http(transport):
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/orders", order()),
        ("POST", "/v1/commands", [{"op": "new", **order()}]),
        ("POST", "/v1/instruments", ACME),
        ("DELETE", "/v1/orders?account=alice", None),
    ],
)
async def test_nothing_is_taken_and_it_says_when_to_come_again_and_what_to_do(http, method, path, body):
    response = await http.request(method, path, json=body)

    assert response.status_code == 507
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) == 5
    problem = response.json()
    assert (problem["code"], problem["title"]) == ("storage_full", "Storage full")
    assert "storage_reserve_bytes" in problem["detail"]
    assert problem["detail"].endswith("; free some space there")
    assert (await http.get("/v1/node")).json()["intake_items"] == 0


async def test_reads_go_on_and_say_how_much_room_there_is(http):
    for path in ("/v1/instruments", "/v1/orders", "/healthz", "/readyz"):
        assert (await http.get(path)).status_code == 200
    node = (await http.get("/v1/node")).json()
    assert node["storage_full"] is True
    assert 0 < node["storage_free_bytes"] < MORE_THAN_ANY_DISK_HAS_BYTES
    (member,) = (await http.get("/v1/cluster")).json()["nodes"]
    assert member["storage_full"] is True


async def test_a_linearizable_read_needs_room_as_well(http):
    response = await http.get("/v1/instruments", params={"consistency": "linearizable"})
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")


async def test_the_client_does_not_try_again_by_itself(transport):
    async with RaftbookClient("http://localhost", transport=transport) as client:
        with pytest.raises(ProblemError) as refused:
            await client.submit({"op": "new", **order()})
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (507, "storage_full", 5.0)
