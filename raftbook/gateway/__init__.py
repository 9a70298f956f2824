"""The HTTP interface of a node: requests in, the service's answers out, and no decisions of its own.

    http_api        the Starlette application: routes, and what becomes of errors
    orders          handlers that change the book, and those that read orders and submissions
    submissions     from commands to answers: what all that change the book have in common
    market          handlers about instruments, books and trades
    candles         handler about candles
    cluster         handlers about the node and its cluster
    stream          the WebSocket /v1/stream; its parts are stream_*.py and websocket_frames
    service         what the gateway needs of a node, as a protocol
    query, body     strict reading of parameters and bodies; cbor: bodies as CBOR
    responses       JSON answers and `application/problem+json`

It runs in the node's own asyncio loop. A handler reads the state synchronously, between two awaits, so what it
answers is one consistent state, and the header `Raftbook-Log-Index` names it.
"""

from __future__ import annotations

from raftbook.gateway.http_api import make_app

__all__ = ["make_app"]
