"""`raftbook cluster status` and `raftbook verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cli import options
from cli.access import DEFAULT_ACCESS, Access, talk, talking
from cli.diagnosis import how_to_start, no_quorum, reasons_of_absence
from cli.errors import ExitCode, tell
from cli.output import OutputFormat, print_json, print_table, wants_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.client import RaftbookClient

app = typer.Typer()
cluster_app = typer.Typer(help="Look at the cluster.", no_args_is_help=True)


@cluster_app.command()
@talking
def status(
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Shows every node as the one at --url sees it, names the leader, and says if there is no quorum."""
    found, reasons = talk(access, _look)
    if "shards" in found:
        _show_shards(found, output)
        return
    if wants_table(output):
        from cli.render import cluster_table

        print_table(cluster_table(found))
    else:
        print_json(found)
    for sentence in advice(found, reasons):
        tell(sentence)


def _show_shards(gateway: Mapping[str, Any], output: OutputFormat | None) -> None:
    """What a gateway to several clusters says of each."""
    if not wants_table(output):
        print_json(gateway)
    for shard in gateway["shards"]:
        cluster = shard["cluster"]
        if cluster is None:
            tell(f"{shard['shard']} ({', '.join(shard['symbols'])}): {shard['problem']}")
            continue
        if wants_table(output):
            from cli.render import cluster_table

            print_table(cluster_table(cluster))
        for sentence in advice(cluster, {}):
            tell(f"{shard['shard']}: {sentence}")


async def _look(client: RaftbookClient) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The cluster, and of each node that is not reached, why."""
    cluster = await client.cluster()
    return cluster, await reasons_of_absence(cluster)


def advice(cluster: Mapping[str, Any], reasons: Mapping[str, str]) -> list[str]:
    """What an operator should know at once and do: nothing where a leader leads and every node answers.

    `reasons` says of nodes that are not reached, by id, what is found where they should be.
    """
    if not cluster["quorum"]:
        return [no_quorum(cluster, reasons)]
    sentences = []
    if cluster["leader"] is None:
        sentences.append("no leader yet: an election is under way, ask again in a second")
    missing = [node for node in cluster["nodes"] if not node["reachable"]]
    if missing:
        absent = ", ".join(" ".join(filter(None, (node["id"], reasons.get(node["id"])))) for node in missing)
        sentences.append(f"unreachable: {absent}; start {how_to_start(missing)}")
    full = [node["id"] for node in cluster["nodes"] if node.get("storage_full")]
    if full:
        sentences.append(f"storage full: {', '.join(full)}; no orders are taken there until some space is freed")
    return sentences


@app.command()
@talking
def verify(
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Compares the digests of all nodes at one log index; leaves with 1 and names the odd one where they differ.

    It leaves with 1 as well where fewer than two nodes of several could be compared.
    """
    verification = talk(access, lambda client: client.verify())
    if wants_table(output):
        from cli.render import verification_table

        print_table(verification_table(verification))
    else:
        nodes = [node._asdict() for node in verification.nodes]
        print_json(
            {
                "agree": verification.agree,
                "index": verification.compared_index,
                "nodes": nodes,
                "odd": verification.odd,
                "missing": verification.missing,
            }
        )
    if verification.missing:
        tell(f"not compared: {', '.join(verification.missing)}; the table says why, start or heal them and ask again")
    if verification.odd:
        tell(
            f"the state of {', '.join(verification.odd)} differs at index {verification.compared_index}; keep its data "
            "folder as evidence and rebuild it from its peers"
        )
    if not verification.agree:
        raise typer.Exit(ExitCode.FAILED)
