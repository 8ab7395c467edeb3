"""A `flows.device_worker` as the process sees it that started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from flows.device_worker import READ_BYTES, STOP_S

# The file descriptor: what libraries print there, as in one process.
STDERR = 2


class WorkerProcess:
    """A process that does jobs on one device.

    Args:
        program: arguments for Python.
        environment: variables beside those of this process, which win.
    """

    def __init__(self, program: Sequence[str], environment: Mapping[str, str]) -> None:
        # -P: a folder `tasks` where the user stands is not ours. The same places as here are searched for modules.
        places = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", *program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=STDERR,
                env={**environment, **os.environ, **places},
                pass_fds=[theirs.fileno()],
                # Ctrl-C on the terminal reaches this process only, which then stops the other one.
                start_new_session=True,
            )
        self._rest = b""

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def fileno(self) -> int:
        """What is ready to read when it has said something, or ended."""
        return self._socket.fileno()

    def order(self, order: Mapping[str, Any]) -> None:
        """Have it do a job. Of a process that has ended, `said` tells."""
        with suppress(ConnectionError):
            self._socket.sendall(json.dumps(order, default=str).encode() + b"\n")

    def said(self) -> list[dict[str, Any]] | None:
        """What it has said since, waiting until it says something; None where it has ended, and said all."""
        try:
            part = self._socket.recv(READ_BYTES)
        except ConnectionError:  # it ended with an order unread
            part = b""
        if not part:
            return None
        *lines, self._rest = (self._rest + part).split(b"\n")
        return [json.loads(line) for line in lines]

    def dismiss(self) -> None:
        """Have it end in good order: it keeps what it has finished."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Whether it has, after which nothing of it is left."""
        if self._process.poll() is None:
            return False
        self._socket.close()
        return True

    def end(self, deadline: float) -> str:
        """Wait for its end, and bring it about at a deadline.

        Args:
            deadline: on the monotonic clock.

        Returns:
            how it ended.
        """
        try:
            status = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            return f"did not end within {STOP_S:g} s"
        self._socket.close()
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._socket.close()
