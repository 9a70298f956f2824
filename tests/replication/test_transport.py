"""The peer network over real sockets: who gets in, in what order messages arrive, and what ends a connection."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from raftbook.errors import AddressInUseError, ConfigError, ProtocolError
from raftbook.replication import transport as transport_module
from raftbook.replication.frames import HANDSHAKE_EPOCH, KEEP_ALIVE, FrameDecoder, encode_frame
from raftbook.replication.messages import (
    PROTOCOL_VERSION,
    AppendEntries,
    Hello,
    Message,
    Refusal,
    TermNotice,
    decode,
    decode_handshake,
    encode,
)
from raftbook.replication.transport import TcpPeerTransport, TransportLimits
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from raftbook.replication.peer_connection import PeerConnection

CLUSTER = "test-3"
HOST = "127.0.0.1"
PEER_EPOCH = 77
DEADLINE_S = 10.0
NOWHERE = (HOST, 1)


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until `condition` holds; fail after a deadline."""
    deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"{what} did not come about in {DEADLINE_S} s"
        await asyncio.sleep(0.002)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


class Node:
    """A transport and what it told."""

    def __init__(
        self,
        node_id: str,
        peers: dict[str, tuple[str, int]],
        *,
        port: int = 0,
        cluster: str = CLUSTER,
        start: int = 1,
        limits: TransportLimits | None = None,
        on_message: Callable[[str, Message], None] | None = None,
    ) -> None:
        self.node_id = node_id
        self.told: list[tuple[object, ...]] = []
        self.hellos: dict[str, Hello] = {}
        self.on_message = on_message or (lambda peer, message: self.told.append(("message", peer, message)))
        self.transport = TcpPeerTransport(
            node_id=node_id,
            cluster=cluster,
            start=start,
            listen_address=(HOST, port),
            peers=peers,
            fresh=lambda: start == 1,
            on_connected=self._connected,
            on_disconnected=lambda peer: self.told.append(("disconnected", peer)),
            on_message=lambda peer, message: self.on_message(peer, message),  # noqa: PLW0108 (tests replace it)
            limits=limits,
        )

    def _connected(self, peer: str, hello: Hello) -> None:
        self.hellos[peer] = hello
        self.told.append(("connected", peer))

    @property
    def messages(self) -> list[object]:
        return [entry[2] for entry in self.told if entry[0] == "message"]

    def count(self, kind: str) -> int:
        return sum(entry[0] == kind for entry in self.told)


