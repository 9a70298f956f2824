"""What people see of a log, a state and a folder. Pure; nothing here prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from cli.render import columns, count, utc_time
from raftbook.json_format import command_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.offline import DecodedEntry, LogEntry

_ENTRY_LINE: Final = "{:>10}  {:>6}  {:<26}  {:<10}  {:>8}  {:>9}  {}"

ENTRY_HEADER: Final = _ENTRY_LINE.format("log index", "term", "time (UTC)", "kind", "commands", "bytes", "what")


def entry_line(entry: LogEntry) -> str:
    """`12  3  2026-…  commands  4  512  3 new, 1 cancel; n1.18c0/5-8`, in columns of fixed width."""
    decoded = entry.decode()
    time = "" if decoded.timestamp is None else utc_time(decoded.timestamp)
    figures = (count(decoded.command_count), count(len(entry.raw)))
    line = _ENTRY_LINE.format(entry.log_index, entry.term, time, decoded.kind.value, *figures, _what(decoded))
    return line.rstrip()


def _what(decoded: DecodedEntry) -> str:
    if not decoded.command_count:
        return ""
    commands = [command for run in decoded.runs for command in run.commands]
    samples = {type(command): command for command in commands}
    names = {kind: str(command_to_json(command).get("op", "malformed")) for kind, command in samples.items()}
    operations = Counter(names[type(command)] for command in commands)
    runs = [(run.origin, run.first_sequence, run.first_sequence + len(run.commands) - 1) for run in decoded.runs]
    origins = [f"{origin}/{first}" + (f"-{last}" if last > first else "") for origin, first, last in runs]
    return f"{', '.join(f'{number} {operation}' for operation, number in operations.items())}; {' '.join(origins)}"


def state_table(state: Mapping[str, Any]) -> Table:
    """A replayed state, a line for each figure."""
    table = Table(title=f"the state at log index {state['log_index']}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    rows = {
        "node": _whose(state),
        "log time (UTC)": utc_time(state["timestamp"]),
        "digest": state["digest"],
        "state digest": state["state_digest"],
        "instruments": count(state["instruments"]),
        "open orders": count(state["orders"]),
        "known orders": count(state["known_orders"]),
        "trades": count(state["trades"]),
        "replayed": f"{count(state['replayed_commands'])} commands, from index {state['replayed_from']}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def node_tables(node: Mapping[str, Any]) -> list[Table]:
    """Whose files they are, and what there is in segments and snapshots."""
    facts = Table(title=str(node["folder"]), title_justify="left", show_header=False)
    facts.add_column()
    facts.add_column()
    ranges = [f"{low} to {high}" if low < high else str(low) for low, high in node["rebuildable"]]
    damage = node["damage"]
    rows = {
        "node": _whose(node),
        "term": str(node["term"]),
        "voted for": node["voted_for"] or "nobody",
        "voter": "yes" if node["voter"] else "no (a learner)",
        "entries": f"{node['first_index']} to {node['last_index']}"
        if node["first_index"] <= node["last_index"]
        else "none",
        "known to be committed": f"up to {node['known_committed_index']}"
        if node["known_committed_index"]
        else "none: no snapshot",
        "states that can be rebuilt": ", ".join(ranges) or "none",
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    if damage is not None:
        facts.add_row("damaged", Text(f"{damage['file']} at byte {damage['offset']}", style="bold red"))
    segments = columns(
        "segments", "name", "bytes", "records", "bytes unread", right=("bytes", "records", "bytes unread")
    )
    for segment in node["segments"]:
        figures = (segment["size_bytes"], segment["records"], segment["unread_bytes"])
        segments.add_row(segment["name"], *map(count, figures))
    snapshots = columns("snapshots", "name", "log index", "term", "bytes", "", right=("log index", "term", "bytes"))
    for snapshot in node["snapshots"]:
        verdict = Text("sound", style="green") if snapshot["problem"] is None else Text("damaged", style="bold red")
        figures = (str(snapshot["index"]), str(snapshot["term"]), count(snapshot["size_bytes"]))
        snapshots.add_row(snapshot["name"], *figures, verdict)
    return [facts, segments, *([snapshots] if node["snapshots"] else [])]


def _whose(found: Mapping[str, Any]) -> str:
    return "unknown" if found["node"] is None else f"{found['node']} of cluster {found['cluster']}"
