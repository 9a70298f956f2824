"""Accepting connections: in order, where the system has nothing left, and from clients that say nothing to TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from raftbook.replication import accepting
from raftbook.replication.accepting import Acceptor, connect_protocol
from raftbook.replication.transport import TcpPeerTransport, TlsContexts, TransportLimits
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = "127.0.0.1"
DEADLINE_S = 10.0


class PoorListener(socket.socket):
    """A listener of a system that has nothing left for the next `failures` connections."""

    failures = 0
    error = errno.EMFILE

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.failures > 0:
            self.failures -= 1
            raise OSError(self.error, "injected")
        return super().accept()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (what is waited for is told to nobody)
            await asyncio.sleep(0.002)


@pytest.fixture
def listener() -> Iterator[PoorListener]:
    with PoorListener() as made:
        made.bind((HOST, 0))
        yield made


@pytest.fixture
def taken() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for connection in made:
        connection.close()


async def test_connections_are_taken_with_their_address(listener: PoorListener, taken: list[socket.socket]):
    sources: list[str] = []
    acceptor = Acceptor(listener, lambda connection, source: (taken.append(connection), sources.append(source)))
    acceptor.start(backlog=100)
    with contextlib.ExitStack() as stack:
        for number in range(100):
            stack.enter_context(
                socket.create_connection((HOST, acceptor.port), source_address=(f"127.0.0.{number % 3 + 1}", 0))
            )
        await until(lambda: len(taken) == 100)
        assert sources[:4] == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]
        assert not any(connection.getblocking() for connection in taken)
    acceptor.close()


async def test_those_that_wait_when_it_closes_are_taken_yet(listener: PoorListener, taken: list[socket.socket]):
    acceptor = Acceptor(listener, lambda connection, _: taken.append(connection))
    acceptor.start(backlog=100)
    address = HOST, acceptor.port
    with socket.create_connection(address):
        acceptor.close()  # The loop has had no turn.
        assert len(taken) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    acceptor.close()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPROTO])
async def test_a_system_without_resources_is_asked_again_later(
    listener: PoorListener, taken: list[socket.socket], error: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(accepting, "_PAUSE_S", 0.05)
    acceptor = Acceptor(listener, lambda connection, _: taken.append(connection))
    acceptor.start(backlog=100)
    listener.failures, listener.error = 2, error
    loop = asyncio.get_running_loop()
    with capture_logs() as logs, socket.create_connection((HOST, acceptor.port)):
        asked_at = loop.time()
        await until(lambda: taken)
    assert loop.time() - asked_at >= 0.09, "twice a pause, and no loop that spins"
    assert [entry["event"] for entry in logs] == ["a connection could not be accepted"] * 2
    acceptor.close()


async def test_a_connection_that_is_gone_already_does_not_hold_up_the_next(
    listener: PoorListener, taken: list[socket.socket]
):
    acceptor = Acceptor(listener, lambda connection, _: taken.append(connection))
    acceptor.start(backlog=100)
    listener.failures, listener.error = 3, errno.ECONNABORTED
    with socket.create_connection((HOST, acceptor.port)):
        await until(lambda: taken)
    acceptor.close()


async def test_it_may_be_closed_while_it_pauses(listener: PoorListener, taken: list[socket.socket]):
    acceptor = Acceptor(listener, lambda connection, _: taken.append(connection))
    acceptor.start(backlog=100)
    port = acceptor.port
    listener.failures = 1
    with socket.create_connection((HOST, port)):
        await until(lambda: listener.failures == 0)
        acceptor.close()
        assert len(taken) == 1


# ---------------------------------------------------------------- TLS


def contexts(folder: Path, name: str) -> TlsContexts:
    accepting_end = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    dialling_end = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    accepting_end.verify_mode = ssl.CERT_REQUIRED
    for context in (accepting_end, dialling_end):
        context.load_verify_locations(folder / "ca.pem")
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return TlsContexts(accepting_end, dialling_end)


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"", "it said nothing for 0.2 s"),
        (b"\x16", "handshake"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP_REQUEST"),
        (bytes(100), "WRONG_VERSION_NUMBER|RECORD|LENGTH"),
    ],
)
async def test_what_was_wrong_with_a_handshake_is_told(tmp_path: Path, sent: bytes, fault: str):
    make_certificates(tmp_path, ["n1"])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        theirs.send(sent)
        told = await connect_protocol(
            ours,
            asyncio.Protocol,
            tls=contexts(tmp_path, "n1").accepting,
            handshake_timeout_s=0.2,
            shutdown_timeout_s=0.2,
        )
    assert told is not None
    assert any(words in told for words in fault.split("|")), told


def is_closed(connection: socket.socket) -> bool:
    """By its other end."""
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_silent_strangers_keep_no_peer_out(tmp_path: Path):
    """The oldest have to go, and a real peer is through TLS and the handshake before anybody is as old."""
    make_certificates(tmp_path, ["n1", "n2"])
    limits = TransportLimits(max_strangers=8, max_strangers_per_source=4, handshake_timeout_s=60.0)

    def transport(node_id: str, peer: str, port: int) -> TcpPeerTransport:
        return TcpPeerTransport(
            node_id=node_id,
            cluster="tls",
            start=1,
            listen_address=(HOST, 0),
            peers={peer: (HOST, port)},
            fresh=lambda: True,
            on_connected=lambda peer, hello: None,
            on_disconnected=lambda peer: None,
            on_message=lambda peer, message: None,
            limits=limits,
            tls=contexts(tmp_path, node_id),
        )

    n2 = transport("n2", "n1", 1)
    await n2.start()
    loop = asyncio.get_running_loop()
    strangers: list[socket.socket] = []
    with capture_logs(), contextlib.ExitStack() as stack:
        for number in range(40):
            silent = stack.enter_context(socket.socket())
            silent.setblocking(False)
            silent.bind((f"127.0.0.{2 + number % 4}", 0))
            await loop.sock_connect(silent, (HOST, n2.listen_port))
            if number % 2:
                await loop.sock_sendall(silent, b"\x16\x03\x01")
            strangers.append(silent)
        await until(lambda: len([one for one in strangers if is_closed(one)]) >= len(strangers) - limits.max_strangers)
        assert not is_closed(strangers[-1]), "the youngest may stay"
        n1 = transport("n1", "n2", n2.listen_port)
        await n1.start()
        await until(lambda: n1.connected and n2.connected)
        await n1.stop()
        await n2.stop()
    assert not n2._knocking
