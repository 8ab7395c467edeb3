"""Processes of the tests' own that start in no time: forked from one that has imported what they need.

A process that is to be killed somewhere needs a second or more of CPU time for its imports alone, and the tests need
hundreds of them. They come from `multiprocessing`'s fork server, whose only thread waits for orders.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

# What children run, and what that imports on its way; a fork server takes its list once, so all are on it.
PRELOADED = ["job_worker", "month_worker", "av", "boto3", "faster_whisper", "pyarrow.dataset", "pyloudnorm", "soxr"]


class _Descriptor:
    """A file descriptor that comes along when a process is forked."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], "_Descriptor"], tuple[object]]:
        """What the child makes it from."""
        return _arrived, (DupFd(self.number),)


def _arrived(passed: Any) -> _Descriptor:  # noqa: ANN401  # multiprocessing does not name its type
    return _Descriptor(passed.detach())


class ForkedProcess:
    """A function that runs in a process of its own, as `subprocess.Popen` runs a program.

    stdin and stdout are pipes. Nobody reads stdout while it works, so that it may say a few lines (64 KiB) and no more.

    Args:
        target: a function of a module on `PRELOADED`.
        arguments: what it is called with.
    """

    def __init__(self, target: Callable[..., object], *arguments: object) -> None:
        their_stdin, stdin = os.pipe()
        stdout, their_stdout = os.pipe()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by `communicate`
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        streams = [_Descriptor(number) for number in (their_stdin, their_stdout, self._errors.fileno())]
        self._process: ForkServerProcess = _server().Process(
            target=_run, args=(target, arguments, dict(os.environ), Path.cwd(), streams)
        )
        self._process.start()
        os.close(their_stdin)
        os.close(their_stdout)

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: below zero by a signal; None while it works."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end; what it said, and its errors. One that is not there in time is killed."""
        self.stdin.close()
        self._process.join(timeout)
        if self._process.is_alive():
            self.kill()
            self._process.join()
        self._errors.seek(0)
        with self.stdout, self._errors:
            return self.stdout.read(), self._errors.read()


def _run(
    target: Callable[..., object],
    arguments: Sequence[object],
    environment: Mapping[str, str],
    folder: Path,
    streams: Sequence[_Descriptor],
) -> None:
    """Be as a program that was started here and now."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(stream.number, number)
        os.close(stream.number)
    sys.stdin = os.fdopen(0, encoding="utf-8")  # multiprocessing has closed it
    target(*arguments)


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # Python 3.11 tells the server where to search for modules only after it has looked for these.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context
