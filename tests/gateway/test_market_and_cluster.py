"""Books, trades, instruments, and what a node says of itself and its cluster."""

from __future__ import annotations

from difflib import get_close_matches

import httpx
import pytest

from raftbook.gateway import make_app, query
from raftbook.gateway.query import nearest
from raftbook.state_machine import StateMachine
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import order, sell

READS = ["/v1/book/ACME", "/v1/trades/ACME", "/v1/instruments", "/v1/orders", "/v1/cluster", "/v1/node"]


@pytest.mark.parametrize("path", READS)
async def test_every_read_names_the_log_index_and_takes_a_consistency(http, service, path):
    index = service.state.index

    local = await http.get(path)
    assert local.status_code == 200
    assert local.headers["raftbook-log-index"] == str(index)
    assert (await http.get(path, params={"at_least": index})).status_code == 200
    linearizable = await http.get(path, params={"consistency": "linearizable"})
    assert linearizable.headers["raftbook-log-index"] == str(index + 1)


async def test_the_book_has_levels_best_first_to_the_depth_asked_for(http):
    for number, price in enumerate(("100", "101", "99", "101")):
        await http.post("/v1/orders", json=order(f"a{number}", price=price, quantity="3"))
    await http.post("/v1/orders", json=sell(price="105"))

    document = (await http.get("/v1/book/ACME", params={"depth": "2"})).json()

    assert document["book"] == "ACME"
    assert document["bids"] == [["101.00", "6"], ["100.00", "3"]]
    assert document["asks"] == [["105.00", "5"]]


async def test_level_3_has_every_order_in_priority(http):
    for number, price in enumerate(("100", "101", "101")):
        await http.post("/v1/orders", json=order(f"a{number}", price=price, quantity=number + 1))

    document = (await http.get("/v1/book/ACME", params={"level": "3"})).json()

    assert [(o["order_id"], o["price"], o["quantity"]) for o in document["bids"]] == [
        (2, "101.00", "2"),
        (3, "101.00", "3"),
        (1, "100.00", "1"),
    ]
    assert document["asks"] == []


async def test_trades_are_the_latest_or_those_from_an_id_on(http):
    for number in range(5):
        await http.post("/v1/orders", json=sell(f"b{number}", quantity="1"))
        await http.post("/v1/orders", json=order(f"a{number}", quantity="1"))

    async def ids(**params):
        return [trade["trade_id"] for trade in (await http.get("/v1/trades/ACME", params=params)).json()]

    assert await ids() == [1, 2, 3, 4, 5]
    assert await ids(limit=2) == [4, 5]
    assert await ids(from_trade_id=2, limit=3) == [2, 3, 4]
    assert await ids(from_trade_id=9) == []


async def test_an_unknown_symbol_is_a_404_that_names_near_ones(http):
    for path in ("/v1/book/ACNE", "/v1/trades/acme", "/v1/orders?symbol=ACMEE"):
        response = await http.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_symbol")
        assert response.json()["near"] == ["ACME"]


async def test_instruments_are_added_listed_halted_and_opened_again(http):
    added = await http.post("/v1/instruments", json={"symbol": "BTC-USD", "price_decimals": 1, "quantity_decimals": 8})
    assert added.status_code == 200

    halted = await http.patch("/v1/instruments/BTC-USD", json={"status": "halted"})

    assert halted.status_code == 200
    assert (await http.get("/v1/instruments")).json() == [
        {
            "symbol": "ACME",
            "price_decimals": 2,
            "quantity_decimals": 0,
            "tick_size": "0.01",
            "lot_size": "1",
            "status": "trading",
        },
        {
            "symbol": "BTC-USD",
            "price_decimals": 1,
            "quantity_decimals": 8,
            "tick_size": "0.1",
            "lot_size": "0.00000001",
            "status": "halted",
        },
    ]
    refused = await http.post("/v1/orders", json=order(symbol="BTC-USD", price="1"))
    assert refused.json()["code"] == "instrument_halted"
    assert (await http.patch("/v1/instruments/BTC-USD", json={"status": "trading"})).status_code == 200
    # Another id: a refused order stays refused while a copy of it could still be on its way.
    assert (await http.post("/v1/orders", json=order("a2", symbol="BTC-USD", price="1"))).status_code == 200
    again = await http.post("/v1/instruments", json={"symbol": "ACME", "price_decimals": 0, "quantity_decimals": 0})
    assert (again.status_code, again.json()["code"]) == (409, "instrument_exists")


