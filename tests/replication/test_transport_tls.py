"""The peer network with mutual TLS: a certificate names one node, and only that one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from raftbook.replication.messages import Message, TermNotice
from raftbook.replication.transport import TcpPeerTransport, TlsContexts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "127.0.0.1"
DEADLINE_S = 10.0


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority and the certificates of n1, n2 and n9, made by the openssl command."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
    for name in ("n1", "n2", "n9"):
        (folder / f"{name}.extensions").write_text(f"subjectAltName=DNS:{name}\n")
        openssl("req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.request")
        openssl(
            *("x509", "-req", "-in", f"{name}.request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-extfile", f"{name}.extensions", "-days", "2", "-out", f"{name}.pem"),
        )
    return folder


def contexts(folder: Path, name: str) -> TlsContexts:
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    dialling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    accepting.verify_mode = ssl.CERT_REQUIRED
    for context in (accepting, dialling):
        context.load_verify_locations(folder / "ca.pem")
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return TlsContexts(accepting, dialling)


async def until(condition: Callable[[], object]) -> None:
    deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"not within {DEADLINE_S} s"
        await asyncio.sleep(0.002)


async def start_node(
    stack: contextlib.AsyncExitStack, node_id: str, peer: str, port: int, tls: TlsContexts | None
) -> tuple[TcpPeerTransport, list[Message]]:
    received: list[Message] = []
    transport = TcpPeerTransport(
        node_id=node_id,
        cluster="tls",
        start=1,
        listen_address=(HOST, 0),
        peers={peer: (HOST, port)},
        fresh=lambda: True,
        on_connected=lambda peer, hello: None,
        on_disconnected=lambda peer: None,
        on_message=lambda peer, message: received.append(message),
        tls=tls,
    )
    await transport.start()
    stack.push_async_callback(transport.stop)
    return transport, received


async def test_nodes_with_their_certificates_exchange_messages(certificates: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        n2, received_2 = await start_node(stack, "n2", "n1", 1, contexts(certificates, "n2"))
        n1, received_1 = await start_node(stack, "n1", "n2", n2.listen_port, contexts(certificates, "n1"))
        await until(lambda: n1.connected and n2.connected)
        for number in range(1000):
            assert n1.send("n2", TermNotice(number))
            assert n2.send("n1", TermNotice(number))
        await until(lambda: len(received_1) == len(received_2) == 1000)
        assert received_1 == received_2 == [TermNotice(number) for number in range(1000)]


@pytest.mark.parametrize(
    ("name_1", "name_2", "reason"),
    [
        ("n9", "n2", "the certificate of node n1 does not name it"),
        ("n1", "n9", "Hostname mismatch"),
        (None, "n2", "it cannot be reached|closed|no handshake|failed"),
    ],
)
async def test_a_node_without_its_certificate_is_refused(
    certificates: Path, name_1: str | None, name_2: str, reason: str
) -> None:
    tls_1 = contexts(certificates, name_1) if name_1 else None
    with capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            n2, _ = await start_node(stack, "n2", "n1", 1, contexts(certificates, name_2))
            n1, _ = await start_node(stack, "n1", "n2", n2.listen_port, tls_1)
            await until(lambda: [entry for entry in logs if entry["event"] == "peer_not_connected"])
            assert n1.connected == n2.connected == ()
    first = next(entry for entry in logs if entry["event"] == "peer_not_connected")
    assert any(part in first["reason"] for part in reason.split("|")), first
