"""`raftbook log …`: what a user sees of a node's folder, whatever state it is in."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest

from cli.log_view import ENTRY_HEADER, entry_line
from raftbook.engine.commands import Tick
from raftbook.engine.types import Side
from raftbook.json_format import book_to_json
from raftbook.offline import StoredNode
from tests.cli.command_line import PROJECT_ROOT, environment
from tests.offline.written_node import ACME, NO_OP, ORIGIN, START_TIME, STEP_NS, WrittenNode, fingerprint, order


@pytest.fixture(scope="module")
def trading(tmp_path_factory):
    """Entries 1 to 30 of n1, alone in its data_dir, with snapshots at 12 and 22 and a whole log."""
    node = WrittenNode(tmp_path_factory.mktemp("trading") / "data" / "n1", segment_size_bytes=2_000)
    node.append(NO_OP)
    node.enter(ACME)
    node.enter_orders(10)
    node.snapshot()
    node.enter_orders(10)
    node.snapshot()
    node.enter_orders(4)
    node.enter(order("a1"), order("a2", Side.SELL), b"no command")
    node.enter(Tick())
    node.enter()
    node.append(NO_OP)
    yield node
    node.close()


@pytest.fixture
def copied(trading, tmp_path):
    """A folder that a test may damage."""
    return shutil.copytree(trading.folder, tmp_path / "n1")


@pytest.fixture(autouse=True)
def unchanged(trading):
    before = fingerprint(trading.folder)
    yield
    assert fingerprint(trading.folder) == before


def book_at_end(node):
    exchange = node.state.exchange
    bids, asks = exchange.depth("ACME")
    return json.loads(json.dumps(book_to_json("ACME", node.state.index, bids, asks, exchange.instruments["ACME"])))


class TestDump:
    def test_a_json_line_for_each_entry(self, raftbook, trading):
        finished = raftbook("log", "dump", "--data-dir", str(trading.folder))
        assert finished.exit_code == 0
        lines = finished.json_lines
        assert [line["log_index"] for line in lines] == list(range(1, 31))
        assert [line["kind"] for line in lines[-4:]] == ["commands", "tick", "empty", "no_op"]
        assert lines[0] == {"log_index": 1, "term": 1, "kind": "no_op", "size_bytes": 1, "commands": []}
        first, _, malformed = lines[26]["commands"]
        assert (first["origin"], first["origin_sequence"]) == (ORIGIN, 26)
        assert first["command"] == {
            "op": "new",
            "symbol": "ACME",
            "account": "alice",
            "client_order_id": "a1",
            "side": "buy",
            "order_type": "limit",
            "time_in_force": "gtc",
            "price": "100",
            "quantity": "5",
        }
        assert list(malformed["command"]) == ["detail"]
        assert lines[26]["timestamp"] == START_TIME + 27 * STEP_NS

    def test_its_commands_go_through_match(self, raftbook, trading):
        """What was ordered, executed once more by an engine of its own, gives the same book."""
        dumped = raftbook("log", "dump", "--data-dir", str(trading.folder), "--to", "26").json_lines
        commands = [{**one["command"], "timestamp": line["timestamp"]} for line in dumped for one in line["commands"]]
        matched = raftbook("match", "--book", input="".join(json.dumps(command) + "\n" for command in commands))
        replayed = raftbook("log", "replay", "--data-dir", str(trading.folder), "--to", "26", "--book", "ACME").json
        book = matched.json_lines[-1]
        assert (book["bids"], book["asks"]) == (replayed["book"]["bids"], replayed["book"]["asks"])
        assert book["bids"] or book["asks"]

    def test_a_part_of_it(self, raftbook, trading):
        finished = raftbook("log", "dump", "--data-dir", str(trading.folder), "--from", "4", "--to", "6")
        assert [line["log_index"] for line in finished.json_lines] == [4, 5, 6]

    def test_a_line_of_a_table_for_each_entry(self, raftbook, trading):
        finished = raftbook("log", "dump", "--data-dir", str(trading.folder), "-o", "table")
        header, *lines = finished.stdout.splitlines()
        assert header == ENTRY_HEADER
        with StoredNode.open(trading.folder) as node:
            assert lines == [entry_line(entry) for entry in node.entries()]
        assert lines[26].split()[:2] == ["27", "1"]
        assert lines[26].endswith(f"2 new, 1 malformed; {ORIGIN}/26-28")
        assert "2023-11-14 22:13:47.000000" in lines[26]

    def test_says_that_a_log_does_not_know_what_is_committed(self, raftbook, trading):
        finished = raftbook("log", "dump", "--data-dir", str(trading.folder), "--from", "30")
        assert "the log ends with entry 30; a log alone cannot tell whether the entries behind 22" in finished.stderr
        assert "`raftbook cluster status`" in finished.stderr

    @pytest.mark.parametrize(
        ("options", "exit_code", "sentence"),
        [
            (("--from", "31"), 1, "holds entries 1 to 30, not 31 to 30; ask for entries within that"),
            (("--to", "31"), 1, "holds entries 1 to 30, not 1 to 31"),
            (("--from", "9", "--to", "8"), 2, "--from 9 lies behind --to 8"),
            (("--from", "0"), 2, "no whole number of 1 or more"),
            (("--to", "x"), 2, "no whole number of 1 or more"),
        ],
    )
    def test_what_it_does_not_hold(self, raftbook, trading, options, exit_code, sentence):
        finished = raftbook("log", "dump", "--data-dir", str(trading.folder), *options)
        assert (finished.exit_code, finished.stdout) == (exit_code, "")
        assert sentence in finished.stderr

    @pytest.mark.parametrize("limit", [(), ("--to", "30")])
    def test_a_damaged_log_is_shown_up_to_there(self, raftbook, copied, limit):
        path = sorted(copied.glob("log-*"))[1]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        finished = raftbook("log", "dump", "--data-dir", str(copied), *limit)
        indexes = [line["log_index"] for line in finished.json_lines]
        assert indexes == list(range(1, len(indexes) + 1))
        assert 0 < len(indexes) < 30
        assert finished.exit_code == 1
        assert f"{path} is damaged at byte " in finished.stderr
        assert "raftbook node rebuild --config FILE --id n1" in finished.stderr
        beyond = raftbook("log", "dump", "--data-dir", str(copied), "--from", "30")
        assert (beyond.exit_code, beyond.stdout) == (1, "")
        assert "is damaged at byte" in beyond.stderr

    def test_a_reader_that_goes_away_ends_it(self, trading):
        command = [sys.executable, "-m", "cli", "log", "dump", "--data-dir", str(trading.folder)]
        shell = f"{' '.join(command)} | head -n 1"
        finished = subprocess.run(
            ["/bin/bash", "-c", shell], cwd=PROJECT_ROOT, env=environment(), capture_output=True, text=True, check=False
        )
        assert json.loads(finished.stdout)["log_index"] == 1
        assert "Traceback" not in finished.stderr


class TestReplay:
    def test_the_state_at_the_end(self, raftbook, trading):
        finished = raftbook("log", "replay", "--data-dir", str(trading.folder), "--book", "ACME")
        assert finished.exit_code == 0
        state = finished.json
        assert (state["log_index"], state["digest"]) == (30, trading.digests[30])
        assert state["state_digest"] == trading.state_digests[30]
        assert state["timestamp"] == START_TIME + 29 * STEP_NS
        assert (state["cluster"], state["node"], state["replayed_from"]) == ("local-3", "n1", 22)
        assert (state["rebuildable"], state["last_index"], state["known_committed_index"]) == ([[0, 30]], 30, 22)
        exchange = trading.state.exchange
        assert (state["orders"], state["trades"]) == (len(exchange.orders()), exchange.journal.last_trade_id)
        assert state["book"] == book_at_end(trading)
        assert "the log ends with entry 30" in finished.stderr

    @pytest.mark.parametrize("index", [0, 1, 12, 13, 22])
    def test_the_state_at_an_index(self, raftbook, trading, index):
        finished = raftbook("log", "replay", "--data-dir", str(trading.folder), "--to", str(index))
        state = finished.json
        assert (state["log_index"], state["digest"]) == (index, trading.digests[index])
        assert state["state_digest"] == trading.state_digests[index]
        assert "book" not in state
        # A snapshot is of what is committed, and nothing behind it was asked for.
        assert (finished.exit_code, finished.stderr) == (0, "")

    def test_as_a_table_with_the_ladder(self, raftbook, trading):
        options = ("--book", "ACME", "--depth", "1", "-o", "table")
        finished = raftbook("log", "replay", "--data-dir", str(trading.folder.parent), *options)
        assert finished.exit_code == 0
        assert trading.digests[30] in finished.stdout
        assert trading.state_digests[30] in finished.stdout
        assert "ACME at log index 30" in finished.stdout

    def test_the_events_on_the_way(self, raftbook, trading):
        *events, state = raftbook("log", "replay", "--data-dir", str(trading.folder), "--events").json_lines
        assert state["digest"] == trading.digests[30]
        assert events[0]["event"] == "instrument_added"
        trades = [event["trade_id"] for event in events if event["event"] == "trade"]
        assert trades == list(range(1, state["trades"] + 1))
        # There is a snapshot at 12, in which the events of 12 have happened already.
        options = ("--events", "--from", "12", "--to", "20")
        *part, state = raftbook("log", "replay", "--data-dir", str(trading.folder), *options).json_lines
        assert part == [event for event in events if 12 <= event["log_index"] <= 20]
        assert state["digest"] == trading.digests[20]
        table = raftbook("log", "replay", "--data-dir", str(trading.folder), *options, "-o", "table").stdout
        assert "#12 order accepted ACME" in table

    @pytest.mark.parametrize(
        ("options", "exit_code", "sentence"),
        [
            (("--to", "31"), 1, "the state at 31 cannot be rebuilt from"),
            (("--book", "NIX"), 1, "there is no instrument NIX at index 30; it has ACME"),
            (("--to", "1", "--book", "ACME"), 1, "there is no instrument ACME at index 1; it has none"),
            (("--events", "--from", "31"), 1, "there is no entry 31 yet, the log ends with 30"),
            (("--from", "3"), 2, "add --events"),
            (("--events", "--from", "9", "--to", "8"), 2, "--from 9 lies behind --to 8"),
            (("--to", "-1"), 2, "no whole number of 0 or more"),
        ],
    )
    def test_what_it_cannot_do(self, raftbook, trading, options, exit_code, sentence):
        finished = raftbook("log", "replay", "--data-dir", str(trading.folder), *options)
        assert finished.exit_code == exit_code
        assert sentence in finished.stderr
        assert "Traceback" not in finished.stderr

    def test_a_compacted_log_says_which_states_it_has(self, raftbook, tmp_path):
        node = WrittenNode(tmp_path / "n1", segment_size_bytes=1_000)
        node.enter(ACME)
        node.enter_orders(9)
        node.snapshot()
        node.enter_orders(10)
        node.snapshot()
        node.log.compact(20)
        node.enter_orders(5)
        node.close()
        assert raftbook("log", "replay", "--data-dir", str(tmp_path)).json["digest"] == node.digests[25]
        finished = raftbook("log", "replay", "--data-dir", str(tmp_path), "--to", "19")
        assert (finished.exit_code, finished.stdout) == (1, "")
        assert f"the state at 19 cannot be rebuilt from {tmp_path}/n1, only those at 10 and 20 to 25" in finished.stderr
        *events, state = raftbook("log", "replay", "--data-dir", str(tmp_path), "--events").json_lines
        assert {event["log_index"] for event in events} == {21, 22, 23, 24, 25}
        assert state["digest"] == node.digests[25]

    def test_a_damaged_snapshot_is_told_and_not_needed(self, raftbook, copied, trading):
        path = max(copied.glob("snapshot-*"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
        finished = raftbook("log", "replay", "--data-dir", str(copied))
        assert (finished.json["digest"], finished.json["replayed_from"]) == (trading.digests[30], 12)
        assert finished.exit_code == 1
        assert f"{path} is damaged" in finished.stderr

    def test_a_progress_bar_on_a_terminal(self, trading):
        main, terminal = pty.openpty()
        command = [sys.executable, "-m", "cli", "log", "replay", "--data-dir", str(trading.folder), "--to", "21"]
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=terminal,
            stdin=subprocess.DEVNULL,
        )
        os.close(terminal)
        stdout, _ = process.communicate(timeout=60)
        shown = os.read(main, 1 << 16).decode()
        os.close(main)
        assert json.loads(stdout)["digest"] == trading.digests[21]
        assert "replaying" in shown
        assert "9/9" in shown


class TestStatus:
    def test_whose_folder_it_is_and_what_is_in_it(self, raftbook, trading):
        finished = raftbook("log", "status", "--data-dir", str(trading.folder))
        status = finished.json
        assert (status["cluster"], status["node"], status["term"], status["voted_for"]) == ("local-3", "n1", 1, "n1")
        assert (status["first_index"], status["last_index"], status["rebuildable"]) == (1, 30, [[0, 30]])
        files = {path.name: path.stat().st_size for path in trading.folder.iterdir()}
        parts = [*status["segments"], *status["snapshots"]]
        assert {part["name"]: part["size_bytes"] for part in parts}.items() <= files.items()
        assert {part["name"] for part in parts} == {name for name in files if name.startswith(("log-", "snapshot-"))}
        assert (status["damage"], status["problems"], finished.exit_code) == (None, [], 0)

    def test_as_tables(self, raftbook, trading):
        finished = raftbook("log", "status", "--data-dir", str(trading.folder), "-o", "table")
        assert "n1 of cluster local-3" in finished.stdout
        assert "log-0000000000000001" in finished.stdout
        assert "sound" in finished.stdout

    def test_everything_that_is_damaged(self, raftbook, copied):
        for prefix in ("log", "snapshot"):
            path = min(copied.glob(f"{prefix}-*"))
            data = bytearray(path.read_bytes())
            data[-10] ^= 1
            path.write_bytes(bytes(data))
        finished = raftbook("log", "status", "--data-dir", str(copied))
        assert finished.exit_code == 1
        assert len(finished.json["problems"]) == 2
        for problem in finished.json["problems"]:
            assert problem in finished.stderr
        assert finished.json["damage"]["file"] == str(min(copied.glob("log-*")))
        assert "damaged" in raftbook("log", "status", "--data-dir", str(copied), "-o", "table").stdout


@pytest.mark.parametrize("command", ["dump", "replay", "status"])
def test_a_folder_that_is_no_node_s(raftbook, tmp_path, command):
    finished = raftbook("log", command, "--data-dir", str(tmp_path / "nowhere"))
    assert (finished.exit_code, finished.stdout) == (1, "")
    assert f"there is no folder {tmp_path}/nowhere; name a node's own" in finished.stderr
    assert not (tmp_path / "nowhere").exists()


def test_of_several_nodes_one_must_be_named(raftbook, copied):
    shutil.copytree(copied, copied.parent / "n2")
    finished = raftbook("log", "dump", "--data-dir", str(copied.parent))
    assert (finished.exit_code, finished.stdout) == (1, "")
    assert f"several nodes (n1, n2); name one: --data-dir {copied}" in finished.stderr
