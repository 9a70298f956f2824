"""The ordered log: PySyncObj's Raft, made safe, behind a small interface.

    raft_core            PySyncObj itself: the only file that imports it and knows its private names
    guard                pure decisions: what of a message may reach the core, what an answer may claim
    journal              the core's view of the log, kept in memory and written to the write-ahead log
    write_ahead_log      the log on disk; snapshot_store: the state on disk; disk: the few file operations
    messages, frames     what peers say to each other, byte by byte; transport: asyncio connections
    elections            pre-vote, vote counting and who may vote
    replicator           what the leader sends to each follower, and what their answers mean
    snapshot_transfer    a snapshot on its way to a follower that is too far behind for the log
    raft_node            all of the above put together: one member of the ordered log
    sequencer            what waits in the intake becomes entries

Why so little of PySyncObj is used as it stands is told in raftbook/ARCHITECTURE.md.
"""

from __future__ import annotations
