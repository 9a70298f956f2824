"""What holds for every command: help, wrong usage, exit codes, and that it is quick to answer."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import options
from cli.main import app
from raftbook import __version__

PROJECT_ROOT = Path(__file__).resolve().parents[2]

COMMANDS = [
    ("demo",),
    ("node", "start"),
    ("node", "rebuild"),
    ("submit",),
    ("cancel",),
    ("cancel-all",),
    ("replace",),
    ("orders",),
    ("trades",),
    ("book",),
    ("instruments",),
    ("instrument", "add"),
    ("instrument", "status"),
    ("instrument", "uncross"),
    ("cluster", "status"),
    ("verify",),
    ("log", "dump"),
    ("log", "replay"),
    ("log", "status"),
    ("match",),
    ("bench",),
]
TALKING = [command for command in COMMANDS if command[0] not in {"demo", "node", "log", "match", "bench"}]
BUY = ("submit", "--symbol", "ACME", "--side", "buy")
HEAVY_MODULES = ("asyncio", "httpx", "pysyncobj", "rich", "structlog", "uvicorn", "raftbook.client")


def run(*arguments, **options):
    return CliRunner().invoke(app, list(arguments), **options)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_has_help_and_takes_output(self, command):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "-o, --output table|json" in result.stdout

    @pytest.mark.parametrize("command", TALKING, ids=" ".join)
    def test_a_command_that_talks_to_a_node_takes_its_url_and_key(self, command):
        help_text = run(*command, "--help").stdout
        for words in ("--url", "RAFTBOOK_URL", "http://127.0.0.1:8101", "--api-key", "RAFTBOOK_API_KEY"):
            assert words in help_text

    def test_the_version(self):
        result = run("--version")
        assert (result.exit_code, result.stdout) == (0, f"raftbook {__version__}\n")

    def test_help_loads_nothing_heavy(self):
        """What makes `raftbook --help` answer at once; measured in modules, since seconds depend on the machine."""
        program = (
            "import sys; from cli.main import app; app(['--help'], standalone_mode=False); "
            f"print(*(name for name in {HEAVY_MODULES!r} if name in sys.modules), file=sys.stderr)"
        )
        finished = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
        )
        assert finished.stderr == "\n"


class TestWrongUsage:
    """One sentence on standard error that says what is allowed or what to do, nothing on standard output, exit 2."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("sumbit",), ["sumbit", "submit"]),
            (("book",), ["SYMBOL", "raftbook book --help"]),
            (("book", "ACME", "--deep", "3"), ["--deep", "--depth"]),
            (("book", "ACME", "--depth", "0"), ["--depth", "1 or more"]),
            (("book", "ACME", "--output", "xml"), ["table, json"]),
            (("book", "ACME", "--consistency", "strong"), ["local, linearizable"]),
            (("book", "ACME", "--url", "banana"), ["banana", "http://127.0.0.1:8101"]),
            (("submit",), ["--symbol"]),
            (("submit", "--symbol", "ACME", "--side", "long", "--quantity", "1"), ["--side", "buy, sell"]),
            ((*BUY, "--quantity", "1", "--type", "stopp"), ["limit, market, stop, stop_limit"]),
            ((*BUY, "--quantity", "1", "--tif", "today"), ["gtc, ioc, fok, day, gtd"]),
            ((*BUY, "--quantity", "1", "--self-trade-prevention", "x"), ["none, cancel_newest, cancel_oldest, cancel"]),
            ((*BUY, "--quantity", "1", "--stop-price", "0"), ["stop_price", "above zero"]),
            ((*BUY, "--quantity", "1", "--display-quantity", "some"), ["display_quantity", "decimal number"]),
            ((*BUY, "--quantity", "1", "--expire-time", "tomorrow"), ["--expire-time", "2026-11-30T16:00:00Z"]),
            ((*BUY, "--quantity", "1", "--expire-time", "2026-11-30"), ["--expire-time", "time zone"]),
            ((*BUY, "--quantity", "1", "--expire-time", "1969-12-31T23:59:59Z"), ["--expire-time", "1970 to 2262"]),
            ((*BUY, "--quantity", "1", "--expire-time", str(2**63)), ["--expire-time", "1970 to 2262"]),
            ((*BUY, "--quantity", "-1"), ["quantity", "above zero"]),
            ((*BUY, "--quantity", "many"), ["quantity", "decimal number"]),
            ((*BUY, "--quantity", "1", "--price", "1e999"), ["price"]),
            (("submit", "--symbol", "A B", "--side", "buy", "--quantity", "1"), ["symbol"]),
            ((*BUY, "--quantity", "1", "--account", "x" * 37), ["account"]),
            ((*BUY, "--quantity", "1", "--wait", "x"), ["committed, pending"]),
            ((*BUY, "--quantity", "1", "--timeout", "0"), ["--timeout"]),
            (("submit", "--file", "no-such-file"), ["no-such-file", "JSON lines"]),
            (("submit", "--file", "-", "--side", "buy"), ["--file", "--side"]),
            (("submit", "--file", "-", "--type", "limit"), ["--file", "leave out --type"]),
            (("submit", "--file", "-", "--account", "default"), ["--file", "leave out --account"]),
            (("submit", "--file", "-", "--wait", "pending"), ["--file", "leave out --wait"]),
            (("cancel",), ["order_id", "client_order_id"]),
            (("cancel", "--order-id", "7", "--client-order-id", "a1"), ["exactly one"]),
            (("cancel", "--order-id", "seven"), ["--order-id", "whole number"]),
            (("cancel-all",), ["--account"]),
            (
                ("replace", "--client-order-id", "a1"),
                ["--price, --quantity, --stop-price, --display-quantity, --expire"],
            ),
            (("replace", "--client-order-id", "a1", "--display-quantity", "-1"), ["display_quantity", "zero or more"]),
            (("orders", "--status", "done"), ["open, filled, canceled, rejected, expired, untriggered, all"]),
            (("instrument", "add", "ACME"), ["price_decimals"]),
            (("instrument", "add", "ACME,price_decimals=x"), ["price_decimals"]),
            (("instrument", "add", "ACME,price_decimals=2,quantity_decimals=0", "--price-band", "0"), ["price_band"]),
            (
                ("instrument", "add", "ACME,price_decimals=2,quantity_decimals=0,price_band=5", "--price-band", "5"),
                ["SPEC has price_band already", "leave out --price-band"],
            ),
            (
                ("instrument", "add", "ACME,price_decimals=2,quantity_decimals=0", "--max-open-orders", "0"),
                ["--max-open-orders", "1 or more"],
            ),
            (("instrument", "status", "ACME", "shut"), ["trading, halted, closed, auction"]),
            (("instrument", "uncross", "ACME", "--then", "halted"), ["trading, closed"]),
            (("instrument", "uncross"), ["SYMBOL"]),
            (("node", "start", "--id", "n1"), ["--config"]),
            (("demo", "--seconds", "-3"), ["--seconds"]),
            (("match", "--instrument", "ACME,price_decimals=99,quantity_decimals=0"), ["price_decimals", "18"]),
        ],
        ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
    )
    def test_is_told(self, arguments, words):
        result = run(*arguments, input="")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("raftbook: ")
        for word in words:
            assert word in result.stderr


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [
            ("0", 0),
            ("1796054400000000001", 1_796_054_400_000_000_001),
            (str(2**63 - 1), 2**63 - 1),
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-30T16:00:00Z", 1_796_054_400_000_000_000),
            ("2026-11-30T17:00:00+01:00", 1_796_054_400_000_000_000),
            ("2026-11-30 16:00:00.000001Z", 1_796_054_400_000_001_000),
        ],
    )
    def test_are_nanoseconds_or_a_time_with_its_offset(self, text, nanoseconds):
        assert options.moment(text) == nanoseconds

    @pytest.mark.parametrize(
        "text", ["", "-1", "1.5", "now", "2026-11-30T16:00:00", "2026-13-30T16:00:00Z", "2026-11-30T16:00:00.0000001Z"]
    )
    def test_that_are_none_or_not_exact_are_refused(self, text):
        with pytest.raises(typer.BadParameter, match=re.escape(f"'{text}'")):
            options.moment(text)


