"""What a shell offers while a command is typed, asked for as the scripts of `raftbook --install-completion` do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app
from raftbook.engine.types import OrderStatus, OrderType, SelfTradePrevention, TimeInForce, TradingStatus
from tests.cli.command_line import PROJECT_ROOT
from tests.cli.served_node import served_node


def offered(*words, **variables):
    """What bash would offer behind these words; the last of them is the one to be completed."""
    line = " ".join(["raftbook", *words])
    asked = {"_RAFTBOOK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words)), **variables}
    result = CliRunner().invoke(app, [], prog_name="raftbook", env=asked)
    assert result.stderr == ""
    return result.stdout.split()


class TestWords:
    @pytest.mark.parametrize(
        ("words", "all_of_them"),
        [
            (("submit", "--type"), [member.label for member in OrderType]),
            (("submit", "--tif"), [member.label for member in TimeInForce]),
            (("submit", "--self-trade-prevention"), [member.label for member in SelfTradePrevention]),
            (("submit", "--side"), ["buy", "sell"]),
            (("orders", "--status"), [*(member.label for member in OrderStatus), "all"]),
            (("instrument", "status", "ACME"), [member.label for member in TradingStatus]),
            (("instrument", "uncross", "ACME", "--then"), ["trading", "closed"]),
            (("orders", "--output"), ["table", "json"]),
            (("orders", "--consistency"), ["local", "linearizable"]),
        ],
        ids=" ".join,
    )
    def test_of_an_enumeration(self, words, all_of_them):
        assert offered(*words, "") == all_of_them
        assert offered(*words, all_of_them[0][:3])[0] == all_of_them[0]

    def test_of_commands(self):
        assert offered("instr") == ["instruments", "instrument"]
        assert offered("instrument", "") == ["add", "status", "uncross"]


class TestConfigurations:
    def test_shipped_ones_by_name_and_files_by_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.toml").touch()
        (tmp_path / "notes.txt").touch()
        (tmp_path / ".hidden").mkdir()
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "one.toml").touch()
        assert {"local-3", "local-5", "single", "mine.toml", "more/"} <= set(
            found := offered("node", "start", "--config", "")
        )
        assert not {"notes.txt", ".hidden/"} & set(found)
        assert offered("node", "start", "--config", "loc") == ["local-3", "local-5"]
        assert offered("node", "start", "--config", "more/") == ["more/one.toml"]
        assert offered("node", "start", "--config", f"{tmp_path}/m") == [f"{tmp_path}/mine.toml", f"{tmp_path}/more/"]

    def test_ids_of_the_nodes_that_one_has(self):
        assert offered("node", "start", "--config", "local-5", "--id", "") == ["n1", "n2", "n3", "n4", "n5"]
        assert offered("node", "start", "--id", "n") == ["n1", "n2", "n3"]
        assert offered("node", "start", "--config", "no-such-file", "--id", "") == []


class TestSymbols:
    def test_are_those_of_the_node(self):
        with served_node(
            {"op": "add_instrument", "symbol": "OMEGA", "price_decimals": 0, "quantity_decimals": 0}
        ) as url:
            assert offered("book", "", RAFTBOOK_URL=url) == ["ACME", "OMEGA"]
            assert offered("book", "--url", url, "O") == ["OMEGA"]
            assert offered("submit", "--url", url, "--symbol", "AC") == ["ACME"]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1", "banana"])
    def test_are_nothing_at_all_where_nobody_answers(self, url):
        assert offered("book", "", RAFTBOOK_URL=url) == []


class TestScripts:
    @pytest.mark.parametrize(
        ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --c")]
    )
    def test_are_printed_for_each_shell(self, shell, sign):
        result = CliRunner().invoke(app, [], prog_name="raftbook", env={"_RAFTBOOK_COMPLETE": f"source_{shell}"})
        assert result.exit_code == 0
        assert sign in result.stdout
        assert "_RAFTBOOK_COMPLETE" in result.stdout

    def test_one_is_installed_for_the_shell_in_use(self, tmp_path):
        """Bash is asked for completions with the very function that was installed."""
        command = f"{sys.executable} -m cli"
        program = tmp_path / "raftbook"
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
        script = (
            "raftbook --install-completion; . ~/.bashrc; "
            "COMP_WORDS=(raftbook orders --status f) COMP_CWORD=3; "
            "$(complete -p raftbook | sed 's/.*-F //; s/ .*//') raftbook; "
            'echo "offered: ${COMPREPLY[*]}"'
        )
        finished = subprocess.run(
            ["bash", "--norc", "-c", script],
            cwd=PROJECT_ROOT,
            env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert finished.stdout.splitlines()[-1] == "offered: filled"
