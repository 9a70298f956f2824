"""Where a command goes, said by its own fields."""

from __future__ import annotations

import msgspec
import pytest

from raftbook.errors import ConfigError, InvalidCommandError, ProblemError
from raftbook.json_format import fields_from_json
from raftbook.node.config_file import load_config
from raftbook.sharding.map_file import load_gateway_file, parse_gateway_file
from raftbook.sharding.shard_map import OrderName, Shard, ShardMap

MAP = ShardMap("test", [Shard("north", ("http://n:1",), ("ACME", "AJAX")), Shard("south", ("http://s:1",), ("BETA",))])


@pytest.mark.parametrize(
    ("command", "shards"),
    [
        ({"op": "new", "symbol": "ACME"}, ("north",)),
        ({"op": "new", "symbol": "BETA"}, ("south",)),
        ({"op": "add_instrument", "symbol": "AJAX"}, ("north",)),
        ({"op": "set_status", "symbol": "BETA"}, ("south",)),
        ({"op": "uncross", "symbol": "BETA"}, ("south",)),
        ({"op": "cancel", "order_id": 1, "symbol": "BETA"}, ("south",)),
        ({"op": "replace", "order_id": 1, "shard": "north"}, ("north",)),
        ({"op": "replace", "client_order_id": "a1"}, ()),
        ({"op": "cancel_all", "account": "alice", "symbol": "AJAX"}, ("north",)),
        ({"op": "cancel_all", "account": "alice", "shard": "south"}, ("south",)),
        ({"op": "cancel_all", "account": "alice"}, ("north", "south")),
        ({"op": "tick"}, ("north", "south")),
    ],
)
def test_a_command_goes_to_the_shard_of_its_symbol(command, shards):
    assert MAP.route(command).shards == shards
    in_json = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in command.items()}
    assert MAP.route(in_json).shards == shards


def test_what_a_shard_gets_is_without_the_fields_of_the_gateway():
    assert MAP.route({"op": "cancel", "order_id": 1, "symbol": "BETA"}).document == {"op": "cancel", "order_id": 1}
    assert MAP.route({"op": "replace", "order_id": 1, "shard": "south"}).document == {"op": "replace", "order_id": 1}
    assert MAP.route({"op": "cancel_all", "shard": "south"}).document == {"op": "cancel_all"}
    everything = {"op": "new", "symbol": "ACME", "client_order_id": "a1", "price": "1.50", "wrong": [1]}
    assert MAP.route(everything).document == everything


def test_the_numbers_of_a_command_stay_as_they_were_written():
    document = MAP.route(fields_from_json('{"op":"new","symbol":"ACME","price":1.10000000000000000001}')).document
    assert b"1.10000000000000000001" in msgspec.json.encode(document)


def test_an_order_is_known_by_its_account_and_client_order_id():
    assert MAP.route({"op": "cancel", "client_order_id": "a1"}).order == OrderName("default", "a1")
    assert MAP.route({"op": "new", "symbol": "ACME", "account": "bob", "client_order_id": "a1"}).order == OrderName(
        "bob", "a1"
    )
    assert MAP.route({"op": "new", "symbol": "ACME", "account": None, "client_order_id": None}).order is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({}, "op: must be one of"),
        ({"op": "nonsense"}, "op: must be one of"),
        ({"op": ["new"]}, "op: must be one of"),
        ({"op": "new"}, "symbol: missing"),
        ({"op": "new", "symbol": 7}, "symbol: expected a string"),
        ({"op": "new", "symbol": "A B"}, "symbol: expected a string"),
        ({"op": "cancel", "order_id": 1}, "order ids count in each shard by itself; add `symbol`"),
        ({"op": "cancel", "client_order_id": 7}, "client_order_id: expected a string"),
        ({"op": "cancel", "order_id": 1, "symbol": "ACME", "shard": "south"}, "shard: ACME is in north"),
        ({"op": "cancel", "client_order_id": "a\n"}, "client_order_id: expected a string of 1 to 36 of"),
        ({"op": "replace", "client_order_id": "a", "account": "../b"}, "account: expected a string of 1 to 36 of"),
        ({"op": "new", "symbol": msgspec.Raw(b"1e999")}, "symbol: expected a string"),
        ({"op": "cancel", "client_order_id": msgspec.Raw(b'"\xff"')}, "client_order_id: expected a string"),
        ({"op": msgspec.Raw(b'"\xff"')}, "op: must be one of"),
    ],
)
def test_what_cannot_be_routed_says_what_is_missing(command, reason):
    with pytest.raises(InvalidCommandError, match=reason):
        MAP.route(command)


