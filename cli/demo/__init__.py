"""`raftbook demo`: a cluster of real processes, order flow against it, its leader killed again and again.

| module | holds |
|---|---|
| ledger | what the clients were told, and when |
| traders | the clients, who keep on until each command has a definite answer |
| failovers | kills the leader and starts it again |
| log_check | compares what the clients were told with what stands in every node's log |
| scenario | all of it together |
| view | what is seen of it |
"""
