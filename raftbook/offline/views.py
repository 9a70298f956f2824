"""Entries, replayed states and a whole folder as JSON objects, ready for `json_format.dumps`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine.types import NO_ORIGIN
from raftbook.json_format import Json, command_to_json, event_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from raftbook.engine.events import Execution
    from raftbook.engine.instrument import Instrument
    from raftbook.offline.log_entry import LogEntry
    from raftbook.offline.replay import Replay
    from raftbook.offline.stored_node import StoredNode


def entry_to_json(entry: LogEntry) -> Json:
    """An entry with every command as its sender wrote it; bytes that are no command give their `detail` alone.

    `commands[].command` is in the form that every command of the command line takes.
    """
    decoded = entry.decode()
    json: Json = {"log_index": entry.log_index, "term": entry.term, "kind": decoded.kind.value}
    if decoded.timestamp is not None:
        json["timestamp"] = decoded.timestamp
    json["size_bytes"] = len(entry.raw)
    json["commands"] = [
        {"origin": run.origin, "origin_sequence": sequence, "command": command_to_json(command)}
        for run in decoded.runs
        for sequence, command in enumerate(run.commands, run.first_sequence)
    ]
    return json


def events_to_json(executions: Iterable[Execution], instruments: Mapping[str, Instrument]) -> Iterator[Json]:
    """What an entry led to, each event with the submission that it belongs to.

    `origin` and `origin_sequence` are null where it belongs to the entry alone: orders that expired, indications.
    """
    for execution in executions:
        is_submitted = execution.origin != NO_ORIGIN
        for event in execution.events:
            yield {
                **event_to_json(event, instruments),
                "origin": execution.origin if is_submitted else None,
                "origin_sequence": execution.sequence if is_submitted else None,
            }


def state_to_json(replay: Replay) -> Json:
    """The state at the index that a replay has reached: digests and counts. O(state), for the state digest.

    `timestamp` is log time, `digest` the digest chain as nodes tell it, `orders` the open orders, `known_orders` those
    and the closed ones that are remembered, `trades` all trades since the beginning.
    """
    state = replay.state
    exchange = state.exchange
    return {
        "log_index": state.index,
        "timestamp": exchange.time,
        "digest": state.chain_digest.hex(),
        "state_digest": state.state_digest(),
        "instruments": len(exchange.instruments),
        "orders": sum(len(account.open_orders) for account in exchange.registry.accounts.values()),
        "known_orders": len(exchange.registry.orders),
        "trades": exchange.journal.last_trade_id,
        "accounts": len(exchange.registry.accounts),
        "replayed_from": replay.begin_index,
        "replayed_commands": replay.command_count,
    }


def node_to_json(node: StoredNode) -> Json:
    """What the files say of the node and of themselves."""
    cluster, node_id = (None, None) if node.identity is None else node.identity
    damage = node.damage
    return {
        "folder": str(node.folder),
        "cluster": cluster,
        "node": node_id,
        "term": node.term,
        "voted_for": node.voted_for,
        "voter": node.is_voter,
        "base_index": node.base_index,
        "first_index": node.first_index,
        "last_index": node.last_index,
        "known_committed_index": node.known_committed_index,
        "rebuildable": [list(indexes) for indexes in node.rebuildable_indexes()],
        "segments": [
            {
                "name": segment.name,
                "size_bytes": segment.size_bytes,
                "records": segment.record_count,
                "unread_bytes": segment.size_bytes - segment.whole_bytes,
            }
            for segment in node.segments
        ],
        "snapshots": [
            {
                "name": snapshot.name,
                "index": snapshot.index,
                "term": snapshot.term,
                "size_bytes": snapshot.size_bytes,
                "problem": snapshot.problem,
            }
            for snapshot in node.snapshots
        ],
        "damage": None if damage is None else {"file": damage.path, "offset": damage.offset},
        "problems": list(node.problems),
    }
