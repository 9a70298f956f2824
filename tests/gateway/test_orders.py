"""Orders over HTTP: each way to submit, change, cancel and read them, and what the answers say."""

from __future__ import annotations

import asyncio
import itertools
import json

import cbor2
import pytest

from raftbook.gateway.orders import NEAR_CANDIDATES
from tests.support.sample_orders import order, sell


async def book(http):
    document = (await http.get("/v1/book/ACME")).json()
    return document["bids"], document["asks"]


# ---------------------------------------------------------------- one order


async def test_an_accepted_order_is_answered_200_with_its_report(http, service):
    response = await http.post("/v1/orders", json=order())

    assert response.status_code == 200
    assert response.headers["raftbook-log-index"] == str(service.state.index)
    report = response.json()
    assert report["status"] == "accepted"
    assert report["log_index"] == service.state.index
    assert (report["order"]["status"], report["order"]["leaves_quantity"]) == ("open", "5")
    assert [event["event"] for event in report["events"]] == ["order_accepted"]
    assert await book(http) == ([["100.25", "5"]], [])


async def test_a_trade_is_in_the_report_of_the_order_that_took(http):
    await http.post("/v1/orders", json=sell(price="100.20", quantity="2"))

    report = (await http.post("/v1/orders", json=order())).json()

    trade = next(event for event in report["events"] if event["event"] == "trade")
    assert (trade["price"], trade["quantity"]) == ("100.20", "2")
    assert (trade["maker_client_order_id"], trade["taker_client_order_id"]) == ("b1", "a1")
    assert report["order"]["filled_quantity"] == "2"


async def test_an_order_without_a_client_order_id_gets_a_random_one(http):
    fields = order()
    del fields["client_order_id"]

    first = (await http.post("/v1/orders", json=fields)).json()["order"]["client_order_id"]
    second = (await http.post("/v1/orders", json=fields)).json()["order"]["client_order_id"]

    assert first != second
    assert (await http.get(f"/v1/orders/by-client-id/alice/{first}")).status_code == 200


async def test_a_price_is_read_from_its_digits_and_never_through_a_float(http):
    body = b'{"symbol":"ACME","client_order_id":"a1","side":"buy","price":90071992547409.93,"quantity":1}'

    response = await http.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})

    assert response.json()["order"]["price"] == "90071992547409.93"


async def test_a_business_rejection_is_a_409_problem_that_holds_the_report(http):
    response = await http.post("/v1/orders", json=order(symbol="NOPE"))

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "unknown_symbol"
    assert problem["status"] == 409
    assert problem["type"] == "urn:raftbook:problem:unknown_symbol"
    assert problem["report"]["status"] == "rejected"
    assert problem["report"]["events"][0]["reason"] == "unknown_symbol"


async def test_the_same_order_again_is_answered_with_the_first_one(http):
    first = (await http.post("/v1/orders", json=order())).json()

    again = (await http.post("/v1/orders", json=order())).json()

    assert again["events"][0]["duplicate"] is True
    assert again["order"] == first["order"]
    assert await book(http) == ([["100.25", "5"]], [])


async def test_who_does_not_want_to_wait_gets_202_and_a_place_to_ask_again(http):
    response = await http.post("/v1/orders", json=order(), params={"wait": "pending"})

    assert response.status_code == 202
    pending = response.json()
    assert (pending["status"], pending["log_index"]) == ("pending", None)
    assert response.headers["location"] == pending["next"]

    settled = await http.get(pending["next"], params={"wait_s": "5"})

    assert settled.status_code == 200
    assert settled.json()["status"] == "accepted"
    assert settled.json()["order"]["client_order_id"] == "a1"


async def test_a_wait_in_vain_ends_in_outcome_unknown_and_the_order_is_still_executed_once(
    fragile_http, fragile_service
):
    fragile_service.stall()

    response = await fragile_http.post("/v1/orders", json=order(), params={"wait_s": "0.02"})

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    problem = response.json()
    assert problem["code"] == "outcome_unknown"
    assert problem["report"]["status"] == "pending"
    fragile_service.resume()
    assert (await fragile_http.get(problem["report"]["next"], params={"wait_s": "5"})).json()["status"] == "accepted"
    assert (await fragile_http.post("/v1/orders", json=order())).json()["events"][0]["duplicate"] is True


