"""One submission can be followed over the logs of all nodes by one name; a node that drains says so in its own."""

from __future__ import annotations

import json

import httpx

from tests.system.clients import new_order
from tests.system.system_cluster import DEADLINE_S


async def test_a_submission_is_followed_through_the_logs_of_three_nodes_by_one_name(make_cluster):
    cluster = make_cluster()
    for node_id in cluster.node_ids:
        cluster.node_environments[node_id] = {"RAFTBOOK_LOG_LEVEL": "debug"}
    leader = await cluster.start_and_elect()
    follower = cluster.others(leader)[0]

    async with httpx.AsyncClient(base_url=cluster.url(follower), timeout=DEADLINE_S) as http:
        answer = await http.post(
            "/v1/orders", json=new_order("alice", "a1", "buy", "100.00"), headers={"X-Request-Id": "desk-42"}
        )
        refused = await http.post(
            "/v1/orders", json=new_order("alice", "a2", "buy", "100.001"), headers={"X-Request-Id": "desk-43"}
        )
    assert (answer.status_code, refused.status_code) == (200, 409)
    report = answer.json()
    await cluster.wait_for_rest()

    def told(node_id, name):
        """What a node's log says of a submission: event -> its line."""
        lines = [json.loads(line) for line in cluster.log_path(node_id).read_text().splitlines()]
        found = [line for line in lines if line.get("submission") == name]
        assert len({line["event"] for line in found}) == len(found), "once each"
        return {line["event"]: line for line in found}

    name = f"{report['origin']}/{report['origin_sequence']}"
    for node_id in cluster.node_ids:
        executed = told(node_id, name)["submission executed"]
        assert (executed["log_index"], executed["order_id"]) == (report["log_index"], report["order"]["order_id"])
        assert executed["accepted"] is True
    at_entry = told(follower, name)
    assert list(at_entry) == ["submission taken", "submission executed", "submission answered"]
    assert at_entry["submission taken"]["request_id"] == at_entry["submission answered"]["request_id"] == "desk-42"
    assert (at_entry["submission taken"]["command"], at_entry["submission answered"]["status"]) == (
        "NewOrder",
        "accepted",
    )
    assert set(told(leader, name)) == {"submission executed"}

    refused_report = refused.json()["report"]
    name = f"{refused_report['origin']}/{refused_report['origin_sequence']}"
    at_entry = told(follower, name)
    assert at_entry["submission taken"]["request_id"] == "desk-43"
    assert at_entry["submission answered"]["status"] == "rejected"
    assert {told(node_id, name)["submission executed"]["reason"] for node_id in cluster.node_ids} == {
        "price_too_precise"
    }
