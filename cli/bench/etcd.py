"""A local three-node etcd, which gets the same orders as values, in the same run.

What it does with them is less: it keeps opaque bytes under a key, where an exchange decodes, matches and reports. It
does sync what it acknowledges, to a majority's disks, as raftbook does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from cli.bench.flow import write_payload
from cli.bench.generator import run_generator
from cli.bench.grpc_load import ANSWER_DEADLINE_S, PutPlan, PutResult
from cli.bench.latencies import Latencies
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale
from cli.local_cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

NODES: Final = 3
CONNECTIONS: Final = 9
START_DEADLINE_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.1
GROUP: Final = "etcd, at its leader"


class Scenario(NamedTuple):
    kind: str
    connections: int
    outstanding: int

    @property
    def name(self) -> str:
        return f"etcd, {self.kind}"


SCENARIOS: Final = (
    Scenario("one at a time", 1, 1),
    Scenario("64 outstanding", CONNECTIONS, 64),
    Scenario("512 outstanding", CONNECTIONS, 512),
)


class _Node(NamedTuple):
    process: subprocess.Popen[bytes]
    address: str


def scenarios(kinds: Collection[str]) -> list[Scenario]:
    """Those of these kinds."""
    return [scenario for scenario in SCENARIOS if scenario.kind in kinds]


def require_etcd() -> tuple[str, str]:
    """(path, version) of the program; BenchmarkFailedError, with what to do, where there is none."""
    path = shutil.which("etcd")
    if path is None:
        raise BenchmarkFailedError(
            "etcd is not installed; on Debian: apt-get install etcd-server (and systemctl disable --now etcd, which it "
            "starts), or leave --against etcd out"
        )
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603 (a fixed program, no shell)
    return path, told.split("\n", 1)[0].rpartition(" ")[2]


async def measure_etcd(chosen: Sequence[Scenario], scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    """All of them, one after the other, on one cluster."""
    payload, mean_bytes = await asyncio.to_thread(write_payload, folder)
    path, version = require_etcd()
    measured = []
    async with _nodes(path, folder) as nodes:
        for scenario in chosen:
            announce(scenario.name)
            leader = await _leader(nodes)
            followers = [node for node in nodes if node is not leader]
            plan = PutPlan(
                leader.address,
                scenario.connections,
                scenario.outstanding,
                scale.seconds,
                scale.warm_up_s,
                str(payload),
                tuple(node.process.pid for node in (leader, *followers)),
            )
            deadline_s = START_DEADLINE_S + plan.warm_up_s + plan.seconds + ANSWER_DEADLINE_S
            result = await run_generator("cli.bench.grpc_load", plan, PutResult, deadline_s=deadline_s)
            measured.append(_measurement(scenario, result, version, mean_bytes))
    return measured


def _measurement(scenario: Scenario, result: PutResult, version: str, mean_bytes: float) -> Measurement:
    latencies = Latencies.of(result.request_times_s)
    orders = max(1, latencies.count)
    leader_cpu_s, *followers_cpu_s = result.cpu_s
    return Measurement(
        scenario.name,
        f"etcd {version}, three processes on loopback, fsync as it comes; puts under way over as many gRPC "
        "connections to the leader as raftbook has WebSockets, the next sent when one is answered; the values are the "
        f"same orders, encoded, {mean_bytes:.0f} bytes each. It keeps them and does not look at them",
        {
            "orders_per_s": round(latencies.count / result.elapsed_s),
            **latencies.figures(),
            "leader_cpu_us_per_order": round(1e6 * leader_cpu_s / orders, 1),
            "follower_cpu_us_per_order": round(1e6 * max(followers_cpu_s) / orders, 1),
            "all_nodes_cpu_us_per_order": round(1e6 * sum(result.cpu_s) / orders, 1),
            "leader_cpu": round(leader_cpu_s / result.elapsed_s, 2),
            "follower_cpu": round(max(followers_cpu_s) / result.elapsed_s, 2),
            "load_generator_cpu": round(result.own_cpu_s / result.elapsed_s, 2),
        },
        GROUP,
        scenario.kind,
        latencies,
    )


@contextlib.asynccontextmanager
async def _nodes(path: str, folder: Path) -> AsyncIterator[list[_Node]]:
    ports = free_ports(2 * NODES)
    names = [f"e{number}" for number in range(NODES)]
    peers = [f"http://127.0.0.1:{port}" for port in ports[:NODES]]
    # Its variables would win over the options that are not given here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
    nodes: list[_Node] = []
    try:
        for name, peer, port in zip(names, peers, ports[NODES:], strict=True):
            client = f"http://127.0.0.1:{port}"
            options = {
                "name": name,
                "data-dir": str(folder / name),
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "initial-cluster": ",".join(f"{one}={url}" for one, url in zip(names, peers, strict=True)),
                "initial-cluster-state": "new",
                "initial-cluster-token": "raftbook-bench",
                "logger": "zap",
                "log-level": "warn",
            }
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603, ASYNC220 (a fixed program, no shell, and it returns at once)
                    [path, *(f"--{option}={value}" for option, value in options.items())],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            nodes.append(_Node(process, f"127.0.0.1:{port}"))
        yield nodes
    finally:
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.process.wait(STOP_TIMEOUT_S)


async def _leader(nodes: Sequence[_Node]) -> _Node:
    """The node that says of itself that it leads."""
    deadline = time.monotonic() + START_DEADLINE_S
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            for node in nodes:
                if node.process.poll() is not None:
                    raise BenchmarkFailedError(f"a node of etcd ended by itself with exit code {node.process.poll()}")
                if await _leads(client, node):
                    return node
            await asyncio.sleep(POLL_INTERVAL_S)
    raise BenchmarkFailedError(f"etcd had no leader in {START_DEADLINE_S:g} s")


async def _leads(client: httpx.AsyncClient, node: _Node) -> bool:
    try:
        response = await client.post(f"http://{node.address}/v3/maintenance/status", json={})
        response.raise_for_status()
    except httpx.HTTPError:
        return False
    status: dict[str, Any] = response.json()
    return bool(status["header"]["member_id"] == status.get("leader"))
