"""GET /v1/candles/{symbol}: trades by intervals of log time."""

from __future__ import annotations

from tests.support.direct_service import START_TIME, STEP
from tests.support.sample_orders import order, sell

MINUTE_NS = 60 * 10**9
NO_EXPIRY = 2**63 - 1


async def trade(http, number, price, quantity):
    at = {"price": price, "quantity": quantity, "not_after": NO_EXPIRY}
    for command in (sell(f"s{number}", **at), order(f"b{number}", **at)):
        response = await http.post("/v1/orders", json=command)
        assert response.status_code == 200, response.text


async def test_the_trades_of_a_minute_are_one_candle(fragile_http):
    for number, (price, quantity) in enumerate([("10.00", "1"), ("11.50", "2"), ("9.25", "3"), ("10.75", "4")]):
        await trade(fragile_http, number, price, quantity)
    response = await fragile_http.get("/v1/candles/ACME", params={"interval": "1m"})
    log_index = int(response.headers["Raftbook-Log-Index"])
    trade_time = START_TIME + log_index * STEP
    assert response.json() == {
        "symbol": "ACME",
        "interval": "1m",
        "log_index": log_index,
        "candles": [
            {
                "start": trade_time - trade_time % MINUTE_NS,
                "open": "10.00",
                "high": "11.50",
                "low": "9.25",
                "close": "10.75",
                "volume": "10",
                "trade_count": 4,
            }
        ],
    }


async def test_each_interval_with_a_trade_has_its_candle_and_limit_takes_the_latest(fragile_http, fragile_service):
    await trade(fragile_http, 1, "10.00", "1")
    fragile_service.pass_time(2 * MINUTE_NS)
    await trade(fragile_http, 2, "12.00", "1")
    fragile_service.pass_time(2 * MINUTE_NS)
    await trade(fragile_http, 3, "14.00", "1")
    all_of_them = (await fragile_http.get("/v1/candles/ACME", params={"interval": "1m"})).json()["candles"]
    assert [candle["close"] for candle in all_of_them] == ["10.00", "12.00", "14.00"]
    latest = (await fragile_http.get("/v1/candles/ACME", params={"interval": "1m", "limit": 2})).json()["candles"]
    assert latest == all_of_them[1:]
    day = (await fragile_http.get("/v1/candles/ACME", params={"interval": "1d"})).json()["candles"]
    assert [(candle["open"], candle["close"], candle["trade_count"]) for candle in day] == [("10.00", "14.00", 3)]


async def test_a_node_that_does_not_know_all_trades_of_a_candle_says_since_when_it_counts(
    fragile_http, fragile_service
):
    await trade(fragile_http, 1, "10.00", "1")
    fragile_service.restore_from_itself()
    await trade(fragile_http, 2, "12.00", "1")
    document = (await fragile_http.get("/v1/candles/ACME", params={"interval": "1d"})).json()
    first_trade = (await fragile_http.get("/v1/trades/ACME")).json()[0]
    assert document["known_from"] == first_trade["timestamp"]
    assert document["candles"][0]["start"] < document["known_from"]


async def test_unknown_intervals_and_symbols_name_near_ones(fragile_http):
    wrong_interval = await fragile_http.get("/v1/candles/ACME", params={"interval": "1min"})
    assert (wrong_interval.status_code, wrong_interval.json()["field"]) == (400, "interval")
    assert "1m" in wrong_interval.json()["near"]
    wrong_symbol = await fragile_http.get("/v1/candles/ACMEE")
    assert (wrong_symbol.status_code, wrong_symbol.json()["near"]) == (404, ["ACME"])


async def test_candles_can_be_read_linearizably(http):
    await trade(http, 1, "10.00", "3")
    document = (await http.get("/v1/candles/ACME", params={"consistency": "linearizable"})).json()
    assert [candle["volume"] for candle in document["candles"]] == ["3"]