@pytest.fixture
async def start_node() -> AsyncIterator[Callable[..., Node]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(*args: object, **kwargs: object) -> Node:
            node = Node(*args, **kwargs)  # type: ignore[arg-type]
            await node.transport.start()
            stack.push_async_callback(node.transport.stop)
            return node

        yield start


class Stranger:
    """The other end of a connection, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames = FrameDecoder(epoch=HANDSHAKE_EPOCH, max_payload_size_bytes=2**24)
        self.peer_epoch = HANDSHAKE_EPOCH

    @classmethod
    async def connect(cls, node: Node) -> Stranger:
        return cls(*await asyncio.open_connection(HOST, node.transport.listen_port))

    def write(self, payload: bytes, *, epoch: int | None = None) -> None:
        self.writer.write(encode_frame(self.peer_epoch if epoch is None else epoch, payload))

    def say_hello(self, **changes: object) -> None:
        fields = {
            "protocol_version": PROTOCOL_VERSION,
            "cluster": CLUSTER,
            "node_id": "n1",
            "start": 5,
            "fresh": False,
            "epoch": PEER_EPOCH,
        }
        self.write(encode(Hello(**(fields | changes))), epoch=HANDSHAKE_EPOCH)  # type: ignore[arg-type]

    async def next_payload(self) -> bytes | None:
        """The next payload, None at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            while (payload := self.frames.next_payload()) is None:
                try:
                    data = await self.reader.read(65_536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self.frames.receive(data)
        return payload

    async def next_message(self) -> Message | None:
        while (payload := await self.next_payload()) == KEEP_ALIVE:
            pass
        return None if payload is None else decode(payload)

    async def shake_hands(self, **changes: object) -> None:
        self.say_hello(**changes)
        payload = await self.next_payload()
        assert payload is not None
        hello = decode_handshake(payload)
        assert isinstance(hello, Hello)
        self.peer_epoch = hello.epoch
        self.frames.expect(epoch=PEER_EPOCH, max_payload_size_bytes=2**24)
        self.write(KEEP_ALIVE)

    async def expect_end(self) -> None:
        while await self.next_payload() is not None:
            pass
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def start_pair(start_node: Callable[..., Node], **limits: float) -> tuple[Node, Node]:
    """n1, which dials, and n2, which accepts; connected."""
    bounds = TransportLimits(**limits)  # type: ignore[arg-type]
    n2 = await start_node("n2", {"n1": NOWHERE}, start=7, limits=bounds)
    n1 = await start_node("n1", {"n2": (HOST, n2.transport.listen_port)}, limits=bounds)
    await until(lambda: n1.transport.connected and n2.transport.connected, "the connection")
    return n1, n2


# Connecting.


async def test_two_nodes_connect_once_and_know_each_other(start_node) -> None:
    n1, n2 = await start_pair(start_node)
    assert n1.transport.connected == ("n2",)
    assert n2.transport.connected == ("n1",)
    assert (n1.hellos["n2"].start, n1.hellos["n2"].fresh) == (7, False)
    assert (n2.hellos["n1"].start, n2.hellos["n1"].fresh) == (1, True)
    assert n1.told == [("connected", "n2")]
    assert n2.told == [("connected", "n1")]


async def test_five_nodes_that_start_in_any_order_are_all_connected(start_node) -> None:
    ports = {f"n{number}": free_port() for number in range(1, 6)}
    nodes = {}
    for node_id in ("n3", "n1", "n5", "n2", "n4"):
        peers = {peer: (HOST, port) for peer, port in ports.items() if peer != node_id}
        nodes[node_id] = await start_node(node_id, peers, port=ports[node_id])
    everyone = sorted(nodes)
    for node_id, node in nodes.items():
        others = tuple(peer for peer in everyone if peer != node_id)
        await until(lambda node=node, others=others: node.transport.connected == others, f"all peers of {node_id}")
        assert node.transport.send_many(others, TermNotice(int(node_id[1]))) == others
    for node in nodes.values():
        await until(lambda node=node: len(node.messages) == 4, "a message of each peer")


async def test_a_taken_port_names_the_address_and_the_fix(start_node) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AddressInUseError, match=rf"127\.0\.0\.1:{port}.*change peer_address of node n1"):
            await start_node("n1", {}, port=port)


async def test_an_address_of_another_machine_names_the_fix() -> None:
    transport = Node("n1", {}).transport
    transport._listen_address = ("192.0.2.1", 7101)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:7101.*Set peer_address of node n1"):
        await transport.start()


# Refusing.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": "prod"}, "node n1 is of cluster 'prod', node n2 of 'test-3'"),
        ({"node_id": "n9"}, "node n9 is not in the configuration of node n2"),
        ({"node_id": "n2"}, "both ends are node n2"),
        ({"node_id": "n3"}, "the node with the smaller id dials"),
        ({"protocol_version": PROTOCOL_VERSION + 1}, "run the same release"),
        ({"protocol_version": 2}, "run the same release"),  # Its engine knew fewer orders, and knows other events.
    ],
)
async def test_a_hello_that_does_not_fit_is_refused_with_the_reason(start_node, changes, reason) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE, "n3": NOWHERE})
    with capture_logs() as logs:
        stranger = await Stranger.connect(n2)
        stranger.say_hello(**changes)
        refusal = decode_handshake(await stranger.next_payload())
        assert isinstance(refusal, Refusal)
        assert reason in refusal.reason
        await stranger.expect_end()
        await until(lambda: [entry for entry in logs if entry["event"] == "handshake_failed"])
    assert reason in next(entry["reason"] for entry in logs if entry["event"] == "handshake_failed")
    assert n2.told == []


