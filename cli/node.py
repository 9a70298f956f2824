"""`raftbook node …`: one node, in the foreground; and its way back when its files are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion, options
from cli.errors import tell

if TYPE_CHECKING:
    from raftbook.node.config import Config

app = typer.Typer(help="Run a node, or rebuild it.", no_args_is_help=True)


ConfigFile = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        autocompletion=completion.configs,
        help="The cluster's TOML file, or a shipped one's name: local-3.",
    ),
]
NodeId = Annotated[
    str,
    typer.Option("--id", metavar="ID", autocompletion=completion.node_ids, help="Which of its nodes this is."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where nodes keep their files; wins over the file's data_dir."),
]


@app.command()
def start(config: ConfigFile, node_id: NodeId, data_dir: DataDir = None, output: options.Output = None) -> None:
    """Runs one node until SIGTERM or Ctrl-C, which it obeys in order: it answers what it has, then leaves."""
    import os

    from raftbook.node.config_file import load_config
    from raftbook.node.runner import run

    del output  # A node's output is its log, on standard error.
    raise typer.Exit(run(load_config(config, os.environ), node_id, data_dir))


@app.command()
def rebuild(
    config: ConfigFile,
    node_id: NodeId,
    data_dir: DataDir = None,
    rejoin: Annotated[
        bool, typer.Option("--rejoin/--no-rejoin", help="Come back from the peers at once, or only move the files.")
    ] = True,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout-s",
            parser=options.seconds,
            metavar="S",
            help="Give up after so long without a leader among the peers.",
        ),
    ] = 30.0,
    output: options.Output = None,
) -> None:
    """Moves a stopped node's files aside, and lets it come back from its peers: with its state, and with its vote.

    The node runs within this command until it has caught up, and leaves in order; nothing of it is deleted. Without a
    majority of peers it leaves as well, and rejoins when it is started and they run.
    """
    import os

    from cli.output import print_json, wants_table
    from raftbook.node.config_file import load_config
    from raftbook.node.rebuild import set_aside

    loaded = load_config(config, os.environ)
    aside = set_aside(loaded, node_id, data_dir)
    again = f"raftbook node start --config {config} --id {node_id}" + (f" --data-dir {data_dir}" if data_dir else "")
    tell(f"{node_id}: its files are set aside to {aside}")
    rejoined_at = _rejoin(loaded, node_id, data_dir, timeout_s) if rejoin else None
    if not wants_table(output):
        found = {"node": node_id, "set_aside": str(aside), "rejoined": rejoined_at is not None}
        print_json({**found, "applied_index": rejoined_at, "next": again})
    elif rejoined_at is not None:
        typer.echo(f"{node_id} is a voter again, with the state at index {rejoined_at}. Start it for good:\n  {again}")
    else:
        typer.echo(f"{node_id} has no files. Start it, and it comes back from its peers when they run:\n  {again}")


def _rejoin(config: Config, node_id: str, data_dir: Path | None, timeout_s: float) -> int | None:
    """Runs the node until it is back; the index of its state, None where nobody helped it or it was told to stop."""
    import os
    import time

    from raftbook.node.logs import LEVEL_VARIABLE
    from raftbook.node.rejoin import Rejoin
    from raftbook.node.runner import run

    # What the node does here is told below, in fewer words than in its log.
    os.environ.setdefault(LEVEL_VARIABLE, "warning")
    way_back = Rejoin(len(config.nodes), timeout_s=timeout_s, tell=lambda step: tell(f"{node_id}: {step}"))
    run(config, node_id, data_dir, until=lambda service: way_back.watch(service, time.monotonic()))
    if way_back.is_done:
        return way_back.applied_index
    tell(f"{node_id}: left while {way_back.phase.value}; it goes on from there when it is started and its peers run")
    return None
