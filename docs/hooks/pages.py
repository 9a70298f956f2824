"""The hook of mkdocs: pages say where a part of the project stands in them, and it is put there when the site is built.

    <!-- include: raftbook/engine/SEMANTICS.md -->      a file of the project, its links led to pages of the site
    <!-- generate: commands -->                         a reference, made from the program itself
    <!-- code: deploy/alerts.yml -->                    a file of the project, as code
    <!-- picture: docs/assets/way-of-an-order.svg -->   a drawing, inline, so that it has the colours of the page

So neither a rule nor an option is written down twice, and a page cannot tell what the program no longer does.
A marker that names nothing, and a link of an included file that leads nowhere, end the build.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import client_reference
import command_reference
import configuration_reference
import http_reference
import monitoring_reference
from mkdocs.exceptions import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

PROJECT_FOLDER: Final = Path(__file__).resolve().parents[2]

GENERATORS: Final[Mapping[str, Callable[[], str]]] = {
    "client": client_reference.render,
    "commands": command_reference.render,
    "configuration": configuration_reference.render,
    "http": http_reference.render,
    "alerts": monitoring_reference.render_alerts,
    "metrics": monitoring_reference.render_metrics,
    "refusals": http_reference.render_refusals,
}

PAGE_OF_FILE: Final[Mapping[str, str]] = {
    "CHANGELOG.md": "changelog.md",
    "raftbook/ARCHITECTURE.md": "architecture.md",
    "raftbook/engine/SEMANTICS.md": "order-semantics.md",
    "raftbook/simulation/DESIGN.md": "simulator.md",
}
"""Where on the site a file of the project stands, for the links between such files."""

_MARKER: Final = re.compile(r"^<!-- (include|code|generate|picture): (\S+) -->$", re.MULTILINE)
_TITLE: Final = re.compile(r"\A# .*\n+")
_LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """The page with what its markers name in their place."""
    del config

    def put(match: re.Match[str]) -> str:
        kind, name = match.groups()
        where = f"{page.file.src_uri}: <!-- {kind}: {name} -->"
        if kind == "include":
            return included(name, into=page.file.src_uri, where=where)
        if kind == "code":
            return code(name, where=where)
        if kind == "picture":
            return f'<figure class="way-figure">{(PROJECT_FOLDER / name).read_text(encoding="utf-8")}</figure>'
        if name not in GENERATORS:
            raise PluginError(f"{where}: there is no such reference; there are {', '.join(sorted(GENERATORS))}")
        return GENERATORS[name]()

    return _MARKER.sub(put, markdown)


def code(file: str, *, where: str) -> str:
    """A file as a block of code."""
    path = PROJECT_FOLDER / file
    if not path.is_file():
        raise PluginError(f"{where}: the project has no such file")
    language = {".yml": "yaml", ".yaml": "yaml", ".service": "ini", ".toml": "toml"}.get(path.suffix, "text")
    return f"```{language}\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def included(file: str, *, into: str, where: str) -> str:
    """The text of a file of the project without its title, which the page has, and with links that hold there."""
    path = PROJECT_FOLDER / file
    if not path.is_file():
        raise PluginError(f"{where}: the project has no such file")

    def lead(match: re.Match[str]) -> str:
        words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        linked, _, anchor = target.partition("#")
        linked_file = os.path.relpath(path.parent / linked, PROJECT_FOLDER)
        if linked_file not in PAGE_OF_FILE:
            raise PluginError(f"{where}: {linked_file}, to which it links, is no page; name one in {__file__}")
        page = os.path.relpath(PAGE_OF_FILE[linked_file], Path(into).parent)
        return f"[{words}]({page}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(lead, _TITLE.sub("", path.read_text(encoding="utf-8")))
