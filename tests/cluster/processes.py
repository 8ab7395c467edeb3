"""The processes of a pod: found by a marker in their environment, wherever they have gone.

A pod's first process starts others, and some of these lead sessions of their own (Prefect's engine does), so that a
process group misses them. In a real cluster the end of the container's first process ends all of them.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

MARKER = "FAKE_CLUSTER_POD"
_LOOK_AGAIN_S = 0.02


async def start_process(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> asyncio.subprocess.Process:
    """Start the first process of a pod; OSError where the program is not there."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )


def processes_of(uid: str) -> dict[int, str]:
    """The living processes of a pod: their numbers and command lines."""
    marker = f"{MARKER}={uid}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            # The environment of a zombie is empty: it is not found, and nothing can be done to it.
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def kill_processes(uid: str) -> int:
    """Send SIGKILL to all processes of a pod; how many there were."""
    numbers = list(processes_of(uid))
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return len(numbers)


async def end_processes(uid: str) -> None:
    """Kill all processes of a pod, and those that they may have started meanwhile, until none is left."""
    while kill_processes(uid):  # noqa: ASYNC110 - only a look at /proc shows that they are gone
        await asyncio.sleep(_LOOK_AGAIN_S)


async def run_probe(command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float) -> bool:
    """Run the command of a probe in a container; whether it ended well, and in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return False
    try:
        return await asyncio.wait_for(process.wait(), timeout_s) == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
