"""Who may be at the other end of a connection. Pure.

    dialling end                        accepting end
    Hello                     ──▶       checks it; on a fault answers Refusal and closes
    checks it                 ◀──       Hello
    keep-alive with the       ──▶       established
    epoch of that Hello
    established

The accepting end takes the connection as established, and replaces an earlier one of the same peer, only when
the dialling end has sent back the epoch: so a node that was dialled by mistake disturbs nothing.

Of two nodes, the one with the smaller id dials and the other accepts: one connection for each pair, and no ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.replication.messages import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection

    from raftbook.replication.messages import Hello


def dials(node_id: str, peer: str) -> bool:
    """Whether `node_id` is the one of the two that dials."""
    return node_id < peer


def refusal_reason(
    hello: Hello,
    *,
    node_id: str,
    cluster: str,
    peers: Collection[str],
    dialled: str | None,
    certified_names: Collection[str] | None,
) -> str | None:
    """Why node `node_id` cannot accept `hello`, in words that say what to do; None if it can.

    `dialled` is the peer whose address was dialled, None on the accepting end. `certified_names` are the names
    in the other end's certificate, None on a connection without TLS.
    """
    other = hello.node_id
    if hello.protocol_version != PROTOCOL_VERSION:
        return (
            f"node {other} speaks protocol version {hello.protocol_version}, node {node_id} version "
            f"{PROTOCOL_VERSION}: run the same release of raftbook on both"
        )
    if hello.cluster != cluster:
        return (
            f"node {other} is of cluster {hello.cluster!r}, node {node_id} of {cluster!r}: "
            "check the cluster name and the peer addresses in both configurations"
        )
    if other == node_id:
        return f"both ends are node {node_id}: give every node its own id and peer address, and start each once"
    if other not in peers:
        return f"node {other} is not in the configuration of node {node_id}: give all nodes the same configuration"
    if dialled is not None and other != dialled:
        return f"node {other} answers at the address of node {dialled}: check the peer addresses"
    if dialled is None and dials(node_id, other):
        return f"node {other} dialled node {node_id}, but the node with the smaller id dials: check the peer addresses"
    if certified_names is not None and other not in certified_names:
        return f"the certificate of node {other} does not name it: issue one whose alternative DNS name is {other}"
    return None
