"""The documentation's site: it is built strictly, needs nothing from anywhere, and leaves nothing out."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from mkdocs.exceptions import PluginError

from cli.local_cluster import PROJECT_FOLDER
from tests.support.documented_commands import steps_of

if TYPE_CHECKING:
    from pathlib import Path

HOOKS = PROJECT_FOLDER / "docs" / "hooks"
README = PROJECT_FOLDER / "README.md"

# Built once: these tests belong to one worker.
pytestmark = pytest.mark.xdist_group("documentation")


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # Not --quiet, which keeps warnings from being counted.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *options],
        cwd=PROJECT_FOLDER,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the site stands: built with every link, anchor and marker checked."""
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture
def hooks(monkeypatch):
    """The modules of docs/hooks, as mkdocs finds them."""
    monkeypatch.syspath_prepend(str(HOOKS))
    names = ("command_reference", "configuration_reference", "http_reference", "pages")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def test_links_and_anchors_that_lead_nowhere_end_the_build(tmp_path):
    """With the project's own settings, for pages of which one links to what is not there."""
    pages = tmp_path / "docs"
    pages.mkdir()
    (pages / "index.md").write_text("# One\n\n[two](two.md#two)\n")
    (pages / "two.md").write_text("# Two\n")
    settings = tmp_path / "mkdocs.yml"
    settings.write_text(
        f"INHERIT: {PROJECT_FOLDER / 'mkdocs.yml'}\ndocs_dir: {pages}\nnav: [index.md, two.md]\nhooks: []\n"
        "theme: {name: mkdocs}\nplugins: []\nwatch: []\n"
    )
    good = build(tmp_path / "site", "--config-file", str(settings))
    assert good.returncode == 0, good.stderr
    for broken in ("[two](too.md)", "[two](two.md#too)", "[two](#too)"):
        (pages / "index.md").write_text(f"# One\n\n{broken}\n")
        assert build(tmp_path / "site", "--config-file", str(settings)).returncode == 1, broken


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_nothing_is_fetched_from_anywhere(site):
    """No page and no style names another host for a script, a style, a font or a picture."""
    fetched = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'\s>]+")
    for page in site.rglob("*.html"):
        assert fetched.findall(page.read_text(encoding="utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_search_knows_the_pages_without_a_server(site):
    index = text_of(site, "search/search_index.js")
    assert "concepts.html" in index
    assert "raftbook node rebuild" in index


def test_every_command_option_endpoint_and_key_is_in_its_reference(site, hooks):
    commands = text_of(site, "reference/commands.html")
    names = hooks.command_reference.command_names()
    assert {"raftbook submit", "raftbook node rebuild", "raftbook log replay", "raftbook certs renew"} <= set(names)
    for name in names:
        assert f'id="{name.replace(" ", "-")}"' in commands
    assert "--self-trade-prevention" in commands

    configuration = text_of(site, "reference/configuration.html")
    keys = [field for _, struct in hooks.configuration_reference.tables() for field in struct.__struct_fields__]
    assert {"heartbeat_s", "intake_max_items", "peer_address"} <= set(keys)
    for key in keys:
        assert f"<code>{key}</code>" in configuration

    http = text_of(site, "reference/http.html")
    for path, methods in hooks.http_reference.openapi_document()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in http


def test_the_rules_of_matching_are_those_of_the_engine(site):
    page = text_of(site, "order-semantics.html")
    for reason in ("display_quantity_too_small", "replaced_to_zero", "notional_too_small"):
        assert f"<code>{reason}</code>" in page


def test_every_code_of_a_problem_is_explained(hooks):
    """Refusals have reasons, which the semantics explain; whatever else may be answered stands in the table."""
    told = (PROJECT_FOLDER / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| (\d{3}) \|", told, re.MULTILINE)
    explained = {(code, int(status)) for cell, status in rows for code in re.findall(r"`([a-z_0-9]+)`", cell)}
    possible = {
        (code, status)
        for code, statuses in hooks.http_reference.problem_codes().items()
        for status in statuses
        if status != 409
    }
    assert possible - explained == set()


def test_a_marker_that_names_nothing_ends_the_build(hooks):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="concepts.md"))

    def rendered(markdown: str) -> str:
        return hooks.pages.on_page_markdown(markdown, page=page, config=None)

    assert rendered("words <!-- words -->") == "words <!-- words -->"
    assert "### raftbook submit" in rendered("<!-- generate: commands -->")
    with pytest.raises(PluginError, match="there is no such reference"):
        rendered("<!-- generate: comands -->")
    with pytest.raises(PluginError, match="no such file"):
        rendered("<!-- include: raftbook/engine/SEMANTIC.md -->")


def test_links_of_an_included_file_lead_to_pages(hooks, tmp_path, monkeypatch):
    pages = hooks.pages
    monkeypatch.setattr(pages, "PROJECT_FOLDER", tmp_path)
    folder = tmp_path / "raftbook"
    folder.mkdir()
    file = folder / "ARCHITECTURE.md"
    file.write_text("# Title\n\nsee [rules](engine/SEMANTICS.md#orders), [there](https://x.y), [here](#below)\n")
    included = pages.included("raftbook/ARCHITECTURE.md", into="inside/architecture.md", where="")
    assert included == "see [rules](../order-semantics.md#orders), [there](https://x.y), [here](#below)\n"
    file.write_text("# Title\n\n[code](engine/matching.py)\n")
    with pytest.raises(PluginError, match=r"raftbook/engine/matching.py, to which it links, is no page"):
        pages.included("raftbook/ARCHITECTURE.md", into="architecture.md", where="")


def test_the_readme_shows_commands_that_run():
    """Each block that says so stands in a page whose commands the system tests run; and its links lead somewhere."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^<!-- runs in (\S+) -->\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    assert len(blocks) == text.count("```") // 2, "every fenced block of the README runs somewhere"
    for page, block in blocks:
        assert any(block in step.text for step in steps_of(PROJECT_FOLDER / page)), f"{page} does not run\n{block}"
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert target.startswith("https://") or (PROJECT_FOLDER / target).exists(), target
