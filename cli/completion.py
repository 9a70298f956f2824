"""What a shell offers where a word is to be completed: names that only a configuration or a running node knows.

A shell that completes waits: so a node gets a moment to answer, and where none does, nothing is offered and nothing
said. The words of an enumeration are completed where its option is declared (options.py). What does not begin as the
incomplete word does, Typer leaves out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from raftbook.errors import RaftbookError

if TYPE_CHECKING:
    from raftbook.client import Instrument

PATIENCE_S: Final = 0.5
DEFAULT_CONFIG: Final = "local-3"
"""A shipped configuration, whose node ids are offered where no --config is named yet."""


def symbols(context: typer.Context) -> list[tuple[str, str]]:
    """The instruments of the node that the command would talk to."""
    import asyncio

    from cli.access import access_of, open_client

    async def ask() -> list[Instrument]:
        async with open_client(access_of(context.params), timeout_s=PATIENCE_S) as client, asyncio.timeout(PATIENCE_S):
            return await client.instruments()

    try:
        found = asyncio.run(ask())
    except (RaftbookError, TimeoutError):
        return []  # Nobody answers: there is nothing to offer, and no place to say why.
    return [(instrument["symbol"], instrument["status"]) for instrument in found]


def configs(incomplete: str) -> list[str]:
    """The shipped configurations by name, and the TOML files and folders at hand."""
    from raftbook.node.config_file import shipped_configs

    return [*shipped_configs(), *_toml_files(incomplete)]


def shard_maps(incomplete: str) -> list[str]:
    """The shipped shard maps by name, and the TOML files and folders at hand."""
    from raftbook.node.config_file import shipped_shard_maps

    return [*shipped_shard_maps(), *_toml_files(incomplete)]


def _toml_files(incomplete: str) -> list[str]:
    folder, _, start = incomplete.rpartition("/")
    found = []
    for path in sorted(Path(f"{folder}/" if folder else ".").glob(f"{start}*")):
        name = f"{folder}/{path.name}" if folder or incomplete.startswith("/") else path.name
        if path.name.startswith(".") and not start:
            continue
        if path.is_dir():
            found.append(f"{name}/")
        elif path.suffix == ".toml":
            found.append(name)
    return found


def node_ids(context: typer.Context) -> list[tuple[str, str]]:
    """The nodes of the configuration that --config names, else of a shipped one."""
    from raftbook.node.config_file import load_config

    try:
        config = load_config(str(context.params.get("config") or DEFAULT_CONFIG), os.environ)
    except RaftbookError:
        return []  # As above.
    return [(node.id, node.api_address) for node in config.nodes]
