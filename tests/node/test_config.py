"""A configuration is read whole and right, or refused with one sentence that says where and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftbook.engine.commands import AddInstrument
from raftbook.engine.types import Number
from raftbook.errors import ConfigError
from raftbook.node.config import (
    Address,
    ClusterConfig,
    Durability,
    LimitsConfig,
    RaftConfig,
    parse_address,
)
from raftbook.node.config_file import dumps, load_config
from tests.support.config_texts import MINIMAL, error_of, parse

SHIPPED = {"single": 1, "local-3": 3, "local-5": 5}


@pytest.mark.parametrize(("name", "node_count"), SHIPPED.items())
def test_shipped_configurations_load_by_their_bare_name(name: str, node_count: int):
    config = load_config(name, {})
    assert config.cluster == ClusterConfig(name=name, data_dir="data", durability=Durability.FSYNC)
    assert [(node.id, node.peer.port, node.api.port) for node in config.nodes] == [
        (f"n{number}", 7100 + number, 8100 + number) for number in range(1, node_count + 1)
    ]
    assert [instrument.to_command() for instrument in config.instruments] == [
        AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))
    ]


def test_what_the_file_leaves_out_has_its_documented_default():
    config = parse(MINIMAL)
    assert config.cluster.durability is Durability.FSYNC
    assert config.limits == LimitsConfig()
    assert config.raft == RaftConfig(
        heartbeat_s=0.05, election_timeout_min_s=0.4, election_timeout_max_s=0.8, fallback_timeout_s=1.5
    )
    assert config.instruments == ()


def test_the_defaults_pass_their_own_checks():
    assert parse(dumps(parse(MINIMAL))) == parse(MINIMAL)


def test_a_path_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("local-3", {}).cluster.name == "local-3"
    (tmp_path / "local-3").mkdir()  # A folder of that name is no configuration.
    assert load_config("local-3", {}).cluster.name == "local-3"
    (tmp_path / "local-3").rmdir()
    (tmp_path / "local-3").write_text(MINIMAL)
    assert load_config("local-3", {}).cluster.name == "tiny"
    assert load_config(tmp_path / "local-3", {}).cluster.name == "tiny"


def test_a_name_that_is_neither_file_nor_shipped_lists_the_shipped_ones():
    with pytest.raises(
        ConfigError, match=r"no configuration 'local-4'.*\(local-3, local-5, shard-1, shard-2, single, tls-3\)"
    ):
        load_config("local-4", {})


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(no such file"):
        load_config(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match=r"cannot be read \(is a directory\)"):
        load_config(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'[cluster]\nname = "caf\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8 at byte 21"):
        load_config(tmp_path / "latin.toml", {})
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_config(tmp_path / "huge.toml", {})


def test_node_by_id():
    config = load_config("local-3", {})
    assert config.node("n2").api == Address("127.0.0.1", 8102)
    with pytest.raises(ConfigError, match="cluster local-3 has no node 'n4'; its nodes are n1, n2, n3"):
        config.node("n4")


def test_a_node_keeps_its_files_in_a_folder_of_its_own():
    config = load_config("local-3", {})
    assert config.node_folder("n2") == Path("data/n2")
    assert config.node_folder("n2", "/elsewhere") == Path("/elsewhere/n2")
    with pytest.raises(ConfigError):
        config.node_folder("../n2")


# One row for each thing that can be wrong: what to replace in MINIMAL, by what, and the whole message.
FAULTS = [
    pytest.param(
        '[cluster]\nname = "tiny"',
        "",
        'tiny.toml: [cluster] name: it is missing; write for instance name = "local-3"',
        id="missing key",
    ),
    pytest.param(
        'id = "n1"', "", 'tiny.toml: [[nodes]] no. 1: id: it is missing; write for instance id = "n1"', id="missing id"
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nmax_bodi_bytes = 4096\n[cluster]",
        "tiny.toml: [limits] max_bodi_bytes: there is no such key; do you mean max_body_bytes?",
        id="misspelt key",
    ),
    pytest.param(
        "[cluster]",
        "[raft]\nzzz = 1\n[cluster]",
        "tiny.toml: [raft] zzz: there is no such key; known are heartbeat_s, election_timeout_min_s, "
        "election_timeout_max_s, fallback_timeout_s",
        id="key like no other",
    ),
    pytest.param(
        "[[nodes]]", "[[node]]", "tiny.toml: there is no table 'node'; do you mean nodes?", id="misspelt table"
    ),
    pytest.param(
        "[[nodes]]",
        "[nodes]",
        "tiny.toml: nodes is a list of tables; write [[nodes]] above each one's keys",
        id="table instead of list",
    ),
    pytest.param(
        "[cluster]",
        "[[cluster]]",
        "tiny.toml: cluster is a table that occurs once; write [cluster] above its keys",
        id="list instead of table",
    ),
    pytest.param(
        "[cluster]",
        "[cluster",
        "tiny.toml: not valid TOML: Expected ']' at the end of a table declaration (at line 2, column 9); "
        "correct it there",
        id="broken TOML",
    ),
    pytest.param(
        '"tiny"',
        '"a b"',
        "tiny.toml: [cluster] name: expected 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit, not 'a b'; "
        'write for instance name = "local-3"',
        id="name with a space",
    ),
    pytest.param(
        '"tiny"',
        '"tiny"\ndurability = "fsnyc"',
        'tiny.toml: [cluster] durability: expected "fsync" or "os", not \'fsnyc\'; '
        'write for instance durability = "fsync"',
        id="unknown durability",
    ),
    pytest.param(
        '"tiny"',
        '"tiny"\ndata_dir = ""',
        "tiny.toml: [cluster] data_dir: expected str of length >= 1, not ''; write for instance data_dir = \"data\"",
        id="empty data_dir",
    ),
    pytest.param(
        '"n1"',
        '"../n1"',
        "tiny.toml: [[nodes]] no. 1: id: expected 1 to 32 of a-z 0-9 -, the first a letter or digit, not '../n1'; "
        'write for instance id = "n1"',
        id="id that climbs out of data_dir",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nmax_body_bytes = 9223372036854775808\n[cluster]",
        "tiny.toml: [limits] max_body_bytes: expected int <= 268435456, not 9223372036854775808; "
        "write for instance max_body_bytes = 4194304",
        id="huge number",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nmax_body_bytes = true\n[cluster]",
        "tiny.toml: [limits] max_body_bytes: expected int, not True; write for instance max_body_bytes = 4194304",
        id="wrong type",
    ),
    pytest.param(
        "[cluster]",
        "[raft]\nheartbeat_s = nan\n[cluster]",
        "tiny.toml: [raft] heartbeat_s: expected float >= 0.005, not nan; write for instance heartbeat_s = 0.05",
        id="not a number",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\naccount_max_items = 9\nmax_commands_per_request = 10\n[cluster]",
        "tiny.toml: [limits] max_commands_per_request: 10 is more than account_max_items, 9; "
        "lower it, or raise account_max_items",
        id="a request that no account could ever send",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nmax_held_body_bytes_per_address = 4096\n[cluster]",
        "tiny.toml: [limits] max_body_bytes: 4194304 is more than max_held_body_bytes_per_address, 4096; "
        "lower it, or raise max_held_body_bytes_per_address",
        id="a body that nobody could ever send",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nmax_held_body_bytes = 8_000_000\n[cluster]",
        "tiny.toml: [limits] max_held_body_bytes_per_address: 134217728 is more than max_held_body_bytes, 8000000; "
        "lower it, or raise max_held_body_bytes",
        id="an address that may hold more than all",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nreports_kept = 9_999\n[cluster]",
        "tiny.toml: [limits] max_commands_per_request: 10000 is more than reports_kept, 9999; "
        "lower it, or raise reports_kept",
        id="a request whose first reports are forgotten before its last ones are made",
    ),
    pytest.param(
        "[cluster]",
        "[limits]\nstorage_reserve_bytes = 256\n[cluster]",
        "tiny.toml: [limits] storage_reserve_bytes: expected int >= 1048576, not 256; write for instance "
        "storage_reserve_bytes = 268435456",
        id="a reserve in MiB",
    ),
    pytest.param(
        "[cluster]",
        "[raft]\nheartbeat_s = 0.2\n[cluster]",
        "tiny.toml: [raft] election_timeout_min_s: 0.4 is not more than 3 times heartbeat_s; raise it above 0.6",
        id="elections as fast as heartbeats",
    ),
    pytest.param(
        "[cluster]",
        "[raft]\nelection_timeout_max_s = 0.4\n[cluster]",
        "tiny.toml: [raft] election_timeout_max_s: 0.4 is not more than election_timeout_min_s; raise it above 0.4",
        id="nothing to draw election timeouts from",
    ),
    pytest.param(
        "[cluster]",
        "[raft]\nfallback_timeout_s = 0.5\n[cluster]",
        "tiny.toml: [raft] fallback_timeout_s: 0.5 is not more than election_timeout_max_s; raise it above 0.8",
        id="a leader that gives up first",
    ),
    pytest.param(
        MINIMAL,
        '[cluster]\nname = "tiny"',
        "tiny.toml: it names no node; add a [[nodes]] table with id, peer_address and api_address",
        id="no nodes",
    ),
    pytest.param(
        "127.0.0.1:8101",
        "127.0.0.1",
        "tiny.toml: [[nodes]] no. 1: api_address: '127.0.0.1' is no HOST:PORT with a port of 1 to 65535; "
        'write for instance "127.0.0.1:7101"',
        id="no port",
    ),
    pytest.param(
        "127.0.0.1:8101",
        "localhost:7101",
        "tiny.toml: [[nodes]] no. 1: api_address: localhost:7101 is also the peer_address of node n1; "
        "give each its own port",
        id="one address under two names",
    ),
]


@pytest.mark.parametrize(("written", "instead", "message"), FAULTS)
def test_a_fault_is_one_sentence_with_place_and_cure(written: str, instead: str, message: str):
    assert written in MINIMAL
    assert error_of(MINIMAL.replace(written, instead, 1)) == message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"])
def test_every_loopback_address_is_welcome(host: str):
    assert parse(MINIMAL.replace("127.0.0.1:8101", f"{host}:8101")).node("n1").api == Address(host.strip("[]"), 8101)


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":7101", "host:0", "host:65536", "host:7101x", "host: 7101", "host:-1", "::1:7101",
     "[::1]", "[::1]7101", "[host]:7101", "host:1000000", "[]:7101", "host:\u0667\u0661", "[::1%lo]:7101"],
)  # fmt: skip
def test_what_is_no_address(text: str):
    with pytest.raises(ConfigError, match="is no HOST:PORT with a port of 1 to 65535"):
        parse_address(text)


def two_nodes(**second: str) -> str:
    values = {"id": "n2", "peer_address": "127.0.0.1:7102", "api_address": "127.0.0.1:8102"} | second
    return MINIMAL + "[[nodes]]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())


def test_ids_and_addresses_occur_once():
    assert len(parse(two_nodes()).nodes) == 2
    assert error_of(two_nodes(id="n1")) == "tiny.toml: [[nodes]] no. 2: id: 'n1' is there twice; give each its own id"
    assert "[[nodes]] no. 2: api_address: 127.0.0.1:8101 is also the api_address of node n1" in error_of(
        two_nodes(api_address="127.0.0.1:8101")
    )


def test_more_nodes_than_a_cluster_can_use_are_refused():
    nodes = "".join(
        f'[[nodes]]\nid = "n{n}"\npeer_address = "127.0.0.1:{n + 100}"\napi_address = "127.0.0.1:{n + 200}"\n'
        for n in range(10)
    )
    assert "it names 10 nodes; at most 9" in error_of('[cluster]\nname = "many"\n' + nodes)


def test_variables_win_over_the_file():
    text = MINIMAL + "[limits]\nmax_body_bytes = 4096\n"
    variables = {
        "RAFTBOOK_CLUSTER_NAME": "other",
        "RAFTBOOK_CLUSTER_DURABILITY": "os",
        "RAFTBOOK_LIMITS_MAX_BODY_BYTES": "8192",
        "RAFTBOOK_RAFT_HEARTBEAT_S": "0.1",
    }
    config = parse(text, **variables)
    assert (config.cluster.name, config.cluster.durability) == ("other", Durability.OS)
    assert (config.limits.max_body_bytes, config.raft.heartbeat_s) == (8192, 0.1)
    assert parse(text).limits.max_body_bytes == 4096


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RAFTBOOK_RAFT_HEARTBEAT", "1", "there is no such variable; do you mean RAFTBOOK_RAFT_HEARTBEAT_S?"),
        ("RAFTBOOK_RAFT_HEARTBEAT_S", "soon", "expected float, not 'soon'; set it for instance to 0.05"),
        ("RAFTBOOK_RAFT_HEARTBEAT_S", "nan", "expected float >= 0.005, not 'nan'; set it for instance to 0.05"),
        ("RAFTBOOK_RAFT_FALLBACK_TIMEOUT_S", "0.5", "0.5 is not more than election_timeout_max_s; raise it above 0.8"),
        ("RAFTBOOK_CLUSTER_DURABILITY", "none", 'expected "fsync" or "os", not \'none\'; set it for instance to fsync'),
        ("RAFTBOOK_NODES_ID", "n2", "nodes, instruments and keys are set in the file only; unset it"),
    ],
)
def test_a_fault_in_a_variable_names_the_variable(variable: str, value: str, message: str):
    assert error_of(MINIMAL, **{variable: value}) == f"variable {variable}: {message}"


def test_variables_of_the_clients_and_of_the_tests_are_left_alone():
    others = {"RAFTBOOK_URL": "x", "RAFTBOOK_API_KEY": "x", "RAFTBOOK_TEST_DATA": "x", "RAFTBOOK_LOG_LEVEL": "x"}
    assert parse(MINIMAL, **others) == parse(MINIMAL)
