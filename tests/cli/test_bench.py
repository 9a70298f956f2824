"""`raftbook bench`: every figure is measured on the real thing, says how, and nothing is left behind."""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.bench import adversarial, catching_up, cluster, doubling, engine, etcd, feed, recovery, run, stock
from cli.bench.attack import Case
from cli.bench.attacks import FLAT, GROWING, one_order_takes_one_level
from cli.bench.http_load import LoadConnection, encode_request
from cli.bench.load import Load, LoadPlan
from cli.bench.machine import cpu_seconds
from cli.bench.measurement import BATCH_COMMANDS, BenchmarkFailedError, Scale, percentile
from cli.bench.stream_load import Reference, Subscriber
from raftbook.gateway.websocket_frames import Encoding
from tests.support.prepared_processes import PreparedCluster

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240
SCALE = Scale(1.0, 0.0, 1, 1_000, 1_000, 1.0, 1_000)
MAX_GAP_S = 2.0
"""Without an answer to anybody while a node leaves in order and comes back."""


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "bench", *arguments, "--data-dir", str(folder)],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bench(folder, *arguments):
    """The measurements, by name, of a run that went well."""
    process = start(folder, *arguments, "--quick", "-o", "json")
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert_nothing_is_left(folder)
    document = json.loads(output)
    assert document["machine"]["fdatasync_p50_ms"] > 0
    found = {measurement["name"]: measurement for measurement in document["measurements"]}
    assert all(measurement["how"] and measurement["figures"] for measurement in found.values())
    for name in found:
        assert name in errors, "progress names each step"
    return found


