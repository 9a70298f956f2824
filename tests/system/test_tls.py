"""A cluster with TLS under attack: nobody gets in who should not, and the nodes go on serving those who should.

One cluster for all: whatever one attack would leave behind, the next test meets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from raftbook.node.config import LimitsConfig, SecurityConfig
from raftbook.node.config_file import dumps
from raftbook.replication.frames import HANDSHAKE_EPOCH, HEADER_SIZE_BYTES, encode_frame
from raftbook.replication.messages import PROTOCOL_VERSION, Hello, Refusal, decode_handshake, encode
from raftbook.security.certificate_files import CertificateFolder
from raftbook.security.tls import client_context
from tests.support.certificates import expire, make_certificates
from tests.system.clients import Clients, wait_for
from tests.system.raftbook_command import raftbook
from tests.system.system_cluster import DEADLINE_S, SystemCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

pytestmark = pytest.mark.xdist_group("tls")

IDLE_CONNECTIONS: Final = 5_000
IDLE_SOURCES: Final = 10
"""Addresses that they come from: no more than max_connections_per_address of each."""
MAX_GROWTH_BYTES: Final = 128 << 20
LIMITS: Final = LimitsConfig(
    header_timeout_s=1.0, body_timeout_s=1.0, tls_handshake_timeout_s=60.0, max_connections_per_address=1_000
)
"""The idle ones are to be there all at once, so they have a minute to begin with TLS."""
SEED: Final = 20261122


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ours`: the cluster's certificates; `late` has expired. `theirs`: of another cluster, for the same names."""
    path = tmp_path_factory.mktemp("tls")
    ours = make_certificates(path / "ours", ["n1", "n2", "n3", "late"], clients=["alice"])
    make_certificates(path / "theirs", ["n1", "n2", "n3"])
    expire(ours, "late")
    return path


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[SystemCluster]:
    ours = folder / "ours"
    security = SecurityConfig(
        ca_file=str(ours / "ca.pem"), certificate_file=str(ours / "{id}.pem"), key_file=str(ours / "{id}.key")
    )
    with SystemCluster(folder / "cluster", security=security, limits=LIMITS) as running:
        asyncio.run(running.start_and_elect())
        yield running
        for node_id in running.node_ids:
            text = running.log_path(node_id).read_text()
            assert "Traceback" not in text, text[-3000:]
            assert "node halts" not in text


@pytest.fixture
def clients(cluster: SystemCluster) -> Clients:
    return Clients(cluster)


@contextlib.asynccontextmanager
async def served(clients: Clients) -> AsyncIterator[None]:
    """Real clients trade at all nodes all the while, and are answered behind it as before it."""
    async with clients, clients.trading():
        await clients.progress()
        yield
        await clients.progress()


