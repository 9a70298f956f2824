"""What this machine can do to a cluster, and for what it cannot, the reason: tried out, not guessed.

Packets can be lost, and disks filled, where the run has a network and mounts of its own: `command_in_namespaces` puts
a command into such a place, in which nothing outside can be harmed and which takes every process with it when it
ends. Root may make one, and on many systems everybody, by way of a user namespace.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.system.chaos.injected_faults import COMPILERS, compiler

if TYPE_CHECKING:
    from collections.abc import Sequence

INSIDE_VARIABLE: Final = "CHAOS_IN_NAMESPACES"
PROBE_TIMEOUT_S: Final = 20.0

_NAMESPACES: Final = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_FILTER_PROBE: Final = "iptables -w -A INPUT -p tcp --dport 9 -m statistic --mode random --probability 0.5 -j DROP"
_RESET_PROBE: Final = "iptables -w -A INPUT -p tcp --dport 9 -j REJECT --reject-with tcp-reset"
_DELAY_PROBE: Final = "tc qdisc add dev lo root netem delay 1ms"
_MOUNT_PROBE: Final = "mount -t tmpfs -o size=1m chaos /mnt"


class Capabilities(NamedTuple):
    """None for what the machine can do, the reason for what it cannot."""

    lacking_compiler: str | None
    """For faults inside the processes: failing and hanging disks, wrong clocks."""
    lacking_packet_filter: str | None
    """For packets that get lost: iptables, in a network of our own."""
    lacking_packet_delay: str | None
    """For packets that are late and overtake each other: tc netem, in a network of our own."""
    lacking_mount: str | None
    """For disks that are full: a tmpfs for each node, in mounts of our own."""

    @property
    def lacking(self) -> list[str]:
        """A sentence for each thing that is missing."""
        named = {
            "failing and slow disks, wrong clocks": self.lacking_compiler,
            "lost packets": self.lacking_packet_filter,
            "delayed and reordered packets": self.lacking_packet_delay,
            "full disks": self.lacking_mount,
        }
        return [f"{what}: {reason}" for what, reason in named.items() if reason is not None]


@functools.cache
def probe() -> Capabilities:
    """Tries each thing out, in namespaces that end with the trial."""
    lacking_namespaces = _lacking_namespaces()
    return Capabilities(
        lacking_compiler=None if compiler() else f"none of {', '.join(COMPILERS)} is installed (apt-get install gcc)",
        lacking_packet_filter=lacking_namespaces
        or _lacking("iptables", "iptables", f"ip link set lo up && {_FILTER_PROBE} && {_RESET_PROBE}"),
        lacking_packet_delay=lacking_namespaces or _lacking("tc", "iproute2", f"ip link set lo up && {_DELAY_PROBE}"),
        lacking_mount=lacking_namespaces or _lacking("mount", "mount", _MOUNT_PROBE),
    )


def is_in_namespaces() -> bool:
    """This process was started by `command_in_namespaces`."""
    return INSIDE_VARIABLE in os.environ


def command_in_namespaces(command: Sequence[str]) -> list[str] | None:
    """The command that runs `command` there; None where no such place can be made."""
    options = _namespace_options()
    return None if options is None else [*_NAMESPACES, *options, "env", f"{INSIDE_VARIABLE}=1", *command]


@functools.cache
def _namespace_options() -> tuple[str, ...] | None:
    for options in ((), ("--map-root-user",)):
        if shutil.which("unshare") and _failure([*_NAMESPACES, *options, "true"]) is None:
            return options
    return None


def _lacking_namespaces() -> str | None:
    if is_in_namespaces() or _namespace_options() is not None:
        return None
    if shutil.which("unshare") is None:
        return "there is no unshare (apt-get install util-linux)"
    return f"no namespaces may be made here: {_failure([*_NAMESPACES, 'true'])}"


def _lacking(program: str, package: str, script: str) -> str | None:
    if shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is None:
        return f"there is no {program} (apt-get install {package})"
    options = _namespace_options()
    assert options is not None
    return _failure([*_NAMESPACES, *options, "sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; {script}"])


def _failure(command: Sequence[str]) -> str | None:
    """None if it runs to a good end, else what it said."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end in {PROBE_TIMEOUT_S:g} s"
    if ended.returncode == 0:
        return None
    return " ".join(ended.stderr.split()) or f"{command[0]} ended with {ended.returncode}"