@pytest.mark.parametrize(
    ("command", "status", "code", "reason"),
    [
        ({"op": "new", "symbol": "ACNE"}, 404, "unknown_symbol", "no shard has ACNE; did you mean ACME"),
        ({"op": "new", "symbol": "Z"}, 404, "unknown_symbol", "a new one needs a place in the gateway's shard map"),
        ({"op": "cancel", "order_id": 1, "shard": "west"}, 404, "unknown_shard", "there are north, south"),
        ({"op": "create_key"}, 403, "not_across_shards", "at a node of the shard"),
    ],
)
def test_what_has_no_shard_is_a_problem(command, status, code, reason):
    with pytest.raises(ProblemError, match=reason) as raised:
        MAP.route(command)
    assert (raised.value.status, raised.value.code) == (status, code)


# --- The file -------------------------------------------------------------------------------------------------------

HEAD = '[gateway]\nname = "g"\n'


def shard(name='"a"', nodes='["http://127.0.0.1:8101"]', symbols='["ACME"]', more=""):
    return f"[[shards]]\nname = {name}\nnodes = {nodes}\nsymbols = {symbols}\n{more}\n"


def test_a_shipped_map_is_found_by_its_name_and_agrees_with_the_shipped_clusters():
    shard_map = load_gateway_file("two-shards").shard_map
    assert shard_map.names == ("shard-1", "shard-2")
    for shard in shard_map.shards:
        config = load_config(shard.name, {})
        assert config.cluster.name == shard.name
        assert shard.nodes == tuple(config.url(node.id) for node in config.nodes)
        assert shard.symbols == tuple(instrument.symbol for instrument in config.instruments)


def test_the_ca_of_a_shard_lies_beside_the_map(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(HEAD + shard(nodes='["https://10.0.0.1:8101/"]', more='ca_file = "certs/ca.pem"'))
    (only,) = load_gateway_file(path).shard_map.shards
    assert only == Shard("a", ("https://10.0.0.1:8101/",), ("ACME",), str(tmp_path / "certs/ca.pem"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"m.toml: \[gateway\] name: it is missing; write for instance name"),
        (HEAD, r"there are no shards; write \[\[shards\]\]"),
        (HEAD + "[shard]", r"there is no table 'shard'; do you mean shards\?"),
        (HEAD + shard(more='node = "x"'), r"no. 1: node: there is no such key; do you mean nodes\?"),
        (HEAD + shard(name='"A:B"'), r"no. 1: name: expected 1 to 24 of a-z 0-9 -"),
        (HEAD + shard(nodes="[]"), r"nodes: expected a list of URLs, one at least"),
        (HEAD + shard(symbols="[]"), r"symbols: expected a list of symbols, one at least"),
        (HEAD + shard(symbols='["A B"]'), r"symbols: expected a list of symbols"),
        (HEAD + shard(nodes='["127.0.0.1:8101"]'), r"'127.0.0.1:8101' is no URL of a node; write for instance http://"),
        (HEAD + shard(nodes='["http://h"]'), r"'http://h' is no URL of a node"),
        (HEAD + shard(nodes='["http://h:99999"]'), r"is no URL of a node"),
        (HEAD + shard(nodes='["http://h:1/path"]'), r"is no URL of a node"),
        (HEAD + shard(more='ca_file = "ca.pem"'), r"http://127.0.0.1:8101 does without TLS"),
        (HEAD + shard() + shard(nodes='["http://h:1"]', symbols='["B"]'), r"no. 2: name: a is the name of another"),
        (HEAD + shard() + shard(name='"b"', nodes='["http://h:1"]'), r"no. 2: symbols: ACME is in shard a too"),
        (HEAD + shard(symbols='["ACME", "ACME"]'), r"symbols: ACME is here twice"),
        (HEAD + shard() + shard(name='"b"', symbols='["B"]'), r"nodes: http://127.0.0.1:8101 is in shard a too"),
    ],
)
def test_a_map_that_cannot_be_meant_says_where_and_what_to_write(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_gateway_file(text, file="m.toml")


def test_a_map_that_is_not_there_lists_the_shipped_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"no shard map 'three-shards'.*\(two-shards\)"):
        load_gateway_file("three-shards")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_gateway_file(tmp_path / "absent.toml")