def processes_of(folder):
    """Ids of the processes whose arguments name something in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in arguments:
                found.append(int(entry.name))
    return found


def assert_nothing_is_left(folder):
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


@pytest.fixture
def untuned_afterwards():
    """The garbage collector of this process, which a benchmark sets as a node's."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class TestEngine:
    def test_speed_and_memory(self, untuned_afterwards):
        announced: list[str] = []
        found = engine.measure_engine(SCALE._replace(seconds=0.05), announced.append)
        names = list(engine.STEPS)
        assert announced == names
        measured = {measurement.name: measurement.figures for measurement in found}
        # The real flow lies beside the project; where it does not, the run says so and goes on.
        missing = [] if engine.find_recorded_flow() else [engine.RECORDED]
        assert list(measured) == [name for name in (names[0], engine.BARE, *names[1:]) if name not in missing]
        memory = measured.pop("memory of a resting order")
        for figures in measured.values():
            assert 0 < figures["commands_per_s"] <= 1.05e6 / figures["cpu_us_per_command"]
        mixed, bare = measured[engine.MIXED], measured[engine.BARE]
        assert 0 < mixed["refused_percent"] < 30
        ratio = bare["cpu_us_per_command"] / mixed["cpu_us_per_command"]
        assert mixed["speed_to_bare_book"] == pytest.approx(ratio, rel=0.02)
        assert measured["sweeps"]["trades_per_command"] == engine.SWEPT_ORDERS
        assert 100 < memory["order_bytes"] < 4096

    def test_real_flow_that_is_not_there_is_left_out_with_a_word(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("RAFTBOOK_TEST_DATA", str(tmp_path))
        assert engine.STEPS[engine.RECORDED](engine.RECORDED, SCALE) == []
        assert "is left out: there is no AMZN_flow_5.csv.gz" in capsys.readouterr().err

    def test_every_attack_has_its_times(self, tmp_path):
        measured = bench(tmp_path, "engine", "--adversarial")
        attacks = (*GROWING, *FLAT)
        assert list(measured) == [case.attack_of_size.__name__.replace("_", " ") for case in attacks]
        for case, measurement in zip(attacks, measured.values(), strict=True):
            figures = measurement["figures"]
            assert figures["size"] == max(100, case.full_size // 100)
            assert 0 < figures["longest_entry_cpu_ms"] <= figures["cpu_ms"] + 0.01
            assert figures["each_cpu_us"] > 0
            assert figures["each_at_half_the_size_cpu_us"] > 0

    def test_an_attack_that_leads_to_something_else_is_not_measured(self, monkeypatch):
        def harmless(size):
            return one_order_takes_one_level(size)._replace(blow=[()])

        monkeypatch.setattr(adversarial, "GROWING", (Case(harmless, 100),))
        with pytest.raises(BenchmarkFailedError, match=r"harmless led to {'trade': 0} where {'trade': 50"):
            adversarial.measure_attacks(SCALE, lambda _name: None)

    def test_a_book_that_doubles(self, tmp_path):
        measured = bench(tmp_path, "engine", "--doubling")
        sizes = [measurement["figures"].pop("orders") for measurement in measured.values()]
        assert sizes == [1_000, 2_000, 4_000] * len(doubling.SHAPES)
        for measurement in measured.values():
            assert all(0 < cost_us < 10_000 for cost_us in measurement["figures"].values())

    def test_what_is_compared_stands_in_one_table(self, tmp_path):
        process = start(tmp_path, "engine", "--doubling", "--quick", "-o", "table")
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, errors
        assert output.count("trade cpu, us") == 1
        assert "4,000 orders each at its price" in output
        assert output.count("the median of 10 entries") == 1


@pytest.mark.system
class TestCluster:
    async def test_orders_through_three_nodes_and_through_what_they_are_compared_with(self, tmp_path, monkeypatch):
        """Each way of entering orders once; the others differ from these in their numbers."""
        monkeypatch.setattr(cluster, "LocalCluster", PreparedCluster)
        chosen = cluster.selected(
            cluster.closed_loop_scenarios(),
            ["512 outstanding at all nodes", "batches of 100 at the leader", "over HTTP at the leader"],
        )
        chosen += cluster.open_loop_scenarios([200])[1:2]
        of_stock = [one for one in stock.scenarios({"512 outstanding"}) if one.sending is stock.EVERY_5_MS]
        plan = run.Plan("cluster", SCALE._replace(seconds=0.5), chosen, of_stock, (), feed.FeedScale(1, 1, None))
        announced: list[str] = []
        measured = await run.measure_clusters(plan, tmp_path, announced.append)
        assert processes_of(tmp_path) == []
        assert len(announced) == plan.count_steps()
        assert [one.name for one in measured] == announced == [one.name for one in (*chosen, *of_stock)]
        for scenario, measurement in zip((*chosen, *of_stock), measured, strict=True):
            figures = measurement.figures
            assert figures["orders_per_s"] > 0
            assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p99_9_ms"]
            assert figures["leader_cpu_us_per_order"] > 0
            # Little's law: what is under way at a time is the rate times the time each takes.
            under_way = scenario.outstanding or scenario.connections
            if getattr(scenario, "rate", None) is None:
                requests_per_s = figures["orders_per_s"] / getattr(scenario, "batch_commands", 1)
                assert figures["p50_ms"] / 1e3 * requests_per_s < 2 * under_way
        for measurement in measured[: len(chosen)]:
            figures = measurement.figures
            assert figures["leader_cpu"] > 0
            assert figures["follower_cpu"] > 0
            assert figures["load_generator_cpu"] < 0.5, "the load generator must not be what is measured"
            assert 20 < figures["log_bytes_per_order"] < 400
            assert figures["fsyncs_per_s"] > 0
            assert figures["orders_per_entry"] >= 1
            assert figures["not_taken_percent"] == 0

    @pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed: apt-get install etcd-server")
    async def test_puts_to_etcd(self, tmp_path):
        chosen = etcd.scenarios({"512 outstanding"})
        [measured] = await etcd.measure_etcd(chosen, SCALE._replace(seconds=0.5), tmp_path / "etcd", lambda _name: None)
        assert processes_of(tmp_path) == []
        figures = measured.figures
        assert figures["p50_ms"] / 1e3 * figures["orders_per_s"] < 2 * 512, "Little's law"
        assert figures["leader_cpu_us_per_order"] > figures["follower_cpu_us_per_order"] > 0
        assert figures["load_generator_cpu"] < 0.5, "the load generator must not be what is measured"

    def test_a_run_that_is_ended_ends_its_nodes(self, tmp_path):
        process = start(tmp_path, "cluster", "--seconds", "60")
        deadline = time.monotonic() + 60
        while len(processes_of(tmp_path)) < 4:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert_nothing_is_left(tmp_path)


@pytest.mark.system
class TestRecovery:
    async def test_failovers_restarts_replay_and_snapshots(self, tmp_path, monkeypatch, untuned_afterwards):
        for module in (recovery, catching_up):
            monkeypatch.setattr(module, "LocalCluster", PreparedCluster)
        announced: list[str] = []
        scale = SCALE._replace(seconds=0.5, backlog=3_000)
        found = await recovery.measure_recovery(scale, tmp_path, announced.append)
        assert set(announced) == set(recovery.STEPS)
        assert processes_of(tmp_path) == []
        measured = {measurement.name: measurement.figures for measurement in found}
        assert list(measured) == list(recovery.STEPS)
        for name in (recovery.LEADER_KILLED, recovery.LEADER_HANGS, recovery.KILLED_UNDER_LOAD):
            assert 0 < measured[name]["p50_ms"] <= measured[name]["max_ms"]
            assert measured[name]["repetitions"] == 1
        assert measured[recovery.KILLED_UNDER_LOAD]["commands_failed"] == 0
        assert measured[recovery.KILLED_UNDER_LOAD]["commands_answered"] >= 500

        rolling = measured[recovery.ROLLING_RESTART]
        assert rolling["restarts"] == 3
        assert rolling["commands_answered"] >= 500
        assert rolling["commands_failed"] == 0
        # A client is in doubt where it has no answer in time, which a busy machine brings about by itself: how many are
        # is measured. That none was lost or doubled is checked against the logs, where the run would fail.
        assert rolling["commands_in_doubt"] < rolling["commands_answered"] / 10
        assert 0 < rolling["longest_gap_between_answers_ms"] < 1e3 * MAX_GAP_S

        for name in (recovery.BEHIND_BY_LOG, recovery.BEHIND_BY_SNAPSHOT):
            assert measured[name]["commands_behind"] == scale.backlog
            assert measured[name]["caught_up_s"] > 0
            assert measured[name]["others_orders_per_s_meanwhile"] > 0
        assert measured[recovery.BEHIND_BY_SNAPSHOT]["connections_lost"] == 0
        replay = measured[recovery.REPLAY]
        assert replay["commands"] >= scale.backlog - len(recovery.STEPS) * BATCH_COMMANDS
        assert replay["entries"] > 0
        assert measured[recovery.RESTART]["ready_ms"] > 0

        snapshot = measured[recovery.SNAPSHOT]
        assert snapshot["size_bytes"] > 30 * scale.backlog
        assert snapshot["child_took_s"] > 0
        assert snapshot["fork_cpu_ms"] > 0
        for figure in ("leader_longest_stall_ms", "follower_longest_stall_ms"):
            assert 0 < snapshot[figure] < 1e3 * MAX_GAP_S
        restore = measured[recovery.RESTORE]
        assert restore["orders"] == scale.backlog
        assert restore["restore_ms"] > 0
        assert restore["restore_cpu_s"] > 0
        assert restore["peak_memory_mb"] > 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["engine", "--against", "stock"], "use it with cluster or all"),
        (["cluster", "--doubling"], "use it with engine"),
        (["--adversarial"], "use it with engine"),
        (["engine", "--seconds", "0"], "no number of seconds above zero"),
        (["recovery", "--backlog", "10"], "1000"),
        (["moon"], "none of engine, cluster, recovery, feed, shards, all"),
        (["cluster", "--against", "moon"], "none of stock, etcd"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(tmp_path, arguments, words):
    process = start(tmp_path, *arguments)
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert output == ""
    assert words in errors


def test_the_stock_node_imports_neither_raftbook_nor_cli():
    # raft_core changes PySyncObj for all of a process; what runs beside it is no longer stock.
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-P", "-c", code, str(stock.SCRIPT)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout.split()
    assert "pysyncobj" in loaded
    assert [name for name in loaded if name.split(".")[0] in ("raftbook", "cli")] == []
    assert ast.parse(stock.SCRIPT.read_text())


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values, share):
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9 * len(values)
    assert all(sum(value <= lower for value in values) < share * len(values) for lower in values if lower < found)


def test_no_percentile_of_nothing():
    with pytest.raises(BenchmarkFailedError, match="more --seconds"):
        percentile([], 0.5)


def test_the_processor_time_of_a_process_is_what_it_says_of_itself():
    before, own_before = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own_before < 0.2:
        pass
    assert cpu_seconds(os.getpid()) - before == pytest.approx(0.2, abs=0.1)


class TestLoadGenerator:
    """Against a server of a few lines, which answers what the test tells it to."""

    @staticmethod
    async def serve(answer):
        async def handle(reader, writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0
                )
                writer.write(answer(head, await reader.readexactly(length)))
                await writer.drain()

        async def handle_until_closed(reader, writer):
            try:
                await handle(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle_until_closed, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        return server, f"{host}:{port}"

    @staticmethod
    def plan(address, **changed):
        values = {
            "addresses": (address,),
            "connections": 2,
            "batch_commands": 100,
            "seconds": 0.3,
            "warm_up_s": 0.01,
            "run": 0,
            "round_commands": 20_000,
        }
        return LoadPlan(**{**values, **changed})

    @staticmethod
    def response(body, status=200):
        return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)

    async def test_every_command_is_sent_once_and_every_answer_counted(self):
        batches = []

        def answer(head, body):
            assert head.startswith(b"POST /v1/commands ")
            commands = json.loads(body)
            batches.append(commands)
            reports = [{"status": "rejected" if number < 7 else "accepted"} for number in range(len(commands))]
            return self.response(json.dumps(reports, separators=(",", ":")).encode())

        server, address = await self.serve(answer)
        async with server:
            result = await Load(self.plan(address)).run()
        names = [command["client_order_id"] for batch in batches for command in batch if command["op"] == "new"]
        assert len(set(names)) == len(names)
        assert all(len(batch) == 100 for batch in batches)
        assert 0 < result.commands <= 100 * len(batches)
        assert result.refused == 7 * result.commands // 100
        assert len(result.request_times_s) == result.commands // 100

    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (429, b'{"code":"busy"}', 'answered 429: {"code":"busy"}'),
            (200, b'[{"status":"pending"}]', "answered pending"),
        ],
    )
    async def test_an_answer_that_is_none_ends_the_measurement(self, status, body, words):
        server, address = await self.serve(lambda _head, _body: self.response(body, status))
        async with server:
            with pytest.raises(BenchmarkFailedError, match="answered") as failure:
                await Load(self.plan(address)).run()
        assert words in str(failure.value)

    async def test_a_lost_connection_ends_the_measurement(self):
        server, address = await self.serve(lambda _head, _body: b"")
        async with server:
            loop = asyncio.get_running_loop()
            requests = iter([encode_request("GET", "/", address)])
            host, port = address.split(":")
            transport, connection = await loop.create_connection(
                lambda: LoadConnection(requests, lambda *_: None), host, int(port)
            )
            connection.send_next()
            transport.abort()
            with pytest.raises(BenchmarkFailedError, match="closed the connection"):
                await connection.done

    async def test_one_at_a_time_uses_what_a_client_would_use(self):
        seen = set()

        def answer(head, body):
            method, path, _ = head.decode().split(" ", 2)
            seen.add((method, "/".join(path.split("/")[:4])))
            assert (method == "DELETE") == (body == b"")
            return self.response(b"{}", 409 if method == "DELETE" else 200)

        server, address = await self.serve(answer)
        async with server:
            result = await Load(self.plan(address, batch_commands=1, connections=1)).run()
        by_client_id = "/v1/orders/by-client-id"
        assert seen == {("POST", "/v1/orders"), ("DELETE", by_client_id), ("PATCH", by_client_id)}
        assert 0 < result.refused < result.commands


