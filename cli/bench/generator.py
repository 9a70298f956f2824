"""Load generators are processes of their own: `python -m MODULE`, a plan on standard input, what they saw on standard
output.

So they do not share an interpreter with whoever measures, and a machine with many cores gives them one.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cli.bench.measurement import BenchmarkFailedError
from cli.local_cluster import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PlanT = TypeVar("PlanT")
ResultT = TypeVar("ResultT")


async def run_generator(module: str, plan: msgspec.Struct, result_type: type[ResultT], *, deadline_s: float) -> ResultT:
    """What the process answers; BenchmarkFailedError says what went wrong in it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(msgspec.json.encode(plan)), deadline_s)
    except TimeoutError as error:
        raise BenchmarkFailedError("the load generator did not end; is the machine overloaded?") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BenchmarkFailedError(f"the load generator failed: {words[-1]}")
    return msgspec.json.decode(output, type=result_type)


def generator_main(plan_type: type[PlanT], run: Callable[[PlanT], Awaitable[object]]) -> int:
    """Such a process's whole life; its exit code."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=plan_type)

    async def run_plan() -> object:
        return await run(plan)

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            result = runner.run(run_plan())
    except (BenchmarkFailedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The one that nodes run on, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