def context(folder: Path, certificate: str | None = None) -> ssl.SSLContext:
    """What an attacker speaks TLS with, who checks nobody; `certificate` is such as "theirs/n1"."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        made.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    return made


async def heard(
    address: tuple[str, int], *chunks: bytes, tls: ssl.SSLContext | None = None, patience_s: float = DEADLINE_S
) -> bytes:
    """Everything that is answered to these bytes until the node closes the connection."""
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection(*address, ssl=tls)
            try:
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                return await reader.read()
            finally:
                writer.transport.abort()
    except OSError:  # ssl.SSLError and ConnectionError are among them.
        return b""


def hello(node_id: str, cluster: str = "system") -> bytes:
    return encode_frame(HANDSHAKE_EPOCH, encode(Hello(PROTOCOL_VERSION, cluster, node_id, 1, True, 7)))


def client_hello(folder: Path) -> bytes:
    """The first bytes of a real handshake."""
    outgoing = ssl.MemoryBIO()
    end = context(folder).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="n2")
    with contextlib.suppress(ssl.SSLWantReadError):
        end.do_handshake()
    return outgoing.read()


# ---------------------------------------------------------------- who is who


async def test_no_stranger_is_taken_for_a_peer(cluster: SystemCluster, clients: Clients, folder: Path):
    address = cluster.config.node("n2").peer
    async with served(clients):
        # Without TLS; without a certificate; with one of another CA, an expired one: not one byte is answered.
        assert await heard(address, hello("n1")) == b""
        for certificate in (None, "theirs/n1", "ours/late"):
            assert await heard(address, hello("n1"), tls=context(folder, certificate)) == b""
        # Of the cluster, but another node's or a client's: told whose it is not.
        for certificate in ("ours/n3", "ours/alice"):
            answer = await heard(address, hello("n1"), tls=context(folder, certificate))
            refusal = decode_handshake(answer[HEADER_SIZE_BYTES:])
            assert isinstance(refusal, Refusal)
            assert "the certificate of node n1 does not name it" in refusal.reason


async def test_clients_and_nodes_know_each_other(cluster: SystemCluster, clients: Clients, folder: Path):
    address = cluster.config.node("n2").api
    request = b"GET /v1/node HTTP/1.1\r\nhost: n2\r\nconnection: close\r\n\r\n"
    async with served(clients):
        assert await heard(address, request) == b"", "plain text to a TLS port"
        ours = client_context(folder / "ours/ca.pem")
        assert (await heard(address, request, tls=ours)).startswith(b"HTTP/1.1 200 OK\r\n")
        for ca_file in (folder / "theirs/ca.pem", None):
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(*address, ssl=client_context(ca_file))


async def test_a_renewed_certificate_is_taken_without_a_restart(cluster: SystemCluster, clients: Clients, folder: Path):
    tls = client_context(folder / "ours/ca.pem")
    address = cluster.config.node("n3").api

    async def serial_number() -> str:
        _, writer = await asyncio.open_connection(*address, ssl=tls)
        certificate = writer.get_extra_info("peercert")
        writer.transport.abort()
        return str(certificate["serialNumber"])

    async def taken(before: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await serial_number() == before:  # noqa: ASYNC110 (the node tells nobody)
                await asyncio.sleep(0.05)

    kept = CertificateFolder(folder / "ours")
    async with served(clients):
        before = await serial_number()
        kept.renew("n3", hosts=None, now=datetime.now(UTC), days=60)
        os.kill(cluster.process_id("n3"), signal.SIGHUP)
        await taken(before)
        # One that is unfit is told, and the good one stays in use.
        before = await serial_number()
        good = kept.certificate_file("n3").read_bytes()
        expire(kept, "n3")
        os.kill(cluster.process_id("n3"), signal.SIGHUP)
        await wait_for(lambda: "certificates not reloaded" in cluster.log_path("n3").read_text(), "the refusal")
        assert await serial_number() == before
        kept.certificate_file("n3").write_bytes(good)


def test_a_node_does_not_start_with_an_unfit_certificate(cluster: SystemCluster, folder: Path):
    config = msgspec.structs.replace(
        cluster.config,
        security=msgspec.structs.replace(cluster.config.security, certificate_file=str(folder / "theirs/{id}.pem")),
    )
    (folder / "unfit.toml").write_text(dumps(config))
    refused = raftbook("node", "start", "--config", "unfit.toml", "--id", "n1", folder=folder)
    assert refused.returncode == 1
    (sentence,) = refused.stderr.splitlines()
    assert "is not the key of this certificate" in sentence
    assert "`raftbook certs node n1 --folder " in sentence


# ---------------------------------------------------------------- what is no protocol


async def test_broken_handshakes_and_rubbish_stop_nothing(cluster: SystemCluster, clients: Clients, folder: Path):
    """Random bytes, handshakes of TLS that break off or are altered, on the ports of all nodes."""
    randomness = random.Random(SEED)
    real = client_hello(folder)
    attacks = [randomness.randbytes(randomness.randrange(1, 3000)) for _ in range(20)]
    attacks += [real[: randomness.randrange(1, len(real))] for _ in range(20)]
    for _ in range(20):
        altered = bytearray(real)
        for _ in range(randomness.randrange(1, 8)):
            altered[randomness.randrange(len(altered))] ^= 1 << randomness.randrange(8)
        attacks.append(bytes(altered))
    addresses = [address for node in cluster.config.nodes for address in (node.peer, node.api)]
    async with served(clients), asyncio.TaskGroup() as tasks:
        for number, attack in enumerate(attacks):
            tasks.create_task(attempt(addresses[number % len(addresses)], attack))


async def attempt(address: tuple[str, int], *chunks: bytes, tls: ssl.SSLContext | None = None) -> None:
    """Send, hear what there is in a moment, and go without a word."""
    with contextlib.suppress(TimeoutError):
        await heard(address, *chunks, tls=tls, patience_s=1.0)


async def test_malformed_frames_behind_the_handshake_end_their_connection_alone(
    cluster: SystemCluster, clients: Clients, folder: Path
):
    """From inside: whoever holds some certificate of the cluster gets through TLS."""
    randomness = random.Random(SEED)
    alice = context(folder, "ours/alice")
    frames = [
        (1 << 31).to_bytes(4, "big") + bytes(12),  # A frame of 2 GiB is announced.
        encode_frame(HANDSHAKE_EPOCH, bytes(5000)),
        encode_frame(HANDSHAKE_EPOCH, b"\xff" * 100),
        encode_frame(99, encode(Hello(PROTOCOL_VERSION, "system", "n1", 1, True, 7))),
        hello("n1")[:-1] + b"\x00",
        *(encode_frame(HANDSHAKE_EPOCH, randomness.randbytes(randomness.randrange(1, 500))) for _ in range(10)),
        *(randomness.randbytes(randomness.randrange(17, 3000)) for _ in range(10)),
    ]
    requests = [
        b"POST /v1/orders HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: " + bytes(100_000),
        *(randomness.randbytes(randomness.randrange(1, 3000)) for _ in range(10)),
    ]
    async with served(clients):
        nodes = cluster.config.nodes
        answers = await asyncio.gather(*(heard(node.peer, frame, tls=alice) for node in nodes for frame in frames))
        assert not any(answers), "nothing is answered to what is no Hello"
        answers = await asyncio.gather(*(heard(node.api, request, tls=alice) for node in nodes for request in requests))
        assert all(answer.startswith(b"HTTP/1.1 4") for answer in answers if answer)
        assert sum(map(bool, answers)) >= len(nodes)


async def test_frames_that_no_websocket_may_send_end_it_alone(cluster: SystemCluster, clients: Clients, folder: Path):
    randomness = random.Random(SEED)
    tls = client_context(folder / "ours/ca.pem")
    url = cluster.url("n3").replace("https:", "wss:") + "/v1/stream"
    async with served(clients):
        async with connect(url, ssl=tls, max_size=None) as too_large:
            await too_large.send("x" * (65 << 10))
            with pytest.raises(ConnectionClosed) as closed:
                await too_large.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        for _ in range(10):
            async with connect(url, ssl=tls) as rubbish:
                rubbish.transport.write(randomness.randbytes(randomness.randrange(2, 2000)))
                await asyncio.wait_for(rubbish.wait_closed(), DEADLINE_S)
        async with connect(url, ssl=tls) as real:
            await real.send(json.dumps({"op": "ping", "request_id": 7}))
            assert json.loads(await real.recv()) == {"type": "pong", "request_id": 7}


# ---------------------------------------------------------------- too many, too slow


@contextlib.contextmanager
def enough_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, count + 500)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        pytest.fail(f"{count} connections need a hard limit of {wanted} open files, and it is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * resource.getpagesize()


def open_files(process_id: int) -> int:
    return len(list(Path(f"/proc/{process_id}/fd").iterdir()))


async def connect_silently(address: tuple[str, int], sources: Iterable[str], stack: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    for source in sources:
        connection = stack.enter_context(socket.socket())
        connection.setblocking(False)
        connection.bind((source, 0))
        await loop.sock_connect(connection, address)


async def test_five_thousand_idle_connections_disturb_nobody(cluster: SystemCluster, clients: Clients):
    """On the leader's port for clients; and as many, one after the other, on its port for peers, which keeps few."""
    leader = await cluster.wait_for_leader(deadline_s=DEADLINE_S)
    node, process_id = cluster.config.node(leader), cluster.process_id(leader)
    sources = [f"127.0.1.{number % IDLE_SOURCES + 1}" for number in range(IDLE_CONNECTIONS)]
    with enough_descriptors(IDLE_CONNECTIONS + 1000), contextlib.ExitStack() as stack:
        async with served(clients):
            before = resident_bytes(process_id)
            await connect_silently(node.api, sources, stack)
            await wait_for(lambda: open_files(process_id) >= IDLE_CONNECTIONS, "5,000 connections at the leader")
            await clients.progress()
            assert open_files(process_id) >= IDLE_CONNECTIONS, "all of them are still there"
            assert resident_bytes(process_id) - before < MAX_GROWTH_BYTES
            with contextlib.ExitStack() as strangers:
                await connect_silently(node.peer, sources[:1000], strangers)
                assert open_files(process_id) < IDLE_CONNECTIONS + 500, "the oldest strangers have gone"
                await clients.progress()
            assert await cluster.wait_for_leader(deadline_s=DEADLINE_S)
        stack.close()
        await wait_for(lambda: open_files(process_id) < 500, "the idle connections' end")