class TestFeed:
    def test_what_subscribers_get_while_orders_come_in(self, tmp_path):
        measured = bench(tmp_path, "feed", "--interval-ms", "0")
        [figures] = [measurement["figures"] for measurement in measured.values()]
        assert figures["subscribers"] == figures["subscribers_without_a_gap"] == feed.QUICK_SUBSCRIBERS
        assert figures["updates_to_each"] > figures["orders_per_s"] > 0
        assert 0 <= figures["commit_to_delivery_p50_ms"] <= figures["commit_to_delivery_p99_9_ms"]
        assert figures["subscribers_dropped"] == figures["orders_refused"] == 0

    def test_options_of_the_feed_go_with_the_feed(self, tmp_path):
        process = start(tmp_path, "engine", "--subscribers", "5")
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 2
        assert "use it with feed or all" in errors

    def update(self, sequence: int, first_sequence: int | None = None) -> bytes:
        merged = {} if first_sequence is None else {"first_sequence": first_sequence}
        message = {"channel": "book", "type": "update", "symbol": "ACME", **merged, "sequence": sequence}
        return Encoding.JSON.frame({**message, "log_index": sequence, "timestamp": 1})

    def subscribers(self, count: int) -> list[Subscriber]:
        reference = Reference()
        snapshot = Encoding.JSON.frame({"channel": "book", "type": "snapshot", "symbol": "ACME", "sequence": 1})
        found = [Subscriber(reference, makes_reference=n == 0, keeps_arrivals=False) for n in range(count)]
        for subscriber in found:
            subscriber._received(snapshot)
        return found

    def test_a_gap_in_what_the_first_subscriber_gets_is_found(self):
        [subscriber] = self.subscribers(1)
        subscriber._received(self.update(2) + self.update(5, first_sequence=3))
        with pytest.raises(BenchmarkFailedError, match="a gap: update 7 follows 5"):
            subscriber._received(self.update(7))

    def test_a_subscriber_that_gets_something_else_than_the_first_is_found(self):
        first, second, third = self.subscribers(3)
        for update in (self.update(2), self.update(3)):
            first._received(update)
        with pytest.raises(BenchmarkFailedError, match="other"):
            second._received(self.update(3))
        third._received(self.update(2)[:5])
        with pytest.raises(BenchmarkFailedError, match="other"):
            third._received(self.update(3)[5:])

    def test_a_subscriber_may_be_ahead_of_the_first_and_is_pinged_like_everyone(self):
        first, second = self.subscribers(2)
        pongs: list[bytes] = []
        second.socket = SimpleNamespace(transport=SimpleNamespace(write=pongs.append))
        stream = self.update(2) + b"\x89\x04ping" + self.update(3)
        for at in range(len(stream)):
            second._received(stream[at : at + 1])
        assert second.position == 0
        first._received(self.update(2) + self.update(3))
        second.catch_up()
        assert second.position == first.position
        assert pongs == [b"\x8a\x84\x00\x00\x00\x00ping"]
