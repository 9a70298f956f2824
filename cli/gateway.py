"""`raftbook gateway …`: one address for several shards."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import completion, options
from cli.api_key import api_key_option

app = typer.Typer(help="One address for several clusters, each with instruments of its own.", no_args_is_help=True)


@app.command()
def start(
    shards: Annotated[
        str,
        typer.Option(
            "--shards",
            metavar="FILE",
            autocompletion=completion.shard_maps,
            help="The TOML file that says which cluster has which symbols, or a shipped one's name: two-shards.",
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where clients reach it; beyond this machine with TLS alone."
        ),
    ] = "127.0.0.1:8100",
    api_key: Annotated[
        str | None,
        api_key_option("Under which the gateway acts, for all its clients, where the shards require keys."),
    ] = None,
    output: options.Output = None,
) -> None:
    """Runs a gateway until SIGTERM or Ctrl-C: it passes each command and each feed on to the shard of its symbol.

    It keeps nothing itself, so several may run side by side, and one that dies takes nothing with it.
    """
    from raftbook.sharding.process import run

    del output  # A gateway's output is its log, on standard error.
    raise typer.Exit(run(shards, listen, api_key=api_key))
