"""The command reference, from the Typer application itself."""

from __future__ import annotations

import enum
import inspect
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import typer

from cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_TYPER: Final = ("help", "install_completion", "show_completion")
"""Options that every Typer program has; the page says so once."""
_SHARED_BY: Final = 6
"""An option of so many commands is explained once for all of them."""


def render() -> str:
    """The options that most commands share, then each command: what it does, how it is written, what it takes."""
    root: Any = typer.main.get_command(app)
    commands = list(_commands(root, ("raftbook",)))
    # As `raftbook --help` groups them.
    panels = {name: str(child.rich_help_panel or "Commands") for name, child in root.commands.items()}
    count = Counter(_row(option) for _, command in commands for option in _options(command))
    shared = [row for row, times in count.items() if times >= _SHARED_BY]
    lines = ["## Shared options", "", "| | |", "|---|---|", *shared, ""]
    for panel in dict.fromkeys(panels.values()):
        lines += [f"## {panel}", ""]
        lines += [_section(" ".join(path), command, shared) for path, command in commands if panels[path[1]] == panel]
    return "\n".join(lines)


def command_names() -> list[str]:
    """Every command there is: `raftbook node start`, …"""
    return [" ".join(path) for path, _ in _commands(typer.main.get_command(app), ("raftbook",))]


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if child.hidden:
            continue
        if hasattr(child, "commands"):
            yield from _commands(child, (*path, name))
        else:
            yield (*path, name), child


def _section(name: str, command: Any, shared: list[str]) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = _options(command)
    usage = " ".join([name, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [f"| `{_metavar(argument)}` | {_explained(argument)} |" for argument in arguments]
    rows += [_row(option) for option in options if _row(option) not in shared]
    lines = [f"### {name}", "", _prose(inspect.cleandoc(command.help or "")), "", "```text", usage, "```", ""]
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    others = ", ".join(f"`{option.opts[0]}`" for option in options if _row(option) in shared)
    if others:
        lines += [f"[Shared](#shared-options): {others}.", ""]
    return "\n".join(lines)


def _options(command: Any) -> list[Any]:
    return [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name not in _OF_TYPER and not parameter.hidden
    ]


def _row(option: Any) -> str:
    return f"| {_declared(option)} | {_explained(option)} |"


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _declared(option: Any) -> str:
    """`--quantity Q`, with every other way to write it."""
    names = ", ".join(f"`{name}`" for name in [*reversed(option.opts), *option.secondary_opts])
    if option.is_flag:
        return names
    metavar = option.metavar or option.name.upper()
    return f"{names} `{metavar}`"


def _explained(parameter: Any) -> str:
    words = _in_cell(_prose(re.sub(r"\s+", " ", parameter.help or "").strip()))
    facts = []
    if parameter.required:
        facts.append("required")
    default = parameter.default
    if isinstance(default, enum.Enum):
        default = default.value
    # What says its default in words says it better.
    if (
        default is not None
        and not getattr(parameter, "is_flag", False)
        and "Default:" not in words
        and not callable(default)
    ):
        facts.append(f"default: `{default:g}`" if isinstance(default, float) else f"default: `{default}`")
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
    facts += [f"variable: `{variable}`" for variable in variables]
    return " ".join(part for part in (words, f"({'; '.join(facts)})" if facts else "") if part)


def _prose(text: str) -> str:
    """Options that a sentence names as code."""
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)", r"`\1`", text)


def _in_cell(text: str) -> str:
    """Bars of the prose are escaped; those within code are no borders of a cell."""
    return "`".join(part if index % 2 else part.replace("|", "\\|") for index, part in enumerate(text.split("`")))