async def test_a_busy_node_says_when_to_come_again_and_takes_nothing(fragile_http, fragile_service):
    fragile_service.busy_answers = 1

    response = await fragile_http.post("/v1/orders", json=order())

    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.json()["code"] == "busy"
    assert response.json()["retry_after_s"] == 0.01
    assert await book(fragile_http) == ([], [])


async def test_a_node_that_drains_takes_nothing_and_still_answers_reads(http, service):
    service.draining = True

    response = await http.post("/v1/orders", json=order())

    assert (response.status_code, response.json()["code"]) == (503, "draining")
    assert (await http.get("/v1/book/ACME")).status_code == 200


async def test_a_node_that_has_just_started_and_is_behind_takes_nothing(fragile_http, fragile_service):
    fragile_service.is_behind = True
    taken = fragile_service.taken

    response = await fragile_http.post("/v1/orders", json=order())

    assert (response.status_code, response.json()["code"]) == (503, "not_caught_up")
    assert response.headers["retry-after"] == "1"
    assert fragile_service.taken == taken


# ---------------------------------------------------------------- replace and cancel

PATHS = ["/v1/orders/by-client-id/alice/a1", "/v1/orders/1?account=alice"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_order_is_read_replaced_and_cancelled_by_either_of_its_names(http, path):
    await http.post("/v1/orders", json=order())

    assert (await http.get(path)).json()["quantity"] == "5"
    replaced = await http.patch(path, json={"price": "100.30", "quantity": 4})
    assert replaced.status_code == 200
    assert await book(http) == ([["100.30", "4"]], [])
    canceled = await http.delete(path)
    assert canceled.status_code == 200
    assert canceled.json()["order"]["status"] == "canceled"
    assert await book(http) == ([], [])
    again = await http.delete(path)
    assert (again.status_code, again.json()["code"]) == (409, "unknown_order")


async def test_the_account_default_stands_where_none_is_named(http):
    fields = order()
    del fields["account"]
    await http.post("/v1/orders", json=fields)

    assert (await http.patch("/v1/orders/1", json={"quantity": "3"})).status_code == 200
    assert (await http.delete("/v1/orders/1")).status_code == 200
    assert (await http.get("/v1/orders/1")).json()["account"] == "default"


async def test_the_account_of_a_replace_may_stand_in_the_body(http):
    await http.post("/v1/orders", json=order())

    response = await http.patch("/v1/orders/1", json={"quantity": "3", "account": "alice"})

    assert response.json()["order"]["quantity"] == "3"


async def test_an_order_of_another_account_is_unknown(http):
    await http.post("/v1/orders", json=order())

    assert (await http.delete("/v1/orders/1", params={"account": "bob"})).json()["code"] == "unknown_order"
    assert (await http.get("/v1/orders/1", params={"account": "bob"})).status_code == 404
    assert await book(http) == ([["100.25", "5"]], [])


async def test_cancel_all_takes_an_account_and_if_wanted_a_side(http):
    await http.post("/v1/orders", json=order("a1"))
    await http.post("/v1/orders", json=order("a2", side="sell", price="101"))
    await http.post("/v1/orders", json=sell("b1", price="102"))

    sells = await http.delete("/v1/orders", params={"account": "alice", "side": "sell", "symbol": "ACME"})
    assert sells.status_code == 200
    assert await book(http) == ([["100.25", "5"]], [["102.00", "5"]])
    await http.delete("/v1/orders", params={"account": "alice"})
    assert await book(http) == ([], [["102.00", "5"]])


# ---------------------------------------------------------------- many commands


async def test_commands_are_answered_in_order_and_a_bad_one_stops_nothing(http):
    commands = [
        {"op": "new", **order("a1")},
        {"op": "new", **order("a2", price="abc")},
        17,
        {"op": "fly"},
        {"op": "cancel", "account": "alice", "client_order_id": "nope"},
        {"op": "cancel", "account": "alice", "client_order_id": "a1"},
    ]

    response = await http.post("/v1/commands", json=commands)

    assert response.status_code == 200
    reports = response.json()
    assert [report["status"] for report in reports] == ["accepted", *["rejected"] * 4, "accepted"]
    for bad in reports[1:4]:
        assert (bad["reason"], bad["log_index"], bad["origin_sequence"]) == ("malformed", None, None)
    assert "price" in reports[1]["detail"]
    assert reports[4]["events"][0]["reason"] == "unknown_order"
    sequences = [report["origin_sequence"] for report in reports if report["origin_sequence"] is not None]
    assert sequences == list(range(sequences[0], sequences[0] + 3))


async def test_commands_come_and_go_in_cbor_as_well(http):
    commands = [
        {"op": "new", **order("a1", quantity=5)},
        {"op": "new", **sell("b1", price="100.25", quantity="2")},
        {"op": "new", 1: 2},
        ["no", "map"],
    ]
    headers = {"Content-Type": "application/cbor"}

    response = await http.post("/v1/commands", content=cbor2.dumps(commands[:2]), headers=headers)

    assert response.headers["content-type"] == "application/cbor"
    reports = cbor2.loads(response.content)
    assert [report["status"] for report in reports] == ["accepted", "accepted"]
    assert await book(http) == ([["100.25", "3"]], [])
    mixed = [commands[3], {"op": "cancel", "account": "alice", "client_order_id": "a1"}, {"account": "alice"}]
    reports = cbor2.loads((await http.post("/v1/commands", content=cbor2.dumps(mixed), headers=headers)).content)
    assert [report["status"] for report in reports] == ["rejected", "accepted", "rejected"]
    assert reports[2]["field"] == "op"


@pytest.mark.parametrize(
    ("media_type", "dumps", "loads"),
    [("application/json", json.dumps, json.loads), ("application/cbor", cbor2.dumps, cbor2.loads)],
)
async def test_among_many_commands_too_an_order_without_a_client_order_id_gets_a_random_one(
    http, media_type, dumps, loads
):
    fields = order()
    del fields["client_order_id"]
    body = dumps([{"op": "new", **fields}, {"op": "new", **fields}])

    response = await http.post("/v1/commands", content=body, headers={"Content-Type": media_type})

    first, second = loads(response.content)
    assert first["order"]["client_order_id"] != second["order"]["client_order_id"]


async def test_no_commands_are_no_reports(http):
    assert (await http.post("/v1/commands", json=[])).json() == []


async def test_pending_commands_are_collected_by_origin_and_sequence(http):
    commands = [{"op": "new", **order(f"a{number}")} for number in range(20)]

    response = await http.post("/v1/commands", json=commands, params={"wait": "pending"})

    assert response.status_code == 202
    first = response.json()[0]
    path = f"/v1/submissions/{first['origin']}/{first['origin_sequence']}"
    settled = await http.get(path, params={"count": "20", "wait_s": "5"})
    assert settled.status_code == 200
    assert [report["order"]["client_order_id"] for report in settled.json()] == [f"a{number}" for number in range(20)]


async def test_a_report_that_the_node_has_forgotten_is_a_404(http):
    first = (await http.post("/v1/orders", json=order())).json()
    for start in (0, 100):
        commands = [{"op": "new", **order(f"b{start + number}")} for number in range(100)]
        await http.post("/v1/commands", json=commands)

    response = await http.get(f"/v1/submissions/{first['origin']}/{first['origin_sequence']}")

    assert (response.status_code, response.json()["code"]) == (404, "not_held")


async def test_a_submission_of_another_origin_that_is_yet_to_come_is_pending(http):
    response = await http.get("/v1/submissions/n1.0/12", params={"wait_s": "0.01"})

    assert (response.status_code, response.json()["status"]) == (202, "pending")


async def test_a_submission_that_was_never_made_is_not_held(http):
    origin = (await http.post("/v1/orders", json=order())).json()["origin"]

    for path in (f"/v1/submissions/{origin}/9999", "/v1/submissions/n7.1/12"):
        response = await http.get(path, params={"wait_s": "5"})
        assert (response.status_code, response.json()["code"]) == (404, "not_held")


# ---------------------------------------------------------------- reads


async def test_orders_are_listed_by_account_symbol_side_and_status(http):
    for fields in (order("a1"), order("a2", price="99"), sell("b1", quantity="5"), sell("b2", price="200")):
        await http.post("/v1/orders", json=fields)

    async def ids(**params):
        return [found["client_order_id"] for found in (await http.get("/v1/orders", params=params)).json()]

    assert await ids() == ["a2", "b2"]
    assert await ids(account="alice") == ["a2"]
    assert await ids(account="alice", status="filled") == ["a1"]
    assert await ids(status="all", side="sell") == ["b1", "b2"]
    assert await ids(symbol="ACME", status="canceled") == []


EXPIRE_TIME = 4_102_444_800_000_000_000
"""In the year 2100."""


async def test_a_stop_limit_iceberg_with_a_time_is_taken_changed_and_listed_among_the_open_orders(http):
    entered = {
        "order_type": "stop_limit",
        "stop_price": "105",
        "price": "106",
        "quantity": "10",
        "display_quantity": "4",
        "expire_time": EXPIRE_TIME,
        "self_trade_prevention": "cancel_oldest",
    }

    report = (await http.post("/v1/orders", json=order(**entered))).json()

    told = report["order"]
    assert (told["status"], told["order_type"], told["time_in_force"]) == ("untriggered", "stop_limit", "gtd")
    assert (told["stop_price"], told["price"], told["display_quantity"]) == ("105.00", "106.00", "4")
    assert (told["expire_time"], told["self_trade_prevention"]) == (EXPIRE_TIME, "cancel_oldest")
    assert await book(http) == ([], [])
    changes = {"stop_price": "104", "display_quantity": "0", "expire_time": EXPIRE_TIME + 1, "price": "107"}
    changed = await http.patch("/v1/orders/by-client-id/alice/a1", json=changes)
    assert changed.status_code == 200, changed.text
    told = changed.json()["order"]
    assert (told["stop_price"], told["price"], told["expire_time"]) == ("104.00", "107.00", EXPIRE_TIME + 1)
    assert "display_quantity" not in told

    async def listed(**params):
        return [found["client_order_id"] for found in (await http.get("/v1/orders", params=params)).json()]

    await http.post("/v1/orders", json=order("a2", price="90"))
    assert await listed() == ["a1", "a2"]
    assert await listed(account="alice", status="open") == ["a1", "a2"]
    assert await listed(status="untriggered") == ["a1"]
    assert await listed(status="untriggered", account="alice") == ["a1"]
    assert await listed(status="expired") == []
    assert (await http.delete("/v1/orders", params={"account": "alice"})).json()["events"][-1]["canceled_count"] == 2
    assert await listed(status="canceled") == ["a1", "a2"]


async def test_a_stop_is_triggered_by_a_trade(http):
    await http.post("/v1/orders", json=order("s1", account="carol", order_type="stop", price=None, stop_price="101"))
    await http.post("/v1/orders", json=sell("b1", price="101", quantity="8"))

    report = (await http.post("/v1/orders", json=order("a1", price="101", quantity="1"))).json()

    assert [event["event"] for event in report["events"]] == ["order_accepted", "trade", "order_triggered", "trade"]
    stop = (await http.get("/v1/orders/by-client-id/carol/s1")).json()
    assert (stop["status"], stop["order_type"], stop["filled_quantity"]) == ("filled", "stop", "5")
    assert "price" not in stop


async def test_an_order_against_one_s_own_is_prevented(http):
    await http.post("/v1/orders", json=order("a1"))

    report = (
        await http.post("/v1/orders", json=order("a2", side="sell", self_trade_prevention="cancel_newest"))
    ).json()

    canceled = report["events"][-1]
    assert (canceled["event"], canceled["reason"], canceled["prevented_by_order_id"]) == (
        "order_canceled",
        "self_trade",
        1,
    )
    assert await book(http) == ([["100.25", "5"]], [])


async def test_an_order_whose_time_has_come_is_refused(http):
    response = await http.post("/v1/orders", json=order(expire_time=1))

    assert (response.status_code, response.json()["code"]) == (409, "expired")


async def test_a_long_list_of_orders_is_read_page_by_page(http):
    for number in range(5):
        await http.post("/v1/orders", json=order(f"a{number}"))
    pages, params = [], {"limit": "2"}

    for _ in itertools.count():
        response = await http.get("/v1/orders", params=params)
        pages.append([found["order_id"] for found in response.json()])
        if "raftbook-next-order-id" not in response.headers:
            break
        params["from_order_id"] = response.headers["raftbook-next-order-id"]

    assert pages == [[1, 2], [3, 4], [5]]


async def test_an_unknown_order_is_a_404_that_names_near_ones(http):
    await http.post("/v1/orders", json=order("spread-7"))

    response = await http.get("/v1/orders/by-client-id/alice/spread7")

    assert response.status_code == 404
    assert response.json()["code"] == "unknown_order"
    assert response.json()["near"] == ["spread-7"]
    assert (await http.get("/v1/orders/999")).json()["code"] == "unknown_order"


async def test_for_near_ones_only_the_latest_few_orders_are_looked_at(fragile_http, fragile_service):
    """An account may have very many, and any client may ask for what does not exist."""

    class LookedAt(dict):
        names: list[str]

        def __reversed__(self):
            for name in list(self)[::-1]:
                self.names.append(name)
                yield name

        def values(self):
            raise AssertionError("nobody needs all of them")

    commands = [{"op": "new", **order(f"order-{number}", price="1.00", quantity="1")} for number in range(300)]
    assert (await fragile_http.post("/v1/commands", json=commands)).status_code == 200
    account = fragile_service.state.exchange.registry.accounts["alice"]
    account.open_orders = looked_at = LookedAt(account.open_orders)
    looked_at.names = []

    response = await fragile_http.get("/v1/orders/by-client-id/alice/order299")

    assert response.json()["near"][0] == "order-299"
    assert len(looked_at.names) == NEAR_CANDIDATES
    unknown = await fragile_http.get("/v1/orders/by-client-id/nobody/order299")
    assert (unknown.status_code, unknown.json()["near"]) == (404, [])


async def test_a_read_waits_until_the_log_is_applied_that_far(fragile_http, fragile_service):
    fragile_service.stall()
    pending = asyncio.ensure_future(fragile_http.post("/v1/orders", json=order(), params={"wait_s": "5"}))
    reading = asyncio.ensure_future(
        fragile_http.get("/v1/orders", params={"at_least": fragile_service.state.index + 1})
    )
    await asyncio.sleep(0)
    fragile_service.resume()

    response = await reading

    assert [found["client_order_id"] for found in response.json()] == ["a1"]
    assert (await pending).status_code == 200


async def test_a_read_that_would_wait_too_long_is_not_caught_up(http, service):
    response = await http.get("/v1/orders", params={"at_least": service.state.index + 1, "wait_s": "0.02"})

    assert (response.status_code, response.json()["code"]) == (503, "not_caught_up")
    assert "retry-after" in response.headers


async def test_a_linearizable_read_goes_through_the_log_and_needs_a_majority(fragile_http, fragile_service):
    before = fragile_service.state.index

    response = await fragile_http.get("/v1/orders", params={"consistency": "linearizable"})

    assert response.status_code == 200
    assert int(response.headers["raftbook-log-index"]) > before
    fragile_service.stall()
    refused = await fragile_http.get("/v1/orders", params={"consistency": "linearizable", "wait_s": "0.02"})
    assert (refused.status_code, refused.json()["code"]) == (503, "no_quorum")
