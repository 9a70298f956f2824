"""The option `--api-key`: a key itself, or `@FILE` for the file that holds it.

What stands on a command line is shown to whoever lists the processes of the machine, and kept in the shell's history;
so whoever writes a key there is told of the other ways.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

VARIABLE: Final = "RAFTBOOK_API_KEY"
MAX_FILE_BYTES: Final = 1024

_ON_COMMAND_LINE: Final = (
    f"raftbook: --api-key shows the key to whoever lists this machine's processes; set {VARIABLE} instead, or put the "
    "key into a file that only you can read and give --api-key @FILE"
)


def api_key_option(explanation: str, **settings: Any) -> Any:
    return typer.Option(
        "--api-key",
        envvar=VARIABLE,
        metavar="KEY|@FILE",
        callback=_read,
        help=f"{explanation} Better in the variable, or in a file (@FILE), than here: others see command lines.",
        **settings,
    )


def _read(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    if value is None:
        return None
    if value.startswith("@"):
        return _key_in(Path(value[1:]))
    source = context.get_parameter_source(str(parameter.name))
    if source is not None and source.name == "COMMANDLINE" and not context.resilient_parsing:
        typer.echo(_ON_COMMAND_LINE, err=True)
    return value


def _key_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise typer.BadParameter(
            f"the file {path} cannot be read ({reason}); put the key that `raftbook account create` printed there"
        ) from error
    key = content.decode("ascii", "replace").strip()
    if len(content) > MAX_FILE_BYTES or len(key.split()) != 1:
        raise typer.BadParameter(f"the file {path} holds no key; it must hold one, and nothing else")
    return key
