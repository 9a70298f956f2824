"""Do all nodes of a cluster hold the same state? Compares their digests at one log index.

The chain digest covers every event up to its index, and nodes keep it for their last 10,000 indexes, so it compares
nodes under load too. The digest of the whole state is compared between those that took it at the same index.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import msgspec

from raftbook.errors import ProblemError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class NodeClient(Protocol):
    """What verification needs of a client; RaftbookClient says what each does."""

    @property
    def url(self) -> str: ...

    async def cluster(self) -> Mapping[str, object]: ...

    async def node(self, *, digest_at: int | None = None, state_digest: bool = False) -> Mapping[str, object]: ...

    def at(self, url: str) -> Self: ...


class NodeDigests(NamedTuple):
    """What one node says of itself. `problem` says why a figure is missing."""

    node_id: str
    url: str
    applied_index: int | None = None
    chain_digest: str | None = None
    """At the index that is compared."""
    state_index: int | None = None
    state_digest: str | None = None
    problem: str | None = None


class Verification(NamedTuple):
    """`compared_index` is where the chain digests were compared, None where no node answered.

    `odd` are the ids of nodes that differ from the majority, of all that were compared where there is none;
    `missing` are those that could not be compared.
    """

    compared_index: int | None
    nodes: tuple[NodeDigests, ...]
    odd: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """At least two nodes were compared (in a cluster of one, that one), and none differs."""
        compared = len(self.nodes) - len(self.missing)
        return not self.odd and compared >= min(2, max(1, len(self.nodes)))


class _Peer(msgspec.Struct):
    node_id: str = msgspec.field(name="id")
    api_address: str


class _Cluster(msgspec.Struct):
    nodes: list[_Peer]


class _Digest(msgspec.Struct):
    index: int
    digest: str | None


class _Node(msgspec.Struct):
    applied_index: int
    digest_at: _Digest | None = None
    state_digest: _Digest | None = None


async def verify(client: NodeClient) -> Verification:
    """Asks every node of the cluster that `client` reaches, first how far it is, then for its digests there."""
    scheme = client.url.partition("://")[0]
    try:
        peers = msgspec.convert(await client.cluster(), _Cluster).nodes
    except msgspec.ValidationError as error:
        raise ProblemError(
            200, "unexpected_answer", f"{client.url} does not tell its cluster's nodes: {error}"
        ) from error
    clients = [client.at(f"{scheme}://{peer.api_address}") for peer in peers]
    first = await asyncio.gather(*(_ask(peer.node_id, node) for peer, node in zip(peers, clients, strict=True)))
    reached = [digests.applied_index for digests in first if digests.applied_index is not None]
    if not reached:
        return judge(None, first)
    index = min(reached)
    second = [
        _ask(digests.node_id, node, index) if digests.problem is None else _same(digests)
        for digests, node in zip(first, clients, strict=True)
    ]
    return judge(index, await asyncio.gather(*second))


def judge(index: int | None, nodes: Sequence[NodeDigests]) -> Verification:
    """Names the odd ones among `nodes`, by chain digest at `index` and by state digest at equal indexes. Pure."""
    groups: dict[tuple[str, int | None], dict[str, str]] = {}
    for node in nodes:
        if node.chain_digest is not None:
            groups.setdefault(("chain", index), {})[node.node_id] = node.chain_digest
        if node.state_digest is not None:
            groups.setdefault(("state", node.state_index), {})[node.node_id] = node.state_digest
    odd = {node_id for group in groups.values() for node_id in _minority(group)}
    missing = tuple(node.node_id for node in nodes if node.chain_digest is None)
    return Verification(index, tuple(nodes), tuple(node.node_id for node in nodes if node.node_id in odd), missing)


def _minority(digests: dict[str, str]) -> list[str]:
    """The nodes that differ from what more than half of them say; all of them where there is no such half."""
    if len(set(digests.values())) <= 1:
        return []
    common, votes = Counter(digests.values()).most_common(1)[0]
    return [node_id for node_id, digest in digests.items() if digest != common or 2 * votes <= len(digests)]


async def _ask(node_id: str, client: NodeClient, index: int | None = None) -> NodeDigests:
    try:
        node = msgspec.convert(await client.node(digest_at=index, state_digest=index is not None), _Node)
    except (UnreachableError, ProblemError, msgspec.ValidationError) as error:
        return NodeDigests(node_id, client.url, problem=str(error))
    chain = node.digest_at.digest if node.digest_at is not None else None
    state = node.state_digest
    return NodeDigests(
        node_id,
        client.url,
        node.applied_index,
        chain,
        state.index if state is not None else None,
        state.digest if state is not None else None,
        f"holds no digest at index {index} any more" if index is not None and chain is None else None,
    )


async def _same(digests: NodeDigests) -> NodeDigests:
    return digests
