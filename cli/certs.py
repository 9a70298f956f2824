"""`raftbook certs …`: a cluster's certificate authority, and the certificates that it makes and renews."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.output import OutputFormat, print_json, print_table, wants_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from raftbook.security.certificate_files import Written

app = typer.Typer(help="Make and renew the certificates of a cluster, for TLS.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Option("--folder", metavar="DIR", help="Where the certificates and private keys are kept.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="HOST",
        help="A name or IP address by which clients reach the node; may be repeated. Default: this machine's loopback.",
    ),
]
Days = Annotated[
    int | None,
    typer.Option(
        "--days",
        parser=options.whole_number(1),
        metavar="N",
        help="How long it is valid. Default: 397; of the CA 3650.",
    ),
]
DEFAULT_FOLDER = Path("certs")


@app.command()
def init(folder: Folder = DEFAULT_FOLDER, days: Days = None, output: options.Output = None) -> None:
    """Makes the cluster's CA: ca.pem, which everybody gets, and ca.key, which only this folder should ever hold."""
    from raftbook.security.certificate_files import CertificateFolder
    from raftbook.security.certificates import AUTHORITY_DAYS

    written = CertificateFolder(folder).init(now=datetime.now(UTC), days=days or AUTHORITY_DAYS)
    _tell([written], output, f"next: raftbook certs node ID --folder {folder}")


@app.command()
def node(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="The nodes, as the configuration calls them.")],
    folder: Folder = DEFAULT_FOLDER,
    hosts: Hosts = None,
    days: Days = None,
    output: options.Output = None,
) -> None:
    """Makes the certificate and private key of a node, or of several that are reached by the same hosts."""
    from raftbook.security.certificate_files import CertificateFolder
    from raftbook.security.certificates import LEAF_DAYS, LOOPBACK_HOSTS

    made = CertificateFolder(folder)
    now = datetime.now(UTC)
    written = [made.new_node(one, hosts or LOOPBACK_HOSTS, now=now, days=days or LEAF_DAYS) for one in ids]
    _tell(written, output, "next: copy ca.pem and the node's two files to its machine, and start it")


@app.command()
def client(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom it is for.")],
    folder: Folder = DEFAULT_FOLDER,
    days: Days = None,
    output: options.Output = None,
) -> None:
    """Makes a client's certificate and private key, for nodes with require_client_certificates."""
    from raftbook.security.certificate_files import CertificateFolder
    from raftbook.security.certificates import LEAF_DAYS

    written = CertificateFolder(folder).new_client(name, now=datetime.now(UTC), days=days or LEAF_DAYS)
    files = f"--cert-file {written.certificate_file} --cert-key-file {written.key_file}"
    _tell([written], output, f"next: raftbook cluster status --ca-file {folder}/ca.pem {files}")


@app.command()
def renew(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Nodes or clients; or ca, the CA itself.")],
    folder: Folder = DEFAULT_FOLDER,
    hosts: Hosts = None,
    days: Days = None,
    output: options.Output = None,
) -> None:
    """Writes new certificates for the keys that are there; --host replaces the hosts that a node's one names.

    A running node takes it on SIGHUP. What the CA signed stays valid when the CA itself is renewed, but everybody needs
    the new ca.pem before the old one ends.
    """
    from raftbook.security.certificate_files import CertificateFolder

    kept = CertificateFolder(folder)
    now = datetime.now(UTC)
    written = [kept.renew(name, hosts=hosts or None, now=now, days=days) for name in names]
    _tell(written, output, "next: copy the certificate to its machine, and send SIGHUP to the node")


@app.command()
def show(folder: Folder = DEFAULT_FOLDER, output: options.Output = None) -> None:
    """Shows the certificates in the folder: whom they name, until when, and whether the folder's CA signed them."""
    from raftbook.security.certificate_files import CertificateFolder, read_certificates
    from raftbook.security.certificates import is_signed_by

    kept = CertificateFolder(folder)
    remedy = "move it out of the folder"
    found = [(file, read_certificates(file, remedy=remedy)[0]) for file in kept.certificate_files()]
    authorities = [certificate for file, certificate in found if file == kept.certificate_file("ca")]
    documents = [
        {**_document(file, certificate), "signed_by_ca": is_signed_by(certificate, authorities)}
        for file, certificate in found
    ]
    if wants_table(output):
        _print(documents)
    else:
        print_json(documents)


def _tell(written: Sequence[Written], output: OutputFormat | None, following: str) -> None:
    documents = [{**_document(one.certificate_file, one.certificate), "key_file": str(one.key_file)} for one in written]
    if wants_table(output):
        _print(documents)
        typer.echo(following)
    else:
        print_json(documents)


def _document(file: Path, certificate: x509.Certificate) -> dict[str, Any]:
    from raftbook.security import certificates

    return {
        "file": str(file),
        "kind": certificates.kind_of(certificate).value,
        "name": certificates.common_name(certificate),
        "hosts": certificates.hosts_of(certificate),
        "expires": certificate.not_valid_after_utc.isoformat(),
        "days_left": (certificate.not_valid_after_utc - datetime.now(UTC)).days,
        "fingerprint": certificates.fingerprint(certificate),
    }


def _print(documents: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("file", "kind", "name", "hosts", "expires", "days left", box=None, pad_edge=False)
    for row in documents:
        style = "red" if row["days_left"] < 0 else "yellow" if row["days_left"] < 30 else None
        cells = (row["file"], row["kind"], row["name"], " ".join(row["hosts"]), row["expires"][:10])
        table.add_row(*cells, str(row["days_left"]), style=style)
    print_table(table)
