"""X.509 certificates of a cluster: its own authority (CA), one certificate for each node, and some for clients.

A node's certificate names the node's id, by which its peers know it, and the hosts by which clients reach it, as
alternative names (RFC 6125 §6.4); it serves as server and as client. A client's names no host and serves as client
alone, so that it can never answer in a node's place. Keys are ECDSA on P-256, which OpenSSL, browsers and curl take.

Pure, but for the randomness of keys and serial numbers: time is handed in, files are certificate_files.py's affair.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftbook.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

AUTHORITY_NAME: Final = "ca"
AUTHORITY_DAYS: Final = 3650
LEAF_DAYS: Final = 397
MAX_AUTHORITY_DAYS: Final = 7300
MAX_LEAF_DAYS: Final = 825
"""Systems of Apple take no server's certificate that is valid for longer (support.apple.com/en-us/103769)."""

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
NODE_ID_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
HOST_NAME_PATTERN: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
    re.ASCII,
)

_CLOCK_SKEW: Final = timedelta(hours=1)
"""A certificate is valid a little before it was made, for machines whose clocks are behind."""


class Kind(StrEnum):
    """What a certificate is for."""

    AUTHORITY = "ca"
    NODE = "node"
    CLIENT = "client"


class Issued(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes


# What is made.


def new_authority(*, now: datetime, days: int = AUTHORITY_DAYS) -> Issued:
    """A new CA for one cluster, with a key of its own."""
    key = _new_key()
    return Issued(_authority_certificate(key, _subject("raftbook cluster CA"), now=now, days=days), key)


def renewed_authority(authority: Issued, *, now: datetime, days: int = AUTHORITY_DAYS) -> x509.Certificate:
    """The same CA for longer: its name and key stay, so what it signed stays valid."""
    return _authority_certificate(authority.key, authority.certificate.subject, now=now, days=days)


def new_node_certificate(
    authority: Issued, node_id: str, hosts: Iterable[str], *, now: datetime, days: int = LEAF_DAYS
) -> Issued:
    """For the node of that id. `hosts` are names and IP addresses. CertificateError where one is neither."""
    key = _new_key()
    names = _node_names(node_id, hosts)
    return Issued(
        _leaf_certificate(authority, key.public_key(), _subject(node_id), names, Kind.NODE, now=now, days=days), key
    )


def new_client_certificate(authority: Issued, name: str, *, now: datetime, days: int = LEAF_DAYS) -> Issued:
    if not NAME_PATTERN.fullmatch(name):
        raise CertificateError(f"{name!r} is no name for a client; use 1 to 64 of A-Z a-z 0-9 . _ -")
    key = _new_key()
    return Issued(
        _leaf_certificate(authority, key.public_key(), _subject(name), (), Kind.CLIENT, now=now, days=days), key
    )


def renewed_certificate(
    authority: Issued,
    certificate: x509.Certificate,
    *,
    hosts: Sequence[str] | None = None,
    now: datetime,
    days: int = LEAF_DAYS,
) -> x509.Certificate:
    """The same key, name and use for longer; a node's with other `hosts`, where they are given."""
    kind = kind_of(certificate)
    name = common_name(certificate)
    if hosts is not None and kind is not Kind.NODE:
        raise CertificateError(f"hosts are named by a node's certificate, and that of {name} is a {kind.value}'s")
    names = _node_names(name, hosts_of(certificate) if hosts is None else hosts) if kind is Kind.NODE else []
    return _leaf_certificate(authority, certificate.public_key(), certificate.subject, names, kind, now=now, days=days)


# What is found in one.


def kind_of(certificate: x509.Certificate) -> Kind:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return Kind.AUTHORITY
    return Kind.NODE if dns_names(certificate) else Kind.CLIENT


def common_name(certificate: x509.Certificate) -> str:
    """The subject's name; empty where it has none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def dns_names(certificate: x509.Certificate) -> list[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(x509.DNSName)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses by which clients reach the node, besides its id."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    addresses = [] if names is None else [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    return [name for name in dns_names(certificate) if name != common_name(certificate)] + addresses


def names_host(certificate: x509.Certificate, host: str) -> bool:
    """Whether a client that dials `host`, a name or an IP address, takes this certificate."""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        wildcard = "*." + host.lower().partition(".")[2]
        return any(name.lower() in (host.lower(), wildcard) for name in dns_names(certificate))
    return address in hosts_of(certificate)


def serves_as_node(certificate: x509.Certificate) -> bool:
    """Whether both ends of a connection take it: as a server's and as a client's."""
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    return usage is None or {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usage)


def is_signed_by(certificate: x509.Certificate, authorities: Collection[x509.Certificate]) -> bool:
    return any(_is_issued_by(certificate, authority) for authority in authorities)


def leads_to(chain: Sequence[x509.Certificate], authorities: Collection[x509.Certificate]) -> bool:
    """Whether the first of `chain` is signed by one of `authorities`, or so through the others of it, in order."""
    for certificate, issuer in zip(chain, [*chain[1:], None], strict=True):
        if is_signed_by(certificate, authorities):
            return True
        if issuer is None or not _is_issued_by(certificate, issuer):
            return False
    return False


def key_fits(certificate: x509.Certificate, key: CertificateIssuerPrivateKeyTypes) -> bool:
    return _public_bytes(certificate.public_key()) == _public_bytes(key.public_key())


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, in hexadecimal with colons, as browsers and openssl show it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


# How.


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _node_names(node_id: str, hosts: Iterable[str]) -> list[x509.GeneralName]:
    if not NODE_ID_PATTERN.fullmatch(node_id):
        raise CertificateError(f"{node_id!r} is no id of a node; use 1 to 32 of a-z 0-9 -, as in the configuration")
    names: list[x509.GeneralName] = [x509.DNSName(node_id)]
    for host in hosts:
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            if not HOST_NAME_PATTERN.fullmatch(host):
                raise CertificateError(
                    f"{host!r} is no host: give a name such as n1.example.com or an IP address, without a port"
                ) from None
            name = x509.DNSName(host.lower())
        if name not in names:
            names.append(name)
    return names


def _authority_certificate(
    key: CertificateIssuerPrivateKeyTypes, subject: x509.Name, *, now: datetime, days: int
) -> x509.Certificate:
    _check_days(days, MAX_AUTHORITY_DAYS)
    return (
        _builder(subject, subject, key.public_key(), now=now, days=days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf_certificate(
    authority: Issued,
    public_key: CertificatePublicKeyTypes,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    kind: Kind,
    *,
    now: datetime,
    days: int,
) -> x509.Certificate:
    _check_days(days, MAX_LEAF_DAYS)
    ends = authority.certificate.not_valid_after_utc
    if now + timedelta(days=days) > ends:
        raise CertificateError(
            f"the CA ends on {ends:%Y-%m-%d}, before the new certificate would: give fewer --days, or first "
            "renew the CA with `raftbook certs renew ca`"
        )
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if kind is Kind.NODE:
        usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(subject, authority.certificate.subject, public_key, now=now, days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_authority_identifier(authority.certificate), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, *, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _check_days(days: int, most: int) -> None:
    if not 1 <= days <= most:
        raise CertificateError(
            f"a certificate of this kind is valid for 1 to {most} days, not {days}; give other --days"
        )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
