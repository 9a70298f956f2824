"""TLS as nodes and clients speak it: the contexts, and what must be true of the files that they are made of.

    tls = NodeTls.load(config.security.tls_files("n1"), "n1", hosts=["127.0.0.1"], now=datetime.now(UTC))
    tls.for_clients, tls.accepting_peers, tls.dialling_peers        # ssl.SSLContext
    tls.reload(now=…)           # renewed files, for the connections from now on

Peers speak TLS 1.3 and show their certificates to each other; clients speak 1.2 or later. A fault in a file is a
CertificateError that names the file and the command that mends it; OpenSSL would say `key values mismatch`, or nothing
until somebody dials.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from raftbook.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

_HTTP: Final = "http/1.1"


class TlsFiles(NamedTuple):
    """PEM files: the cluster's CA, a certificate (with intermediate ones behind it, if any) and its private key."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


class NodeTls:
    """The contexts of one node; the files are checked whenever they are read."""

    def __init__(self, files: TlsFiles, node_id: str, hosts: Sequence[str], certificate: x509.Certificate) -> None:
        self.files = files
        self._node_id = node_id
        self._hosts = hosts
        self.expires_at = certificate.not_valid_after_utc
        self.for_clients = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.for_clients.set_alpn_protocols([_HTTP])
        self.accepting_peers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.accepting_peers.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would be taken for the certificate that opened it; peers connect too seldom to need one.
        self.accepting_peers.num_tickets = 0
        self.dialling_peers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.for_clients.minimum_version = ssl.TLSVersion.TLSv1_2
        for context in (self.accepting_peers, self.dialling_peers):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        for context in self._contexts:
            context.load_verify_locations(files.ca_file)
            context.load_cert_chain(files.certificate_file, files.key_file)

    @classmethod
    def load(
        cls,
        files: TlsFiles,
        node_id: str,
        *,
        hosts: Sequence[str],
        require_client_certificates: bool = False,
        now: datetime,
    ) -> NodeTls:
        """`hosts` are what the certificate must name besides the node's id. CertificateError for a faulty file."""
        tls = cls(files, node_id, hosts, check_node_files(files, node_id, hosts, now=now))
        if require_client_certificates:
            tls.for_clients.verify_mode = ssl.CERT_REQUIRED
            tls.for_clients.num_tickets = 0
        return tls

    def reload(self, *, now: datetime) -> None:
        """Takes a renewed certificate for the handshakes from now on. CertificateError, and nothing has changed."""
        self.expires_at = check_node_files(self.files, self._node_id, self._hosts, now=now).not_valid_after_utc
        for context in self._contexts:
            context.load_cert_chain(self.files.certificate_file, self.files.key_file)

    @property
    def _contexts(self) -> tuple[ssl.SSLContext, ...]:
        return self.for_clients, self.accepting_peers, self.dialling_peers


def client_context(
    ca_file: Path | str | None, certificate_file: Path | str | None = None, key_file: Path | str | None = None
) -> ssl.SSLContext:
    """For clients: trusts the CA in `ca_file` alone, or the system's where it is None; may show a certificate.

    Raises:
        CertificateError: a file cannot be read, is none of the kind, or the key does not fit the certificate.
    """
    if (certificate_file is None) != (key_file is None):
        raise CertificateError("a client certificate and its key go together; give both files, or neither")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        _raise_unreadable("CA", ca_file, error, "give the ca.pem that `raftbook certs init` made")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([_HTTP])
    if certificate_file is not None and key_file is not None:
        try:
            context.load_cert_chain(certificate_file, key_file, password=_refuse_password)
        except OSError as error:
            _raise_unreadable(
                "client certificate",
                f"{certificate_file}, with the key {key_file},",
                error,
                "give the two files that `raftbook certs client NAME` made",
            )
    return context


def check_node_files(files: TlsFiles, node_id: str, hosts: Sequence[str], *, now: datetime) -> x509.Certificate:
    """The node's certificate. CertificateError where a file is unfit for a node of that id on these hosts."""
    # Not at the top: a node without TLS and every client would load all of cryptography for nothing.
    from raftbook.security import certificates  # noqa: PLC0415 (see above)
    from raftbook.security.certificate_files import read_certificates, read_key  # noqa: PLC0415 (see above)

    authorities = read_certificates(
        files.ca_file,
        remedy="copy the ca.pem of the cluster there, or make a CA with "
        f"`raftbook certs init --folder {files.ca_file.parent}`",
    )
    folder = files.certificate_file.parent
    make = f"`raftbook certs node {node_id} --folder {folder}`"
    renew = f"`raftbook certs renew {node_id} --folder {folder}`"
    chain = read_certificates(files.certificate_file, remedy=f"make it with {make}")
    certificate = chain[0]
    key = read_key(files.key_file, remedy=f"make it, and a certificate, with {make}")

    def fault(what: str, remedy: str) -> NoReturn:
        raise CertificateError(f"{files.certificate_file}: {what}; {remedy}")

    if not certificates.key_fits(certificate, key):
        fault(
            f"the key in {files.key_file} is not the key of this certificate",
            f"put the two files of one another there, or remove both and run {make}",
        )
    names = certificates.dns_names(certificate)
    if node_id not in names:
        fault(
            f"it names {', '.join(names) or 'no node'}, not node {node_id}, so no peer would take it",
            f"give the certificate of {node_id}, made with {make}",
        )
    missing = [host for host in hosts if not certificates.names_host(certificate, host)]
    if missing:
        options = " ".join(f"--host {host}" for host in (*certificates.hosts_of(certificate), *missing))
        fault(
            f"it does not name {missing[0]}, where clients reach node {node_id}",
            f"renew it with `raftbook certs renew {node_id} --folder {folder} {options}`",
        )
    if not certificates.serves_as_node(certificate):
        fault("it is not for a server and a client at once, which a node is", f"make one with {make}")
    if not certificates.leads_to(chain, authorities):
        fault(f"it is not signed by the CA in {files.ca_file}", f"remove it and its key, and run {make}")
    _check_time(files.certificate_file, certificate, renew, now)
    authority = next((one for one in authorities if certificates.is_signed_by(chain[-1], [one])), authorities[0])
    _check_time(files.ca_file, authority, f"`raftbook certs renew ca --folder {files.ca_file.parent}`", now)
    return certificate


def _check_time(file: Path, certificate: x509.Certificate, command: str, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise CertificateError(f"{file}: it expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it: {command}")
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"{file}: it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; set this machine's "
            f"clock, which says {now:%Y-%m-%d %H:%M}"
        )


def _refuse_password() -> str:
    raise CertificateError("the key of the client certificate is encrypted; give one that is not")


def _raise_unreadable(what: str, file: object, error: OSError, remedy: str) -> NoReturn:
    reason = "it is not PEM of that kind, or does not fit" if isinstance(error, ssl.SSLError) else str(error.strerror)
    raise CertificateError(f"the {what} {file} cannot be used ({reason.lower()}); {remedy}") from error
