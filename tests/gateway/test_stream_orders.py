"""/v1/stream: order entry, and what is said of frames that are wrong. Over real WebSockets."""

from __future__ import annotations

import pytest

from tests.support.sample_orders import order
from tests.support.stream_client import open_stream
from tests.support.stream_market import open_stream_market

SUBSCRIPTION = {"channel": "book", "symbol": "ACME"}


# --- Order entry -----------------------------------------------------------------------------------------------------


async def test_commands_enter_in_the_order_of_their_frames_and_each_is_answered(market, client):
    for number in range(50):
        await client.say("new", **order(f"b{number}"), request_id=number)
    answers = [await client.hear() for _ in range(50)]
    assert sorted(answer["request_id"] for answer in answers) == list(range(50))
    in_order = sorted(answers, key=lambda answer: answer["report"]["origin_sequence"])
    assert [answer["request_id"] for answer in in_order] == list(range(50))
    assert {answer["report"]["status"] for answer in answers} == {"accepted"}


async def test_a_refused_command_is_a_report_too(client):
    answer = await client.ask("cancel", account="alice", client_order_id="none", request_id={"any": [1]})
    assert answer["request_id"] == {"any": [1]}
    assert (answer["report"]["status"], answer["report"]["reason"]) == ("rejected", "unknown_order")


async def test_a_command_that_is_not_waited_for_is_pending(market, client):
    market.service.stall()
    answer = await client.ask("new", **order(), wait="pending", request_id=1)
    assert answer["report"]["status"] == "pending"
    answer = await client.ask("new", **order("a2"), wait_s=0.01, request_id=2)
    assert answer["report"]["status"] == "pending"


async def test_what_was_not_taken_is_an_error(market, client):
    market.service.busy_answers = 1
    error = (await client.ask("new", **order(), request_id=1))["error"]
    assert (error["status"], error["code"], error["retry_after_s"]) == (429, "busy", 0.01)
    market.service.draining = True
    error = (await client.ask("new", **order(), request_id=2))["error"]
    assert (error["status"], error["code"]) == (503, "draining")
    assert market.service.taken == 1, "the instrument"


async def test_of_commands_that_do_not_all_fit_the_first_are_taken():
    async with open_stream_market(intake_max_items=2) as market, open_stream(market.url) as client:
        market.service.stall()
        for number in range(4):
            await client.say("new", **order(f"b{number}"), request_id=number)
        refused = [await client.hear() for _ in range(2)]
        assert [(answer["request_id"], answer["error"]["code"]) for answer in refused] == [(2, "busy"), (3, "busy")]
        market.service.resume()
        assert [(await client.hear())["request_id"] for _ in range(2)] == [0, 1]


async def test_who_waits_less_long_is_told_earlier(market, client):
    market.service.stall()
    for number, wait_s in enumerate((60, 0.02, 0.01, 30)):
        await client.say("new", **order(f"b{number}"), request_id=number, wait_s=wait_s)
    overdue = [await client.hear() for _ in range(2)]
    assert sorted(answer["request_id"] for answer in overdue) == [1, 2]
    assert {answer["report"]["status"] for answer in overdue} == {"pending"}
    market.service.resume()
    executed = [await client.hear() for _ in range(2)]
    assert [(answer["request_id"], answer["report"]["status"]) for answer in executed] == [
        (0, "accepted"),
        (3, "accepted"),
    ]


async def test_what_a_snapshot_has_executed_is_an_error_that_says_where_to_look(market, client):
    market.service.stall()
    await client.say("new", **order(), request_id=1)
    await market.service.has_taken(2)
    market.service.cover_waiting()
    error = (await client.hear())["error"]
    assert error["code"] == "not_held"
    assert "client order id" in error["detail"]


async def test_more_unanswered_commands_than_a_connection_may_have():
    async with open_stream_market(max_outstanding_per_connection=3) as market, open_stream(market.url) as client:
        market.service.stall()
        for number in range(4):
            await client.say("new", **order(f"b{number}"), request_id=number)
        answer = await client.hear()
        assert (answer["request_id"], answer["error"]["code"]) == (3, "busy")
        market.service.resume()
        assert sorted([(await client.hear())["request_id"] for _ in range(3)]) == [0, 1, 2]


