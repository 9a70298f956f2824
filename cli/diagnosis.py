"""What stands behind a failure, found out by asking around: which nodes are missing, why, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raftbook.errors import ProblemError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.client import RaftbookClient

PROBE_TIMEOUT_S: Final = 1.0


async def why_no_quorum(client: RaftbookClient) -> str | None:
    """One sentence where no majority of the cluster's nodes can be reached; None where one can, or nobody says."""
    try:
        cluster = await client.cluster()
    except (UnreachableError, ProblemError):
        return None  # The failure that led here says why.
    return None if cluster["quorum"] else no_quorum(cluster, await reasons_of_absence(cluster))


async def reasons_of_absence(cluster: Mapping[str, Any]) -> dict[str, str]:
    """Id of each node that is not reached -> what happens where it should listen for its peers, tried from here."""
    import asyncio

    missing = [node for node in cluster["nodes"] if not node["reachable"]]
    words = await asyncio.gather(*(_probe(node["peer_address"]) for node in missing))
    return {node["id"]: word for node, word in zip(missing, words, strict=True)}


async def _probe(address: str) -> str:
    import asyncio

    from raftbook.client.reasons import reason_of

    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:  # TimeoutError is one of them.
        return reason_of(error)
    writer.close()
    return "listens, but is cut off from its peers"


def no_quorum(cluster: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """`no quorum: 1 of 3 nodes reachable; n2 127.0.0.1:7102 refused, …; start it with …`. Pure."""
    nodes = cluster["nodes"]
    missing = [node for node in nodes if not node["reachable"]]
    absent = ", ".join(f"{node['id']} {node['peer_address']} {reasons.get(node['id'], 'silent')}" for node in missing)
    reachable = f"{len(nodes) - len(missing)} of {len(nodes)} nodes reachable"
    return f"no quorum: {reachable}, so nothing can be ordered; {absent}; start {how_to_start(missing)}"


def how_to_start(missing: list[Mapping[str, Any]]) -> str:
    """`it with …`, or `them with … and …`. Pure."""
    commands = [f"`raftbook node start --config FILE --id {node['id']}`" for node in missing]
    return f"{'it' if len(missing) == 1 else 'them'} with {' and '.join(commands)}"
