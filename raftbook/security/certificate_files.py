"""A folder of certificates: ca.pem and ca.key, and NAME.pem and NAME.key of every node and client.

A private key is readable by its owner alone, and never written over: whoever lost one could not get it back. A
certificate is replaced whole or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from raftbook.errors import CertificateError
from raftbook.security import certificates
from raftbook.security.certificates import AUTHORITY_NAME, Issued, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

MAX_FILE_BYTES: Final = 1 << 20
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_OTHERS: Final = 0o007


class Written(NamedTuple):
    """What a command has made: `certificate` lies in `certificate_file`."""

    certificate: x509.Certificate
    certificate_file: Path
    key_file: Path


class CertificateFolder:
    """`path` need not exist before `init`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def certificate_file(self, name: str) -> Path:
        return self.path / f"{name}.pem"

    def key_file(self, name: str) -> Path:
        return self.path / f"{name}.key"

    def init(self, *, now: datetime, days: int) -> Written:
        """Makes the CA. CertificateError where there is one already, or the folder cannot be written."""
        self._check_new(AUTHORITY_NAME, "it is the CA of a cluster: keep it, or give another --folder for another one")
        return self._write_new(AUTHORITY_NAME, certificates.new_authority(now=now, days=days))

    def new_node(self, node_id: str, hosts: Sequence[str], *, now: datetime, days: int) -> Written:
        self._check_new(node_id, self._renewal(node_id))
        self._check_hosts(node_id, hosts)
        return self._write_new(
            node_id, certificates.new_node_certificate(self.authority(), node_id, hosts, now=now, days=days)
        )

    def _check_hosts(self, node_id: str, hosts: Sequence[str]) -> None:
        """No node may pass for another one: a certificate that names a node is taken for that node's."""
        for host in hosts:
            if host != node_id and self.certificate_file(host).exists():
                raise CertificateError(
                    f"{host} is the name of another certificate in {self.path}, so {node_id} could pass for it; "
                    "give only the hosts by which clients reach this node"
                )
        for file in sorted(self.path.glob("*.pem")):
            if file == self.certificate_file(node_id):
                continue
            (other, *_) = read_certificates(file, remedy="move it out of the folder if it is none")
            if node_id in certificates.dns_names(other):
                raise CertificateError(
                    f"{file} names {node_id}, so its owner could pass for it; make that one anew without this host"
                )

    def new_client(self, name: str, *, now: datetime, days: int) -> Written:
        issued = certificates.new_client_certificate(self.authority(), name, now=now, days=days)
        self._check_new(name, self._renewal(name))
        return self._write_new(name, issued)

    def renew(self, name: str, *, hosts: Sequence[str] | None, now: datetime, days: int | None) -> Written:
        """Writes a certificate for the key that is there, valid from now on; the usual time where `days` is None."""
        authority = self.authority()
        if name == AUTHORITY_NAME:
            if hosts is not None:
                raise CertificateError("the CA names no hosts; leave --host out")
            renewed = certificates.renewed_authority(
                authority, now=now, days=certificates.AUTHORITY_DAYS if days is None else days
            )
        else:
            (old, *_) = read_certificates(
                self.certificate_file(name), remedy=f"make it with `raftbook certs node {name} --folder {self.path}`"
            )
            if not certificates.is_signed_by(old, [authority.certificate]):
                raise CertificateError(f"{self.certificate_file(name)}: the CA in {self.path} did not make it")
            self._check_hosts(name, hosts or ())
            renewed = certificates.renewed_certificate(
                authority, old, hosts=hosts, now=now, days=certificates.LEAF_DAYS if days is None else days
            )
        _replace(self.certificate_file(name), _certificate_pem(renewed))
        return Written(renewed, self.certificate_file(name), self.key_file(name))

    def authority(self) -> Issued:
        """The CA with its key."""
        remedy = f"make a CA with `raftbook certs init --folder {self.path}`, or give the folder that holds it"
        (certificate, *_) = read_certificates(self.certificate_file(AUTHORITY_NAME), remedy=remedy)
        key = read_key(self.key_file(AUTHORITY_NAME), remedy=remedy)
        if certificates.kind_of(certificate) is not Kind.AUTHORITY or not certificates.key_fits(certificate, key):
            raise CertificateError(
                f"{self.certificate_file(AUTHORITY_NAME)}: it is no CA, or {self.key_file(AUTHORITY_NAME)} is not its "
                "key; put both files of one CA there"
            )
        return Issued(certificate, key)

    def certificate_files(self) -> list[Path]:
        """The certificates in the folder, the CA first."""
        files = sorted(self.path.glob("*.pem"))
        if not files:
            raise CertificateError(f"no certificates in {self.path}; begin with `raftbook certs init`")
        return sorted(files, key=lambda file: file.stem != AUTHORITY_NAME)

    def _renewal(self, name: str) -> str:
        return (
            f"to renew its certificate run `raftbook certs renew {name} --folder {self.path}`; for a new key move "
            f"{name}.key and {name}.pem away first"
        )

    def _check_new(self, name: str, remedy: str) -> None:
        for file in (self.key_file(name), self.certificate_file(name)):
            if file.exists():
                raise CertificateError(f"{file} exists, and is not written over; {remedy}")

    def _write_new(self, name: str, issued: Issued) -> Written:
        key_pem = issued.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            self.path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            _write(self.key_file(name), key_pem, _KEY_MODE)
        except OSError as error:
            raise _unwritable(self.key_file(name), error) from error
        _replace(self.certificate_file(name), _certificate_pem(issued.certificate))
        return Written(issued.certificate, self.certificate_file(name), self.key_file(name))


def read_certificates(file: Path, *, remedy: str) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one. CertificateError, with `remedy`, where it cannot be read."""
    try:
        return x509.load_pem_x509_certificates(_read(file))
    except OSError as error:
        raise _unreadable(file, error, remedy) from error
    except ValueError as error:
        raise CertificateError(f"{file}: it is no certificate in PEM form; {remedy}") from error


def read_key(file: Path, *, remedy: str) -> CertificateIssuerPrivateKeyTypes:
    """The private key in a PEM file, which others than its owner and group must not be able to read."""
    try:
        if file.stat().st_mode & _OTHERS:
            raise CertificateError(f"{file}: every user of this machine can read this key; run `chmod 600 {file}`")
        raw = _read(file)
    except OSError as error:
        raise _unreadable(file, error, remedy) from error
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except TypeError as error:
        raise CertificateError(f"{file}: the key is encrypted, and a node starts unattended; decrypt it") from error
    except ValueError as error:
        raise CertificateError(f"{file}: it is no private key in PEM form; {remedy}") from error
    return cast("CertificateIssuerPrivateKeyTypes", key)


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    return raw


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(file: Path, content: bytes, mode: int) -> None:
    """A file that was not there before, with that mode from its first moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _write(beside, content, _CERTIFICATE_MODE)
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _unwritable(file, error) from error


def _unreadable(file: Path, error: OSError, remedy: str) -> CertificateError:
    return CertificateError(f"{file}: cannot be read ({(error.strerror or str(error)).lower()}); {remedy}")


def _unwritable(file: Path, error: OSError) -> CertificateError:
    reason = (error.strerror or str(error)).lower()
    return CertificateError(f"{file}: cannot be written ({reason}); give another --folder")
