"""The gateway over HTTP: every request reaches the shard that it concerns, and what comes back is that shard's word."""

from __future__ import annotations

import cbor2
import pytest

from raftbook.client import RaftbookClient
from raftbook.client.nodes import may_have_been_taken
from raftbook.errors import BusyError, OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.sharding.upstream import problem_from
from tests.support.sample_orders import ACME, order, sell

IN_CBOR = {"Content-Type": "application/cbor"}


def beta(client_order_id="b1", **fields):
    return order(client_order_id, symbol="BETA", **fields)


def command(op, fields):
    return {"op": op, **fields}


async def placed(market, *orders):
    for fields in orders:
        answer = await market.http.post("/v1/orders", json=fields)
        assert answer.status_code == 200, answer.text


class TestCommands:
    async def test_an_order_is_executed_by_the_shard_of_its_symbol_and_by_no_other(self, market):
        before = {name: service.taken for name, service in market.services.items()}
        report = (await market.http.post("/v1/orders", json=beta())).json()
        assert (report["status"], report["shard"], report["origin"]) == ("accepted", "south", "south:direct-1")
        assert market.services["north"].taken == before["north"]
        assert market.services["south"].taken == before["south"] + 1
        assert market.services["south"].state.exchange.order_by_client_id("alice", "b1") is not None

    async def test_a_batch_is_split_and_answered_in_its_own_order(self, market):
        batch = [
            command("new", order("a1")),
            command("new", beta("b1")),
            command("cancel", {"account": "alice", "client_order_id": "b1"}),
            "no command",
            command("new", sell("a2")),
            command("new", order("x1", symbol="NONE")),
        ]
        answer = await market.http.post("/v1/commands", json=batch)
        reports = answer.json()
        assert answer.status_code == 200
        assert [report["status"] for report in reports] == [
            *("accepted", "accepted", "accepted", "rejected", "accepted", "rejected")
        ]
        assert [report.get("shard") for report in reports] == ["north", "south", "south", None, "north", None]
        assert reports[4]["order"]["status"] == "filled"
        assert reports[5]["reason"] == "unknown_symbol"

    async def test_commands_may_come_as_cbor_and_are_answered_so(self, market):
        one = await market.http.post("/v1/orders", content=cbor2.dumps(beta(price=100.25, quantity=5)), headers=IN_CBOR)
        assert one.headers["content-type"] == "application/cbor"
        report = cbor2.loads(one.content)
        assert (report["shard"], report["order"]["price"], report["order"]["quantity"]) == ("south", "100.25", "5")
        batch = [
            command("new", order("a1")),
            "no command",
            command("cancel", {"account": "alice", "client_order_id": "b1"}),
            command("new", order("a2", price=float("nan"))),
            command("new", order("a3", account=b"alice")),
            command("new", order("a4", price={"mantissa": 1})),
        ]
        several = await market.http.post("/v1/commands", content=cbor2.dumps(batch), headers=IN_CBOR)
        reports = cbor2.loads(several.content)
        assert [report["status"] for report in reports] == ["accepted", "rejected", "accepted", *["rejected"] * 3]
        assert [report["field"] for report in reports[3:]] == ["price", "account", "price"]
        assert market.services["north"].state.exchange.registry.last_order_id == 1
        fault = await market.http.post("/v1/orders", content=cbor2.dumps(beta(account=b"alice")), headers=IN_CBOR)
        assert (fault.status_code, fault.json()["field"]) == (400, "account")

    async def test_the_same_order_again_is_executed_once(self, market):
        await placed(market, beta())
        again = (await market.http.post("/v1/orders", json=beta())).json()
        assert again["duplicate"]
        assert again["order"]["order_id"] == 1

    async def test_a_refusal_is_that_of_the_shard(self, market):
        answer = await market.http.post("/v1/orders", json=beta(price="1.001"))
        assert (answer.status_code, answer.json()["code"]) == (409, "price_too_precise")
        assert answer.json()["report"]["shard"] == "south"
        answer = await market.http.post("/v1/orders", json=beta(quantity={}))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        assert answer.json()["field"] == "quantity"

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ('{"op":"cancel","symbol":"ACME"}', 400, "malformed"),
            ("[]", 400, "malformed"),
            ('{"symbol":"NONE"}', 404, "unknown_symbol"),
            ("{", 400, "malformed"),
        ],
    )
    async def test_what_goes_nowhere_is_answered_by_the_gateway(self, market, body, status, code):
        before = sum(service.taken for service in market.services.values())
        answer = await market.http.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert sum(service.taken for service in market.services.values()) == before

    async def test_bodies_are_json_and_bounded(self, market):
        answer = await market.http.post("/v1/orders", content=b"{}", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        many = [{"op": "tick"}] * 10_001
        answer = await market.http.post("/v1/commands", json=many)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")

    async def test_an_order_is_found_by_its_name_in_whatever_shard_it_is(self, market):
        await placed(market, order("a1"), beta("b1"))
        changed = await market.http.patch("/v1/orders/by-client-id/alice/b1", json={"quantity": "3"})
        assert (changed.status_code, changed.json()["order"]["quantity"]) == (200, "3")
        canceled = await market.http.delete("/v1/orders/by-client-id/alice/a1")
        assert (canceled.json()["shard"], canceled.json()["order"]["status"]) == ("north", "canceled")

    async def test_of_two_orders_of_one_name_the_symbol_says_which(self, market):
        await placed(market, order("a1"), beta("a1"))
        unclear = await market.http.delete("/v1/orders/by-client-id/alice/a1")
        assert (unclear.status_code, unclear.json()["code"]) == (409, "ambiguous_order")
        assert unclear.json()["shards"] == ["north", "south"]
        clear = await market.http.delete("/v1/orders/by-client-id/alice/a1?symbol=BETA")
        assert (clear.status_code, clear.json()["shard"]) == (200, "south")
        unknown = await market.http.delete("/v1/orders/by-client-id/alice/nobody")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_order")

    async def test_an_order_id_needs_a_symbol_or_a_shard(self, market):
        await placed(market, order("a1"), beta("b1"))
        unclear = await market.http.delete("/v1/orders/1?account=alice")
        assert (unclear.status_code, unclear.json()["field"]) == (400, "symbol")
        canceled = await market.http.delete("/v1/orders/1?account=alice&shard=south")
        assert canceled.json()["order"]["client_order_id"] == "b1"
        changed = await market.http.patch("/v1/orders/1?account=alice&symbol=ACME", json={"price": "99"})
        assert changed.json()["order"]["client_order_id"] == "a1"

    async def test_cancel_all_without_a_symbol_is_done_in_every_shard(self, market):
        await placed(market, order("a1"), beta("b1"), sell("s1", price="200"))
        report = (await market.http.delete("/v1/orders?account=alice")).json()
        assert (report["status"], report["log_index"]) == ("accepted", None)
        assert [part["shard"] for part in report["shards"]] == ["north", "south"]
        canceled = [event["client_order_id"] for event in report["events"] if event["event"] == "order_canceled"]
        assert canceled == ["a1", "b1"]
        (left,) = (await market.http.get("/v1/orders")).json()
        assert left["client_order_id"] == "s1"

    async def test_cancel_all_of_a_symbol_is_done_in_its_shard_alone(self, market):
        await placed(market, order("a1"), beta("b1"))
        report = (await market.http.delete("/v1/orders?account=alice&symbol=BETA")).json()
        assert report["shard"] == "south"
        assert [left["client_order_id"] for left in (await market.http.get("/v1/orders")).json()] == ["a1"]

    async def test_a_pending_order_can_be_asked_for_at_the_gateway(self, market):
        market.services["south"].stall()
        pending = await market.http.post("/v1/orders?wait=pending", json=beta())
        assert (pending.status_code, pending.json()["status"]) == (202, "pending")
        market.services["south"].resume()
        report = (await market.http.get(pending.headers["location"])).json()
        assert (report["status"], report["origin"], report["shard"]) == ("accepted", "south:direct-1", "south")
        unknown = await market.http.get("/v1/submissions/direct-1/1")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_held")

    async def test_keys_are_no_affair_of_the_gateway(self, market):
        (report,) = (await market.http.post("/v1/commands", json=[{"op": "revoke_key", "key_id": "1f0c8a52"}])).json()
        assert (report["status"], report["reason"]) == ("rejected", "not_across_shards")


class TestAShardThatIsDown:
    async def test_does_not_disturb_the_other(self, market):
        market.links["south"].is_cut = True
        refused = await market.http.post("/v1/orders", json=beta())
        assert (refused.status_code, refused.json()["code"]) == (503, "shard_unreachable")
        assert refused.json()["shard"] == "south"
        assert (await market.http.post("/v1/orders", json=order())).status_code == 200
        assert (await market.http.get("/v1/book/ACME")).status_code == 200

    async def test_is_named_and_keeps_the_gateway_from_being_ready(self, market):
        assert (await market.http.get("/readyz")).status_code == 200
        market.links["south"].is_cut = True
        answer = await market.http.get("/readyz")
        assert (answer.status_code, answer.json()["code"], answer.json()["shards"]) == (
            *(503, "shards_not_ready"),
            ["south"],
        )
        assert (await market.http.get("/healthz")).json() == {"status": "alive"}
        cluster = (await market.http.get("/v1/cluster")).json()
        assert [shard["cluster"] is None for shard in cluster["shards"]] == [False, True]
        assert not cluster["quorum"]

    async def test_may_have_an_order_of_any_name(self, market):
        await placed(market, order("a1"))
        market.links["south"].is_cut = True
        for name in ("a1", "nobody"):
            answer = await market.http.delete(f"/v1/orders/by-client-id/alice/{name}")
            assert (answer.status_code, answer.json()["code"]) == (503, "shard_unreachable")
        assert (await market.http.delete("/v1/orders/by-client-id/alice/a1?symbol=ACME")).status_code == 200

    async def test_takes_its_part_of_a_batch_with_it_and_no_more(self, market):
        market.links["south"].is_cut = True
        batch = [command("new", order("a1")), command("new", beta("b1"))]
        reports = (await market.http.post("/v1/commands", json=batch)).json()
        assert [report["status"] for report in reports] == ["accepted", "rejected"]
        assert reports[1]["reason"] == "shard_unreachable"

    async def test_leaves_lists_incomplete_so_that_there_are_none(self, market):
        market.links["south"].is_cut = True
        for path in ("/v1/orders", "/v1/instruments", "/v1/tickers"):
            answer = await market.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "shard_unreachable"), path
        assert (await market.http.get("/v1/orders?shard=north")).status_code == 200

    async def test_without_a_majority_leaves_the_outcome_open(self, market):
        market.services["south"].stall()
        batch = [command("new", order("a1")), command("new", beta("b1"))]
        answer = await market.http.post("/v1/commands?wait_s=0.1", json=batch)
        assert answer.status_code == 202
        assert [report["status"] for report in answer.json()] == ["accepted", "pending"]
        single = await market.http.post("/v1/orders?wait_s=0.1", json=beta("b2"))
        assert (single.status_code, single.json()["code"]) == (503, "outcome_unknown")
        assert single.json()["report"]["next"].startswith("/v1/submissions/south:")


