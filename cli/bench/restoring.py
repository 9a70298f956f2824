"""A node that starts from a snapshot: the processor's time and the memory that it takes until it answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from cli.bench.machine import cpu_seconds, peak_resident_bytes
from cli.bench.measurement import Announce, Measurement, Scale, milliseconds

if TYPE_CHECKING:
    from cli.local_cluster import LocalCluster

RESTORE: Final = "restore of a snapshot"

RESTORE_DEADLINE_S: Final = 300.0
_MEGABYTE: Final = 1024 * 1024


async def measure_restore(cluster: LocalCluster, node_id: str, scale: Scale, announce: Announce) -> Measurement:
    """Of a cluster that has been told to stop, whose node `node_id` has a snapshot of what rests."""
    announce(RESTORE)

    def answers(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
        return statuses[node_id] is not None or None

    began_at = time.perf_counter()
    cluster.start(node_id)
    await cluster.wait_until(answers, deadline_s=RESTORE_DEADLINE_S, awaited=f"{node_id} to answer")
    took_s = time.perf_counter() - began_at
    process_id = cluster.process_id(node_id)
    cpu_s, peak_bytes = cpu_seconds(process_id), peak_resident_bytes(process_id)
    await cluster.terminate(node_id)
    return Measurement(
        RESTORE,
        f"one node, the others down, started from a snapshot of {scale.backlog:,} resting orders and the log after it; "
        "from starting the process until it answers, Python's own start, the check of the whole state and the "
        "market data included. Processor time is the system's word (/proc/PID/stat)",
        {
            "orders": scale.backlog,
            "restore_ms": milliseconds(took_s),
            "restore_cpu_s": round(cpu_s, 2),
            "restore_cpu_us_per_order": round(1e6 * cpu_s / scale.backlog, 2),
            "peak_memory_mb": round(peak_bytes / _MEGABYTE),
        },
    )
