"""The application behind the console script `raftbook`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import cluster, log, market, match, node, orders, simulate
from cli.bench import command as bench
from cli.demo import command as demo
from cli.errors import RaftbookGroup

app = typer.Typer(
    name="raftbook",
    cls=RaftbookGroup,
    help="A small, highly available exchange: one order book, a live copy of it on every node.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Plain help: loading the rich one takes longer than all the rest.
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from raftbook import __version__

        print(f"raftbook {__version__}")
        raise typer.Exit


@app.callback()
def raftbook(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before any command."""
    del version  # Its callback has done the work.


for subject in (orders, market, cluster, match, simulate, demo, bench):
    app.add_typer(subject.app)
app.add_typer(node.app, name="node")
app.add_typer(log.app, name="log")
app.add_typer(cluster.cluster_app, name="cluster")
app.add_typer(market.instrument_app, name="instrument")
