"""Packets that get lost on their way, by port: rules of iptables and tc, for a network of our own alone."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Way = Literal["to", "from"]
"""Packets to a port, or those that come from it."""


@contextmanager
def losing(port: int, way: Way, *, probability: float = 1.0, reset: bool = False) -> Iterator[None]:
    """A packet is dropped with that probability; with `reset`, its sender is told that there is no connection."""
    rule = ["INPUT", "-p", "tcp", "--dport" if way == "to" else "--sport", str(port)]
    if probability < 1:
        rule += ["-m", "statistic", "--mode", "random", "--probability", f"{probability:.4f}"]
    rule += ["-j", "REJECT", "--reject-with", "tcp-reset"] if reset else ["-j", "DROP"]
    _run("iptables", "-w", "-A", *rule)
    try:
        yield
    finally:
        _run("iptables", "-w", "-D", *rule)


@contextmanager
def delaying(delay_s: float) -> Iterator[None]:
    """Every packet of every connection takes that long, half as much more or less: so some overtake others."""
    milliseconds = 1000 * delay_s
    netem = ["netem", "delay", f"{milliseconds:.1f}ms", f"{milliseconds / 2:.1f}ms"]
    _run("tc", "qdisc", "add", "dev", "lo", "root", *netem)
    try:
        yield
    finally:
        _run("tc", "qdisc", "del", "dev", "lo", "root")


def begin_network() -> None:
    """A network that was just made has no loopback yet."""
    _run("ip", "link", "set", "lo", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
