"""The folder of certificates, the command that keeps it, and what a node says to files that are unfit."""

from __future__ import annotations

import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from cli.main import app
from raftbook.errors import CertificateError, ConfigError
from raftbook.security import certificates
from raftbook.security.certificate_files import CertificateFolder, read_certificates, read_key
from raftbook.security.tls import NodeTls, TlsFiles, client_context
from tests.support.certificates import expire, files_of, make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime.now(UTC)


def run(*arguments: str) -> list[dict]:
    """What `raftbook certs …` printed."""
    result = CliRunner().invoke(app, ["certs", *arguments, "-o", "json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refusal(*arguments: str) -> str:
    """The one sentence with which it refused."""
    result = CliRunner().invoke(app, ["certs", *arguments])
    assert result.exit_code == 1, result.stderr
    assert result.stdout == ""
    (sentence,) = result.stderr.splitlines()
    return sentence


# ---------------------------------------------------------------- the command


def test_from_nothing_to_a_cluster_that_a_node_starts_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (authority,) = run("init")
    assert (authority["file"], authority["kind"], authority["days_left"]) == ("certs/ca.pem", "ca", 3649)
    nodes = run("node", "n1", "n2", "--host", "10.0.0.7", "--host", "exchange.example.com")
    assert [(node["name"], node["kind"], node["hosts"]) for node in nodes] == [
        (name, "node", ["exchange.example.com", "10.0.0.7"]) for name in ("n1", "n2")
    ]
    (client,) = run("client", "alice", "--days", "30")
    assert (client["name"], client["kind"], client["days_left"], client["hosts"]) == ("alice", "client", 29, [])
    shown = run("show")
    assert [(row["name"], row["signed_by_ca"]) for row in shown] == [
        ("raftbook cluster CA", True), ("alice", True), ("n1", True), ("n2", True)
    ]  # fmt: skip
    files = TlsFiles(tmp_path / "certs/ca.pem", tmp_path / "certs/n1.pem", tmp_path / "certs/n1.key")
    tls = NodeTls.load(files, "n1", hosts=["10.0.0.7"], now=datetime.now(UTC))
    assert tls.expires_at.isoformat() == nodes[0]["expires"]
    client_context(tmp_path / "certs/ca.pem", tmp_path / "certs/alice.pem", tmp_path / "certs/alice.key")


def test_without_hosts_a_node_is_reached_on_its_own_machine(tmp_path: Path):
    run("init", "--folder", str(tmp_path))
    (node,) = run("node", "n1", "--folder", str(tmp_path))
    assert node["hosts"] == ["localhost", "127.0.0.1", "::1"]


def test_private_keys_are_their_owners_alone(tmp_path: Path):
    previous = os.umask(0)
    try:
        make_certificates(tmp_path / "certs", ["n1"], clients=["alice"])
    finally:
        os.umask(previous)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "certs").iterdir()}
    assert modes == {
        "ca.key": 0o600, "ca.pem": 0o644, "n1.key": 0o600, "n1.pem": 0o644, "alice.key": 0o600, "alice.pem": 0o644
    }  # fmt: skip


