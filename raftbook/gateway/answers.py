"""What the gateway itself writes, as types; the market's and the orders' stand in json_format/answers.py."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from raftbook.json_format.answers import Digest, Index, Report


class IndexedDigest(Struct, kw_only=True, forbid_unknown_fields=True):
    """`digest` is null where it is not held any more, or the log is not applied so far."""

    index: Index
    digest: Digest | None


class Node(Struct, kw_only=True, forbid_unknown_fields=True):
    """How the node stands; `digest` is the digest chain at `applied_index`."""

    node_id: str
    cluster: str
    role: Literal["leader", "candidate", "follower", "learner"]
    leader: str | None
    term: Index
    commit_index: Index
    applied_index: Index
    last_index: Index
    durable_index: Index
    base_index: Index
    digest: Digest
    intake_items: Index
    connected_peers: list[str]
    ready: bool
    draining: bool
    storage_full: bool
    storage_free_bytes: Index
    longest_stall_ms: float
    digest_at: IndexedDigest | UnsetType = UNSET
    state_digest: IndexedDigest | UnsetType = UNSET


class Peer(Struct, kw_only=True, forbid_unknown_fields=True):
    """A configured node as the asked one sees it; figures are null where it never heard of it.

    `lag` is how many entries it has yet to apply of what is known to be committed.
    """

    id: str
    peer_address: str
    api_address: str
    reachable: bool
    role: str | None
    term: Index | None
    commit_index: Index | None
    applied_index: Index | None
    digest_index: Index | None
    digest: Digest | None
    storage_full: bool | None
    heard_s_ago: float | None
    lag: Index | None


class Cluster(Struct, kw_only=True, forbid_unknown_fields=True):
    """`quorum`: a majority of the nodes answers the asked one."""

    name: str
    leader: str | None
    quorum: bool
    nodes: list[Peer]


class Alive(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Literal["alive"]


class Ready(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Literal["ready"]
    leader: str | None


class Problem(Struct, kw_only=True, forbid_unknown_fields=True):
    """RFC 9457. `code` is the stable name to test for, `detail` says what happened and what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry_after_s: float | UnsetType = UNSET
    field: str | UnsetType = UNSET
    """The field or parameter at fault."""
    near: list[str] | UnsetType = UNSET
    """What may have been meant."""
    report: Report | UnsetType = UNSET
    accepted: list[str] | UnsetType = UNSET
    available: list[str] | UnsetType = UNSET
    allowed: list[str] | UnsetType = UNSET
    max_body_bytes: Index | UnsetType = UNSET
