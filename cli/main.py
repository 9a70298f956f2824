"""The application behind the console script `raftbook`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli import account, certs, cluster, gateway, log, market, match, node, orders, simulate, watch
from cli.bench import command as bench
from cli.demo import command as demo
from cli.errors import RaftbookGroup
from cli.top import command as top

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="raftbook",
    cls=RaftbookGroup,
    help="A small, highly available exchange: one order book, a live copy of it on every node.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Frames and colours for people alone: to load what draws them takes longer than all the rest.
    rich_markup_mode="markdown" if sys.stdout.isatty() else None,
    epilog="Begin with `raftbook demo`, or with a node of your own: `raftbook node start --config single --id n1`.",
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


PANELS: Final[dict[str, Sequence[typer.Typer]]] = {
    "Trade": (orders.app,),
    "Follow the market": (market.app, watch.app, top.app),
    "Operate a cluster": (cluster.app,),
    "Without a cluster": (match.app, simulate.app),
    "See it work": (demo.app, bench.app),
}
"""The commands of the root, under the headings that its help gives them; groups of commands follow below."""
for panel, subjects in PANELS.items():
    for subject in subjects:
        for command in subject.registered_commands:
            command.rich_help_panel = panel
        app.add_typer(subject)
app.add_typer(node.app, name="node", rich_help_panel="Operate a cluster")
app.add_typer(gateway.app, name="gateway", rich_help_panel="Operate a cluster")
app.add_typer(account.app, name="account", rich_help_panel="Operate a cluster")
app.add_typer(certs.app, name="certs", rich_help_panel="Operate a cluster")
app.add_typer(log.app, name="log", rich_help_panel="Without a cluster")
app.add_typer(cluster.cluster_app, name="cluster", rich_help_panel="Operate a cluster")
app.add_typer(market.instrument_app, name="instrument", rich_help_panel="Operate a cluster")
