"""One command to a node, and its report to whoever asked: what all commands that change the book share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import typer

from cli.access import Access, talk
from cli.diagnosis import why_no_quorum
from cli.errors import ExitCode, tell
from cli.output import OutputFormat, console, print_json, wants_table
from raftbook.errors import OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.client import RaftbookClient
    from raftbook.engine.commands import Command

    Report = Mapping[str, Any]

WAIT_S: Final = 10.0
"""How long a definite answer is waited for: twice as long as a submission lives unless it says otherwise."""
ANSWER_S: Final = 1.0
"""What a node that was asked to wait so long may take beyond it, to answer that it waited in vain."""


def submit_and_report(
    op: str,
    fields: Mapping[str, object],
    *,
    access: Access,
    output: OutputFormat | None,
    wait_s: float = WAIT_S,
) -> None:
    """Submits the command that `fields` say, prints its report, and leaves with what became of it.

    `wait_s` 0 is content with a pending report. Raises InvalidCommandError before anything is sent.
    """
    from raftbook.json_format import command_from_fields

    command = command_from_fields(op, fields, generate_client_order_id=new_client_order_id)
    report, why_pending = talk(access, lambda client: _report_and_why_pending(client, command, wait_s))
    print_report(report, output)
    if report["status"] == "rejected":
        raise typer.Exit(ExitCode.FAILED)
    if report["status"] == "pending" and wait_s > 0:
        tell(_advice(command, report, wait_s, why_pending))
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)


def new_client_order_id() -> str:
    return f"cli-{secrets.token_hex(12)}"


def print_report(report: Report, output: OutputFormat | None) -> None:
    if wants_table(output):
        from cli.render import report_lines

        screen = console()
        for line in report_lines(report):
            screen.print(line)
    else:
        print_json(report)


async def _report_and_why_pending(client: RaftbookClient, command: Command, wait_s: float) -> tuple[Report, str | None]:
    """The report; where it is still pending in vain, also what the cluster lacks."""
    report = await _report_in_time(client, command, wait_s)
    return report, await why_no_quorum(client) if report["status"] == "pending" and wait_s > 0 else None


async def _report_in_time(client: RaftbookClient, command: Command, wait_s: float) -> Report:
    """As `_settled_report`, also where the node does not answer at all."""
    import asyncio

    try:
        async with asyncio.timeout(wait_s + ANSWER_S if wait_s > 0 else None):
            return await _settled_report(client, command, wait_s)
    except TimeoutError as error:
        again = _submit_again(command)
        raise OutcomeUnknownError(
            f"no definite answer of {client.url} in {wait_s:g} s, so the outcome is not known; {again}"
        ) from error


async def _settled_report(client: RaftbookClient, command: Command, wait_s: float) -> Report:
    """The report of `command`; still pending where `wait_s` was not enough."""
    try:
        if wait_s == 0:
            (report,) = await client.submit_once([command])
            return report
        return await client.submit(command, wait_s=wait_s)
    except OutcomeUnknownError as error:
        if error.reports and error.reports[0] is not None:
            return error.reports[0]
        # Whoever left it to us to name the order learns the name, without which it could not be submitted again.
        again = _submit_again(command)
        raise OutcomeUnknownError(f"the answer of {client.url} is lost, and with it the outcome; {again}") from error


def _advice(command: Command, report: Report, wait_s: float, why_pending: str | None) -> str:
    submission = f"submission {report['origin']} / {report['origin_sequence']}"
    then = why_pending or "see `raftbook cluster status`"
    return f"the outcome of {submission} is not known after {wait_s:g} s; {then}; then {_submit_again(command)}"


def _submit_again(command: Command) -> str:
    client_order_id = getattr(command, "client_order_id", None)
    name = f" with --client-order-id {client_order_id}" if client_order_id is not None else ""
    return f"submit it again{name}, and it is executed once"