async def test_the_refused_node_logs_why(start_node) -> None:
    with capture_logs() as logs:
        n2 = await start_node("n2", {"n1": NOWHERE}, cluster="prod")
        await start_node("n1", {"n2": (HOST, n2.transport.listen_port)})
        await until(lambda: [entry for entry in logs if entry["event"] == "peer_not_connected"])
    entry = next(entry for entry in logs if entry["event"] == "peer_not_connected")
    assert entry["peer"] == "n2"
    assert "it refused: node n1 is of cluster 'test-3', node n2 of 'prod'" in entry["reason"]


async def test_a_node_that_was_dialled_by_mistake_keeps_its_connection(start_node) -> None:
    n3 = await start_node("n3", {"n1": NOWHERE, "n2": NOWHERE})
    address = (HOST, n3.transport.listen_port)
    with capture_logs() as logs:
        n1 = await start_node("n1", {"n2": address, "n3": address})
        await until(lambda: [entry for entry in logs if entry["event"] == "peer_not_connected"])
        await until(lambda: n1.transport.connected == ("n3",))
        await until(lambda: n3.told)
    assert "node n3 answers at the address of node n2" in logs_of(logs, "peer_not_connected")[0]["reason"]
    assert n3.told == [("connected", "n1")]


def logs_of(logs: list[dict], event: str) -> list[dict]:
    return [entry for entry in logs if entry["event"] == event]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("HTTP", b"GET /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        ("a TLS ClientHello", bytes.fromhex("1603010200010001fc0303") + bytes(500)),
        ("garbage", bytes(range(256))),
        ("an oversized frame", struct.pack(">IIQ", 5000, 0, 0)),
        ("a frame of 4 GiB", struct.pack(">IIQ", 2**32 - 1, 0, 0)),
        ("a wrong checksum", encode_frame(0, b"x")[:-1] + b"y"),
        ("no CBOR", encode_frame(0, b"hello")),
        ("an empty frame", encode_frame(0, b"")),
        ("a message before its Hello", encode_frame(0, encode(TermNotice(1)))),
        ("a stale connection's frame", encode_frame(99, encode(TermNotice(1)))),
    ],
)
async def test_what_is_no_hello_is_cut_off_at_once(start_node, what: str, data: bytes) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=TransportLimits(handshake_timeout_s=60))
    stranger = await Stranger.connect(n2)
    stranger.writer.write(data)
    await stranger.expect_end()
    assert n2.told == []


@pytest.mark.parametrize("sent", [b"", encode_frame(0, b"never complete")[:7]])
async def test_a_stranger_that_stays_silent_is_cut_off(start_node, sent: bytes) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=TransportLimits(handshake_timeout_s=0.2))
    with capture_logs() as logs:
        stranger = await Stranger.connect(n2)
        stranger.writer.write(sent)
        await stranger.expect_end()
        await until(lambda: logs)
    assert "no handshake within 0.2 s" in logs[0]["reason"]


async def test_a_hello_alone_does_not_connect(start_node) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=TransportLimits(handshake_timeout_s=0.2))
    stranger = await Stranger.connect(n2)
    stranger.say_hello()
    await stranger.expect_end()
    assert n2.told == []


async def test_idle_strangers_do_not_keep_a_peer_out(start_node) -> None:
    limits = TransportLimits(handshake_timeout_s=60)
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=limits)
    with capture_logs() as logs:
        strangers = [await Stranger.connect(n2) for _ in range(300)]
        n1 = await start_node("n1", {"n2": (HOST, n2.transport.listen_port)}, limits=limits)
        await until(lambda: n1.transport.connected and n2.transport.connected, "the connection of the real peer")
        await until(lambda: len(n2.transport._strangers) <= limits.max_strangers_per_source)
    assert len(n2.transport._open) <= limits.max_strangers_per_source + 1
    assert len(logs_of(logs, "handshake_failed")) < 10, "strangers flood the log"
    for stranger in strangers:
        stranger.writer.close()


# Messages.


async def test_ten_thousand_messages_arrive_in_order(start_node) -> None:
    n1, n2 = await start_pair(start_node)
    for number in range(10_000):
        assert n1.transport.send("n2", TermNotice(number))
        assert n2.transport.send("n1", TermNotice(number))
    await until(lambda: len(n1.messages) == len(n2.messages) == 10_000, "all messages")
    assert n1.messages == n2.messages == [TermNotice(number) for number in range(10_000)]


