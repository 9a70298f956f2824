"""Each fault reaches a Python process while it runs, reaches the files of its folder alone, and ends again."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.system.chaos.capabilities import probe
from tests.system.chaos.injected_faults import InjectedFaults, build_library

SLACK_S = 5.0

AFFLICTED = """
import os, sys, threading, time
inside, outside = (os.open(path, os.O_CREAT | os.O_WRONLY) for path in sys.argv[1:])
def tried(action):
    try:
        return action()
    except OSError as error:
        return error.strerror
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Afflicted:
    """A process that evaluates what it is sent, one expression after the other."""

    def __init__(self, process):
        self._process = process

    def __call__(self, expression):
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@pytest.fixture
def faults(tmp_path):
    reason = probe().lacking_compiler
    if reason is not None:
        pytest.skip(f"faults of disk and clock cannot be injected: {reason}")
    folder = tmp_path / "data"
    folder.mkdir()
    return InjectedFaults(build_library(tmp_path), tmp_path / "control", folder)


@pytest.fixture
def afflicted(faults, tmp_path):
    with running(faults, tmp_path) as process:
        yield process


@contextmanager
def running(faults, tmp_path):
    command = [sys.executable, "-c", AFFLICTED, str(tmp_path / "data" / "inside"), str(tmp_path / "outside")]
    with subprocess.Popen(
        command, env=faults.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Afflicted(process)
        process.stdin.close()


def test_without_a_fault_all_is_as_ever(afflicted, tmp_path):
    assert afflicted("os.write(inside, b'four'), os.fdatasync(inside), os.fsync(inside)") == "(4, None, None)"
    assert (tmp_path / "data" / "inside").read_bytes() == b"four"
    assert abs(float(afflicted("time.time()")) - time.time()) < SLACK_S


@pytest.mark.parametrize("call", ["os.fsync", "os.fdatasync"])
def test_a_sync_fails(faults, afflicted, call):
    faults.fail_syncs()
    assert afflicted(f"tried(lambda: {call}(inside))") == "Input/output error"
    assert afflicted(f"tried(lambda: {call}(outside))") == "None"
    assert afflicted("os.write(inside, b'four')") == "4"
    faults.heal_disk()
    assert afflicted(f"tried(lambda: {call}(inside))") == "None"


def test_a_sync_of_the_folder_fails(faults, afflicted, tmp_path):
    faults.fail_syncs()
    opened = f"os.open({str(tmp_path / 'data')!r}, os.O_RDONLY)"
    assert afflicted(f"tried(lambda: os.fsync({opened}))") == "Input/output error"


def test_a_write_is_torn_and_the_next_one_fails(faults, afflicted, tmp_path):
    faults.fail_writes()
    assert afflicted("os.write(inside, b'four')") == "2"
    assert afflicted("tried(lambda: os.write(inside, b'ur'))") == "Input/output error"
    assert afflicted("os.write(outside, b'four')") == "4"
    assert (tmp_path / "data" / "inside").read_bytes() == b"fo"
    faults.heal_disk()
    assert afflicted("os.write(inside, b'ur')") == "2"


def test_a_sync_hangs(faults, afflicted):
    faults.delay_syncs(0.5)
    began = time.monotonic()
    assert afflicted("os.fdatasync(outside)") == "None"
    unharmed_s = time.monotonic() - began
    assert afflicted("os.fdatasync(inside)") == "None"
    assert time.monotonic() - began >= unharmed_s + 0.5


def test_a_disk_lies(faults, afflicted, tmp_path):
    faults.lie()
    assert afflicted("os.write(inside, b'four')") == "4"
    assert (tmp_path / "data" / "inside").read_bytes() == b""


def test_the_wall_clock_jumps_and_the_monotonic_one_stays_true(faults, afflicted):
    for offset_s in (600.0, -600.0, 0.0):
        faults.set_clock_ahead(offset_s)
        for now in ("time.time()", "time.time_ns() / 1e9"):
            assert abs(float(afflicted(now)) - offset_s - time.time()) < SLACK_S
        assert abs(float(afflicted("time.monotonic()")) - time.monotonic()) < SLACK_S
        assert afflicted("time.sleep(0.01), threading.Event().wait(0.01)") == "(None, False)"


def test_the_switches_outlive_the_process(faults, tmp_path):
    with running(faults, tmp_path):
        faults.fail_syncs()
    with running(faults, tmp_path) as afflicted:
        assert afflicted("tried(lambda: os.fsync(inside))") == "Input/output error"
