"""Handlers about the node and its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from raftbook.errors import ProblemError
from raftbook.gateway.query import READ_PARAMETERS, Query, settle_read
from raftbook.gateway.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from raftbook.gateway.service import Service


class ClusterHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("/v1/cluster", self.cluster, methods=["GET"]),
            Route("/v1/node", self.node, methods=["GET"]),
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
        ]

    async def cluster(self, request: Request) -> Response:
        """GET /v1/cluster: every configured node as this one sees it, who leads, and whether a majority answers.

        `lag` is how many entries a node has yet to apply of what is known to be committed. The figures of a node that
        does not answer are the last that were heard of it, but `role` is null: what it is now nobody knows.
        """
        log_index = await settle_read(self._service, Query(request, *READ_PARAMETERS))
        peers = self._service.cluster()
        committed = max((peer.commit_index for peer in peers if peer.commit_index is not None), default=0)
        nodes = [
            {
                **peer._asdict(),
                **({} if peer.reachable else {"role": None}),
                "lag": None if peer.applied_index is None else max(0, committed - peer.applied_index),
            }
            for peer in peers
        ]
        document = {
            "name": self._service.config.cluster.name,
            "leader": self._service.status().leader,
            "quorum": 2 * sum(peer.reachable for peer in peers) > len(peers),
            "nodes": nodes,
        }
        return json_response(document, log_index)

    async def node(self, request: Request) -> Response:
        """GET /v1/node: this node's status, and on demand the digests by which nodes are compared.

        `digest_at=INDEX` adds the chain digest there (null where it is no longer held, or not yet applied);
        `state_digest=true` the digest of the whole state with its index, which takes time in proportion to it.
        """
        query = Query(request, "digest_at", "state_digest", *READ_PARAMETERS)
        digest_at = query.optional_integer("digest_at")
        with_state_digest = query.flag("state_digest")
        log_index = await settle_read(self._service, query)
        state = self._service.state
        document = self._service.status()._asdict()
        if digest_at is not None:
            document["digest_at"] = {"index": digest_at, "digest": state.digest_at(digest_at)}
        if with_state_digest:
            index, digest = await self._service.state_digest()
            document["state_digest"] = {"index": index, "digest": digest}
        return json_response(document, log_index)

    async def alive(self, request: Request) -> Response:
        """GET /healthz: the process answers."""
        Query(request)
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """GET /readyz: serving and caught up; with `?noleader` also while there is no leader to catch up with."""
        without_leader = Query(request, "noleader").flag("noleader")
        service = self._service
        leader = service.status().leader
        if service.draining:
            raise ProblemError(503, "draining", "the node is shutting down; use another node", retry_after_s=1.0)
        if service.ready or (without_leader and leader is None):
            return JSONResponse({"status": "ready", "leader": leader})
        if leader is None:
            detail = "the node knows of no leader, so nothing can be ordered now; check that a majority of nodes runs"
            raise ProblemError(503, "no_quorum", detail, retry_after_s=1.0)
        raise ProblemError(
            503, "not_caught_up", "the node has not yet applied what the leader has committed", retry_after_s=1.0
        )
