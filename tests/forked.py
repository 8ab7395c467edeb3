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

import forked_command

# What children run, and what that imports on its way; a fork server takes its list once, so all are on it.
PRELOADED = [
    *("job_worker", "month_worker", "forked_command"),
    *("av", "boto3", "faster_whisper", "pyarrow.dataset", "pyloudnorm", "soxr"),
]


class _Descriptor:
    """A file descriptor that comes along when a process is forked."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], "_Descriptor"], tuple[object]]:
        """What the child makes it from."""
        return _arrived, (DupFd(self.number),)


def _arrived(passed: Any) -> _Descriptor:  # noqa: ANN401  # multiprocessing does not name its type
    return _Descriptor(passed.detach())


class _Forked:
    """A process that was forked.

    Args:
        target: a function of a module on `PRELOADED`.
        arguments: what it is called with.
        environment: its variables.
        folder: where it works.
        streams: its stdin, stdout and stderr.
    """

    def __init__(
        self,
        target: Callable[..., object],
        arguments: Sequence[object],
        environment: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
    ) -> None:
        passed = [_Descriptor(number) for number in streams]
        self._process: ForkServerProcess = _server().Process(
            target=_run, args=(target, arguments, dict(environment), folder, passed)
        )
        self._process.start()

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


class ForkedProcess(_Forked):
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
        super().__init__(target, arguments, os.environ, Path.cwd(), (their_stdin, their_stdout, self._errors.fileno()))
        os.close(their_stdin)
        os.close(their_stdout)

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


class ForkedCommand(_Forked):
    """The `callscribe` command, without the seconds that its imports take.

    Args:
        arguments: those of the command.
        environment: its variables, all of them.
        folder: where it works.
        out: the file to which it appends what it writes.
        errors: the same for stderr; None: `out`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        out: Path,
        errors: Path | None = None,
    ) -> None:
        with Path(os.devnull).open() as nothing, out.open("ab") as said, (errors or out).open("ab") as warned:
            streams = (nothing.fileno(), said.fileno(), warned.fileno())
            super().__init__(forked_command.run, [list(arguments)], environment, folder, streams)

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; its exit code, below zero where a signal ended it.

        Raises:
            TimeoutError: it has not come.
        """
        self._process.join(timeout_s)
        if self.returncode is None:
            raise TimeoutError(f"process {self.pid} works on after {timeout_s:.0f} s")
        return self.returncode


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