async def test_an_instrument_may_have_limits_which_are_listed_with_it(http):
    limits = {
        "min_quantity": "2",
        "max_quantity": "1000",
        "min_notional": "50.00",
        "price_band": "5.25",
        "market_protection": "2.50",
        "max_open_orders": 1,
        "self_trade_prevention": "cancel_oldest",
    }
    instrument = {"symbol": "LIM", "price_decimals": 2, "quantity_decimals": 0, "tick_size": "0.01", "lot_size": "1"}

    added = await http.post("/v1/instruments", json={**instrument, **limits})

    assert added.status_code == 200, added.text
    listed = (await http.get("/v1/instruments")).json()[-1]
    assert listed == {**instrument, **limits, "status": "trading"}

    async def code(client_order_id, **fields):
        response = await http.post("/v1/orders", json=order(client_order_id, symbol="LIM", **fields))
        return response.json().get("code")

    assert await code("a1", quantity="1") == "quantity_too_small"
    assert await code("a2", quantity="1001") == "quantity_too_large"
    assert await code("a3", quantity="2", price="24.99") == "notional_too_small"
    assert await code("a4") is None
    assert await code("a5") == "too_many_open_orders"


# ---------------------------------------------------------------- auctions


async def gathered(http):
    """An auction in ACME with two buys and a sell that cross."""
    assert (await http.patch("/v1/instruments/ACME", json={"status": "auction"})).status_code == 200
    for fields in (order("a1", price="101"), order("a2", price="100", quantity="3"), sell("b1", price="99")):
        assert (await http.post("/v1/orders", json=fields)).status_code == 200


async def test_the_book_of_an_auction_says_so_and_may_cross(http):
    assert "status" not in (await http.get("/v1/book/ACME")).json()
    await gathered(http)

    for level in ("2", "3"):
        document = (await http.get("/v1/book/ACME", params={"level": level})).json()
        assert document["status"] == "auction"
        assert document["indication"] == {"price": "100.50", "quantity": "5", "imbalance_quantity": "0"}
    book = (await http.get("/v1/book/ACME")).json()
    assert book["bids"] == [["101.00", "5"], ["100.00", "3"]]
    assert book["asks"] == [["99.00", "5"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/instruments/ACME/uncross", {}, "trading"),
        ("POST", "/v1/instruments/ACME/uncross", {"status": "closed"}, "closed"),
        ("PATCH", "/v1/instruments/ACME", {"status": "trading"}, "trading"),
        ("POST", "/v1/commands", [{"op": "uncross", "symbol": "ACME"}], "trading"),
    ],
)
async def test_an_auction_is_uncrossed_at_one_price(http, method, path, body, status):
    await gathered(http)

    response = await http.request(method, path, json=body)

    assert response.status_code == 200, response.text
    report = response.json()[0] if isinstance(body, list) else response.json()
    events = {event["event"]: event for event in report["events"]}
    assert (events["trade"]["quantity"], events["trade"]["auction"]) == ("5", True)
    uncrossed = events["auction_uncrossed"]
    # From 100.01 to 101.00 five can trade and nothing is left over; the middle of the range, rounded down to a tick.
    assert (uncrossed["price"], uncrossed["quantity"]) == ("100.50", "5")
    assert events["trade"]["price"] == "100.50"
    assert events["status_changed"]["status"] == status
    (trade,) = (await http.get("/v1/trades/ACME")).json()
    assert trade["auction"] is True
    assert (await http.get("/v1/instruments")).json()[0]["status"] == status


async def test_there_is_nothing_to_uncross_but_an_auction(http):
    response = await http.post("/v1/instruments/ACME/uncross", json={})

    assert (response.status_code, response.json()["code"]) == (409, "not_in_auction")
    unknown = await http.post("/v1/instruments/NOPE/uncross", json={})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "unknown_symbol")


