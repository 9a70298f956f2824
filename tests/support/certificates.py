"""Certificates of a cluster for tests, made in a moment; some of them as nobody should have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from raftbook.security.certificate_files import CertificateFolder
from raftbook.security.certificates import AUTHORITY_DAYS, LEAF_DAYS, LOOPBACK_HOSTS
from raftbook.security.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LONG_AGO = timedelta(days=1000)


def make_certificates(path: Path, node_ids: Iterable[str], *, clients: Iterable[str] = ()) -> CertificateFolder:
    """A CA, and the certificates of these nodes (on loopback) and clients."""
    now = datetime.now(UTC)
    folder = CertificateFolder(path)
    folder.init(now=now, days=AUTHORITY_DAYS)
    for node_id in node_ids:
        folder.new_node(node_id, LOOPBACK_HOSTS, now=now, days=LEAF_DAYS)
    for name in clients:
        folder.new_client(name, now=now, days=LEAF_DAYS)
    return folder


def expire(folder: CertificateFolder, name: str) -> None:
    """Puts a certificate in the place of that one which ended long ago."""
    folder.renew(name, hosts=None, now=datetime.now(UTC) - LONG_AGO, days=LEAF_DAYS)


def files_of(folder: CertificateFolder, name: str, *, ca: CertificateFolder | None = None) -> TlsFiles:
    return TlsFiles((ca or folder).certificate_file("ca"), folder.certificate_file(name), folder.key_file(name))
