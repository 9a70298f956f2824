"""`raftbook bench`: how fast it is on this machine, and how that was measured.

| module | holds |
|---|---|
| command, run | the options; what a call measures, in its order |
| measurement, latencies, spread | what a measurement is, the scale of a run, medians of several, percentiles |
| engine, engine_load, bare_book | the matching engine alone, without a cluster, and what it is held against |
| adversarial, attack, attacks | what somebody would send who wants the engine to be slow, and the times of it |
| doubling, pauses, collected_process | what an operation costs as the book doubles; pauses of the garbage collector |
| cluster, node_probe | orders through three node processes, and what the nodes use for them |
| recovery, under_load, catching_up, restoring, patient_clients, resting | failovers, restarts, replay, snapshots |
| feed, feed_subscribers | a thousand subscribers |
| shards | two shards behind one gateway |
| generator, load | the load generator, a process of its own, in closed and in open loop |
| flow, http_load, stream_load, stream_orders | the orders that it sends, and its two protocols |
| stock, stock_node | PySyncObj as it comes, with the same payload |
| etcd, grpc_load | a local etcd, with the same payload, and its load |
| machine | what it all ran on |
| view, plot | what is seen of it |

Each subject is a list of steps, and a step takes what it needs and gives Measurements. Nodes and load generators
are processes of their own, so that what is measured is what users run.
"""