class TestFailures:
    def test_no_node_answers(self):
        result = run("book", "ACME", "--url", "http://127.0.0.1:1")
        assert result.exit_code == 1
        assert "no node answers at http://127.0.0.1:1" in result.stderr
        assert "raftbook node start" in result.stderr

    def test_the_url_may_come_from_the_environment(self):
        result = run("instruments", env={"RAFTBOOK_URL": "http://127.0.0.1:2"})
        assert result.exit_code == 1
        assert "http://127.0.0.1:2" in result.stderr

    def test_a_node_with_no_configuration(self, tmp_path):
        result = run("node", "start", "--config", str(tmp_path / "none.toml"), "--id", "n1")
        assert result.exit_code == 1
        assert "none.toml" in result.stderr

    def test_a_node_that_the_configuration_does_not_name(self):
        result = run("node", "start", "--config", "local-3", "--id", "n9")
        assert result.exit_code == 1
        assert "n1, n2, n3" in result.stderr

    def test_a_demo_of_a_file_that_is_not_there(self):
        result = run("demo", "--data", "no-such-file.csv.gz")
        assert result.exit_code == 1
        assert "no-such-file.csv.gz" in result.stderr


def test_ctrl_c_ends_quietly():
    process = subprocess.Popen(
        # Whoever starts the tests in the background has SIGINT ignored, and the command would ignore it as well.
        ["env", "--default-signal=INT", sys.executable, "-m", "cli", "match"],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdin.write(b'{"op":"tick"}\n')
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == b""