async def test_cbor_is_answered_in_cbor_with_the_same_fields(market, client):
    in_json = await client.ask("subscribe", **SUBSCRIPTION)
    in_cbor = await client.ask("subscribe", **SUBSCRIPTION, encoding="cbor")
    assert in_cbor == in_json
    answer = await client.ask("new", **order(), encoding="cbor", request_id=b"\x00")
    if "report" not in answer:
        answer = await client.hear()
    assert (answer["request_id"], answer["report"]["order"]["price"]) == (b"\x00", "100.25")
    assert client.encodings[1:] == ["cbor"] * (len(client.encodings) - 1)


# --- What is wrong ---------------------------------------------------------------------------------------------------


MALFORMED = [
    ("nonsense", "not valid JSON"),
    ("[1]", "expected a JSON object"),
    ("{}", "op: missing"),
    ('{"op":7}', "op: missing"),
    ('{"op":"subcribe"}', "did you mean subscribe"),
    ('{"op":"subscribe"}', "channel: missing; expected book, l3, trades or orders"),
    ('{"op":"subscribe","channel":"boook","symbol":"ACME"}', "did you mean book?"),
    ('{"op":"subscribe","channel":"book"}', "symbol: missing"),
    ('{"op":"subscribe","channel":"book","symbol":"A B"}', "no symbol"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","account":"bob"}', "account: goes with orders only"),
    ('{"op":"subscribe","channel":"orders","symbol":"ACME"}', "account: name whose orders"),
    ('{"op":"subscribe","channel":"orders","account":"bob","interval_ms":100}', "interval_ms"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","interval_ms":49}', "50 to 10000"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequence":-1}', "from_sequence"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequence":true}', "from_sequence"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequnce":1}', "did you mean from_sequence?"),
    ('{"op":"ping","request_id":"' + 300 * "x" + '"}', "request_id: of 302 bytes"),
    ('{"op":"subscribe","channel":' + 900 * "[" + 900 * "]" + "}", "a list is no channel"),
    ('{"op":"subscribe","channel":' + 9_000 * "[" + "}", "nested too deeply"),
    ('{"op":"subscribe","channel":{"book":1}}', "a map is no channel"),
    (b"\x01", "CBOR map"),
    (b"\xa1\x01\x02", "text string"),
    (b"\xff", "CBOR"),
    (b"\xa0\xa0", "goes on after"),
    (b"\xa1\x62op\xc1\x01", "CBOR"),
]


async def test_a_malformed_frame_is_answered_with_what_to_send(client):
    for frame, words in MALFORMED:
        await client.connection.send(frame)
        error = await client.hear()
        assert (error["type"], error["code"]) == ("error", "malformed"), frame
        assert words in error["detail"], frame
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_malformed_command_names_its_field_and_its_request(client):
    answer = await client.ask("new", **order(side="by"), request_id=4)
    assert answer["request_id"] == 4
    assert {name: answer["error"][name] for name in ("status", "code", "field")} == {
        "status": 400,
        "code": "malformed",
        "field": "side",
    }
    answer = await client.ask("new", **order(), wait="later", request_id=5)
    assert (answer["request_id"], answer["error"]["code"]) == (5, "malformed")


async def test_an_unknown_symbol_names_near_ones(client):
    error = await client.ask("subscribe", channel="book", symbol="ACNE")
    assert (error["code"], error["near"]) == ("unknown_symbol", ["ACME"])


async def test_sixteen_malformed_frames_in_a_row_end_the_connection(client):
    for _ in range(15):
        assert (await client.ask("nonsense"))["code"] == "malformed"
    assert (await client.ask("ping"))["type"] == "pong"
    for _ in range(16):
        await client.say("nonsense")
    messages, code, _ = await client.closing()
    assert (len(messages), code) == (16, 1008)


async def test_a_frame_that_is_too_large_ends_the_connection(client):
    await client.connection.send("x" * (65 << 10))
    assert (await client.closing())[1] == 1009


async def test_text_that_is_not_utf_8_ends_the_connection(client):
    await client.connection.send(b"\xff\xfe", text=True)
    assert (await client.closing())[1] == 1007


async def test_without_an_upgrade_the_answer_says_what_this_is(market):
    response = await market.http.get("/v1/stream")
    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")


async def test_another_path_is_no_stream(market):
    with pytest.raises(Exception, match="HTTP 40"):
        async with open_stream(f"{market.url}/v2"):
            pass
