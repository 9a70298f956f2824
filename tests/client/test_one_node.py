"""The client of one node, in one process and over real sockets: commands, reads, the pipeline."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from raftbook.client import RaftbookClient
from raftbook.engine.commands import CancelAll
from raftbook.errors import ConfigError, OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.gateway import make_app
from tests.client.commands import new, numbered
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME, sell
from tests.support.server import free_listener, serve, url_of
from tests.support.single_node import single_node


@pytest.fixture
async def service(tmp_path):
    async with single_node(tmp_path) as service:
        yield service


@pytest.fixture
async def client(service):
    async with RaftbookClient("http://localhost", transport=httpx.ASGITransport(make_app(service))) as client:
        await client.add_instrument(ACME)
        yield client


@pytest.fixture
async def fragile_service():
    """A node that can be told to lose its majority, or to be busy."""
    return DirectService(make_config())


@pytest.fixture
async def fragile_client(fragile_service):
    async with RaftbookClient("http://localhost", transport=httpx.ASGITransport(make_app(fragile_service))) as client:
        await client.add_instrument(ACME)
        yield client


# ---------------------------------------------------------------- commands and reads


async def test_a_day_of_one_order(client, service):
    report = await client.submit(new("a1"))
    assert report["status"] == "accepted"
    assert client.log_index == report["log_index"] == service.state.index
    assert (await client.book("ACME", depth=5))["bids"] == [["100.25", "5"]]

    await client.replace("alice", client_order_id="a1", price="100.30", quantity="4")
    assert (await client.order(account="alice", client_order_id="a1"))["price"] == "100.30"

    await client.submit({"op": "new", **sell("b1", price="100.00", quantity="1")})
    (trade,) = await client.trades("ACME", from_trade_id=1, limit=10)
    assert (trade["price"], trade["maker_account"]) == ("100.30", "alice")

    order_id = (await client.order(account="alice", client_order_id="a1"))["order_id"]
    canceled = await client.cancel("alice", order_id=order_id)
    assert canceled["order"]["status"] == "canceled"
    assert (await client.order(order_id=order_id, at_least=client.log_index))["leaves_quantity"] == "0"


async def test_a_stop_is_replaced_in_all_that_it_has(client):
    await client.submit(
        new("a1", order_type="stop_limit", stop_price="105", price="106", quantity="9", expire_time=2**62)
    )

    report = await client.replace(
        "alice", client_order_id="a1", stop_price="104", display_quantity="2", expire_time=2**62 + 1, quantity="8"
    )

    told = report["order"]
    assert (told["stop_price"], told["display_quantity"], told["quantity"]) == ("104.00", "2", "8")
    assert (told["expire_time"], told["status"]) == (2**62 + 1, "untriggered")
    assert [found["client_order_id"] for found in await client.orders(account="alice")] == ["a1"]
    assert await client.orders(account="alice", status="expired") == []


@pytest.mark.parametrize("status", ["trading", "closed"])
async def test_an_auction_is_begun_and_uncrossed(client, status):
    assert (await client.set_status("ACME", "auction"))["status"] == "accepted"
    await client.submit_many([new("a1"), {"op": "new", **sell("b1", quantity="2")}])
    assert (await client.book("ACME"))["status"] == "auction"

    report = await client.uncross("ACME", *(() if status == "trading" else (status,)))

    assert report["status"] == "accepted"
    assert [event["event"] for event in report["events"]] == ["trade", "auction_uncrossed", "status_changed"]
    assert (await client.instruments())[0]["status"] == status
    assert (await client.uncross("ACME"))["reason"] == "not_in_auction"


async def test_a_refused_command_is_a_report_and_no_exception(client):
    report = await client.submit(new("a1", symbol="NOPE"))

    assert (report["status"], report["reason"]) == ("rejected", "unknown_symbol")
    assert (await client.submit(new("a1", price="abc")))["reason"] == "malformed"


async def test_many_commands_are_answered_in_order_whatever_their_form(client):
    reports = await client.submit_many([*numbered(3), CancelAll("alice"), {"op": "fly"}])

    assert [report["status"] for report in reports] == ["accepted"] * 4 + ["rejected"]
    assert reports[3]["events"][-1]["canceled_count"] == 3


async def test_an_order_without_a_client_order_id_gets_one(client):
    command = new("a1")
    del command["client_order_id"]

    report = await client.submit(command)

    assert report["order"]["client_order_id"].startswith("cl-")


async def test_orders_are_fetched_page_by_page(client, monkeypatch):
    await client.submit_many(numbered(25))
    monkeypatch.setattr("raftbook.client.client.ORDERS_PER_PAGE", 10)

    assert [found["order_id"] for found in await client.orders(account="alice", side="buy")] == list(range(1, 26))
    assert await client.orders(account="alice", status="filled") == []


async def test_instruments_cluster_and_node(client, service):
    await client.set_status("ACME", "halted")

    (instrument,) = await client.instruments()
    assert await client.instruments(consistency="linearizable") == [instrument]
    assert instrument["status"] == "halted"
    assert (await client.cluster())["leader"] == "n1"
    node = await client.node(digest_at=service.state.index, state_digest=True)
    assert node["digest_at"]["digest"] == service.state.chain_digest.hex()
    assert (await client.cancel_all("alice", symbol="ACME", side="buy"))["status"] == "accepted"


async def test_a_problem_is_raised_with_its_parts(client):
    with pytest.raises(ProblemError, match="there is no instrument ACNE") as caught:
        await client.book("ACNE")

    problem = caught.value
    assert (problem.status, problem.code, problem.title) == (404, "unknown_symbol", "Unknown symbol")
    assert problem.members["near"] == ["ACME"]


async def test_a_busy_node_is_asked_again(fragile_client, fragile_service):
    fragile_service.busy_answers = 3

    assert (await fragile_client.submit(new("a1")))["status"] == "accepted"
    assert fragile_service.busy_answers == 0


async def test_a_node_that_stays_busy_is_a_problem(fragile_service):
    fragile_service.busy_answers = 10**9
    transport = httpx.ASGITransport(make_app(fragile_service))

    async with RaftbookClient("http://localhost", timeout_s=0.05, transport=transport) as client:
        with pytest.raises(ProblemError) as caught:
            await client.submit(new("a1"))

    assert caught.value.code == "busy"


async def test_what_is_sent_once_and_not_executed_is_pending(fragile_client, fragile_service):
    fragile_service.stall()

    (report,) = await fragile_client.submit_once([new("a1")], wait_s=0.01)

    assert report["status"] == "pending"
    fragile_service.resume()
    (settled,) = await fragile_client.collect(report["origin"], report["origin_sequence"], 1, wait_s=5)
    assert settled["status"] == "accepted"


@pytest.mark.parametrize("url", ["node:8101", "ftp://node", "http://", "http://node:port", "http://node/?x=1"])
async def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigError, match="no URL"):
        RaftbookClient(url)


# ---------------------------------------------------------------- pipeline


async def collected(client, commands, **bounds):
    return [(position, report) async for position, report in client.pipeline(commands, **bounds)]


async def follow(stream, positions):
    """Appends the position of each report of `stream` to `positions`."""
    async for position, _ in stream:
        positions.append(position)


async def test_a_pipeline_yields_every_report_in_the_order_of_the_input(client):
    commands = numbered(1003)
    commands[17] = {"op": "new", "side": "up"}

    answers = await collected(client, commands, window=200, batch=50)

    assert [position for position, _ in answers] == list(range(1003))
    assert [position for position, report in answers if report["status"] != "accepted"] == [17]
    order_ids = [report["order"]["order_id"] for _, report in answers if report["order"] is not None]
    assert order_ids == list(range(1, 1003))


async def test_no_input_is_no_report(client):
    assert await collected(client, []) == []


async def test_a_pipeline_waits_while_the_node_is_busy(fragile_client, fragile_service):
    fragile_service.busy_answers = 4

    answers = await collected(fragile_client, numbered(30), window=20, batch=5)

    assert [report["order"]["order_id"] for _, report in answers] == list(range(1, 31))


async def test_never_more_than_the_window_is_under_way(fragile_client, fragile_service):
    fragile_service.stall()
    consuming = asyncio.create_task(collected(fragile_client, numbered(100), window=40, batch=10))
    await fragile_service.has_taken(41)  # The instrument, and forty.
    for _ in range(200):
        await asyncio.sleep(0)
    assert fragile_service.taken == 41

    fragile_service.resume()

    assert len(await consuming) == 100


async def test_input_that_trickles_is_answered_as_it_comes(client):
    answered = asyncio.Event()

    async def typed():
        yield new("a1")
        await answered.wait()
        yield new("a2")

    positions = []
    async with asyncio.timeout(5):
        async for position, _ in client.pipeline(typed()):
            positions.append(position)
            answered.set()

    assert positions == [0, 1]


async def test_a_fault_of_the_input_comes_through_after_all_answers(client):
    def broken():
        yield from numbered(7)
        raise ValueError("line 8 is no JSON")

    answered = []
    with pytest.raises(ValueError, match="line 8"):
        await follow(client.pipeline(broken(), batch=5, window=10), answered)

    assert answered == list(range(7))


async def test_a_pipeline_left_early_leaves_nothing_running(client):
    before = len(asyncio.all_tasks())
    stream = client.pipeline(numbered(500), window=100, batch=10)

    async for position, _ in stream:
        if position == 20:
            break
    await stream.aclose()

    assert len(asyncio.all_tasks()) == before


async def test_a_cluster_that_executes_nothing_ends_in_outcome_unknown(fragile_client, fragile_service):
    fragile_service.stall()

    with pytest.raises(OutcomeUnknownError, match="is there a leader") as caught:
        await collected(fragile_client, numbered(20), window=10, batch=5, stall_timeout_s=0.05)

    assert caught.value.positions == tuple(range(10))
    assert caught.value.client_order_ids == tuple(f"a{number}" for number in range(10))


async def test_a_node_that_drains_refuses_the_rest_and_answers_what_it_took(client, service):
    answered = []
    stream = client.pipeline(numbered(100), window=10, batch=5)
    answered.append((await anext(stream))[0])
    service.draining = True
    with pytest.raises(ProblemError) as caught:
        await follow(stream, answered)

    assert caught.value.code == "draining"
    assert answered == list(range(len(answered)))
    assert 5 <= len(answered) < 100


@pytest.mark.parametrize(("window", "batch"), [(10, 11), (10, 0)])
async def test_a_batch_must_fit_the_window(client, window, batch):
    with pytest.raises(ValueError, match="batch"):
        await collected(client, numbered(1), window=window, batch=batch)


# ---------------------------------------------------------------- real sockets


async def test_all_of_it_over_a_real_server(service):
    async with serve(make_app(service)) as url, RaftbookClient(url) as client:
        await client.add_instrument(ACME)
        answers = await collected(client, numbered(2000), window=500, batch=100)
        assert len(answers) == 2000
        assert (await client.book("ACME"))["bids"] == [["100.25", "10000"]]


async def test_where_no_node_listens_the_error_says_how_to_start_one():
    listener = free_listener()
    url = url_of(listener)
    listener.close()

    async with RaftbookClient(url) as client:
        for attempt in (client.book("ACME"), client.submit(new("a1"))):
            with pytest.raises(UnreachableError, match=r"no node answers at .*raftbook node start"):
                await attempt
        with pytest.raises(UnreachableError):
            await collected(client, numbered(10))


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"7", b"[1]", b'{"hello":"world"}'])
async def test_what_is_no_raftbook_node_is_recognised(body):
    async def other(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with RaftbookClient("http://localhost", transport=httpx.ASGITransport(other)) as client:
        for attempt in (client.trades("ACME", limit=5), client.verify()):
            with pytest.raises(ProblemError) as caught:
                await attempt
            assert caught.value.code == "unexpected_answer"


async def _interrupted_server(app):
    """A server that reads a whole request, has it executed, and hangs up; (URL, server)."""

    async def handle(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            path = request.split(b" ")[1].decode()
            await http.post(path, content=body, headers={"Content-Type": "application/json"})
        writer.close()

    listener = free_listener()
    return url_of(listener), await asyncio.start_server(handle, sock=listener)


async def test_a_lost_answer_is_an_outcome_unknown_and_resubmitting_is_safe(service):
    app = make_app(service)
    async with RaftbookClient("http://localhost", transport=httpx.ASGITransport(app)) as client:
        await client.add_instrument(ACME)
    url, server = await _interrupted_server(app)
    async with server, RaftbookClient(url) as client:
        with pytest.raises(OutcomeUnknownError, match="same client order ids") as caught:
            await client.at(url).submit_once(numbered(2))
    assert caught.value.positions == (0, 1)
    assert caught.value.client_order_ids == ("a0", "a1")

    async with RaftbookClient("http://localhost", transport=httpx.ASGITransport(app)) as client:
        again = await client.submit_many(numbered(2))
        assert [report["duplicate"] for report in again] == [True, True]
        assert (await client.book("ACME"))["bids"] == [["100.25", "10"]]


async def test_a_connection_lost_in_the_middle_of_a_pipeline_names_the_inputs_without_an_answer(service):
    server_socket = free_listener()
    answered = []
    async with RaftbookClient(url_of(server_socket), timeout_s=5) as client:
        async with serve(make_app(service), server_socket):
            await client.add_instrument(ACME)
            stream = client.pipeline(numbered(100), window=20, batch=10)
            async for position, _ in stream:
                answered.append(position)
                if len(answered) == 30:
                    break
        with pytest.raises(OutcomeUnknownError, match="submit them again") as caught:
            await follow(stream, answered)

    unanswered = caught.value.positions
    assert answered == list(range(len(answered)))
    assert unanswered == tuple(range(len(answered), len(answered) + len(unanswered)))
    assert caught.value.client_order_ids == tuple(f"a{position}" for position in unanswered)

    async with serve(make_app(service)) as url, RaftbookClient(url) as client:
        again = await client.submit_many([new(f"a{position}") for position in range(len(answered), 100)])
        assert all(report["status"] == "accepted" for report in again)
        assert (await client.book("ACME"))["bids"] == [["100.25", "500"]]
