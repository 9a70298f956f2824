"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Final

from cli.bench.measurement import milliseconds, percentile
from raftbook import __version__
from raftbook.engine import is_compiled

SYNCS: Final = 50
SYNCED_BLOCK: Final = bytes(4096)
_CLOCK_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def describe(folder: Path) -> dict[str, Any]:
    """The machine now; `folder` is where the nodes' files will be, whose disk decides about commits."""
    return {
        "raftbook": __version__,
        "engine": "compiled" if is_compiled() else "interpreted",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "load_average_1_minute": round(os.getloadavg()[0], 2),
        "fdatasync_p50_ms": milliseconds(_sync_s(folder)),
    }


def _sync_s(folder: Path) -> float:
    """Median time to append 4 KiB to a file and have them on the disk."""
    path = folder / "sync_probe"
    times_s = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            began_at = time.perf_counter()
            os.write(descriptor, SYNCED_BLOCK)
            os.fdatasync(descriptor)
            times_s.append(time.perf_counter() - began_at)
    finally:
        os.close(descriptor)
        path.unlink()
    return percentile(times_s, 0.5)


def resident_bytes(process_id: int) -> int:
    """Memory that a process has now (`man 5 proc_pid_statm`)."""
    pages = Path(f"/proc/{process_id}/statm").read_bytes().split()[1]
    return int(pages) * _PAGE_BYTES


def peak_resident_bytes(process_id: int) -> int:
    """The most memory that a process has had so far (`man 5 proc_pid_status`)."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def cpu_seconds(process_id: int) -> float:
    """Processor time that a process has used so far, in user and in system mode (`man 5 proc_pid_stat`)."""
    with open(f"/proc/{process_id}/stat", "rb") as file:  # noqa: PTH123 (called while it is measured)
        # The name of the program stands in parentheses and may hold anything.
        fields = file.read().rpartition(b") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S
