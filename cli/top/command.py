"""`raftbook top`: the command."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from cli import options
from cli.access import DEFAULT_ACCESS, Access, open_client, talk, talking
from cli.output import print_json, wants_table

app = typer.Typer()

DEFAULT_INTERVAL_S: Final = 1.0


@app.command()
@talking
def top(
    interval_s: Annotated[
        float,
        typer.Option("--interval", parser=options.seconds, metavar="S", help="Ask so often, in seconds."),
    ] = DEFAULT_INTERVAL_S,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Shows the cluster and all markets on one screen, second by second.

    Nodes with role, term, index and lag; rates of commands, orders and trades; every market's best prices. ? explains
    the keys. It survives the death of the node that it asks. As JSON: one snapshot, with rates over --interval.
    """
    if not wants_table(output):
        from cli.top.source import Source

        print_json(talk(access, lambda client: Source(client).read_with_rates(interval_s)).to_json())
        return
    import asyncio

    asyncio.run(_run(access, interval_s))


async def _run(access: Access, interval_s: float) -> None:
    from cli.top.app import TopApp
    from cli.top.source import Source

    async with open_client(access) as client:
        source = Source(client)
        await (
            source.read()
        )  # A node that nobody answers for is told as by any other command, not on a screen of its own.
        await TopApp(source, interval_s).run_async()
