"""All markets at a glance, held against what tells of each of them alone."""

from __future__ import annotations

from tests.support.sample_orders import order, sell

OMEGA = {"symbol": "OMEGA", "price_decimals": 1, "quantity_decimals": 2, "tick_size": "0.1", "lot_size": "0.01"}


async def test_each_market_has_its_best_prices_its_last_and_what_rests(http):
    for name, price, quantity in (("a1", "100", "5"), ("a2", "101", "3"), ("a3", "101", "2")):
        await http.post("/v1/orders", json=order(name, price=price, quantity=quantity))
    for name, price, quantity in (("b1", "101", "4"), ("b2", "103", "7")):
        last = await http.post("/v1/orders", json=sell(name, price=price, quantity=quantity))
    await http.post("/v1/orders", json=sell("b3", price="103.001"))

    document = (await http.get("/v1/tickers")).json()
    (acme,) = document["tickers"]
    day = acme.pop("day")
    assert acme == {
        "symbol": "ACME",
        "status": "trading",
        "sequence": 9,
        "best_bid": ["101.00", "1"],
        "best_ask": ["103.00", "7"],
        "last_price": "101.00",
        "bid_levels": 2,
        "ask_levels": 1,
        "resting_orders": 3,
    }
    assert (day["open"], day["high"], day["low"], day["close"]) == ("101.00",) * 4
    assert (day["volume"], day["notional"], day["trade_count"]) == ("4", "404.00", 2)
    assert day["start"] % (24 * 3600 * 10**9) == 0
    assert document["log_index"] > last.json()["log_index"]
    assert (document["orders_accepted"], document["trades_executed"]) == (5, 2)


async def test_what_was_refused_was_executed_all_the_same(http):
    before = (await http.get("/v1/tickers")).json()
    assert (await http.post("/v1/orders", json=order(price="100.001"))).status_code == 409
    after = (await http.get("/v1/tickers")).json()
    assert after["submissions_executed"] == before["submissions_executed"] + 1
    assert after["orders_accepted"] == before["orders_accepted"] == 0


async def test_a_market_of_which_nothing_is_known_yet_says_no_more_than_that(http):
    await http.post("/v1/instruments", json=OMEGA)
    await http.patch("/v1/instruments/OMEGA", json={"status": "halted"})
    tickers = (await http.get("/v1/tickers")).json()["tickers"]
    assert [ticker["symbol"] for ticker in tickers] == ["ACME", "OMEGA"]
    counts = {"bid_levels": 0, "ask_levels": 0, "resting_orders": 0}
    assert tickers[1] == {"symbol": "OMEGA", "status": "halted", "sequence": 2, **counts}
