"""What `raftbook bench` is made of, without a cluster: loads, histograms, counters, the bare book, tables, pictures."""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import time
from itertools import islice
from random import Random
from types import SimpleNamespace

import pytest
from rich.console import Console
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from cli.bench import cluster, flow, plot, run
from cli.bench.bare_book import BareBook, bare_operation
from cli.bench.engine_load import Engine
from cli.bench.feed import FeedScale
from cli.bench.grpc_load import PutConnection, put_messages
from cli.bench.latencies import Latencies
from cli.bench.load import Load, LoadPlan
from cli.bench.measurement import BenchmarkFailedError, Measurement, Scale, medians, percentile
from cli.bench.node_probe import Probe, ProbedNode, parse_counters
from cli.bench.stream_orders import OrderStream
from cli.bench.view import results
from cli.errors import WrongUsageError
from raftbook.engine.commands import NewOrder, ReplaceOrder
from raftbook.engine.events import Trade
from raftbook.engine.types import TimeInForce
from raftbook.gateway.websocket_frames import Encoding
from raftbook.simulation.workload import OrderFlow

SCALE = Scale(1.0, 0.0, 1, 1_000, 1_000, 1.0, 1_000)
FEED = FeedScale(1, 1, None)


class TestNames:
    def test_no_order_of_any_run_or_round_has_the_name_of_another(self):
        requests = [b"POST %ba" % flow.tag(0), b"POST %bb" % flow.tag(0)]
        sent = [request for run in (0, 1, 999) for request in islice(flow.in_rounds(requests, run), 7)]
        assert len(set(sent)) == len(sent)
        assert {len(request) for request in sent} == {len(requests[0])}, "content-length stays what it was"

    def test_all_names_of_the_flow_begin_with_the_tag_that_is_replaced(self):
        for command in islice(flow.order_flow(2), 500):
            assert command.client_order_id.startswith(flow.tag(0).decode())

    def test_more_runs_than_there_are_names_for_are_refused(self):
        with pytest.raises(BenchmarkFailedError, match="fewer --seconds or --repetitions"):
            flow.tag(flow.RUNS)

    def test_each_account_stays_on_one_connection(self):
        dealt = flow.deal(flow.order_flow(3), 900, 3)
        owners = [{command.account for command in commands} for commands in dealt]
        assert sum(map(len, dealt)) == 900
        assert all(owners)
        assert not set.intersection(owners[0], owners[1]) | set.intersection(owners[1], owners[2])


def answer(request_id, body):
    return Encoding.JSON.frame({"request_id": request_id, **body})


ACCEPTED = {"report": {"status": "accepted", "log_index": 4}}
REJECTED = {"report": {"status": "rejected", "reason": "unknown_order"}}
BUSY = {"error": {"status": 429, "code": "busy", "title": "Busy"}}


class TestOrderStream:
    def stream(self, count=10):
        heard, written = [], []
        requests = iter(b"<%d>" % number for number in range(1_000))
        stream = OrderStream(requests, count, lambda _stream, answers: heard.append(answers))
        transport = SimpleNamespace(write=written.append, abort=lambda: None)
        stream._socket = SimpleNamespace(transport=transport, is_lost=False)
        return stream, heard, written

    def test_an_answer_finds_the_moment_at_which_its_order_was_due(self):
        stream, heard, written = self.stream()
        stream.send([1.0, 2.0, 3.0])
        assert written == [b"<0><1><2>"]
        stream._take(answer(2, ACCEPTED) + answer(0, REJECTED))
        assert (heard[0].sent_at, heard[0].rejected, heard[0].busy, stream.outstanding) == ([3.0, 1.0], 1, 0, 1)

    def test_request_ids_begin_again_with_the_requests(self):
        stream, heard, _ = self.stream(count=2)
        stream.send([1.0, 2.0, 3.0])
        stream._take(answer(0, ACCEPTED))
        assert heard[0].sent_at == [3.0]

    def test_answers_may_come_in_any_pieces(self):
        stream, heard, written = self.stream()
        stream.send([1.0, 2.0])
        long = {"report": {"status": "accepted", "events": ["x" * 200]}}
        for byte in answer(1, long) + b"\x89\x04ping" + answer(0, ACCEPTED):
            stream._take(bytes((byte,)))
        assert [answers.sent_at for answers in heard] == [[2.0], [1.0]]
        assert written[1] == b"\x8a\x84\x00\x00\x00\x00ping"

    def test_what_a_node_did_not_take_is_counted_apart(self):
        stream, heard, _ = self.stream()
        stream.send([1.0, 2.0])
        stream._take(answer(0, BUSY) + answer(1, ACCEPTED))
        assert (heard[0].sent_at, heard[0].busy, stream.outstanding) == ([2.0], 1, 0)

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"report": {"status": "pending"}}, "pending: there was no majority"),
            ({"error": {"status": 400, "code": "malformed"}}, "malformed"),
        ],
    )
    def test_any_other_answer_ends_the_measurement(self, body, words):
        stream, heard, _ = self.stream()
        stream.send([1.0])
        stream._take(answer(0, body))
        assert heard == []
        with pytest.raises(BenchmarkFailedError, match=words):
            stream.check()


