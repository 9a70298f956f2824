"""GET /metrics, the log of requests, and the id by which each can be found."""

from __future__ import annotations

import json
import logging

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from raftbook.gateway import make_app
from raftbook.gateway.metrics import RequestCounts
from raftbook.gateway.request_log import RequestLog
from raftbook.node.logs import configure_logs
from raftbook.node.measurements import Histogram
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import order


async def samples(http) -> dict[str, float]:
    """Name and labels -> value."""
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True) * bool(sample.labels): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_the_figures_of_a_node_are_those_that_it_tells_elsewhere(http, service):
    await http.post("/v1/orders", json=order("a1"))

    found = await samples(http)

    status = service.status()
    assert found["raftbook_has_leader"] == found["raftbook_is_leader"] == found["raftbook_ready"] == 1
    assert found["raftbook_leader_changes_total"] == 1
    assert found["raftbook_term"] == status.term
    assert found["raftbook_applied_index"] == found["raftbook_commit_index"] == status.applied_index
    assert found["raftbook_disk_free_bytes"] == status.storage_free_bytes > 0
    assert found["raftbook_intake_submissions"] == found["raftbook_proposals_pending"] == 0
    assert found["raftbook_submissions_executed_total"] == 2  # The instrument, and the order.
    assert found["raftbook_submit_to_report_seconds_count"] == 2
    assert 0 < found["raftbook_submit_to_report_seconds_sum"] < 10
    assert found["raftbook_log_sync_seconds_count"] >= 2
    assert found["raftbook_entry_submissions_sum"] == 2
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["raftbook_feed_subscribers"] == found["raftbook_feed_dropped_subscribers_total"] == 0


async def test_requests_are_counted_by_route_and_status_and_not_by_what_clients_make_up(http):
    def counted(found, route, status, method="GET"):
        labels = json.dumps({"method": method, "route": route, "status": str(status)})
        return found.get(f"raftbook_http_requests_total{labels}", 0)

    for _ in range(2):
        await http.get("/v1/book/ACME")
    for number in range(20):
        assert (await http.get(f"/v1/book/NOPE{number}")).status_code == 404
        assert (await http.get(f"/made/up/{number}")).status_code == 404
        assert (await http.request(f"MADE{number}", "/v1/orders")).status_code == 405

    found = await samples(http)

    assert counted(found, "/v1/book/{symbol}", 200) == 2
    assert counted(found, "/v1/book/{symbol}", 404) == 20
    assert counted(found, "none", 404, "other") == 20
    assert sum(name.startswith("raftbook_http_requests_total") for name in found) < 10
    assert found['raftbook_http_request_seconds_count{"route": "/v1/book/{symbol}"}'] == 22


def test_a_histogram_counts_each_value_in_the_first_bucket_that_holds_it():
    histogram = Histogram((1, 2, 4))

    for value, times in ((0.5, 1), (1, 1), (1.5, 3), (4, 1), (5, 2)):
        histogram.observe(value, times)

    assert histogram.counts == [2, 3, 1, 2]
    assert histogram.total == 20
    family = histogram.family("x_seconds", "…")
    assert [(sample.labels.get("le"), sample.value) for sample in family.samples] == [
        ("1.0", 2),
        ("2.0", 5),
        ("4.0", 6),
        ("+Inf", 8),
        (None, 8),
        (None, 20),
    ]


# ---------------------------------------------------------------- the log of requests


@pytest.fixture
def logged(tmp_path):
    """Sets the level; the lines that were logged since."""
    path = tmp_path / "log"
    streams = []

    def begin(level):
        streams.append(path.open("w"))
        configure_logs("n1", {"RAFTBOOK_LOG_LEVEL": level}, streams[-1])
        return lambda: [json.loads(line) for line in path.read_text().splitlines() if '"request"' in line]

    yield begin
    logging.getLogger().handlers = []
    for stream in streams:
        stream.close()


async def test_an_answer_has_the_id_that_the_client_gave_or_one_of_its_own(http):
    given = await http.get("/v1/node", headers={"X-Request-Id": "desk-7:42"})
    made = [(await http.get("/v1/node")).headers["x-request-id"] for _ in range(2)]

    assert given.headers["x-request-id"] == "desk-7:42"
    assert len(set(made)) == 2
    for bad in ("a b", "x" * 65, "a\tb", "é".encode()):
        assert (await http.get("/v1/node", headers={"X-Request-Id": bad})).headers["x-request-id"] != bad


async def test_at_level_debug_every_request_is_logged(http, logged):
    lines = logged("debug")

    await http.get("/v1/book/ACME?depth=1", headers={"X-Request-Id": "r1"})

    (line,) = lines()
    assert (line["request_id"], line["method"], line["path"], line["status"]) == ("r1", "GET", "/v1/book/ACME", 200)
    assert line["level"] == "debug"
    assert line["client"].startswith("127.0.0.1:")
    assert line["key_id"] is None
    assert 0 < line["took_ms"] < 10_000


async def test_at_level_info_only_what_failed_for_the_node_s_own_reasons(fragile_http, fragile_service, logged):
    lines = logged("info")

    await fragile_http.get("/v1/book/ACME")
    await fragile_http.get("/v1/book/NOPE")
    fragile_service.stall()
    await fragile_http.get("/readyz", headers={"X-Request-Id": "r2"})

    (line,) = lines()
    assert (line["request_id"], line["status"], line["level"]) == ("r2", 503, "info")


async def test_a_request_that_takes_long_is_logged(logged):
    lines = logged("info")
    times = iter((100.0, 111.0))
    app = RequestLog(make_app(DirectService(make_config())), RequestCounts(), clock=lambda: next(times))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        await http.get("/healthz")

    (line,) = lines()
    assert (line["path"], line["took_ms"]) == ("/healthz", 11_000)
