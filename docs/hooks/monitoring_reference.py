"""The metrics and the alerts: what a node tells Prometheus, and the rules that are shipped."""

from __future__ import annotations

import asyncio
import re
import typing
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from raftbook.gateway.http_api import make_app
from raftbook.node.measurements import Measurements, NodeFigures
from raftbook.node.status import NodeStatus
from tests.support.direct_service import DirectService

ALERTS_FILE: Final = Path(__file__).resolve().parents[2] / "deploy" / "alerts.yml"


def render_metrics() -> str:
    """Name, type and meaning of every metric of raftbook's own."""
    rows = [f"| `{name}` | {kind} | {words} |" for name, kind, words in metrics()]
    return "\n".join(["| metric | type | |", "|---|---|---|", *rows])


def render_alerts() -> str:
    """What each alert says, and what to do."""
    lines = ["| alert | severity | means | what to do |", "|---|---|---|---|"]
    for group in yaml.safe_load(ALERTS_FILE.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            told = rule["annotations"]
            words = (_plain(told[part]) for part in ("summary", "description"))
            lines.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {' | '.join(words)} |")
    return "\n".join(lines)


def metrics() -> list[tuple[str, str, str]]:
    """(name, type, meaning), of the node first, then of its interface."""
    families = list(Measurements().collect(_figures(NodeFigures)))
    found = {family.name + ("_total" if family.type == "counter" else ""): family for family in families}
    node = [(name, family.type, family.documentation) for name, family in found.items()]
    text = asyncio.run(_scraped())
    kinds = dict(re.findall(r"^# TYPE (raftbook_\S+) (\w+)$", text, re.MULTILINE))
    words = dict(re.findall(r"^# HELP (raftbook_\S+) (.+)$", text, re.MULTILINE))
    return node + [(name, kind, words[name]) for name, kind in kinds.items() if name not in found]


async def _scraped() -> str:
    transport = httpx.ASGITransport(app=make_app(DirectService()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8101") as client:
        answer = await client.get("/metrics")
        answer.raise_for_status()
        return answer.text


def _figures(kind: Any) -> Any:
    """A named tuple of nothings: only names and meanings are wanted."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _figures(hint) if hint is NodeStatus else _nothing(hint) for name, hint in hints.items()})


def _nothing(hint: Any) -> object:
    return None if type(None) in typing.get_args(hint) else (typing.get_origin(hint) or hint)()


def _plain(text: str) -> str:
    """Without the placeholders that Prometheus fills in."""
    text = re.sub(r"\{\{ \$labels\.instance \}\}", "X", text)
    return re.sub(r"\{\{ [^}]* \}\}", "…", text).replace("|", "\\|")
