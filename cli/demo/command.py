"""The command `raftbook demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from cli import options
from cli.errors import ExitCode, tell
from cli.output import print_json, print_table, wants_table

app = typer.Typer()

DEFAULT_SECONDS: Final = 20.0
DEFAULT_RATE: Final = 3_000
"""Leaves a laptop with two cores some room to start a killed node again; `raftbook bench` shows what is possible."""


@app.command()
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            parser=options.seconds,
            metavar="N",
            help="How long to trade; two failovers take place in any case. Default: 20, with --data to its end.",
        ),
    ] = None,
    kill_leader_every_s: Annotated[
        float,
        typer.Option("--kill-leader-every", parser=options.seconds, metavar="S", help="Seconds from kill to kill."),
    ] = 6.0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no page in a browser.")] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="Replay recorded order flow, such as AMZN_flow_5.csv.gz."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", parser=options.whole_number(0), metavar="N", help="Of the generated order flow.")
    ] = 1,
    rate: Annotated[
        int,
        typer.Option(
            "--rate", parser=options.whole_number(1), metavar="N", help="Generated commands a second, at most."
        ),
    ] = DEFAULT_RATE,
    output: options.Output = None,
) -> None:
    """Runs three nodes on this machine, trades at all of them, and kills the leader again and again.

    At the end all nodes are stopped, and what the clients were told is compared with every node's log. Leaves with 1
    if an order was lost or entered twice, or if the nodes' digests differ.
    """
    import shutil
    import tempfile

    from cli.demo.scenario import Plan, run_scenario
    from cli.demo.view import closing_json, closing_table, progress_view
    from cli.end_signals import run_until_ended

    del no_browser  # There is no page to open.
    if seconds is None and data is None:
        seconds = DEFAULT_SECONDS
    plan = Plan(seconds, kill_leader_every_s, seed, None if data is None else Path(data), rate)
    folder = Path(tempfile.mkdtemp(prefix="raftbook-demo-"))
    keep = False
    try:
        with progress_view() as show:
            outcome = run_until_ended(run_scenario(plan, folder, show))
        keep = bool(outcome.problems)
    except Exception:
        keep = True
        raise
    finally:
        if keep:
            tell(f"the nodes' logs and data are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if wants_table(output):
        print_table(closing_table(outcome))
    else:
        print_json(closing_json(outcome))
    for problem in outcome.problems:
        tell(problem)
    if outcome.problems:
        raise typer.Exit(ExitCode.FAILED)