async def test_a_message_for_several_peers_is_encoded_once_and_another_is_another(start_node, monkeypatch) -> None:
    encoded: list[Message] = []

    def encode_and_note(message: Message) -> bytes:
        encoded.append(message)
        return encode(message)

    monkeypatch.setattr(transport_module, "encode", encode_and_note)
    n1, n2 = await start_pair(start_node)
    encoded.clear()
    message, equal = TermNotice(1), TermNotice(2)
    for each in (message, message, equal, message):
        assert n1.transport.send("n2", each)
    assert encoded == [message, equal, message]
    await until(lambda: n2.messages == [message, message, equal, message], "all four")


async def test_what_is_flushed_leaves_before_the_turn_of_the_loop_is_over(start_node) -> None:
    n1, n2 = await start_pair(start_node)
    receiving = n2.transport._established["n1"]._transport.get_extra_info("socket")
    assert n1.transport.send("n2", TermNotice(1))
    assert select.select([receiving.fileno()], [], [], 0.0)[0] == []
    n1.transport.flush()
    assert select.select([receiving.fileno()], [], [], 10.0)[0] == [receiving.fileno()]
    assert n1.transport.send("n2", TermNotice(2))
    await until(lambda: n2.messages == [TermNotice(1), TermNotice(2)], "both messages")


async def test_a_message_as_large_as_allowed_arrives(start_node) -> None:
    n1, n2 = await start_pair(start_node)
    overhead = len(encode(AppendEntries(5, 0, 0, 0, ((5, bytes(2**22)),)))) - 2**22
    message = AppendEntries(5, 0, 0, 0, ((5, bytes(8 * 2**20 - overhead)),))
    assert len(encode(message)) == 8 * 2**20
    assert n1.transport.send("n2", message)
    await until(lambda: n2.messages == [message], "the large message")
    with pytest.raises(AssertionError, match="splits"):
        n1.transport.send("n2", AppendEntries(5, 0, 0, 0, ((5, bytes(8 * 2**20 - overhead + 1)),)))


async def test_sending_to_a_peer_that_is_not_connected_says_so(start_node) -> None:
    n1 = await start_node("n1", {"n2": NOWHERE})
    assert n1.transport.send("n2", TermNotice(1)) is False
    assert n1.transport.send_many(("n2",), TermNotice(1)) == ()
    with pytest.raises(AssertionError):
        n1.transport.send("n7", TermNotice(1))


async def test_a_slow_reader_is_bounded_and_cut_off(start_node) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=TransportLimits(max_outgoing_size_bytes=2**21))
    with capture_logs() as logs:
        stranger = await Stranger.connect(n2)
        await stranger.shake_hands()
        await until(lambda: n2.transport.connected)
        stranger.reader._transport.pause_reading()
        message = AppendEntries(5, 0, 0, 0, ((5, bytes(2**18)),))
        taken = 0
        while n2.transport.send("n1", message):
            taken += 1
            assert taken < 1000, "nothing bounds what waits for a peer"
            await asyncio.sleep(0)
        assert n2.transport.connected == ()
        assert n2.transport.send("n1", TermNotice(1)) is False
        assert n2.told == [("connected", "n1")], "a callback ran from within send"
        await until(lambda: n2.told == [("connected", "n1"), ("disconnected", "n1")])
    assert "it reads too slowly" in logs_of(logs, "peer_disconnected")[0]["reason"]
    stranger.writer.close()


# Ending.


