"""The table [security]: which files, whose paths, and that nothing listens beyond this machine without TLS and keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftbook.errors import ConfigError
from raftbook.node.config import Config, SecurityConfig
from raftbook.node.config_file import dumps, load_config, parse_config
from raftbook.security.tls import TlsFiles

TLS = '[security]\nca_file = "certs/ca.pem"\ncertificate_file = "certs/{id}.pem"\nkey_file = "certs/{id}.key"\n'
KEYS = "require_keys = true\n"
REMOTE_HOSTS = ["10.0.0.7", "example.com", "[2001:db8::1]", "128.0.0.1", "n1"]


def document(security: str = "", *, host: str = "127.0.0.1", nodes: int = 2) -> str:
    tables = "".join(
        f'[[nodes]]\nid = "n{number}"\npeer_address = "{host}:{7100 + number}"\n'
        f'api_address = "{host}:{8100 + number}"\n'
        for number in range(1, nodes + 1)
    )
    return f'[cluster]\nname = "tiny"\n{tables}{security}'


def parse(text: str, **variables: str) -> Config:
    return parse_config(text, file="tiny.toml", environ=variables, folder=Path("/etc/raftbook"))


def error_of(text: str, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **variables)
    return str(caught.value)


def test_without_the_table_there_is_neither_tls_nor_keys():
    config = parse(document())
    assert config.security == SecurityConfig()
    assert (config.security.has_tls, config.security.require_keys) == (False, False)
    assert config.security.tls_files("n1") is None
    assert config.url("n2") == "http://127.0.0.1:8102"


def test_every_node_has_its_own_files_in_the_folder_of_the_configuration():
    config = parse(document(TLS))
    assert config.security.tls_files("n2") == TlsFiles(
        Path("/etc/raftbook/certs/ca.pem"), Path("/etc/raftbook/certs/n2.pem"), Path("/etc/raftbook/certs/n2.key")
    )
    assert config.url("n2") == "https://127.0.0.1:8102"
    assert parse(dumps(config)) == config


def test_an_absolute_path_stays_and_one_in_a_variable_is_relative_to_where_the_node_starts():
    text = document(TLS.replace('"certs/ca.pem"', '"/run/secrets/ca.pem"'))
    files = parse(text, RAFTBOOK_SECURITY_KEY_FILE="here.key").security.tls_files("n1")
    assert files is not None
    assert (files.ca_file, files.key_file) == (Path("/run/secrets/ca.pem"), Path("here.key"))


def test_a_file_that_is_read_gives_its_folder_and_a_shipped_one_the_working_folder(tmp_path: Path):
    (tmp_path / "cluster.toml").write_text(document(TLS))
    files = load_config(tmp_path / "cluster.toml", {}).security.tls_files("n1")
    assert files is not None
    assert files.key_file == tmp_path / "certs" / "n1.key"
    shipped = load_config("tls-3", {})
    assert shipped.security.tls_files("n3") == TlsFiles(
        Path("certs/ca.pem"), Path("certs/n3.pem"), Path("certs/n3.key")
    )
    assert shipped.security.require_keys


@pytest.mark.parametrize("missing", ["ca_file", "certificate_file", "key_file"])
def test_the_three_files_go_together(missing: str):
    lines = [line for line in TLS.splitlines(keepends=True) if not line.startswith(missing)]
    message = error_of(document("".join(lines)))
    assert message.startswith(f"tiny.toml: [security] {missing}: it is missing, and TLS needs all three files; ")
    assert f'write {missing} = "certs/' in message
    assert "`raftbook certs init`" in message


def test_client_certificates_need_tls():
    message = error_of(document("[security]\nrequire_client_certificates = true\n"))
    assert message.startswith("tiny.toml: [security] ca_file: it is missing, and client certificates are for TLS; ")
    assert parse(document(TLS + "require_client_certificates = true\n")).security.require_client_certificates


@pytest.mark.parametrize("key", ["certificate_file", "key_file"])
def test_two_nodes_do_not_share_a_certificate(key: str):
    line = next(line for line in TLS.splitlines() if line.startswith(key))
    text = TLS.replace(line, line.replace("{id}", "node"))
    assert f"[security] {key}: '/" not in error_of(document(text))
    assert "is the same file for all 2 nodes; write {id} where the id of the node belongs" in error_of(document(text))
    parse(document(text, nodes=1))


@pytest.mark.parametrize("host", REMOTE_HOSTS)
@pytest.mark.parametrize(
    ("security", "lacking"),
    [
        ("", "add ca_file, certificate_file and key_file (made by `raftbook certs init`) and require_keys = true to"),
        (TLS, "add require_keys = true to"),
        ("[security]\n" + KEYS, "add ca_file, certificate_file and key_file (made by `raftbook certs init`) to"),
    ],
)
def test_nothing_listens_beyond_this_machine_without_tls_and_keys(host: str, security: str, lacking: str):
    message = error_of(document(security, host=host))
    assert message.startswith("tiny.toml: [[nodes]] no. 1: peer_address: ")
    assert "is no loopback address; listening beyond this machine needs TLS and keys: " in message
    assert message.endswith(f'{lacking} [security], or write "127.0.0.1:7101"')


@pytest.mark.parametrize("host", REMOTE_HOSTS)
def test_with_tls_and_keys_a_node_may_listen_anywhere(host: str):
    assert parse(document(TLS + KEYS, host=host)).node("n1").api.host == host.strip("[]")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "224.0.0.1", "a b", "-n1", "n1-", "x" * 64, "n1..example", "n\u00e9"]
)
def test_an_address_is_one_that_others_can_dial(host: str):
    message = error_of(document(TLS + KEYS, host=host))
    assert "is no address of one machine, and others dial it" in message or "is no host name; write one" in message


def test_one_host_under_two_spellings_is_one():
    assert "is also the" in error_of(
        document(TLS + KEYS, host="N1.example").replace("N1.example:8101", "n1.EXAMPLE:7101")
    )
