"""`raftbook account …` as a user runs it, against a gateway that requires keys."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from contextlib import contextmanager

import msgspec
import pytest
from typer.testing import CliRunner

from cli.main import app
from raftbook.engine.types import Role
from raftbook.errors import BusyError
from raftbook.gateway import make_app
from raftbook.node.config import SecurityConfig
from raftbook.node.config_file import parse_config
from raftbook.security.signing import derive_public_key, format_key, parse_key
from tests.support.api_keys import creation_of, key_of
from tests.support.direct_service import DirectService, make_config
from tests.support.server import free_listener, serve, url_of

OPERATOR = key_of(Role.ADMIN, "operator1")


@contextmanager
def served(service: DirectService, listener):
    """The node in a loop and thread of its own, since the command has one too."""
    started, ended = threading.Event(), threading.Event()

    async def run():
        async with serve(make_app(service), listener):
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def node():
    listener = free_listener()
    address = url_of(listener).removeprefix("http://")
    config = msgspec.structs.replace(make_config(address), security=SecurityConfig(require_keys=True))
    service = DirectService(config)
    asyncio.run(service.submit([creation_of(OPERATOR, "*")], wait_s=1))
    with served(service, listener):
        service.url = url_of(listener)
        yield service


def run(*arguments, node=None, key=OPERATOR, output="json"):
    environment = {} if node is None else {"RAFTBOOK_URL": node.url, "RAFTBOOK_API_KEY": format_key(key)}
    return CliRunner().invoke(app, ["account", *arguments, "--output", output], env=environment)


def told(finished):
    """The JSON of a command that did what it should."""
    assert finished.exit_code == 0, finished.output
    return msgspec.json.decode(finished.stdout)


def test_a_key_is_made_listed_and_revoked(node):
    made = told(run("create", "desk", "--role", "trade", "--accounts", "bob, alice", node=node))
    key = parse_key(made["key"])
    assert (key.role, key.key_id, made["accounts"]) == (Role.TRADE, made["key_id"], ["alice", "bob"])
    assert made["public_key"] == derive_public_key(key.secret)
    record = node.state.exchange.api_keys.records[key.key_id]
    assert (record.name, record.public_key, record.accounts) == ("desk", made["public_key"], ("alice", "bob"))
    assert [listed["key_id"] for listed in told(run("list", node=node))] == [OPERATOR.key_id, key.key_id]
    # Whoever pastes the whole key names it as well.
    assert told(run("revoke", made["key"], node=node))["events"][0]["event"] == "key_revoked"
    table = run("list", node=node, output="table").stdout
    assert "revoked" in table
    assert "alice, bob" in table


def test_the_secret_is_told_once_and_how_to_use_it(node):
    finished = run("create", "reader", "--role", "read", node=node, output="table")
    [secret] = [word.partition("=")[2] for word in finished.stdout.split() if word.startswith("RAFTBOOK_API_KEY=")]
    assert f"raftbook account revoke {parse_key(secret).key_id}" in finished.stdout
    assert secret not in run("list", node=node).stdout


def test_offline_the_table_is_what_a_configuration_takes():
    made = told(run("create", "ops@example.com", "--role", "admin", "--offline"))
    assert tomllib.loads(made["founding_table"])["keys"][0]["public_key"] == made["public_key"]
    cluster = '[cluster]\nname = "t"\n[[nodes]]\nid = "n1"\n'
    addresses = 'peer_address = "127.0.0.1:7101"\napi_address = "127.0.0.1:8101"\n'
    config = parse_config(cluster + addresses + made["founding_table"], file="t.toml", environ={})
    assert config.keys[0].id == made["key_id"]
    assert "[[keys]]" in run("create", "ops", "--role", "admin", "--offline", output="table").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "o ps", "--role", "read"), "name: 'o ps'"),
        (("create", "ops", "--role", "king"), "expected read, trade or admin"),
        (("create", "ops", "--role", "trade"), "name them: --accounts alice,bob"),
        (("create", "ops", "--role", "admin", "--accounts", "alice"), "leave --accounts out"),
        (("revoke", "NO KEY"), "raftbook account list"),
    ],
)
def test_what_makes_no_key_is_wrong_usage(arguments, words):
    finished = run(*arguments)
    assert finished.exit_code == 2
    assert words in finished.stderr


def test_what_the_node_refuses_is_told(node):
    for arguments, words in (
        (("revoke", "nosuch01"), "there is no key nosuch01"),
        (("revoke", OPERATOR.key_id), "create another admin key first"),
    ):
        finished = run(*arguments, node=node)
        assert finished.exit_code == 1
        assert words in finished.stderr
    reader = told(run("create", "reader", "--role", "read", node=node))
    finished = run("create", "more", "--role", "read", node=node, key=parse_key(reader["key"]))
    assert finished.exit_code == 1
    assert "this needs a" in finished.stderr


def test_a_key_whose_first_answer_was_lost_is_created_all_the_same(node, monkeypatch):
    """The client sends the command again, and hears that the key exists: it is this one."""
    submit = node.submit
    lost = []

    async def lose_the_first_answer(commands, *, wait_s):
        reports = await submit(commands, wait_s=wait_s)
        if not lost:
            lost.append(reports)
            raise BusyError("the answer is lost", retry_after_s=0.01)
        return reports

    monkeypatch.setattr(node, "submit", lose_the_first_answer)
    made = told(run("create", "desk", "--role", "read", node=node))
    assert lost
    assert made["key_id"] in node.state.exchange.api_keys.records


# ---------------------------------------------------------------- where a command gets its key from


def listing(node, *arguments, **environment):
    return CliRunner().invoke(app, ["account", "list", *arguments], env={"RAFTBOOK_URL": node.url, **environment})


@pytest.mark.parametrize("content", ["{key}", "{key}\n", "  {key}\r\n"])
def test_a_key_may_be_in_a_file(node, tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content.format(key=format_key(OPERATOR)))
    for finished in (listing(node, "--api-key", f"@{file}"), listing(node, RAFTBOOK_API_KEY=f"@{file}")):
        assert told(finished)[0]["key_id"] == OPERATOR.key_id
        assert finished.stderr == ""


def test_whoever_writes_a_key_on_the_command_line_is_told_who_sees_it(node):
    finished = listing(node, "--api-key", format_key(OPERATOR))
    assert told(finished)[0]["key_id"] == OPERATOR.key_id
    [warning] = finished.stderr.splitlines()
    assert "shows the key to whoever lists this machine's processes" in warning
    assert "RAFTBOOK_API_KEY" in warning
    assert "--api-key @FILE" in warning
    assert format_key(OPERATOR) not in warning
    assert listing(node, RAFTBOOK_API_KEY=format_key(OPERATOR)).stderr == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (no such file"),
        (b"", "holds no key"),
        (b"one two", "holds no key"),
        (b"x" * 2000, "no key"),
    ],
)
def test_a_file_without_a_key_is_wrong_usage(node, tmp_path, content, words):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    finished = listing(node, "--api-key", f"@{file}", COLUMNS="400")
    assert finished.exit_code == 2
    assert words in finished.stderr