class TestReads:
    async def test_of_a_symbol_are_the_shards_own(self, market):
        await placed(market, beta("b1"), sell("s1", symbol="BETA", quantity="2"))
        for path in ("/v1/book/BETA?depth=1", "/v1/book/BETA?level=3", "/v1/trades/BETA", "/v1/candles/BETA"):
            answer = await market.http.get(path)
            assert (answer.status_code, answer.headers["raftbook-shard"]) == (200, "south"), path
            assert int(answer.headers["raftbook-log-index"]) == market.services["south"].state.index
        assert (await market.http.get("/v1/book/BETA")).json()["bids"] == [["100.25", "3"]]
        assert (await market.http.get("/v1/book/NONE")).json()["code"] == "unknown_symbol"
        assert (await market.http.get("/v1/book/BETA?depht=1")).json()["near"] == ["depth"]

    async def test_of_all_symbols_are_put_together(self, market):
        await placed(market, order("a1"), beta("b1"))
        instruments = (await market.http.get("/v1/instruments")).json()
        assert [(found["symbol"], found["shard"]) for found in instruments] == [
            *(("ACME", "north"), ("AJAX", "north"), ("BETA", "south"))
        ]
        tickers = (await market.http.get("/v1/tickers")).json()
        assert [ticker["symbol"] for ticker in tickers["tickers"]] == ["ACME", "AJAX", "BETA"]
        assert tickers["orders_accepted"] == 2
        assert set(tickers["log_indexes"]) == {"north", "south"}

    async def test_do_not_show_what_the_map_gives_to_another_shard(self, market):
        async with RaftbookClient("http://south:1", transport=market.links["south"]) as south:
            await south.add_instrument({**ACME, "symbol": "STRAY"})
        instruments = (await market.http.get("/v1/instruments")).json()
        assert [found["symbol"] for found in instruments] == ["ACME", "AJAX", "BETA"]

    async def test_a_log_index_means_nothing_across_shards(self, market):
        answer = await market.http.get("/v1/orders?at_least=1")
        assert (answer.status_code, answer.json()["field"]) == (400, "at_least")
        assert (await market.http.get("/v1/orders?at_least=1&symbol=BETA")).status_code == 200
        assert (await market.http.get("/v1/orders?consistency=linearizable")).status_code == 200

    async def test_orders_come_shard_by_shard_in_pages(self, market, client):
        await placed(
            market, *(order(f"a{number}") for number in range(3)), *(beta(f"b{number}") for number in range(2))
        )
        pages, cursor = [], "north:0"
        while cursor:
            answer = await market.http.get("/v1/orders", params={"limit": 2, "from_order_id": cursor})
            pages.append([found["client_order_id"] for found in answer.json()])
            cursor = answer.headers.get("raftbook-next-order-id")
        assert pages == [["a0", "a1"], ["a2", "b0"], ["b1"]]
        assert [found["client_order_id"] for found in await client.orders()] == ["a0", "a1", "a2", "b0", "b1"]
        whole_shard = await market.http.get("/v1/orders?limit=3")
        assert whole_shard.headers["raftbook-next-order-id"] == "south:0"
        (one,) = (await market.http.get("/v1/orders?shard=south&from_order_id=2")).json()
        assert (one["client_order_id"], one["shard"]) == ("b1", "south")
        assert (await market.http.get("/v1/orders?from_order_id=2")).json()["field"] == "from_order_id"
        assert (await market.http.get("/v1/orders?from_order_id=west:2")).json()["code"] == "unknown_shard"

    async def test_an_order_by_its_id_or_name(self, market):
        await placed(market, order("a1"), beta("b1"))
        found = (await market.http.get("/v1/orders/1?symbol=BETA")).json()
        assert (found["client_order_id"], found["shard"]) == ("b1", "south")
        assert (await market.http.get("/v1/orders/by-client-id/alice/b1")).json()["shard"] == "south"
        assert (await market.http.get("/v1/orders/1")).json()["field"] == "symbol"
        assert (await market.http.get("/v1/orders/1?shard=west")).json()["code"] == "unknown_shard"
        assert (await market.http.get("/v1/orders/1?shard=north&symbol=ACME")).json()["field"] == "shard"

    async def test_an_endpoint_of_nodes_alone_is_none_here(self, market):
        answer = await market.http.get("/v1/node")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_endpoint")


