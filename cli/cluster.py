"""`raftbook cluster status` and `raftbook verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cli import options
from cli.access import DEFAULT_ACCESS, Access, talk, talking
from cli.errors import ExitCode, tell
from cli.output import print_json, print_table, wants_table

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer()
cluster_app = typer.Typer(help="Look at the cluster.", no_args_is_help=True)


@cluster_app.command()
@talking
def status(
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Shows every node as the one at --url sees it, names the leader, and says if there is no quorum."""
    found = talk(access, lambda client: client.cluster())
    if wants_table(output):
        from cli.render import cluster_table

        print_table(cluster_table(found))
    else:
        print_json(found)
    for sentence in advice(found):
        tell(sentence)


def advice(cluster: Mapping[str, Any]) -> list[str]:
    """What an operator should know at once and do: nothing where a leader leads and every node answers."""
    missing = [node["id"] for node in cluster["nodes"] if not node["reachable"]]
    starts = " and ".join(f"`raftbook node start --config FILE --id {node_id}`" for node_id in missing)
    if not cluster["quorum"]:
        present = len(cluster["nodes"]) - len(missing)
        answering = f"{present} of {len(cluster['nodes'])} nodes"
        return [f"no quorum: {answering} answer, so nothing can be ordered; start the missing with {starts}"]
    sentences = []
    if cluster["leader"] is None:
        sentences.append("no leader yet: an election is under way, ask again in a second")
    if missing:
        sentences.append(f"unreachable: {', '.join(missing)}; start with {starts}")
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
