"""One member of the cluster without its I/O: ordered log, intake, sequencer, gossip and replicated state, put together.

`Member` takes what happens (a message, a batch on disk, a tick of time, a submission) and says what to do; it
owns no socket, thread, file handle or clock. The asyncio shell around it is `raftbook.node`; the simulator's, in
virtual time, is `raftbook.simulation`. Both drive the same code.
"""
