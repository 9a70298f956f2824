"""What holds for every command there is: it takes --output, and what it prints as JSON is JSON."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from cli.errors import RaftbookGroup, sentence_of
from cli.main import app
from raftbook.errors import ProblemError, UnreachableError
from tests.cli.served_node import served_node
from tests.client.commands import new
from tests.offline.written_node import ACME, WrittenNode

SPEC = "EXTRA,price_decimals=2,quantity_decimals=0"
ORDER = ("--symbol", "ACME", "--side", "buy", "--quantity", "1", "--price", "1")

AT_A_NODE = {
    "submit": (*ORDER, "--client-order-id", "a1"),
    "submit --dry-run": (*ORDER, "--client-order-id", "a7"),
    "submit --file lines": (),
    "submit --dry-run --file lines": (),
    "replace": ("--client-order-id", "a1", "--quantity", "2"),
    "orders": (),
    "book": ("ACME",),
    "trades": ("ACME",),
    "instruments": (),
    "watch": ("ACME", "--no-follow"),
    "top": ("--interval", "0.01"),
    "verify": (),
    "cluster status": (),
    "account list": (),
    "account create": ("carol", "--role", "trade", "--accounts", "carol"),
    "instrument add": (SPEC,),
    "instrument status": ("EXTRA", "auction"),
    "instrument uncross": ("EXTRA",),
    "cancel": ("--client-order-id", "a1"),
    "cancel-all": ("--account", "default"),
}
"""In this order, at one node."""
ALONE = {
    "match": (),
    "certs init": ("--folder", "certs"),
    "certs node": ("n1", "--folder", "certs"),
    "certs client": ("alice", "--folder", "certs"),
    "certs show": ("--folder", "certs"),
    "certs renew": ("n1", "--folder", "certs"),
    "log dump": ("--data-dir", "n1"),
    "log replay": ("--data-dir", "n1"),
    "log status": ("--data-dir", "n1"),
}
"""In this order, in one folder."""
ELSEWHERE = {
    "simulate": "tests/cli/test_simulate.py, whose runs take a while",
    "demo": "tests/cli/test_demo.py, with nodes of its own",
    "bench": "tests/cli/test_bench.py, with nodes of its own",
    "account revoke": "tests/cli/test_account.py, which knows the id of a key",
    "node start": "it prints nothing: its log, on standard error, is JSON in any case",
    "gateway start": "as well",
    "node rebuild": "tests/system/test_divergence.py, with a node to rebuild",
}
"""Where the JSON of the others is looked at, and why not here."""
LINE = json.dumps(new("f1")) + "\n"


def commands(group=None, path=()):
    """(words, command) of every command that does something."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(
    ("words", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_takes_output(words, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--output", "-o"} <= options


def test_none_is_left_out():
    looked_at = {words.partition(" --")[0] for words in (*AT_A_NODE, *ALONE, *ELSEWHERE)}
    assert looked_at == {words for words, _ in commands()}


def printed_json(words, arguments, **variables):
    result = CliRunner().invoke(app, [*words.split(), *arguments, "--output", "json"], input=LINE, env=variables)
    assert result.exit_code == 0, (words, result.stderr)
    lines = result.stdout.splitlines()
    assert lines, words
    return [json.loads(line) for line in lines]


def test_prints_json_at_a_node(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines").write_text(LINE)
    with served_node() as url:
        for words, arguments in AT_A_NODE.items():
            printed_json(words, arguments, RAFTBOOK_URL=url)


def test_prints_json_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = WrittenNode(tmp_path / "n1")
    node.enter(ACME)
    node.close()
    for words, arguments in ALONE.items():
        printed_json(words, arguments)


# ---------------------------------------------------------------- help


def test_the_help_has_every_command_under_a_heading_with_a_whole_sentence():
    text = CliRunner().invoke(app, ["--help"]).stdout
    for heading in ("Trade:", "Follow the market:", "Operate a cluster:", "Without a cluster:", "See it work:"):
        assert f"\n{heading}\n" in text
    group = typer.main.get_command(app)
    assert isinstance(group, RaftbookGroup)
    assert "\nCommands:\n" not in text, "every command has its heading"
    assert "..." not in text.partition("Trade:")[2]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("sumbit", "submit"), ("clutser", "cluster"), ("cluster statsu", "status"), ("instrument ad", "add")],
)
def test_a_misspelt_command_is_told_the_nearest(typed, meant):
    result = CliRunner().invoke(app, typed.split())
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.stderr


# ---------------------------------------------------------------- what failures say


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            UnreachableError("no node answers at …", {"http://h:1": "refused"}),
            "no node answers at …",
        ),
        (
            UnreachableError("…", {"https://h:1": "it speaks plain HTTP; write http:// instead of https://"}),
            "cannot talk to https://h:1 (it speaks plain HTTP; write http:// instead of https://)",
        ),
        (
            UnreachableError("…", {"http://h:1": "http://h:1 did not answer (it is gone; write https://)"}),
            "cannot talk to http://h:1 (it is gone; write https://)",
        ),
        (
            ProblemError(503, "no_quorum", "there is no leader"),
            "there is no leader; `raftbook cluster status` names the missing ones, and how to start them",
        ),
        (
            ProblemError(404, "unknown_symbol", "no instrument X; GET /v1/instruments lists those there are"),
            "no instrument X; `raftbook instruments` lists those there are",
        ),
    ],
)
def test_a_failure_says_what_helps(error, sentence):
    assert sentence_of(error) == sentence
