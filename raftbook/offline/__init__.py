"""A node's data folder without its node: what the log holds, and the state at any index. Read-only.

    log_entry     one entry of the log: what kind it is, and the commands in it
    node_folder   which folder is meant
    stored_node   a folder as it stands at one moment: identity, vote, segments, snapshots, entries, damage
    replay        the state at an index: the newest snapshot at or below it, and the log from there
    views         all of that as JSON

Everything works on a copy, and on the folder of a node that runs: nothing is locked, created or written, and what the
node writes meanwhile is not seen (replication/read_only_disk.py). **A log does not say what is committed.** What
stands behind the newest snapshot may still be replaced by another leader's entries, so a replay of the tail shows
what this log holds; `known_committed_index` is how far a folder vouches for itself.
"""

from __future__ import annotations

from raftbook.offline.log_entry import DecodedEntry, EntryKind, LogEntry
from raftbook.offline.node_folder import find_node_folder
from raftbook.offline.replay import Replay
from raftbook.offline.stored_node import SnapshotReport, StoredNode
from raftbook.offline.views import entry_to_json, events_to_json, node_to_json, state_to_json

__all__ = [
    "DecodedEntry",
    "EntryKind",
    "LogEntry",
    "Replay",
    "SnapshotReport",
    "StoredNode",
    "entry_to_json",
    "events_to_json",
    "find_node_folder",
    "node_to_json",
    "state_to_json",
]
