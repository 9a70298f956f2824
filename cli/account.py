"""`raftbook account …`: API keys, for clusters that require them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import options
from cli.access import DEFAULT_ACCESS, Access, talk, talking
from cli.errors import ExitCode, WrongUsageError, tell
from cli.output import OutputFormat, console, print_json, print_table, wants_table
from raftbook.engine.types import KEY_ID_PATTERN, Reason, Role
from raftbook.errors import InvalidCommandError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from raftbook.client import RaftbookClient
    from raftbook.engine.commands import CreateKey

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

KEY_ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
NS_PER_S: Final = 1_000_000_000


@app.command()
@talking
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: 1 to 64 of A-Z a-z 0-9 . _ : @ -")],
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="read (market data, orders of its accounts), trade (commands for its accounts too) or admin (all).",
        ),
    ],
    accounts: Annotated[
        str | None,
        typer.Option("--accounts", metavar="A,B", help="The accounts that it is for, at most 8; * for all."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Tell no node: print the [[keys]] table for the file of a new cluster instead."),
    ] = False,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Makes an API key, and shows it this once: no node has its secret."""
    from raftbook.security.signing import ApiKey, derive_public_key, format_key

    secret = secrets.token_bytes(SECRET_BYTES)
    command = _new_key(name, role, accounts, derive_public_key(secret))
    key = format_key(ApiKey(command.role, command.key_id, secret))
    if not offline:
        talk(access, lambda client: _create(client, command))
    _show_new_key(key, command, _founding_table(command) if offline else None, output)


def _new_key(name: str, role: str, accounts: str | None, public_key: str) -> CreateKey:
    """Raises WrongUsageError where these make no key."""
    from raftbook.engine.api_keys import fault_of_accounts
    from raftbook.engine.commands import CreateKey
    from raftbook.json_format import command_from_fields

    fields: dict[str, object] = {
        "key_id": secrets.token_hex(KEY_ID_BYTES),
        "name": name,
        "role": role,
        "public_key": public_key,
    }
    if accounts is not None:
        fields["accounts"] = [account.strip() for account in accounts.split(",")]
    try:
        command = command_from_fields("create_key", fields)
    except InvalidCommandError as error:
        raise WrongUsageError(str(error)) from error
    assert isinstance(command, CreateKey)
    fault = fault_of_accounts(command.role, command.accounts)
    if fault is not None:
        cure = "leave --accounts out" if command.role is Role.ADMIN else "name them: --accounts alice,bob"
        raise WrongUsageError(f"{fault}; {cure}")
    return command


async def _create(client: RaftbookClient, command: CreateKey) -> None:
    try:
        report = await client.submit(command)
    except OutcomeUnknownError as error:
        raise OutcomeUnknownError(
            f"whether key {command.key_id} was created is not known, and it is of no use to anybody: look with "
            f"`raftbook account list`, revoke it if it is there, and create another one ({error})"
        ) from error
    if report["status"] != "rejected" or await _was_created_before(client, report, command):
        return
    tell(f"not created: {report.get('detail', report.get('reason'))}")
    raise typer.Exit(ExitCode.FAILED)


async def _was_created_before(client: RaftbookClient, report: Mapping[str, Any], command: CreateKey) -> bool:
    """Did a copy of the command, whose answer was lost, create this very key?"""
    if report.get("reason") != Reason.KEY_EXISTS.value:
        return False
    keys = await client.keys(consistency="linearizable")
    return any(key["key_id"] == command.key_id and key["public_key"] == command.public_key for key in keys)


def _founding_table(command: CreateKey) -> str:
    from raftbook.node.toml_tables import format_value

    fields = {
        "id": command.key_id,
        "name": command.name,
        "role": command.role.label,
        "accounts": command.accounts,
        "public_key": command.public_key,
    }
    return "\n".join(["[[keys]]", *(f"{name} = {format_value(value)}" for name, value in fields.items())])


def _show_new_key(key: str, command: CreateKey, founding_table: str | None, output: OutputFormat | None) -> None:
    if not wants_table(output):
        document = {
            "key": key,
            "key_id": command.key_id,
            "name": command.name,
            "role": command.role.label,
            "accounts": list(command.accounts),
            "public_key": command.public_key,
        }
        print_json(document if founding_table is None else {**document, "founding_table": founding_table})
        return
    screen = console()
    for_whom = ", ".join(command.accounts) if command.accounts != ("*",) else "all accounts"
    screen.print(
        f"The {command.role.label} key {command.key_id} of {command.name}"
        f"{f', for {for_whom}' if for_whom else ''}. It is shown this once; keep it as you keep a password:\n"
    )
    screen.print(f"    export RAFTBOOK_API_KEY={key}\n", soft_wrap=True, markup=False)
    if founding_table is not None:
        screen.print("Put this into the configuration of every node, before the cluster starts for the first time:\n")
        screen.print(founding_table, soft_wrap=True, markup=False)
    else:
        screen.print(f"If it gets into the wrong hands: raftbook account revoke {command.key_id}")


@app.command("list")
@talking
def list_(
    consistency: options.Consistency = None,
    at_least: options.AtLeast = None,
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Lists the API keys, also those that were revoked."""
    keys = talk(access, lambda client: client.keys(consistency=consistency, at_least=at_least))
    if wants_table(output):
        print_table(_keys_table(keys))
    else:
        print_json(keys)


def _keys_table(keys: Sequence[Mapping[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("key id", "name", "role", "accounts", "created", "revoked"):
        table.add_column(column)
    for key in keys:
        revoked_at = key.get("revoked_at")
        table.add_row(
            key["key_id"],
            key["name"],
            key["role"],
            ", ".join(key["accounts"]),
            _moment(key["created_at"]),
            "" if revoked_at is None else _moment(revoked_at),
            style=None if revoked_at is None else "dim",
        )
    return table


def _moment(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@app.command()
@talking
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `raftbook account list` shows it.")],
    access: Access = DEFAULT_ACCESS,
    output: options.Output = None,
) -> None:
    """Revokes an API key: every node refuses it as soon as it has heard of this, and closes its WebSockets."""
    # Whoever pastes the whole key is helped; the secret goes no further.
    named = key_id.split("_")[2] if key_id.startswith("rb_") and key_id.count("_") >= 3 else key_id
    if KEY_ID_PATTERN.fullmatch(named) is None:
        raise WrongUsageError(f"{named[:40]!a} is no key id; `raftbook account list` shows them")
    report = talk(access, lambda client: client.submit({"op": "revoke_key", "key_id": named}))
    if report["status"] == "rejected":
        reason = report.get("reason")
        tell(
            f"there is no key {named}; `raftbook account list` shows those there are"
            if reason == Reason.UNKNOWN_KEY.value
            else f"not revoked: {report.get('detail', reason)}"
        )
        raise typer.Exit(ExitCode.FAILED)
    if wants_table(output):
        console().print(f"Key {named} is revoked.")
    else:
        print_json(report)
