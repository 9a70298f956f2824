"""raftbook's peer network in a process that strangers leave without a file descriptor; run as a process of its own.

Prints whether it had none left, and whether its peer was connected once the strangers were gone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from typing import TYPE_CHECKING

import uvloop

from raftbook.replication.listening import ListenAddress
from raftbook.replication.transport import TcpPeerTransport, TransportLimits
from tests.replication.pysyncobj_faults.limits import leave_descriptors, start_flood

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.replication.pysyncobj_faults.limits import Flood

HOST = "127.0.0.1"
DEADLINE_S = 10.0


def make_transport(node_id: str, peer: str, port: int, listener: socket.socket) -> TcpPeerTransport:
    # Strangers get more connections than the process has descriptors, so that these are what runs out.
    limits = TransportLimits(max_strangers=1000, max_strangers_per_source=1000, handshake_timeout_s=60.0)
    return TcpPeerTransport(
        node_id=node_id,
        cluster="flooded",
        start=1,
        listen_address=listener.getsockname(),
        peers={peer: (HOST, port)},
        fresh=lambda: True,
        on_connected=lambda _peer, _hello: None,
        on_disconnected=lambda _peer: None,
        on_message=lambda _peer, _message: None,
        limits=limits,
        listener=listener,
    )


async def until(condition: Callable[[], object]) -> bool:
    deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition() and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110 (anything may change it)
        await asyncio.sleep(0.005)
    return bool(condition())


async def serve(listener: socket.socket, peers_listener: socket.socket, flood: Flood) -> None:
    refusals: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: refusals.append(context.get("exception")))
    port = listener.getsockname()[1]
    node = make_transport("n2", "n1", peers_listener.getsockname()[1], listener)
    await node.start()
    leave_descriptors(20)
    is_out = await until(lambda: refusals or not has_descriptor())
    flood.end()
    peer = make_transport("n1", "n2", port, peers_listener)
    await until(lambda: not node._strangers)
    await peer.start()
    is_connected = await until(lambda: peer.connected and node.connected)
    assert all(isinstance(error, OSError) and error.errno == errno.EMFILE for error in refusals), refusals
    await peer.stop()
    await node.stop()
    print(f"out of descriptors: {is_out}, connected afterwards: {is_connected}")


def has_descriptor() -> bool:
    try:
        os.close(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return False
    return True


def main() -> None:
    listener, peers_listener = (ListenAddress.for_peers(node_id, (HOST, 0)).bind() for node_id in ("n2", "n1"))
    listener.listen()
    # Forked before there is a loop; its connections wait in the listener's queue.
    flood = start_flood(listener.getsockname()[1])
    factory = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[1]]
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(listener, peers_listener, flood))


if __name__ == "__main__":
    main()