@pytest.mark.parametrize(
    ("what", "frame", "reason"),
    [
        ("no message", lambda epoch: encode_frame(epoch, b"\x80"), "no message"),
        (
            "a second Hello",
            lambda epoch: encode_frame(epoch, encode(Hello(1, CLUSTER, "n1", 1, True, 1))),
            "no message",
        ),
        ("a late frame", lambda epoch: encode_frame(epoch ^ 1, encode(TermNotice(1))), "another connection"),
        ("no epoch", lambda epoch: encode_frame(0, encode(TermNotice(1))), "another connection"),
        ("an altered frame", lambda epoch: encode_frame(epoch, b"ab")[:-1] + b"c", "checksum"),
        ("an oversized frame", lambda epoch: struct.pack(">IIQ", 8 * 2**20 + 1, 0, epoch), "8388609 bytes"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_cut_off_and_may_come_again(start_node, what, frame, reason) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE})
    with capture_logs() as logs:
        stranger = await Stranger.connect(n2)
        await stranger.shake_hands()
        stranger.write(encode(TermNotice(1)))
        stranger.writer.write(frame(stranger.peer_epoch))
        stranger.write(encode(TermNotice(2)))
        await stranger.expect_end()
        await until(lambda: n2.count("disconnected") == 1)
    assert reason in logs_of(logs, "peer_disconnected")[0]["reason"]
    assert n2.told == [("connected", "n1"), ("message", "n1", TermNotice(1)), ("disconnected", "n1")]
    again = await Stranger.connect(n2)
    await again.shake_hands()
    await until(lambda: n2.transport.connected == ("n1",))
    again.writer.close()


async def test_a_protocol_error_of_the_node_ends_that_connection_and_it_is_made_anew(start_node) -> None:
    n1, n2 = await start_pair(start_node)

    def refuse(_peer: str, _message: Message) -> None:
        raise ProtocolError("entries of an impossible term")

    n2.on_message = refuse
    with capture_logs() as logs:
        n1.transport.send("n2", TermNotice(1))
        await until(lambda: n1.count("connected") == 2 and n2.count("connected") == 2)
    assert any("entries of an impossible term" in entry["reason"] for entry in logs_of(logs, "peer_disconnected"))


@pytest.mark.parametrize("error", [AssertionError("a bug"), OSError("disk full")])
async def test_any_other_error_of_the_node_reaches_the_loops_exception_handler(start_node, error: Exception) -> None:
    n1, n2 = await start_pair(start_node)
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))

    def fail(_peer: str, _message: Message) -> None:
        raise error

    n2.on_message = fail
    n1.transport.send("n2", TermNotice(1))
    await until(lambda: seen)
    assert seen == [error]
    asyncio.get_running_loop().set_exception_handler(None)


async def test_a_newer_connection_of_a_peer_replaces_the_older(start_node) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE})
    older = await Stranger.connect(n2)
    await older.shake_hands(start=1)
    older.write(encode(TermNotice(1)))
    await until(lambda: n2.messages)
    newer = await Stranger.connect(n2)
    await newer.shake_hands(start=2)
    await until(lambda: n2.hellos["n1"].start == 2)
    older.write(encode(TermNotice(2)))  # Too late: the connection is gone.
    await older.expect_end()
    newer.write(encode(TermNotice(3)))
    await until(lambda: len(n2.messages) == 2)
    assert n2.transport.send("n1", TermNotice(4))
    assert await newer.next_message() == TermNotice(4)
    assert n2.told == [
        ("connected", "n1"),
        ("message", "n1", TermNotice(1)),
        ("disconnected", "n1"),
        ("connected", "n1"),
        ("message", "n1", TermNotice(3)),
    ]
    newer.writer.close()


async def test_a_peer_that_dies_is_redialled_until_it_is_back(start_node) -> None:
    port = free_port()
    n1 = await start_node("n1", {"n2": (HOST, port)})
    for start in range(1, 4):
        n2 = Node("n2", {"n1": NOWHERE}, port=port, start=start)
        await n2.transport.start()
        await until(lambda n2=n2: n1.transport.connected and n2.transport.connected)
        assert n1.hellos["n2"].start == start
        await n2.transport.stop()
        await until(lambda: not n1.transport.connected)
        assert n2.told == [("connected", "n1"), ("disconnected", "n1")]
    assert n1.told == [("connected", "n2"), ("disconnected", "n2")] * 3


async def test_what_was_sent_before_a_stop_arrives(start_node) -> None:
    n1, n2 = await start_pair(start_node)
    for number in range(1000):
        n1.transport.send("n2", TermNotice(number))
    await n1.transport.stop()
    await until(lambda: n2.told[-1] == ("disconnected", "n1"))
    assert n2.messages == [TermNotice(number) for number in range(1000)]
    assert n1.told == [("connected", "n2"), ("disconnected", "n2")]