async def next_message(connection):
    """None at its end: the load generator leaves without a word."""
    try:
        return await connection.recv()
    except ConnectionClosed:
        return None


class TestLoops:
    """Against a WebSocket server that accepts everything, and is told when to stand still."""

    async def load(self, *, stall_behind=None, stall_s=0.3, **plan):
        """Once so many orders have come, everything stands still for a while, the load generator as well."""
        names: list[tuple[str, str]] = []

        async def handle(connection):
            while (message := await next_message(connection)) is not None:
                command = json.loads(message)
                names.append((command["op"], command.get("client_order_id")))
                if len(names) == stall_behind:
                    time.sleep(stall_s)  # noqa: ASYNC251 (it is to hold up whatever runs in this loop)
                await connection.send(
                    json.dumps({"request_id": command["request_id"], **ACCEPTED}, separators=(",", ":"))
                )

        async with serve(handle, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            values = {"seconds": 0.6, "warm_up_s": 0.1, "connections": 2, "round_commands": 3_000} | plan
            result = await Load(LoadPlan((f"{host}:{port}",), batch_commands=1, run=0, **values)).run()
        return result, names

    async def test_in_closed_loop_so_many_are_under_way_and_the_next_waits_for_an_answer(self):
        result, names = await self.load(outstanding=8)
        entered = [name for op, name in names if op == "new"]
        assert len(set(entered)) == len(entered)
        assert result.commands == len(result.request_times_s) > 0
        under_way = sum(result.request_times_s) / result.elapsed_s
        assert 4 < under_way < 10, "Little's law"

    async def test_in_open_loop_orders_keep_to_their_schedule_and_each_counts_from_when_it_was_due(self):
        rate, stall_s = 500, 0.3
        result, _ = await self.load(rate=rate, stall_behind=100, stall_s=stall_s)
        assert len(result.request_times_s) == pytest.approx(result.elapsed_s * rate, abs=3)
        # Of the orders that fell due while it stood still, those of the first half waited for more than half of it.
        slow = sum(time_s > stall_s / 2 for time_s in result.request_times_s)
        assert slow >= 0.9 * rate * stall_s / 2, "coordinated omission: not all that were due were charged"


class TestLatencies:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_percentile_is_right_to_three_digits(self, seed):
        random = Random(seed)
        times_s = [random.lognormvariate(-6, 2) for _ in range(2_000)]
        latencies = Latencies.of(times_s)
        for share in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
            exact_ms = 1e3 * percentile(times_s, share)
            assert latencies.milliseconds(share) == pytest.approx(exact_ms, rel=2e-3, abs=1e-3)

    def test_several_runs_are_one_distribution(self):
        merged = Latencies.merged([Latencies.of([0.001] * 99), Latencies.of([1.0])])
        assert merged.count == 100
        assert merged.milliseconds(0.99) == pytest.approx(1.0, rel=1e-2)
        assert merged.milliseconds(1.0) == pytest.approx(1000, rel=1e-2)

    def test_a_curve_rises_and_ends_where_there_is_nothing_to_say(self):
        curve = Latencies.of([number / 1e3 for number in range(1, 1_001)]).curve()
        assert curve == sorted(curve)
        assert curve[0][0] == 0.0
        assert curve[-1][0] == pytest.approx(0.999, abs=1e-3)

    def test_its_encoded_form_is_that_of_all_its_tools(self):
        assert base64.b64decode(Latencies.of([0.1]).encoded())[:4] == struct.pack(">I", 0x1C849304 + 0x10)

    def test_nothing_answered_has_no_percentile(self):
        with pytest.raises(BenchmarkFailedError, match="more --seconds"):
            Latencies.of([]).milliseconds(0.5)

    def test_where_they_are_not_installed_it_is_said_how_to_install_them(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
        with pytest.raises(BenchmarkFailedError, match=r'pip install "raftbook\[bench\]"'):
            run.make_plan("cluster", SCALE, FEED, [], [], [])
        assert run.make_plan("engine", SCALE, FEED, [], [], []).subject == "engine", "the engine needs none"


def measurement(rate, group="at the leader", kind="512 outstanding", times_s=(0.01, 0.02)):
    latencies = Latencies.of(times_s)
    figures = {"orders_per_s": rate, **latencies.figures(), "leader_cpu_us_per_order": 12.345}
    return Measurement(f"{kind} {group}", "how", figures, group, kind, latencies)


class TestRepetitions:
    def test_figures_are_medians_with_their_spread_and_latencies_those_of_all(self):
        [told] = medians([[measurement(rate)] for rate in (30.0, 10.0, 20.0, 50.0, 40.0)])
        assert told.figures["orders_per_s"] == 30.0
        assert told.spread["orders_per_s"] == (10.0, 50.0)
        assert told.latencies.count == 10
        assert told.to_json()["spread"]["orders_per_s"] == {"least": 10.0, "most": 50.0}

    def test_a_single_run_is_told_as_it_is(self):
        one = measurement(10.0)
        assert medians([[one]]) == [one]
        assert "spread" not in one.to_json()


class TestScenarios:
    def test_all_of_them_are_there_once_and_may_be_chosen_by_any_words_of_their_names(self):
        scenarios = cluster.closed_loop_scenarios()
        names = [scenario.name for scenario in scenarios]
        assert len(set(names)) == len(names) == 19
        assert [one.name for one in cluster.selected(scenarios, ["512 OUT", "over HTTP"])] == [
            "one at a time over HTTP at the leader",
            *(f"512 outstanding at {place}" for place in cluster.PLACES),
        ]

    @pytest.mark.parametrize(
        ("against", "words", "rates", "message"),
        [
            ([], ["moon"], [], "--scenario moon is in no name of: one at a time over HTTP at the leader; "),
            (["stock"], [], [500], "leave --rate out"),
            (["etcd"], ["batches"], [], "nothing of etcd to compare batches of 1,000, batches of 10, batches of 100"),
        ],
    )
    def test_what_cannot_be_measured_is_refused_before_anything_is(self, against, words, rates, message):
        with pytest.raises(WrongUsageError) as refused:
            run.make_plan("cluster", SCALE, FEED, against, words, rates)
        assert message in str(refused.value)

    def test_etcd_that_is_not_installed_is_named_with_what_installs_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BenchmarkFailedError, match="apt-get install etcd-server"):
            run.make_plan("cluster", SCALE, FEED, ["etcd"], ["512"], [])

    @pytest.mark.parametrize("scenario", cluster.closed_loop_scenarios(), ids=lambda scenario: scenario.name)
    def test_even_a_short_run_has_requests_for_every_connection(self, scenario):
        count = flow.round_commands(0.1, scenario.connections, scenario.batch_commands)
        dealt = flow.deal(flow.order_flow(scenario.connections), count, scenario.connections)
        assert min(map(len, dealt)) >= scenario.batch_commands

    def test_in_open_loop_a_connection_may_have_as_many_under_way_as_come_to_be(self):
        limits = cluster._limits(cluster.open_loop_scenarios([20_000]))
        assert limits.max_outstanding_per_connection >= cluster.OPEN_LOOP_BACKLOG_S * 20_000 / cluster.STREAMS
        assert cluster._limits(cluster.closed_loop_scenarios()).max_outstanding_per_connection == 1_000


class TestProbe:
    METRICS = (
        b'# HELP raftbook_log_sync_seconds x\nraftbook_log_sync_seconds_bucket{le="+Inf"} 7.0\n'
        b"raftbook_log_sync_seconds_count 7.0\nraftbook_log_sync_seconds_sum 0.5\n"
        b"raftbook_entry_submissions_count 20.0\nraftbook_entry_submissions_sum 900.0\n"
    )

    def test_counters_are_those_of_the_time_in_between(self):
        before = parse_counters(self.METRICS, 1.0)
        after = parse_counters(self.METRICS.replace(b"count 20.0", b"count 30.0").replace(b"900.0", b"1400.0"), 3.0)
        passed = after.since(before)
        assert (passed.entries, passed.submissions, passed.syncs, passed.at_s) == (10, 500, 0, 2)

    def test_a_counter_that_is_missing_is_named(self):
        with pytest.raises(BenchmarkFailedError, match="says nothing of raftbook_log_sync_seconds_sum"):
            parse_counters(self.METRICS.replace(b"seconds_sum", b"seconds_total"), 1.0)

    def test_bytes_of_the_log_are_those_written_in_between_also_where_segments_come_and_go(self, tmp_path):
        nodes = [ProbedNode("n1", os.getpid(), "", str(tmp_path))]
        (tmp_path / "log-1").write_bytes(bytes(100))
        (tmp_path / "log-2").write_bytes(bytes(30))
        before = Probe(nodes)
        (tmp_path / "log-1").unlink()
        (tmp_path / "log-2").write_bytes(bytes(50))
        (tmp_path / "log-3").write_bytes(bytes(5))
        assert Probe(nodes).log_bytes_since(before, "n1") == 25


class TestPuts:
    """The part of HTTP/2 and gRPC that the load for etcd speaks; etcd itself judges it where it is installed."""

    def connection(self):
        written, heard = [], []
        connection = PutConnection(
            put_messages([b"order"], 0, 1), lambda _connection, sent_at: heard.append(len(sent_at))
        )
        connection.connection_made(
            SimpleNamespace(write=written.append, abort=lambda: None, get_extra_info=lambda _: ("127.0.0.1", 2379))
        )
        return connection, written, heard

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">BHBBI", 0, len(payload), kind, flags, stream) + payload

    def done(self, stream):
        return self.frame(1, 4, stream, b"h") + self.frame(0, 0, stream, b"response") + self.frame(1, 5, stream, b"t")

    def test_a_put_is_answered_when_its_stream_ends_in_whatever_pieces(self):
        connection, written, heard = self.connection()
        connection.send(2)
        assert b"/etcdserverpb.KV/Put" in written[1]
        assert b"\x0a\x0800000000\x12\x05order" in written[1]
        for byte in self.done(3) + self.done(1):
            connection.data_received(bytes((byte,)))
        assert heard == [1, 1]
        assert connection.sent_at == {}

    def test_a_refused_put_is_no_put(self):
        connection, _, heard = self.connection()
        connection.send(1)
        connection.data_received(self.frame(1, 5, 1, b"grpc-status: 8"))
        assert heard == []
        assert "refused a put" in str(connection.failure)

    def test_pings_and_settings_are_acknowledged(self):
        connection, written, _ = self.connection()
        connection.data_received(self.frame(4, 0, 0) + self.frame(6, 0, 0, b"12345678") + self.frame(4, 1, 0))
        assert written[1:] == [self.frame(4, 1, 0), self.frame(6, 1, 0, b"12345678")]