async def test_whoever_trickles_a_request_is_told_to_hurry(cluster: SystemCluster, clients: Clients, folder: Path):
    tls = client_context(folder / "ours/ca.pem")
    address = cluster.config.node("n1").api

    async def trickle() -> bytes:
        reader, writer = await asyncio.open_connection(*address, ssl=tls)
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET /v1/node HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            while not answer.done():
                writer.write(b"x: y\r\n")
                await asyncio.sleep(0.05)
        writer.transport.abort()
        return await answer

    async with served(clients), asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(*(trickle() for _ in range(30)))
        assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 408 Request Timeout"] * 30


# ---------------------------------------------------------------- and what it is all for


async def test_orders_survive_a_leader_over_tls_and_all_nodes_agree(cluster: SystemCluster, clients: Clients):
    """Behind all the attacks above: trading goes on without a leader for a moment; nothing is lost or doubled."""
    ca_file = str(cluster.config.security.ca_file)
    async with clients:
        async with clients.trading():
            await clients.progress()
            leader = await cluster.wait_for_leader(deadline_s=DEADLINE_S)
            cluster.kill(leader)
            await clients.progress()
            cluster.start(leader)
            await clients.progress()
        await cluster.wait_for_rest()
        verified = await asyncio.to_thread(
            raftbook, "verify", "--url", cluster.url("n1"), "--ca-file", ca_file, "-o", "json", folder=cluster.folder
        )
        assert verified.returncode == 0, verified.stderr
        assert "https://" in verified.stdout
        shown = await asyncio.to_thread(
            raftbook, "cluster", "status", "--url", cluster.url("n2"), "--ca-file", ca_file, folder=cluster.folder
        )
        assert json.loads(shown.stdout)["leader"] is not None
        assert verified.stderr == shown.stderr == ""
