"""`raftbook node …`: one node, in the foreground; and its way back when its files are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options

app = typer.Typer(help="Run a node, or rebuild it.", no_args_is_help=True)


ConfigFile = Annotated[
    str,
    typer.Option("--config", metavar="FILE", help="The cluster's TOML file, or a shipped one's name: local-3."),
]
NodeId = Annotated[str, typer.Option("--id", metavar="ID", help="Which of its nodes this is.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where nodes keep their files; wins over the file's data_dir."),
]


@app.command()
def start(config: ConfigFile, node_id: NodeId, data_dir: DataDir = None, output: options.Output = None) -> None:
    """Runs one node until SIGTERM or Ctrl-C, which it obeys in order: it answers what it has, then leaves."""
    import os

    from raftbook.node.config import load_config
    from raftbook.node.runner import run

    del output  # A node's output is its log, on standard error.
    raise typer.Exit(run(load_config(config, os.environ), node_id, data_dir))


@app.command()
def rebuild(config: ConfigFile, node_id: NodeId, data_dir: DataDir = None, output: options.Output = None) -> None:
    """Moves a stopped node's files aside, so that it comes back from its peers when it is started."""
    import os

    from cli.output import print_json, wants_table
    from raftbook.node.config import load_config
    from raftbook.node.rebuild import set_aside

    aside = set_aside(load_config(config, os.environ), node_id, data_dir)
    again = f"raftbook node start --config {config} --id {node_id}" + (f" --data-dir {data_dir}" if data_dir else "")
    if wants_table(output):
        typer.echo(f"{node_id}'s files are in {aside} now. Start it, and it comes back from its peers:\n  {again}")
    else:
        print_json({"node": node_id, "set_aside": str(aside), "next": again})
