"""The HTTP interface of a node: requests in, the service's answers out, and no decisions of its own.

    http_api        the Starlette application: routes, and what becomes of errors
    orders          handlers that change the book, and those that read orders and submissions
    submissions     from commands to answers: what all that change the book have in common
    market          handlers about instruments, books and trades
    candles         handler about candles
    cluster         handlers about the node and its cluster
    stream          the WebSocket /v1/stream; its parts are stream_*.py and websocket_frames
    service         what the gateway needs of a node, as a protocol
    endpoint        how a handler declares its path, query, body, answers, problems and who may use it
    query, body     strict reading of parameters and bodies; cbor: bodies as CBOR; media_types: which of both
    responses       answers in JSON and CBOR, and `application/problem+json`; problem_codes: which codes there are
    answers         what the gateway writes, as types (the market's: json_format/answers.py)
    openapi         the OpenAPI document, made of all that is declared; reference: /openapi.json and /docs
    metrics         /metrics; request_log: every request counted, and named by its id in the logs

It runs in the node's own asyncio loop. A handler reads the state synchronously, between two awaits, so what it
answers is one consistent state, and the header `Raftbook-Log-Index` names it.
"""

from __future__ import annotations

from raftbook.gateway.http_api import make_app

__all__ = ["make_app"]
