"""The peer network of a node: one TCP connection to every other node, for as long as the process runs.

The node with the smaller id dials, again and again for ever; the other accepts (handshake.py). A fault of a
peer or of the network ends a connection and never more than that: it is logged, and made anew.

| bound | at the bound |
|---|---|
| handshake, idle time | the connection is closed |
| size of a message | the connection is closed (ProtocolError) |
| bytes that wait to be sent to a peer | `send` returns False, the connection is closed |
| strangers: accepted, in the handshake or in that of TLS | the oldest is closed, of its source if that has too many |
| connections of one peer | the newest stays |
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from structlog import get_logger

from raftbook.replication.accepting import Acceptor, connect_protocol
from raftbook.replication.handshake import dials, refusal_reason
from raftbook.replication.listening import ListenAddress
from raftbook.replication.messages import PROTOCOL_VERSION, Hello, encode
from raftbook.replication.peer_connection import PeerConnection, TransportLimits

if TYPE_CHECKING:
    import random
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from raftbook.replication.messages import Message

Address = tuple[str, int]
"""Host and port; config.Address is one."""

__all__ = ["Address", "TcpPeerTransport", "TlsContexts", "TransportLimits"]

log = get_logger()

_STRANGER_LOG_INTERVAL_S: Final = 1.0
_LISTEN_BACKLOG: Final = 1024

Waiting = TypeVar("Waiting", PeerConnection, asyncio.Task[None])


class TlsContexts(NamedTuple):
    """Mutual TLS: both contexts hold the node's own certificate and ask for the other's.

    A certificate names its node by an alternative DNS name that equals the node id.
    """

    accepting: ssl.SSLContext
    dialling: ssl.SSLContext


class TcpPeerTransport:
    """The PeerTransport (messages.py) between processes.

    `fresh` says whether this node's log is empty, asked at every handshake. The callbacks run on the loop that
    `start` ran on, for each peer in strict order: connected, messages, disconnected. A ProtocolError that
    `on_message` raises ends that connection; any other exception goes to the loop's exception handler, where
    the node halts. `listener` is a socket that is bound to `listen_address` already, where the node has one.
    `randomness` gives epochs and the jitter of redialling.
    """

    def __init__(
        self,
        *,
        node_id: str,
        cluster: str,
        start: int,
        listen_address: Address,
        peers: Mapping[str, Address],
        fresh: Callable[[], bool],
        on_connected: Callable[[str, Hello], None],
        on_disconnected: Callable[[str], None],
        on_message: Callable[[str, Message], None],
        limits: TransportLimits | None = None,
        tls: TlsContexts | None = None,
        randomness: random.Random | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        assert node_id not in peers, "peers are the other nodes"
        self._node_id = node_id
        self._cluster = cluster
        self._start_number = start
        self._listen_address = listen_address
        self._listener = listener
        self._peers = dict(peers)
        self._fresh = fresh
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_message = on_message
        self._limits = limits or TransportLimits()
        self._tls = tls
        self._randomness = randomness or secrets.SystemRandom()
        self._log = log.bind(node_id=node_id)
        self._stopping = False
        self._acceptor: Acceptor | None = None
        self._knocking: dict[asyncio.Task[None], str] = {}
        """The handshakes of TLS with strangers, the oldest first -> their sources."""
        self._diallers: list[asyncio.Task[None]] = []
        self._open: dict[PeerConnection, None] = {}
        self._strangers: dict[PeerConnection, str] = {}
        """Accepted and in the handshake of ours, the oldest first -> their sources."""
        self._established: dict[str, PeerConnection] = {}
        self._connected: tuple[str, ...] | None = ()
        """What `connected` says; None where that is to be found out anew."""
        self._newest: tuple[Message | None, bytes] = (None, b"")
        """What was encoded last."""
        self._last_fault: dict[str, str] = {}
        self._stranger_faults_unlogged = 0
        self._stranger_fault_logged_at_s = float("-inf")

    # What the node asks for.

    async def start(self) -> None:
        """Listen and dial. Raises AddressInUseError, or ConfigError where the address is not this machine's."""
        self._loop = asyncio.get_running_loop()
        address = ListenAddress.for_peers(self._node_id, self._listen_address)
        listener = self._listener or address.bind()
        try:
            self._acceptor = Acceptor(listener, self._take)
            self._acceptor.start(_LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise address.failure(error) from error
        self._diallers = [
            asyncio.create_task(self._keep_connected(peer, address), name=f"dial {peer}")
            for peer, address in sorted(self._peers.items())
            if dials(self._node_id, peer)
        ]

    @property
    def listen_port(self) -> int:
        """The port that is listened on: what the operating system chose, where the configured one is 0."""
        assert self._acceptor is not None
        return self._acceptor.port

    @property
    def connected(self) -> tuple[str, ...]:
        """The peers that can be sent to, sorted. O(1) as long as they are the same: it is asked ten times an order."""
        if self._connected is None:
            self._connected = tuple(sorted(peer for peer, end in self._established.items() if end.established))
        return self._connected

    def send(self, peer: str, message: Message) -> bool:
        """Whether `message` was taken; False if `peer` is not connected or reads too slowly. Never blocks. O(size)."""
        assert peer in self._peers, "messages go to configured peers"
        connection = self._established.get(peer)
        return connection is not None and connection.send(self._encoded(message))

    def send_many(self, peers: Sequence[str], message: Message) -> tuple[str, ...]:
        """`send` to each of `peers`, encoding once. Returns those for which it was taken."""
        assert all(peer in self._peers for peer in peers), "messages go to configured peers"
        connections = [self._established[peer] for peer in peers if peer in self._established]
        if not connections:
            return ()
        payload = self._encoded(message)
        return tuple(connection.peer for connection in connections if connection.send(payload))

    def _encoded(self, message: Message) -> bytes:
        """Messages never change, so one that goes to several peers in turn is encoded for the first of them."""
        if message is not self._newest[0]:
            self._newest = (message, encode(message))
        return self._newest[1]

    def flush(self) -> None:
        """Write what was sent in this turn of the loop."""
        for connection in self._established.values():
            connection.flush()

    async def stop(self) -> None:
        """Write what was sent, as far as the peers take it in `drain_timeout_s`, and end all connections."""
        self._stopping = True
        for dialler in self._diallers:
            dialler.cancel()
        await asyncio.gather(*self._diallers, return_exceptions=True)
        if self._acceptor is not None:
            self._acceptor.close()
        knocking = tuple(self._knocking)
        for task in knocking:
            task.cancel()
        await asyncio.gather(*knocking, return_exceptions=True)
        open_connections = tuple(self._open)
        for connection in open_connections:
            connection.drain_and_close("this node stops")
        for connection in open_connections:
            await connection.ended.wait()

    # Accepting.

    def _take(self, connection: socket.socket, source: str) -> None:
        task = asyncio.create_task(self._meet(connection, source), name="meet stranger")
        self._knocking[task] = source
        task.add_done_callback(partial(self._met, connection))
        oldest = self._one_too_many(self._knocking, source)
        if oldest is not None:
            oldest.cancel()

    async def _meet(self, connection: socket.socket, source: str) -> None:
        fault = await connect_protocol(
            connection,
            lambda: self._new_connection(dialled=None),
            tls=self._tls.accepting if self._tls else None,
            handshake_timeout_s=self._limits.handshake_timeout_s,
            shutdown_timeout_s=self._limits.drain_timeout_s,
        )
        if fault is not None:
            self._stranger_failed(source, None, f"no connection came about: {fault}")

    def _met(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._knocking.pop(task, None)
        if task.cancelled():
            connection.close()
        else:
            task.result()

    def _one_too_many(self, waiting: dict[Waiting, str], source: str) -> Waiting | None:
        """The one that has to go, taken out of `waiting`, whose values are sources and whose last one has just come.

        A real peer is through its handshake within milliseconds; the one that waits longest is the idle one.
        """
        of_source = [one for one, its_source in waiting.items() if its_source == source]
        if len(of_source) > self._limits.max_strangers_per_source:
            oldest = of_source[0]
        elif len(waiting) > self._limits.max_strangers:
            oldest = next(iter(waiting))
        else:
            return None
        del waiting[oldest]
        return oldest

    # Dialling.

    async def _keep_connected(self, peer: str, address: Address) -> None:
        limits = self._limits
        delay_s = limits.redial_min_delay_s
        while True:
            connection = await self._dial(peer, address)
            if connection is not None:
                await connection.ended.wait()
                if connection.lifetime_s >= limits.redial_max_delay_s:
                    delay_s = limits.redial_min_delay_s
            await asyncio.sleep(delay_s * self._randomness.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, limits.redial_max_delay_s)

    async def _dial(self, peer: str, address: Address) -> PeerConnection | None:
        connection = self._new_connection(dialled=peer)
        is_made = False
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_s):
                await self._loop.create_connection(
                    lambda: connection,
                    *address,
                    ssl=self._tls.dialling if self._tls else None,
                    server_hostname=peer if self._tls else None,
                )
            is_made = True
        except OSError as error:  # TimeoutError and ssl.SSLError are among them.
            reason = str(error) or f"no connection within {self._limits.handshake_timeout_s} s"
            self._peer_failed(peer, f"it cannot be reached at {address[0]}:{address[1]}: {reason}")
            return None
        finally:
            if not is_made:
                connection.abandon()
        return connection

    def _new_connection(self, dialled: str | None) -> PeerConnection:
        return PeerConnection(self, self._limits, epoch=self._randomness.randrange(1, 2**63), dialled=dialled)

    # What connections tell (ConnectionOwner).

    def connection_changed(self) -> None:
        self._connected = None

    def connection_opened(self, connection: PeerConnection) -> None:
        self._open[connection] = None
        if self._stopping:
            connection.close("this node stops")
            return
        if connection.dialled is not None:
            return
        self._strangers[connection] = connection.source
        oldest = self._one_too_many(self._strangers, connection.source)
        if oldest is not None:
            oldest.close("too many connections are in their handshake")

    def own_hello(self, epoch: int) -> Hello:
        return Hello(PROTOCOL_VERSION, self._cluster, self._node_id, self._start_number, self._fresh(), epoch)

    def refusal_reason(self, connection: PeerConnection, hello: Hello) -> str | None:
        return refusal_reason(
            hello,
            node_id=self._node_id,
            cluster=self._cluster,
            peers=self._peers,
            dialled=connection.dialled,
            certified_names=connection.certified_names() if self._tls else None,
        )

    def connection_established(self, connection: PeerConnection, hello: Hello) -> None:
        peer = hello.node_id
        self._strangers.pop(connection, None)
        earlier = self._established.pop(peer, None)
        if earlier is not None:
            earlier.close("a newer connection replaces it")
            self._on_disconnected(peer)
        self._established[peer] = connection
        self._connected = None
        self._last_fault.pop(peer, None)
        self._log.info(
            "peer_connected", peer=peer, start=hello.start, fresh=hello.fresh, dialled=bool(connection.dialled)
        )
        self._on_connected(peer, hello)

    def message_received(self, connection: PeerConnection, message: Message) -> None:
        self._on_message(connection.peer, message)

    def connection_ended(self, connection: PeerConnection) -> None:
        self._open.pop(connection, None)
        self._strangers.pop(connection, None)
        if connection.hello is not None and self._established.get(connection.peer) is connection:
            del self._established[connection.peer]
            self._connected = None
            self._log.warning("peer_disconnected", peer=connection.peer, reason=connection.close_reason)
            self._on_disconnected(connection.peer)
        elif connection.dialled is not None:
            self._peer_failed(connection.dialled, connection.close_reason)
        elif connection.established_at_s is None:
            claimed_node_id = connection.hello.node_id if connection.hello else None
            self._stranger_failed(connection.source, claimed_node_id, connection.close_reason)

    # Logging that a peer or a stranger cannot flood.

    def _peer_failed(self, peer: str, reason: str) -> None:
        """Log why a peer cannot be connected to, once for each reason in turn."""
        if self._last_fault.get(peer) != reason:
            self._last_fault[peer] = reason
            self._log.warning("peer_not_connected", peer=peer, reason=reason)

    def _stranger_failed(self, source: str, claimed_node_id: str | None, reason: str) -> None:
        """Log why an accepted connection did not become a peer's, at most once a second."""
        now_s = self._loop.time()
        if now_s - self._stranger_fault_logged_at_s < _STRANGER_LOG_INTERVAL_S:
            self._stranger_faults_unlogged += 1
            return
        self._log.warning(
            "handshake_failed",
            source=source,
            claimed_node_id=claimed_node_id,
            reason=reason,
            unlogged=self._stranger_faults_unlogged,
        )
        self._stranger_faults_unlogged = 0
        self._stranger_fault_logged_at_s = now_s
