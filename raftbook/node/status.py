"""What a node tells of itself and of the others, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from raftbook.member.member import HeardReport
    from raftbook.node.config import NodeConfig


class NodeStatus(NamedTuple):
    """How this node stands. `digest` is the digest chain at `applied_index`.

    With `storage_full` it takes nothing new; `storage_free_bytes` is what its disk has left. `longest_stall_ms`: for so
    long its loop did nothing at all, once since it started.
    """

    node_id: str
    cluster: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    durable_index: int
    base_index: int
    digest: str
    intake_items: int
    connected_peers: tuple[str, ...]
    ready: bool
    draining: bool
    storage_full: bool
    storage_free_bytes: int
    longest_stall_ms: float = 0.0


class PeerStatus(NamedTuple):
    """One configured node as this one sees it; figures are None where it never heard of it."""

    id: str
    peer_address: str
    api_address: str
    reachable: bool
    role: str | None = None
    term: int | None = None
    commit_index: int | None = None
    applied_index: int | None = None
    digest_index: int | None = None
    digest: str | None = None
    storage_full: bool | None = None
    heard_s_ago: float | None = None


def peer_status(node: NodeConfig, heard: HeardReport | None, reachable: bool, now: float) -> PeerStatus:
    """A configured node, as it said last; `now` is on the clock of `heard`."""
    status = PeerStatus(node.id, node.peer_address, node.api_address, reachable)
    if heard is None:
        return status
    report = heard.report
    return status._replace(
        role=report.role,
        term=report.term,
        commit_index=report.commit_index,
        applied_index=report.applied_index,
        digest_index=report.digest_index,
        digest=report.digest,
        storage_full=report.storage_full,
        heard_s_ago=round(now - heard.at, 3),
    )
