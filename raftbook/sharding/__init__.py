"""Several Raft groups behind one address: a gateway that knows which shard an instrument belongs to, and nothing else.

A shard is an ordinary raftbook cluster with its own configuration, processes and log. The gateway is one more client
of each: it holds no state that matters, so any number of them may run side by side, and one that dies takes nothing
with it. What it promises is what each shard promises; between shards there is no order and no atomicity.

    shard_map       PURE: which shard has which symbol, and where a command goes
    batches         PURE: commands split by shard, and the reports put back in their places
    map_file        the TOML file that says all that
    upstream        one shard as the gateway talks to it
    submissions     commands from HTTP and WebSocket: to their shards, and answers back
    orders          HTTP: handlers about orders; reads: HTTP: handlers that only read
    stream          the WebSocket /v1/stream
    http_api        the Starlette application; gateway: it, whose map may change while it runs
    process         the gateway as a process
"""