async def test_a_connection_that_comes_about_while_its_dialler_gives_up_does_not_hold_up_the_stop() -> None:
    """uvloop closes such a connection and tells nobody."""
    async with await asyncio.get_running_loop().create_server(asyncio.Protocol, HOST, 0) as server:
        node = Node("n1", {"n2": server.sockets[0].getsockname()[:2]})
        connection_opened = node.transport.connection_opened
        opened = asyncio.Event()

        def give_up(connection: PeerConnection) -> None:
            connection_opened(connection)
            for dialler in node.transport._diallers:
                dialler.cancel()
            opened.set()

        node.transport.connection_opened = give_up  # type: ignore[method-assign]
        await node.transport.start()
        async with asyncio.timeout(DEADLINE_S):
            await opened.wait()
            await node.transport.stop()


async def test_a_quiet_connection_stays(start_node) -> None:
    n1, n2 = await start_pair(start_node, idle_timeout_s=0.1)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + 1.0  # Ten times what would close it.
    await until(lambda: loop.time() > end_s)
    assert n1.told == [("connected", "n2")]
    assert n2.told == [("connected", "n1")]


# A link that fails.


@pytest.mark.parametrize("direction", ["to_target", "from_target", "both"])
async def test_a_cut_link_is_noticed_and_heals(start_node, direction) -> None:
    limits = TransportLimits(idle_timeout_s=0.3, handshake_timeout_s=0.3)
    n2 = await start_node("n2", {"n1": NOWHERE}, limits=limits)
    with TcpProxy(0, n2.transport.listen_port) as proxy, capture_logs() as logs:
        n1 = await start_node("n1", {"n2": (HOST, proxy.listen_port)}, limits=limits)
        await until(lambda: n1.transport.connected and n2.transport.connected)
        await asyncio.to_thread(proxy.cut, direction)
        await until(lambda: not n1.transport.connected and not n2.transport.connected, "both ends notice the cut")
        await asyncio.to_thread(proxy.heal)
        await until(lambda: n1.transport.connected and n2.transport.connected, "the connection after healing")
        n1.transport.send("n2", TermNotice(1))
        n2.transport.send("n1", TermNotice(2))
        await until(lambda: n2.messages == [TermNotice(1)] and n1.messages == [TermNotice(2)])
    assert any("nothing was received for 0.3 s" in entry["reason"] for entry in logs_of(logs, "peer_disconnected"))
    for node in (n1, n2):
        kinds = [entry[0] for entry in node.told if entry[0] != "message"]
        assert kinds[::2] == ["connected"] * len(kinds[::2]), "callbacks out of order"
        assert kinds[1::2] == ["disconnected"] * len(kinds[1::2]), "callbacks out of order"


async def test_a_link_that_refuses_is_redialled(start_node) -> None:
    n2 = await start_node("n2", {"n1": NOWHERE})
    with TcpProxy(0, n2.transport.listen_port, delay_s=0.01) as proxy:
        n1 = await start_node("n1", {"n2": (HOST, proxy.listen_port)})
        await until(lambda: n1.transport.connected and n2.transport.connected)
        await asyncio.to_thread(lambda: proxy.cut(refuse=True))
        await until(lambda: not n1.transport.connected and not n2.transport.connected)
        await asyncio.to_thread(proxy.heal)
        await until(lambda: n1.transport.connected and n2.transport.connected)


# The loop of production.


def test_the_same_holds_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this platform")

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def start(*args: object, **kwargs: object) -> Node:
                node = Node(*args, **kwargs)  # type: ignore[arg-type]
                await node.transport.start()
                stack.push_async_callback(node.transport.stop)
                return node

            await test_ten_thousand_messages_arrive_in_order(start)
            await test_a_message_as_large_as_allowed_arrives(start)
            await test_a_newer_connection_of_a_peer_replaces_the_older(start)
            await test_any_other_error_of_the_node_reaches_the_loops_exception_handler(start, OSError("disk full"))
            await test_what_was_sent_before_a_stop_arrives(start)
            await test_a_connection_that_comes_about_while_its_dialler_gives_up_does_not_hold_up_the_stop()
            await test_a_cut_link_is_noticed_and_heals(start, "both")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
