"""`raftbook demo`: that it finds what is wrong, and that with real nodes nothing is."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo.ledger import Ledger
from cli.demo.log_check import check_logs
from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import AddInstrument, CancelOrder, NewOrder
from raftbook.engine.types import CLOSED_ORDERS_KEPT, Number, OrderType, Side, TimeInForce
from raftbook.json_format import report_to_json
from raftbook.offline import LogEntry
from raftbook.replication.raft_core import REGULAR_COMMAND
from raftbook.state_machine import StateMachine
from tests.cli.command_line import PROJECT_ROOT, environment

ONE = Number(1, 0)
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), ONE)


def order(client_order_id, side=Side.BUY, time_in_force=TimeInForce.GTC):
    return NewOrder("ACME", "alice", client_order_id, side, OrderType.LIMIT, time_in_force, Number(100, 0), ONE)


class Run:
    """A history in which everything holds: logs of three nodes, their digests, and a client's honest ledger."""

    def __init__(self, commands):
        self.ledger = Ledger()
        self.entries = []
        state = StateMachine()
        for index, command in enumerate([ACME, *commands], start=1):
            self.ledger.submit([command])
            raw = encode_entry(index, [RawRun("n1.1", index, (encode_command(command),))])
            self.entries.append(LogEntry(index, 1, REGULAR_COMMAND + raw))
            (execution,) = state.apply(index, raw)
            report = report_to_json("n1.1", index, execution, state.exchange.instruments)
            self.ledger.answer(command, report, at=float(index))
        self.logs = {node_id: list(self.entries) for node_id in ("n1", "n2", "n3")}
        self.digests = dict.fromkeys(self.logs, state.chain_digest.hex())

    def check(self):
        return check_logs(self.logs, self.digests, len(self.entries), self.ledger)

    def told(self, position, **changes):
        """The client was told something else than the log holds."""
        self.ledger.answers[position] = self.ledger.answers[position]._replace(**changes)


@pytest.fixture
def run():
    """Two orders that trade, a third that is canceled, and a cancel that is refused."""
    return Run([order("a1"), order("a2", Side.SELL), order("a3"), CancelOrder("alice", None, "a3"), order("a3")])


class TestLogCheck:
    def test_finds_nothing_where_everything_holds(self, run):
        check = run.check()
        assert check.problems == ()
        assert (check.orders, check.trades, check.lost, check.duplicated) == (3, 1, 0, 0)

    def test_finds_an_accepted_order_that_no_log_holds(self, run):
        run.ledger.submit([order("a9")])
        run.ledger.answers.append(run.ledger.answers[1]._replace(sequence=99, order=("alice", "a9")))
        check = run.check()
        assert check.lost == 1
        assert "('alice', 'a9')" in " ".join(check.problems)

    def test_finds_an_order_that_was_entered_twice(self):
        """The engine forgets an account's oldest closed orders, so there is a way to do it."""
        others = (order(f"b{number}", time_in_force=TimeInForce.IOC) for number in range(CLOSED_ORDERS_KEPT + 1))
        ioc = order("a1", time_in_force=TimeInForce.IOC)
        check = Run([ioc, *others, ioc]).check()
        assert check.duplicated == 1
        assert "('alice', 'a1')" in " ".join(check.problems)

    @pytest.mark.parametrize(
        "changes",
        [
            {"log_index": 3},
            {"order_id": 7},
            {"filled_quantity": "1"},
            {"is_accepted": False, "order": None},
            {"sequence": 77},
            {"origin": "n2.1"},
        ],
        ids=str,
    )
    def test_finds_an_answer_that_the_log_does_not_bear_out(self, run, changes):
        run.told(1, **changes)
        assert any("answers differ from the log" in problem for problem in run.check().problems)

    def test_finds_a_refused_order_in_the_log(self, run):
        run.told(1, is_accepted=False)
        assert any("refused are in the log" in problem for problem in run.check().problems)

    def test_finds_an_order_that_nobody_submitted(self, run):
        run.ledger.submitted_orders.discard(("alice", "a1"))
        assert any("never submitted" in problem for problem in run.check().problems)

    def test_finds_a_log_that_differs(self, run):
        run.logs["n3"][2] = LogEntry(3, 1, REGULAR_COMMAND + encode_entry(3, []))
        assert any("log of n3 differs" in problem for problem in run.check().problems)

    def test_finds_a_log_that_is_short(self, run):
        for log in run.logs.values():
            del log[-1]
        assert any("ends at index 5" in problem for problem in run.check().problems)

    def test_finds_a_node_whose_digest_is_not_its_log_s(self, run):
        run.digests["n2"] = "00" * 32
        assert any("n2 said digest" in problem for problem in run.check().problems)


