"""One connection to a peer: handshake, frames, bounds and timeouts, as an asyncio protocol.

It decides nothing about peers: transport.py keeps the table of connections and tells the node.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, cast

from raftbook.errors import ProtocolError
from raftbook.replication.frames import HANDSHAKE_EPOCH, HEADER_SIZE_BYTES, KEEP_ALIVE, FrameDecoder, frame_header
from raftbook.replication.messages import Hello, Refusal, decode, decode_handshake, encode

if TYPE_CHECKING:
    from raftbook.replication.messages import Message

_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Bounds of the peer network. Beyond each of them a connection is closed, and the log says why."""

    handshake_timeout_s: float = 2.0
    """From dialling or accepting to an established connection."""
    idle_timeout_s: float = 2.0
    """Without a byte from the peer. An end with nothing to say sends a keep-alive four times in this time."""
    redial_min_delay_s: float = 0.05
    redial_max_delay_s: float = 0.5
    drain_timeout_s: float = 1.0
    """For what is still to be written, when the transport stops or a Hello is refused."""
    max_handshake_size_bytes: int = 4096
    max_message_size_bytes: int = 8 * _MEBIBYTE
    max_outgoing_size_bytes: int = 64 * _MEBIBYTE
    """Written to a peer and not yet taken by the operating system."""
    max_strangers: int = 64
    """Accepted connections whose handshake is under way; one more makes the oldest of them go."""
    max_strangers_per_source: int = 16


class State(Enum):
    CONNECTING = "connecting"
    HELLO_EXPECTED = "hello expected"
    CONFIRMATION_EXPECTED = "confirmation expected"
    ESTABLISHED = "established"
    CLOSED = "closed"


class ConnectionOwner(Protocol):
    """What a connection tells. Nothing of this is called from within `send`, but `connection_changed`."""

    def connection_changed(self) -> None:
        """It can be sent to no longer."""

    def connection_opened(self, connection: PeerConnection) -> None: ...

    def own_hello(self, epoch: int) -> Hello: ...

    def refusal_reason(self, connection: PeerConnection, hello: Hello) -> str | None: ...

    def connection_established(self, connection: PeerConnection, hello: Hello) -> None: ...

    def message_received(self, connection: PeerConnection, message: Message) -> None: ...

    def connection_ended(self, connection: PeerConnection) -> None:
        """Once for every connection that was opened; `close_reason` says why."""


