"""The intake: submissions that a node knows and that the log does not hold yet. A state-based CRDT.

Every submission has a *dot* (origin, sequence): the origin names one start of one node, the sequence counts that
start's submissions without gaps. The state of an intake is a set of dots with their bytes, and a version vector
(`watermarks`) below which dots are done with:

    merge        union of the sets, maximum of the vectors, then dropping what the vector covers

Union and maximum are commutative, associative and idempotent, so intakes that exchange what they know converge,
whatever the order, the repetition and the delay, over any network that delivers sometimes. Since the vector only
grows, a submission that has been executed never comes back (Shapiro, Preguiça, Baquero, Zawirski: "Conflict-free
replicated data types", 2011; a grow-only set with causal compaction). Deltas are states too: `Intake.delta` gives a
part of the state, and merging it is the same merge.

What an intake does not do is order: that is the log's, to which the leader's sequencer carries the dots of each
origin in the sequence in which they were made.
"""

from __future__ import annotations

from raftbook.intake.intake import Delta, Intake, IntakeLimits

__all__ = ["Delta", "Intake", "IntakeLimits"]
