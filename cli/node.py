"""`raftbook node …`: one node in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options

app = typer.Typer(help="Run a node.", no_args_is_help=True)


@app.command()
def start(
    config: Annotated[
        str,
        typer.Option("--config", metavar="FILE", help="The cluster's TOML file, or a shipped one's name: local-3."),
    ],
    node_id: Annotated[str, typer.Option("--id", metavar="ID", help="Which of its nodes this is.")],
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Where nodes keep their files; wins over the file's data_dir."),
    ] = None,
    output: options.Output = None,
) -> None:
    """Runs one node until SIGTERM or Ctrl-C, which it obeys in order: it answers what it has, then leaves."""
    import os

    from raftbook.node.config import load_config
    from raftbook.node.runner import run

    del output  # A node's output is its log, on standard error.
    raise typer.Exit(run(load_config(config, os.environ), node_id, data_dir))
