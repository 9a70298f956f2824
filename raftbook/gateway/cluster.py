"""Handlers about the node and its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import ProblemError
from raftbook.gateway import answers, problem_codes
from raftbook.gateway.endpoint import Access, Answer, endpoint, routes_of
from raftbook.gateway.query import READ_PARAMETERS, Query, flag_parameter, integer_parameter, settle_read

if TYPE_CHECKING:
    from starlette.requests import Request

    from raftbook.gateway.endpoint import EndpointRoute
    from raftbook.gateway.service import Service

_TAG: Final = "Cluster"

_DIGEST_AT: Final = integer_parameter("digest_at", "Adds the digest chain at this log index.")
_STATE_DIGEST: Final = flag_parameter("state_digest", "Adds the digest of the whole state, which takes time.")
_WITHOUT_LEADER: Final = flag_parameter("noleader", "Ready also while there is no leader to catch up with.")


class ClusterHandlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[EndpointRoute]:
        return routes_of(self)

    @endpoint(
        "GET",
        "/v1/cluster",
        query=READ_PARAMETERS,
        answers={200: answers.Cluster},
        problems=(problem_codes.READING,),
        tag=_TAG,
    )
    async def cluster(self, _: Request, query: Query) -> Answer:
        """Every configured node as this one sees it, who leads, and whether a majority answers.

        `lag` is how many entries a node has yet to apply of what is known to be committed. The figures of a node that
        does not answer are the last that were heard of it, but `role` is null: what it is now nobody knows.
        """
        log_index = await settle_read(self._service, query)
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
        return Answer(document, log_index)

    @endpoint(
        "GET",
        "/v1/node",
        query=(_DIGEST_AT, _STATE_DIGEST, *READ_PARAMETERS),
        answers={200: answers.Node},
        problems=(problem_codes.READING,),
        tag=_TAG,
    )
    async def node(self, _: Request, query: Query) -> Answer:
        """The status of this node, and on demand the digests by which nodes are compared.

        `digest_at=INDEX` adds the chain digest there (null where it is no longer held, or not yet applied);
        `state_digest=true` the digest of the whole state with its index, which takes time in proportion to it.
        """
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
        return Answer(document, log_index)

    @endpoint("GET", "/healthz", answers={200: answers.Alive}, access=Access.OPEN, tag=_TAG, has_log_index=False)
    async def alive(self, _: Request, __: Query) -> Answer:
        """The process answers."""
        return Answer({"status": "alive"}, None)

    @endpoint(
        "GET",
        "/readyz",
        query=(_WITHOUT_LEADER,),
        answers={200: answers.Ready},
        problems=({503: ("draining", "no_quorum", "not_caught_up")},),
        access=Access.OPEN,
        tag=_TAG,
        has_log_index=False,
    )
    async def ready(self, _: Request, query: Query) -> Answer:
        """Serving and caught up; with `?noleader` also while there is no leader to catch up with."""
        without_leader = query.flag("noleader")
        service = self._service
        leader = service.status().leader
        if service.draining:
            raise ProblemError(503, "draining", "the node is shutting down; use another node", retry_after_s=1.0)
        if service.ready or (without_leader and leader is None):
            return Answer({"status": "ready", "leader": leader}, None)
        if leader is None:
            detail = "the node knows of no leader, so nothing can be ordered now; check that a majority of nodes runs"
            raise ProblemError(503, "no_quorum", detail, retry_after_s=1.0)
        raise ProblemError(
            503, "not_caught_up", "the node has not yet applied what the leader has committed", retry_after_s=1.0
        )
