"""The ordered log: PySyncObj's Raft, made safe, behind a small interface.

    raft_core            PySyncObj itself: the only file that imports it and knows its private names
    guard                pure decisions: what of an append may reach the core, what an answer may claim
    elections            pre-vote, vote counting, and who may vote
    replicator           what the leader sends to each follower, and what their answers mean
    snapshot_transfer    a snapshot on its way to a follower that is too far behind for the log
    outbox               messages that wait until what they promise is on disk
    raft_node            all of the above put together: one member of the ordered log
    ordered_log          how a member stands, and what it feeds: all that the rest of the node sees of it
    sequencer            what waits in the intake becomes entries

    journal              the core's view of the log, kept in memory and written to the write-ahead log
    write_ahead_log      the log on disk, in segments (log_segments) of records (log_records)
    snapshot_store       the state on disk; snapshot_files: the files' form, and how they are read
    disk                 the few file operations that both need; read_only_disk: a folder to read, its node may run

    messages             what peers say to each other; frames: its bytes on a connection
    handshake            who may connect to whom; peer_connection: one connection
    transport            all connections of a node; listening: the addresses that it is reached at

Why so little of PySyncObj is used as it stands is told in raftbook/ARCHITECTURE.md.
"""

from __future__ import annotations
