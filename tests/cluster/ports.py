"""Ports and processes of the harness's own servers."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
# Below 32,768, where Linux begins to hand out ports to outgoing connections: none of those can take one of ours.
_PORTS = range(22_000, 32_000)


def free_port() -> int:
    """A port on which nobody listens."""
    for port in random.sample(_PORTS, 200):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port
    raise RuntimeError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def start_bound(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when the thread that starts it ends, also where no `finally` runs."""
    this = Path(__file__).absolute()
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(this), str(os.getpid()), *command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_process(process: subprocess.Popen[bytes], *, kill: bool, patience_s: float = 60.0) -> None:
    """End a process and all of its group: SIGTERM, and SIGKILL when it has not gone in time, or at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _become(parent: int, command: Sequence[str]) -> None:
    """Ask the kernel for SIGKILL at the parent's end, and become another program."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != parent:
        sys.exit("the parent is gone already, or prctl failed")
    os.execvp(command[0], list(command))  # noqa: S606


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