class PeerConnection(asyncio.Protocol):
    def __init__(self, owner: ConnectionOwner, limits: TransportLimits, *, epoch: int, dialled: str | None) -> None:
        self.dialled: Final = dialled
        """The peer that was dialled; None on the accepting end."""
        self.source = ""
        """Address of the other end, without the port."""
        self.hello: Hello | None = None
        self.state = State.CONNECTING
        self.close_reason = ""
        self.ended: Final = asyncio.Event()
        self.established_at_s: float | None = None
        self._owner = owner
        self._limits = limits
        self._epoch = epoch
        self._peer_epoch = HANDSHAKE_EPOCH
        self._decoder = FrameDecoder(epoch=HANDSHAKE_EPOCH, max_payload_size_bytes=limits.max_handshake_size_bytes)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_size_bytes = 0
        self._received_at_s = self._sent_at_s = self._loop.time()

    @property
    def established(self) -> bool:
        return self.state is State.ESTABLISHED

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def peer(self) -> str:
        """The node at the other end, of a connection that is or was established."""
        assert self.hello is not None
        return self.hello.node_id

    @property
    def lifetime_s(self) -> float:
        """For how long the connection has been established; 0 if it never was."""
        return 0.0 if self.established_at_s is None else self._loop.time() - self.established_at_s

    def certified_names(self) -> frozenset[str]:
        """The alternative DNS names in the other end's certificate, of a connection with TLS."""
        certificate = self._transport.get_extra_info("peercert") or {}
        return frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")

    # What the node asks for.

    def send(self, payload: bytes) -> bool:
        """Whether `payload` was taken. It leaves with `flush` or, in one write with all else, when the turn ends."""
        if self.state is not State.ESTABLISHED:
            return False
        assert 0 < len(payload) <= self._limits.max_message_size_bytes, "the sender splits what is too large"
        waiting_size_bytes = self._outgoing_size_bytes + self._transport.get_write_buffer_size()
        if waiting_size_bytes + HEADER_SIZE_BYTES + len(payload) > self._limits.max_outgoing_size_bytes:
            self.close(f"it reads too slowly: {waiting_size_bytes} bytes wait to be sent")
            return False
        self._write(self._peer_epoch, payload)
        return True

    def close(self, reason: str) -> None:
        """End the connection at once. The owner is told in a later turn of the loop."""
        if not self.closed:
            self._set_closed(reason)
            self._transport.abort()

    def drain_and_close(self, reason: str) -> None:
        """End the connection when what was sent is written, at the latest after `drain_timeout_s`."""
        if not self.closed:
            self.flush()
            self._set_closed(reason)
            self._transport.close()
            self._timer = self._loop.call_later(self._limits.drain_timeout_s, self._transport.abort)

    def abandon(self) -> None:
        """Whoever dialled has given up, perhaps in the very moment in which the connection came about.

        uvloop then closes it and tells nobody; so this end takes it as lost.
        """
        if self.state is not State.CONNECTING and not self.ended.is_set():
            self.close("it was given up while it was dialled")
            self.connection_lost(None)

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not the class.
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source = str(transport.get_extra_info("peername", ("unknown",))[0])
        self.state = State.HELLO_EXPECTED
        self._timer = self._loop.call_later(self._limits.handshake_timeout_s, self._handshake_timed_out)
        if self.dialled is not None:
            self._write(HANDSHAKE_EPOCH, encode(self._owner.own_hello(self._epoch)))
        self._owner.connection_opened(self)

    def data_received(self, data: bytes) -> None:
        if self.state is State.CLOSED:
            return
        self._received_at_s = self._loop.time()
        try:
            self._decoder.receive(data)
            while not self.closed and (payload := self._decoder.next_payload()) is not None:
                self._payload_received(payload)
        except ProtocolError as error:
            self.close(f"it broke the protocol: {error}")
        except Exception as error:  # noqa: BLE001 (asyncio would hide an OSError; the node's handler must see all)
            self.close("a message could not be processed")
            self._loop.call_exception_handler({"message": "a callback of the peer network failed", "exception": error})

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.is_set():
            return  # It was abandoned, and this loop is one that tells.
        if not self.closed:
            self._set_closed(f"the connection failed: {exc}" if exc else "the other end closed it")
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set()
        self._owner.connection_ended(self)

    # Handshake: handshake.py has the picture.

    def _payload_received(self, payload: bytes) -> None:
        if self.state is State.ESTABLISHED:
            if payload != KEEP_ALIVE:
                self._owner.message_received(self, decode(payload))
        elif self.state is State.CONFIRMATION_EXPECTED and payload == KEEP_ALIVE:
            self._establish()
        else:
            message = decode_handshake(payload)
            if isinstance(message, Refusal):
                self.close(f"it refused: {message.reason}")
            elif self.state is State.HELLO_EXPECTED:
                self._hello_received(message)
            else:
                raise ProtocolError("a second Hello")

    def _hello_received(self, hello: Hello) -> None:
        # The first frame of each direction has no epoch, for its receiver has not been heard yet.
        reason = self._owner.refusal_reason(self, hello)
        first_epoch = HANDSHAKE_EPOCH if self.dialled is None else hello.epoch
        if reason is not None:
            self._write(first_epoch, encode(Refusal(reason[:500])))
            self.drain_and_close(f"refused: {reason}")
            return
        self.hello = hello
        self._peer_epoch = hello.epoch
        if self.dialled is None:
            self._write(first_epoch, encode(self._owner.own_hello(self._epoch)))
            self._decoder.expect(epoch=self._epoch, max_payload_size_bytes=self._limits.max_handshake_size_bytes)
            self.state = State.CONFIRMATION_EXPECTED
        else:
            self._write(first_epoch, KEEP_ALIVE)
            self._establish()

    def _establish(self) -> None:
        assert self.hello is not None
        assert self._timer is not None
        self._timer.cancel()
        self._decoder.expect(epoch=self._epoch, max_payload_size_bytes=self._limits.max_message_size_bytes)
        self.state = State.ESTABLISHED
        self.established_at_s = self._loop.time()
        self._timer = self._loop.call_later(self._limits.idle_timeout_s / 4, self._watch)
        self._owner.connection_established(self, self.hello)

    def _handshake_timed_out(self) -> None:
        self.close(f"no handshake within {self._limits.handshake_timeout_s} s")

    def _watch(self) -> None:
        """Four times in `idle_timeout_s`: see whether the other end lives, and show that this one does."""
        now_s = self._loop.time()
        interval_s = self._limits.idle_timeout_s / 4
        if now_s - self._received_at_s >= self._limits.idle_timeout_s:
            self.close(f"nothing was received for {self._limits.idle_timeout_s} s")
            return
        # After a long pause of this process the keep-alive goes out before anything else can time out.
        if now_s - self._sent_at_s >= interval_s and not self._outgoing:
            self._write(self._peer_epoch, KEEP_ALIVE)
        self._timer = self._loop.call_later(interval_s, self._watch)

    # Writing.

    def _write(self, epoch: int, payload: bytes) -> None:
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(frame_header(epoch, payload))
        if payload:
            self._outgoing.append(payload)
        self._outgoing_size_bytes += HEADER_SIZE_BYTES + len(payload)

    def flush(self) -> None:
        """Write what `send` took."""
        if not self._outgoing:
            return
        if not self.closed:
            self._sent_at_s = self._loop.time()
            self._transport.writelines(self._outgoing)
        self._outgoing = []
        self._outgoing_size_bytes = 0

    def _set_closed(self, reason: str) -> None:
        self.state = State.CLOSED
        self.close_reason = reason
        self._owner.connection_changed()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
