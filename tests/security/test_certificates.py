"""What a cluster's certificates say, and which of them OpenSSL lets in where: handshakes between two ends in memory."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from raftbook.errors import CertificateError
from raftbook.security import certificates
from raftbook.security.certificate_files import CertificateFolder
from raftbook.security.certificates import Kind
from raftbook.security.tls import NodeTls, client_context
from tests.support.certificates import expire, files_of, make_certificates

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


# ---------------------------------------------------------------- what they say


def test_a_node_certificate_names_the_node_and_its_hosts():
    authority = certificates.new_authority(now=NOW)
    issued = certificates.new_node_certificate(authority, "n1", ["n1.Example.com", "10.0.0.7", "[::1]"], now=NOW)
    certificate = issued.certificate
    assert certificates.kind_of(certificate) is Kind.NODE
    assert certificates.common_name(certificate) == "n1"
    assert certificates.dns_names(certificate) == ["n1", "n1.example.com"]
    assert certificates.hosts_of(certificate) == ["n1.example.com", "10.0.0.7", "::1"]
    for host in ("n1", "N1", "n1.example.com", "N1.EXAMPLE.COM", "10.0.0.7", "::1", "0:0:0:0:0:0:0:1"):
        assert certificates.names_host(certificate, host), host
    for host in ("n2", "example.com", "x.n1.example.com", "10.0.0.70", "127.0.0.1", "::2"):
        assert not certificates.names_host(certificate, host), host
    assert certificates.serves_as_node(certificate)
    assert certificates.key_fits(certificate, issued.key)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


def test_a_client_certificate_names_no_host_and_cannot_serve():
    authority = certificates.new_authority(now=NOW)
    certificate = certificates.new_client_certificate(authority, "Alice.2", now=NOW).certificate
    assert certificates.kind_of(certificate) is Kind.CLIENT
    assert (certificates.common_name(certificate), certificates.dns_names(certificate)) == ("Alice.2", [])
    assert not certificates.serves_as_node(certificate)
    with pytest.raises(CertificateError, match="is no name for a client"):
        certificates.new_client_certificate(authority, "../alice", now=NOW)


def test_certificates_are_signed_by_their_ca_and_by_no_other():
    authority, other = certificates.new_authority(now=NOW), certificates.new_authority(now=NOW)
    certificate = certificates.new_node_certificate(authority, "n1", [], now=NOW).certificate
    assert certificates.is_signed_by(certificate, [other.certificate, authority.certificate])
    assert not certificates.is_signed_by(certificate, [other.certificate])
    assert not certificates.is_signed_by(certificate, [])
    assert not certificates.key_fits(certificate, authority.key)


def test_a_chain_leads_to_the_ca_link_by_link():
    authority, other = certificates.new_authority(now=NOW), certificates.new_authority(now=NOW)
    leaf = certificates.new_node_certificate(authority, "n1", [], now=NOW).certificate
    assert certificates.leads_to([leaf], [authority.certificate])
    assert certificates.leads_to([leaf, authority.certificate], [authority.certificate])
    assert not certificates.leads_to([leaf, authority.certificate], [other.certificate])
    assert not certificates.leads_to([leaf, other.certificate], [other.certificate])


def test_each_is_valid_for_as_long_as_was_asked_and_a_little_before():
    authority = certificates.new_authority(now=NOW, days=100)
    assert authority.certificate.not_valid_after_utc == NOW + timedelta(days=100)
    certificate = certificates.new_node_certificate(authority, "n1", [], now=NOW, days=7).certificate
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)
    assert certificate.not_valid_before_utc == NOW - timedelta(hours=1), "clocks of other machines may be behind"


@pytest.mark.parametrize("days", [0, -1, 826, 10**9])
def test_no_system_would_take_a_certificate_for_longer(days: int):
    authority = certificates.new_authority(now=NOW)
    with pytest.raises(CertificateError, match="valid for 1 to 825 days"):
        certificates.new_node_certificate(authority, "n1", [], now=NOW, days=days)
    with pytest.raises(CertificateError, match="valid for 1 to 825 days"):
        certificates.new_client_certificate(authority, "alice", now=NOW, days=days)


def test_none_outlives_its_ca():
    authority = certificates.new_authority(now=NOW, days=10)
    with pytest.raises(CertificateError, match=r"the CA ends on 2026-12-02.*certs renew ca"):
        certificates.new_node_certificate(authority, "n1", [], now=NOW, days=11)
    certificates.new_node_certificate(authority, "n1", [], now=NOW, days=10)


@pytest.mark.parametrize(
    "host", ["", "a b", "host:8101", "*.example.com", "-x", "x" * 64, "é.example", "a..b", "1.2.3.4/8"]
)
def test_what_is_no_host_is_refused(host: str):
    with pytest.raises(CertificateError, match="is no host: give a name"):
        certificates.new_node_certificate(certificates.new_authority(now=NOW), "n1", [host], now=NOW)


@pytest.mark.parametrize("node_id", ["", "N1", "n 1", "n" * 33, "../n1", "-n"])
def test_what_is_no_node_is_refused(node_id: str):
    with pytest.raises(CertificateError, match="is no id of a node"):
        certificates.new_node_certificate(certificates.new_authority(now=NOW), node_id, [], now=NOW)


def test_a_renewed_certificate_keeps_key_names_and_use():
    authority = certificates.new_authority(now=NOW)
    for issued in (
        certificates.new_node_certificate(authority, "n1", ["n1.example.com", "10.0.0.7"], now=NOW, days=5),
        certificates.new_client_certificate(authority, "alice", now=NOW, days=5),
    ):
        old = issued.certificate
        renewed = certificates.renewed_certificate(authority, old, now=NOW + timedelta(days=4), days=30)
        assert renewed.not_valid_after_utc == NOW + timedelta(days=34)
        assert certificates.key_fits(renewed, issued.key)
        assert certificates.is_signed_by(renewed, [authority.certificate])
        assert (renewed.subject, certificates.kind_of(renewed)) == (old.subject, certificates.kind_of(old))
        assert certificates.dns_names(renewed) == certificates.dns_names(old)
        assert certificates.hosts_of(renewed) == certificates.hosts_of(old)
        assert renewed.serial_number != old.serial_number


def test_a_node_may_move_to_other_hosts_when_it_is_renewed():
    authority = certificates.new_authority(now=NOW)
    old = certificates.new_node_certificate(authority, "n1", ["10.0.0.7"], now=NOW).certificate
    renewed = certificates.renewed_certificate(authority, old, hosts=["10.0.0.8"], now=NOW)
    assert certificates.hosts_of(renewed) == ["10.0.0.8"]
    assert certificates.dns_names(renewed) == ["n1"]
    client = certificates.new_client_certificate(authority, "alice", now=NOW).certificate
    with pytest.raises(CertificateError, match="hosts are named by a node's certificate"):
        certificates.renewed_certificate(authority, client, hosts=["10.0.0.8"], now=NOW)


def test_what_the_ca_signed_stays_valid_when_it_is_renewed():
    authority = certificates.new_authority(now=NOW, days=10)
    leaf = certificates.new_node_certificate(authority, "n1", [], now=NOW, days=5).certificate
    renewed = certificates.renewed_authority(authority, now=NOW + timedelta(days=9), days=100)
    assert certificates.is_signed_by(leaf, [renewed])
    assert renewed.not_valid_after_utc == NOW + timedelta(days=109)
    assert certificates.kind_of(renewed) is Kind.AUTHORITY
    identifiers = [
        one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        for one in (authority.certificate, renewed)
    ]
    assert identifiers[0] == identifiers[1]


# ---------------------------------------------------------------- who gets in


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`ours` with n1, n2, alice, and `late` expired; `theirs` is another cluster's, of the same names."""
    path = tmp_path_factory.mktemp("certificates")
    ours = make_certificates(path / "ours", ["n1", "n2", "late"], clients=["alice"])
    make_certificates(path / "theirs", ["n1", "n2"], clients=["alice"])
    expire(ours, "late")
    return {"ours": path / "ours", "theirs": path / "theirs"}