async def test_an_iceberg_shows_the_market_its_tip(http):
    await http.post("/v1/orders", json=order("a1", quantity="10", display_quantity="4"))
    await http.post("/v1/orders", json=sell("b1", quantity="6"))

    assert (await http.get("/v1/book/ACME")).json()["bids"] == [["100.25", "2"]]
    (resting,) = (await http.get("/v1/book/ACME", params={"level": "3"})).json()["bids"]
    assert resting["quantity"] == "2"
    own = (await http.get("/v1/orders/1")).json()
    assert (own["leaves_quantity"], own["display_quantity"], own["visible_quantity"]) == ("4", "4", "2")


async def test_the_cluster_names_its_nodes_the_leader_and_whether_a_majority_answers():
    service = DirectService(make_config("127.0.0.1:8101", "127.0.0.1:8102", "127.0.0.1:8103"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(service)), base_url="http://localhost") as http:
        document = (await http.get("/v1/cluster")).json()
        assert (document["name"], document["leader"], document["quorum"]) == ("test", "n1", True)
        assert [node["id"] for node in document["nodes"]] == ["n1", "n2", "n3"]
        assert all(node["lag"] == 0 for node in document["nodes"])

        service.stall()

        document = (await http.get("/v1/cluster")).json()
        assert (document["leader"], document["quorum"]) == (None, False)
        assert [node["role"] for node in document["nodes"] if not node["reachable"]] == [None, None]
        assert (await http.get("/v1/cluster", params={"at_least": "0"})).status_code == 200


async def test_a_node_tells_its_digests_on_demand(http, service):
    index = service.state.index

    document = (await http.get("/v1/node", params={"digest_at": index, "state_digest": "true"})).json()

    assert (document["node_id"], document["role"], document["applied_index"]) == ("n1", "leader", index)
    assert document["digest_at"] == {"index": index, "digest": service.state.digest_at(index)}
    assert document["state_digest"] == {"index": index, "digest": service.state.state_digest()}
    later = (await http.get("/v1/node", params={"digest_at": index + 1})).json()
    assert later["digest_at"] == {"index": index + 1, "digest": None}
    assert "digest_at" not in (await http.get("/v1/node")).json()


async def test_health_and_readiness(fragile_http, fragile_service):
    assert (await fragile_http.get("/healthz")).json() == {"status": "alive"}
    assert (await fragile_http.get("/readyz")).status_code == 200

    fragile_service.stall()
    assert (await fragile_http.get("/healthz")).status_code == 200
    assert (await fragile_http.get("/readyz")).json()["code"] == "no_quorum"
    assert (await fragile_http.get("/readyz?noleader")).status_code == 200

    fragile_service.resume()
    fragile_service.ready = False
    assert (await fragile_http.get("/readyz?noleader")).json()["code"] == "not_caught_up"

    fragile_service.draining = True
    assert (await fragile_http.get("/readyz?noleader")).json()["code"] == "draining"


# ---------------------------------------------------------------- what is not there


async def test_an_unknown_path_names_near_ones(http):
    response = await http.get("/v1/order")

    assert (response.status_code, response.json()["code"]) == (404, "no_such_endpoint")
    assert response.headers["content-type"] == "application/problem+json"
    assert "/v1/orders" in response.json()["near"]
    assert (await http.post("/v1/orders/", json={})).status_code == 404


async def test_a_wrong_method_names_the_right_ones(http):
    response = await http.put("/v1/orders", json={})

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    assert response.json()["allowed"] == ["DELETE", "GET", "HEAD", "OPTIONS", "POST"]
    asked = await http.options("/v1/orders")
    assert (asked.status_code, asked.content, asked.headers["allow"]) == (204, b"", response.headers["allow"])


async def test_a_fault_of_the_program_is_a_500_that_shows_nothing_of_the_inside(http, service, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(StateMachine, "recent_trades", broken)

    response = await http.get("/v1/trades/ACME")

    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.text


def test_of_very_many_names_those_that_begin_alike_are_compared(monkeypatch):
    compared = []

    def counted(wanted, candidates, **options):
        compared.append(len(candidates))
        return get_close_matches(wanted, candidates, **options)

    monkeypatch.setattr(query.difflib, "get_close_matches", counted)
    names = [f"{letter}{number:04}" for letter in "ABC" for number in range(3_000)]
    assert nearest("b0017x", names)[0] == "B0017"
    assert compared == [query.MOST_COMPARED]