def test_nothing_is_written_over(tmp_path: Path):
    folder = str(tmp_path)
    make_certificates(tmp_path, ["n1"], clients=["alice"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert "ca.key exists, and is not written over; it is the CA of a cluster" in refusal("init", "--folder", folder)
    for name, arguments in (("n1", ("node", "n1")), ("alice", ("client", "alice")), ("ca", ("node", "ca"))):
        sentence = refusal(*arguments, "--folder", folder)
        assert f"{name}.key exists, and is not written over; to renew its certificate run" in sentence
        assert f"`raftbook certs renew {name} --folder {folder}`" in sentence
    (tmp_path / "ca.key").unlink()
    assert "ca.pem exists, and is not written over" in refusal("init", "--folder", folder)
    del before["ca.key"]
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_node_gets_no_certificate_that_names_another(tmp_path: Path):
    make_certificates(tmp_path, ["n1"])
    assert "n1 is the name of another certificate" in refusal("node", "n2", "--host", "n1", "--folder", str(tmp_path))
    run("node", "n2", "--host", "n2", "--folder", str(tmp_path))


def test_neither_does_a_renewal_nor_one_that_is_made_before_the_other(tmp_path: Path):
    folder = ("--folder", str(tmp_path))
    run("init", *folder)
    run("node", "n1", "--host", "n3", *folder)
    run("node", "n2", *folder)
    assert "n1 is the name of another certificate" in refusal("renew", "n2", "--host", "n1", *folder)
    assert "n1.pem names n3" in refusal("node", "n3", *folder)


def test_without_the_ca_there_are_no_certificates(tmp_path: Path):
    for arguments in (("node", "n1"), ("client", "alice"), ("renew", "n1")):
        sentence = refusal(*arguments, "--folder", str(tmp_path))
        assert (
            "ca.pem: cannot be read (no such file or directory); make a CA with `raftbook certs init --folder "
            in sentence
        )
    assert "no certificates in" in refusal("show", "--folder", str(tmp_path))
    make_certificates(tmp_path / "a", [])
    make_certificates(tmp_path / "b", [])
    shutil.copy(tmp_path / "b/ca.key", tmp_path / "a/ca.key")
    assert "put both files of one CA there" in refusal("node", "n1", "--folder", str(tmp_path / "a"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be written (not a directory); give another --folder" in refusal(
        "init", "--folder", str(tmp_path / "file" / "certs")
    )


def test_renewals_keep_the_keys(tmp_path: Path):
    folder = str(tmp_path)
    make_certificates(tmp_path, ["n1"], clients=["alice"])
    keys = {file.name: file.read_bytes() for file in tmp_path.glob("*.key")}
    serials = {row["file"]: row["fingerprint"] for row in run("show", "--folder", folder)}
    renewed = run("renew", "n1", "alice", "ca", "--days", "500", "--folder", folder)
    assert [(row["kind"], row["days_left"]) for row in renewed] == [("node", 499), ("client", 499), ("ca", 499)]
    assert {file.name: file.read_bytes() for file in tmp_path.glob("*.key")} == keys
    shown = run("show", "--folder", folder)
    assert all(row["signed_by_ca"] for row in shown)
    assert all(serials[row["file"]] != row["fingerprint"] for row in shown)
    (moved,) = run("renew", "n1", "--host", "10.0.0.8", "--folder", folder)
    assert moved["hosts"] == ["10.0.0.8"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        f"{name}.{kind}" for name in ("ca", "n1", "alice") for kind in ("key", "pem")
    )


def test_what_another_ca_signed_is_not_renewed(tmp_path: Path):
    make_certificates(tmp_path / "ours", ["n1"])
    make_certificates(tmp_path / "theirs", ["n2"])
    shutil.copy(tmp_path / "theirs/n2.pem", tmp_path / "ours/n2.pem")
    assert "did not make it" in refusal("renew", "n2", "--folder", str(tmp_path / "ours"))
    rows = {row["name"]: row["signed_by_ca"] for row in run("show", "--folder", str(tmp_path / "ours"))}
    assert rows == {"raftbook cluster CA": True, "n1": True, "n2": False}


# ---------------------------------------------------------------- what a node says


def break_by(change: Callable[[CertificateFolder], object], *words: str) -> object:
    return pytest.param(change, words, id=words[0])


def write(name: str, content: bytes) -> Callable[[CertificateFolder], object]:
    return lambda folder: (folder.path / name).write_bytes(content)


def remove(name: str) -> Callable[[CertificateFolder], object]:
    return lambda folder: (folder.path / name).unlink()


def take_from_another_cluster(*names: str) -> Callable[[CertificateFolder], object]:
    def change(folder: CertificateFolder) -> None:
        make_certificates(folder.path / "theirs", ["n1"])
        for name in names:
            shutil.copy(folder.path / "theirs" / name, folder.path / name)

    return change


def encrypt_the_key(folder: CertificateFolder) -> None:
    key = read_key(folder.key_file("n1"), remedy="")
    encryption = serialization.BestAvailableEncryption(b"secret")
    folder.key_file("n1").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


def take_the_place_of_n1(name: str) -> Callable[[CertificateFolder], object]:
    def change(folder: CertificateFolder) -> None:
        shutil.copy(folder.certificate_file(name), folder.certificate_file("n1"))
        shutil.copy(folder.key_file(name), folder.key_file("n1"))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        break_by(remove("ca.pem"), "ca.pem: cannot be read (no such file", "certs init"),
        break_by(remove("n1.pem"), "n1.pem: cannot be read (no such file", "certs node n1"),
        break_by(remove("n1.key"), "n1.key: cannot be read (no such file", "certs node n1"),
        break_by(write("n1.pem", b"hello"), "n1.pem: it is no certificate in PEM form", "certs node n1"),
        break_by(write("ca.pem", b""), "ca.pem: it is no certificate in PEM form", "certs init"),
        break_by(write("n1.key", b"\xff" * 100), "n1.key: it is no private key in PEM form", "certs node n1"),
        break_by(write("n1.pem", b"x" * (2 << 20)), "n1.pem: it is no certificate", "certs node n1"),
        break_by(lambda folder: folder.key_file("n1").chmod(0o604), "every user of this machine can read", "chmod 600"),
        break_by(encrypt_the_key, "n1.key: the key is encrypted", "decrypt it"),
        break_by(take_from_another_cluster("n1.key"), "is not the key of this certificate", "certs node n1"),
        break_by(take_from_another_cluster("n1.key", "n1.pem"), "it is not signed by the CA in", "certs node n1"),
        break_by(take_the_place_of_n1("n2"), "it names n2, localhost, not node n1", "certs node n1"),
        break_by(take_the_place_of_n1("alice"), "it names no node, not node n1", "certs node n1"),
        break_by(lambda folder: expire(folder, "n1"), "n1.pem: it expired on ", "certs renew n1 --folder"),
        break_by(
            lambda folder: folder.renew("n1", hosts=None, now=NOW + timedelta(days=2), days=5),
            "n1.pem: it is not valid before", "set this machine's clock",
        ),
        break_by(
            lambda folder: folder.renew("n1", hosts=["10.0.0.9"], now=NOW, days=5),
            "it does not name 127.0.0.1, where clients reach node n1",
            "certs renew n1 --folder", "--host 10.0.0.9 --host 127.0.0.1",
        ),
    ],
)  # fmt: skip
def test_a_node_with_an_unfit_file_says_which_and_names_the_command(tmp_path: Path, change, words: tuple[str, ...]):
    folder = make_certificates(tmp_path, ["n1", "n2"], clients=["alice"])
    load = lambda: NodeTls.load(files_of(folder, "n1"), "n1", hosts=["127.0.0.1"], now=NOW)  # noqa: E731 (twice)
    load()
    change(folder)
    with pytest.raises(CertificateError) as caught:
        load()
    message = str(caught.value)
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in message
    for part in words:
        assert part in message


def test_an_expired_ca_is_told_with_its_own_command(tmp_path: Path):
    folder = make_certificates(tmp_path, ["n1"])
    folder.renew("ca", hosts=None, now=NOW - timedelta(days=20), days=10)
    with pytest.raises(
        CertificateError, match=r"ca\.pem: it expired on .*; renew it: `raftbook certs renew ca --folder"
    ):
        NodeTls.load(files_of(folder, "n1"), "n1", hosts=[], now=NOW)


def test_two_cas_may_be_trusted_while_one_replaces_the_other(tmp_path: Path):
    ours, next_one = make_certificates(tmp_path / "a", ["n1"]), make_certificates(tmp_path / "b", ["n1"])
    both = tmp_path / "both.pem"
    both.write_bytes(ours.certificate_file("ca").read_bytes() + next_one.certificate_file("ca").read_bytes())
    for folder in (ours, next_one):
        files = TlsFiles(both, folder.certificate_file("n1"), folder.key_file("n1"))
        NodeTls.load(files, "n1", hosts=["localhost"], now=NOW)
    assert len(read_certificates(both, remedy="")) == 2


def test_an_intermediate_ca_may_stand_behind_the_certificate(tmp_path: Path):
    """As organisations with a CA of their own do it; the files of `raftbook certs` have no such link."""
    folder = make_certificates(tmp_path, ["n1"])
    chain = folder.certificate_file("n1").read_bytes() + folder.certificate_file("ca").read_bytes()
    folder.certificate_file("n1").write_bytes(chain)
    NodeTls.load(files_of(folder, "n1"), "n1", hosts=["localhost"], now=NOW)
    assert certificates.common_name(read_certificates(folder.certificate_file("n1"), remedy="")[0]) == "n1"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("absent.pem", None, None), "the CA absent.pem cannot be used (no such file or directory)"),
        (("n1.key", None, None), "the CA n1.key cannot be used"),
        (("ca.pem", "alice.pem", None), "a client certificate and its key go together"),
        (("ca.pem", None, "alice.key"), "a client certificate and its key go together"),
        (("ca.pem", "alice.pem", "n1.key"), "the client certificate alice.pem, with the key n1.key, cannot be used"),
        (("ca.pem", "absent.pem", "n1.key"), "no such file or directory"),
    ],
)
def test_a_client_is_told_which_of_its_files_is_unfit(tmp_path: Path, monkeypatch, files, words: str):
    monkeypatch.chdir(tmp_path)
    make_certificates(tmp_path, ["n1"], clients=["alice"])
    with pytest.raises(CertificateError) as caught:
        client_context(*files)
    assert words in str(caught.value)


def test_an_encrypted_client_key_is_not_asked_a_password_for(tmp_path: Path):
    folder = make_certificates(tmp_path, ["n1"])
    encrypt_the_key(folder)
    with pytest.raises(CertificateError, match="is encrypted"):
        client_context(folder.certificate_file("ca"), folder.certificate_file("n1"), folder.key_file("n1"))