def handshake(accepting: ssl.SSLContext, dialling: ssl.SSLContext, server_hostname: str) -> ssl.SSLObject:
    """Runs it to its end in memory, and sends a byte either way; the accepting end's side. ssl.SSLError if it fails."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = accepting.wrap_bio(to_server, to_client, server_side=True)
    client = dialling.wrap_bio(to_client, to_server, server_hostname=server_hostname)
    steps = [client.do_handshake, server.do_handshake, lambda: client.write(b"1"), lambda: server.write(b"2")]
    steps += [lambda: server.read(1), lambda: client.read(1)]
    turns = 0
    while steps:
        turns += 1
        assert turns < 50, "the handshake does not end"
        for step in tuple(steps):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            steps.remove(step)
    return server


def node_tls(path: Path, name: str, *, require_client_certificates: bool = False) -> NodeTls:
    folder = CertificateFolder(path)
    return NodeTls.load(
        files_of(folder, name),
        name,
        hosts=["127.0.0.1"],
        require_client_certificates=require_client_certificates,
        now=datetime.now(UTC),
    )


def client(folder: Path | None, name: str | None = None, *, ca: Path | None = None) -> ssl.SSLContext:
    files = (None, None) if name is None or folder is None else (folder / f"{name}.pem", folder / f"{name}.key")
    trusted = ca or folder
    return client_context(None if trusted is None else trusted / "ca.pem", *files)


def test_peers_take_each_other_by_name_and_speak_tls_1_3(folders):
    n1, n2 = node_tls(folders["ours"], "n1"), node_tls(folders["ours"], "n2")
    server = handshake(n2.accepting_peers, n1.dialling_peers, "n2")
    assert server.version() == "TLSv1.3"
    assert ("DNS", "n1") in server.getpeercert()["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(n1.accepting_peers, n2.dialling_peers, "n2")


def test_no_peer_gets_in_without_a_certificate_of_the_cluster(folders):
    ours, theirs = folders["ours"], folders["theirs"]
    n2 = node_tls(ours, "n2")
    for stranger in (client(ours), client(theirs, "n1", ca=ours), client(ours, "late")):
        with pytest.raises(ssl.SSLError):
            handshake(n2.accepting_peers, stranger, "n2")
    # Of the cluster, but a client's: what lets it in no further is that it names no node (handshake.py).
    server = handshake(n2.accepting_peers, client(ours, "alice"), "n2")
    assert "subjectAltName" not in server.getpeercert()


def test_a_node_dials_no_impostor(folders):
    ours, theirs = folders["ours"], folders["theirs"]
    n1 = node_tls(ours, "n1")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(node_tls(theirs, "n2").accepting_peers, n1.dialling_peers, "n2")
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(ours / "alice.pem", ours / "alice.key")
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        handshake(impostor, n1.dialling_peers, "alice")


def test_peers_speak_nothing_older_than_tls_1_3(folders):
    n1, n2 = node_tls(folders["ours"], "n1"), node_tls(folders["ours"], "n2")
    n1.dialling_peers.minimum_version = ssl.TLSVersion.TLSv1_2
    n1.dialling_peers.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(n2.accepting_peers, n1.dialling_peers, "n2")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "n1"])
def test_clients_reach_a_node_by_its_hosts_with_tls_1_2_or_later(folders, host: str, version: ssl.TLSVersion):
    context = client(folders["ours"])
    context.minimum_version = context.maximum_version = version
    server = handshake(node_tls(folders["ours"], "n1").for_clients, context, host)
    assert server.selected_alpn_protocol() == "http/1.1"
    assert server.getpeercert() is None


def test_clients_take_no_node_of_another_cluster_and_no_other_host(folders):
    n1 = node_tls(folders["ours"], "n1")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(n1.for_clients, client(folders["theirs"]), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get local issuer"):
        handshake(n1.for_clients, client(None), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(n1.for_clients, client(folders["ours"]), "127.0.0.2")


def test_clients_show_certificates_where_they_must(folders):
    ours, theirs = folders["ours"], folders["theirs"]
    n1 = node_tls(ours, "n1", require_client_certificates=True)
    server = handshake(n1.for_clients, client(ours, "alice"), "n1")
    assert server.getpeercert()["subject"] == ((("commonName", "alice"),),)
    for stranger in (client(ours), client(theirs, "alice", ca=ours), client(ours, "late")):
        with pytest.raises(ssl.SSLError):
            handshake(n1.for_clients, stranger, "n1")


def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(tmp_path: Path):
    folder = make_certificates(tmp_path, ["n1"])
    tls = node_tls(tmp_path, "n1")
    before = handshake(tls.accepting_peers, tls.dialling_peers, "n1").getpeercert()["serialNumber"]
    folder.renew("n1", hosts=None, now=datetime.now(UTC), days=50)
    assert handshake(tls.accepting_peers, tls.dialling_peers, "n1").getpeercert()["serialNumber"] == before
    tls.reload(now=datetime.now(UTC))
    assert tls.expires_at.date() == (datetime.now(UTC) + timedelta(days=50)).date()
    assert handshake(tls.accepting_peers, tls.dialling_peers, "n1").getpeercert()["serialNumber"] != before

    expire(folder, "n1")
    with pytest.raises(CertificateError, match="it expired on"):
        tls.reload(now=datetime.now(UTC))
    handshake(tls.accepting_peers, tls.dialling_peers, "n1")