def plain(commands):
    """Without what a bare book does not know."""
    for command in commands:
        if isinstance(command, NewOrder):
            yield command._replace(
                post_only=False,
                time_in_force=TimeInForce.IOC if command.time_in_force is TimeInForce.FOK else command.time_in_force,
            )
        elif not isinstance(command, ReplaceOrder):
            yield command


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bare_book_trades_what_the_exchange_trades(seed):
    commands = list(islice(plain(OrderFlow(seed)), 3_000))
    engine, bare = Engine(), BareBook()
    traded = []
    apply = engine.exchange.apply

    def remembering(index, entry):
        executions = apply(index, entry)
        events = (event for execution in executions for event in execution.events)
        traded.extend(
            (event.maker_client_order_id, event.price, event.quantity) for event in events if isinstance(event, Trade)
        )
        return executions

    engine.exchange = SimpleNamespace(apply=remembering, log_index=engine.exchange.log_index)
    engine.execute(commands)
    bare.apply(map(bare_operation, commands))
    assert [(maker, price, quantity) for _, maker, price, quantity in bare.trades] == traded
    assert len(traded) > 100


class TestPictures:
    @pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
    def test_a_picture_is_what_its_name_says(self, tmp_path, name, begins):
        measured = [measurement(100.0), measurement(50.0, "etcd, at its leader", "64 outstanding")]
        plot.check(tmp_path / name)
        plot.draw(tmp_path / name, {"cores": 2}, medians([measured, measured]))
        assert (tmp_path / name).read_bytes().startswith(begins)

    def test_a_name_that_is_no_pictures_is_refused_before_anything_is_measured(self, tmp_path):
        with pytest.raises(WrongUsageError, match=r"end it in \.png or \.svg"):
            plot.check(tmp_path / "picture")
        with pytest.raises(WrongUsageError, match="there is no folder"):
            plot.check(tmp_path / "none" / "a.png")

    def test_without_the_library_it_is_said_how_to_install_it(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(BenchmarkFailedError, match=r'pip install "raftbook\[bench\]"'):
            plot.check(tmp_path / "a.png")

    def test_the_tables_fit_into_a_hundred_columns(self):
        console = Console(width=400, record=True)
        scenarios = cluster.closed_loop_scenarios()
        measured = [measurement(123_456.0, f"at {one.entered_at}", one.kind, (0.234, 1.2345)) for one in scenarios]
        with console.capture() as shown:
            console.print(results({"cores": 2}, medians([measured, [one._replace() for one in measured]])))
        rows = [line for line in shown.get().splitlines() if line.startswith(("┃", "│"))]
        assert rows
        assert max(map(len, rows)) <= 100
        assert sum("512 outstanding" in row for row in rows) == 2 * len(cluster.PLACES)
