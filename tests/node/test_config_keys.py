"""[[keys]]: the founding keys of a cluster, which become the first commands of its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.codec import decode_command
from raftbook.engine.commands import AddInstrument, CreateKey
from raftbook.engine.types import Role
from raftbook.errors import ConfigError
from raftbook.node.config_checks import check_founding_admin
from raftbook.node.config_file import dumps, parse_config
from raftbook.node.settings import member_settings

if TYPE_CHECKING:
    from raftbook.node.config import Config

PUBLIC_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
OTHER_PUBLIC_KEY = "21qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
CLUSTER = """
[cluster]
name = "tiny"
[[nodes]]
id = "n1"
peer_address = "127.0.0.1:7101"
api_address = "127.0.0.1:8101"
[[instruments]]
symbol = "ACME"
price_decimals = 2
tick_size = "0.01"
lot_size = "1"
"""


def parse(*tables: str) -> Config:
    return parse_config(CLUSTER + "\n".join(tables), file="tiny.toml", environ={})


def table(**changes: str) -> str:
    """A [[keys]] table; values are TOML, `None` leaves one out."""
    keys = {
        "id": '"operator"',
        "name": '"ops@example.com"',
        "role": '"admin"',
        "accounts": '["*"]',
        "public_key": f'"{PUBLIC_KEY}"',
    } | changes
    return "\n".join(["[[keys]]", *(f"{name} = {value}" for name, value in keys.items() if value is not None)])


TRADE = {"id": '"trader01"', "role": '"trade"', "public_key": f'"{OTHER_PUBLIC_KEY}"'}


def test_founding_keys_follow_the_instruments_in_the_log():
    config = parse(table(accounts=None), table(**TRADE, accounts='["bob", "alice"]'))
    assert [decode_command(raw) for raw in member_settings(config).founding_commands] == [
        *(instrument.to_command() for instrument in config.instruments),
        CreateKey("operator", "ops@example.com", Role.ADMIN, ("*",), PUBLIC_KEY),
        CreateKey("trader01", "ops@example.com", Role.TRADE, ("alice", "bob"), OTHER_PUBLIC_KEY),
    ]
    assert isinstance(decode_command(member_settings(config).founding_commands[0]), AddInstrument)
    assert parse_config(dumps(config), file="again.toml", environ={}) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": '"SHORT"'}, "id: expected 8 to 32 of a-z 0-9, not 'SHORT'"),
        ({"id": None}, "id: it is missing; write for instance id ="),
        ({"name": '"o ps"'}, "name: expected 1 to 64 of A-Z a-z 0-9 . _ : @ -"),
        ({"role": '"king"'}, 'role: expected "read" or "trade" or "admin", not \'king\''),
        ({"public_key": '"short"'}, "public_key: expected the 43 characters that `raftbook account create --offline`"),
        ({"accounts": '"alice"'}, "accounts: expected a list of accounts"),
        ({"accounts": '["al ice"]'}, "accounts: expected a list of accounts"),
        ({"accounts": '["alice"]'}, "accounts: an admin key is for all accounts"),
        ({"role": '"trade"', "accounts": "[]"}, "accounts: a trade key needs at least one account"),
        ({"role": '"read"', "accounts": '["*", "alice"]'}, 'accounts: name each account once, or "*" alone for all'),
        ({"role": '"read"', "accounts": '["a", "a"]'}, "accounts: name each account once"),
        ({"role": '"read"', "accounts": str(list("abcdefghi"))}, "accounts: 9 accounts are more than the 8"),
        ({"secret": '"x"'}, "secret: there is no such key"),
    ],
)
def test_a_key_that_could_not_be_created_is_refused_where_it_stands(changes, message):
    with pytest.raises(ConfigError) as caught:
        parse(table(**changes))
    assert f"tiny.toml: [[keys]] no. 1: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": '"operator"'}, "'operator' is there twice; give each its own id"),
        ({"public_key": f'"{PUBLIC_KEY}"'}, "is there twice; give each its own public_key"),
    ],
)
def test_each_key_is_there_once(changes, message):
    with pytest.raises(ConfigError) as caught:
        parse(table(), table(**TRADE | {"accounts": '["a"]'} | changes))
    assert "[[keys]] no. 2: " in str(caught.value)
    assert message in str(caught.value)


def test_a_node_that_requires_keys_starts_only_where_somebody_may_make_them():
    secured = "[security]\nrequire_keys = true\n"
    check_founding_admin(parse())
    check_founding_admin(parse(secured, table()))
    for tables in ((), (table(**TRADE, accounts='["a"]'),)):
        with pytest.raises(ConfigError, match=r"raftbook account create NAME --role admin --offline"):
            check_founding_admin(parse(secured, *tables))