def test_the_longest_gap_is_that_around_a_kill():
    ledger = Ledger()
    ledger.growth_times = [0.0, 5.0, 5.1, 6.0, 6.1, 20.0]
    assert ledger.longest_gap_s(start=5.05, end=6.05) == pytest.approx(0.9)
    assert ledger.longest_gap_s(start=30.0, end=31.0) == 0.0


@pytest.fixture
def demo(tmp_path):
    """Starts `raftbook demo ARGUMENTS…` with a folder for temporary files of its own."""

    def start(*arguments):
        return subprocess.Popen(
            # Whoever starts the tests in the background has SIGINT ignored, and the command would ignore it as well.
            ["env", "--default-signal=INT", sys.executable, "-m", "cli", "demo", "--no-browser", *arguments],
            cwd=PROJECT_ROOT,
            env=environment(TMPDIR=str(tmp_path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def children_of(process_id):
    """The process ids of the nodes that a demo runs."""
    return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def runs(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.system
class TestWithRealNodes:
    def test_nothing_is_lost_or_doubled_while_leaders_are_killed(self, demo, tmp_path):
        with demo("--seconds", "6", "--kill-leader-every", "2", "--rate", "1500") as process:
            stdout, stderr = process.communicate(timeout=150)
        assert process.returncode == 0, stderr
        outcome = json.loads(stdout)
        assert outcome["ok"] is True
        assert outcome["failovers"] >= 2
        assert (outcome["lost"], outcome["duplicated"]) == (0, 0)
        assert len(outcome["digests"]) == 3
        assert len(set(outcome["digests"].values())) == 1
        assert outcome["orders"] > 0
        assert outcome["trades"] > 0
        assert 0 < outcome["longest_gap_s"] < outcome["elapsed_s"]
        assert list(tmp_path.iterdir()) == [], "the temporary folder is gone"

    def test_a_recorded_market_is_replayed_to_the_letter(self, demo, tmp_path, order_flow_data):
        head = tmp_path / "AMZN_head.csv"
        with gzip.open(order_flow_data / "AMZN_flow_5.csv.gz", "rt") as file:
            lines = list(itertools.islice(file, 8_001))
        head.write_text("".join(lines))
        with demo("--data", str(head), "--kill-leader-every", "1") as process:
            stdout, stderr = process.communicate(timeout=150)
        assert process.returncode == 0, stderr
        outcome = json.loads(stdout)
        assert outcome["commands"] == 8_000
        assert outcome["refused"] == 0
        assert outcome["trades"] == sum(line.split(",")[1] == "ioc" for line in lines)
        assert outcome["failovers"] >= 2

    @pytest.mark.parametrize(("ending", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_it_and_all_its_nodes(self, demo, tmp_path, ending, exit_code):
        with demo() as process:
            deadline = time.monotonic() + 60
            while "trading" not in (line := process.stderr.readline()):
                assert line, "it ended by itself"
                assert time.monotonic() < deadline
            nodes = children_of(process.pid)
            assert len(nodes) == 3
            process.send_signal(ending)
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == exit_code
        assert stdout == ""
        assert "Traceback" not in stderr
        assert [node for node in nodes if runs(node)] == []
        assert list(tmp_path.iterdir()) == []
