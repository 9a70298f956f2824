"""One node of stock PySyncObj, to compare with. A script of its own: it imports nothing of raftbook, which changes
PySyncObj for the whole process.

    python stock_node.py SELF OTHER OTHER … --journal FILE --payload FILE [--send-at-once | --period-s SECONDS]

It says whether it leads (a JSON line) for every line "role" on standard input, and measures for every other line, a
JSON plan; it ends with standard input. What it replicates are the encoded commands of the payload file (one a line, in
hexadecimal), which it counts and does not look at.

PySyncObj pickles all that it sends and keeps. That is stock's affair: nothing of it ever reaches a raftbook node.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

NO_COMPACTION = 1 << 40
DEADLINE_S = 60.0


class StockNode(SyncObj):  # type: ignore[misc]
    """Replicates lists of commands."""

    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        super().__init__(own, others, conf)
        self.executed = 0

    @replicated  # type: ignore[untyped-decorator]
    def execute(self, commands: list[bytes]) -> int:
        self.executed += len(commands)
        return self.executed


class Load:
    """Keeps a number of calls under way from within the leader; the next goes out when one has been applied."""

    def __init__(self, node: StockNode, payload: list[bytes], batch_commands: int) -> None:
        endless = cycle(payload)
        batches = [list(islice(endless, batch_commands)) for _ in range(max(1, len(payload) // batch_commands))]
        self._node = node
        self._batches = cycle(batches)
        self._is_ending = False
        self._times_s: list[float] = []
        self._under_way = 0
        self._none_under_way = threading.Event()
        self.failure: str | None = None

    def measure(self, plan: dict[str, Any]) -> dict[str, Any]:
        self._under_way = plan["outstanding"]
        for _ in range(plan["outstanding"]):
            self._send()
        time.sleep(plan["warm_up_s"])
        first, began_at, cpu_s = len(self._times_s), time.perf_counter(), self._cpu_s(plan)
        time.sleep(plan["seconds"])
        times_s, elapsed_s = self._times_s[first:], time.perf_counter() - began_at
        cpu_s = [now_s - before_s for now_s, before_s in zip(self._cpu_s(plan), cpu_s, strict=True)]
        self._is_ending = True
        if not self._none_under_way.wait(DEADLINE_S):
            self.failure = self.failure or "not all calls were answered"
        return {"failure": self.failure, "elapsed_s": elapsed_s, "request_times_s": times_s, "cpu_s": cpu_s}

    @staticmethod
    def _cpu_s(plan: dict[str, Any]) -> list[float]:
        """What the processes of the plan have used so far (`man 5 proc_pid_stat`)."""
        stats = [Path(f"/proc/{process_id}/stat").read_bytes() for process_id in plan["process_ids"]]
        fields = [stat.rpartition(b") ")[2].split() for stat in stats]
        return [(int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK") for found in fields]

    def _send(self) -> None:
        sent_at = time.perf_counter()
        self._node.execute(next(self._batches), callback=lambda result, reason: self._applied(sent_at, result, reason))

    def _applied(self, sent_at: float, _result: object, reason: int) -> None:
        if reason != FAIL_REASON.SUCCESS:
            self.failure = f"a call failed with reason {reason}"
        self._times_s.append(time.perf_counter() - sent_at)
        if self._is_ending or self.failure:
            self._under_way -= 1
            if self._under_way == 0:
                self._none_under_way.set()
        else:
            self._send()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("own")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--journal", required=True)
    parser.add_argument("--payload", required=True, type=Path)
    parser.add_argument("--send-at-once", action="store_true")
    parser.add_argument("--period-s", type=float, default=SyncObjConf().appendEntriesPeriod)
    arguments = parser.parse_args()
    payload = [bytes.fromhex(line) for line in arguments.payload.read_text().split()]
    node = StockNode(
        arguments.own,
        arguments.others,
        SyncObjConf(
            journalFile=arguments.journal,
            appendEntriesUseBatch=not arguments.send_at_once,
            appendEntriesPeriod=arguments.period_s,
            logCompactionMinEntries=NO_COMPACTION,
            logCompactionMinTime=NO_COMPACTION,
        ),
    )
    for line in sys.stdin:
        if line.strip() == "role":
            answer = {"leads": node.isReady() and node._isLeader(), "executed": node.executed}  # noqa: SLF001
        else:
            plan = json.loads(line)
            answer = Load(node, payload, plan["batch_commands"]).measure(plan)
        print(json.dumps(answer), flush=True)
    node.destroy()


if __name__ == "__main__":
    main()