class TestAClientOfTheLibrary:
    async def test_takes_the_gateway_for_a_node_and_stays_with_it(self, market, client):
        report = await client.submit(command("new", beta()))
        assert report["status"] == "accepted"
        assert client.urls == ("http://localhost",)
        assert (await client.book("BETA"))["bids"] == [["100.25", "5"]]

    async def test_pipelines_commands_for_several_shards(self, market, client):
        orders = [command("new", (order if number % 3 else beta)(f"p{number}", quantity="1")) for number in range(30)]
        reports = [report async for _, report in client.pipeline(orders, window=20, batch=5)]
        assert [report["order"]["client_order_id"] for report in reports] == [f"p{number}" for number in range(30)]
        assert [report["shard"] for report in reports[:4]] == ["south", "north", "north", "south"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProblemError(401, "unauthenticated", "show a key"), 503, "gateway_not_let_in"),
        (UnreachableError("nobody there"), 503, "shard_unreachable"),
        (ProblemError(429, "busy", "full", retry_after_s=0.1), 429, "busy"),
        (ProblemError(403, "forbidden", "not this account's"), 403, "forbidden"),
        (BusyError("full"), 429, "busy"),
        (OutcomeUnknownError("lost", positions=[0]), 504, "outcome_unknown"),
    ],
)
def test_a_503_says_that_nothing_was_taken_and_a_504_that_nobody_knows(error, status, code):
    problem = problem_from("south", error)
    assert (problem.status, problem.code, problem.members["shard"]) == (status, code, "south")
    assert may_have_been_taken(problem) == (status == 504)
