"""`raftbook bench`: how fast it is on this machine, and how that was measured.

| module | holds |
|---|---|
| measurement | what a measurement is, and the scale of a run |
| engine | the matching engine alone, without a cluster |
| adversarial, attack, attacks | what somebody would send who wants the engine to be slow, and the times of it |
| doubling | what an operation costs as the book doubles |
| cluster | orders through three node processes |
| recovery | failovers, restarts, replay |
| load, http_load | the load generator, a process of its own |
| stock, stock_node | PySyncObj as it comes, with the same payload |
| machine | what it all ran on |
| view | what is seen of it |

Each subject is a list of steps, and a step takes what it needs and gives one Measurement. Nodes and load generators
are processes of their own, so that what is measured is what users run.
"""
