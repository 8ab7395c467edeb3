"""A process that does jobs on one device, one after another, for the process that started it: `flows.device_processes`.

Both speak in lines of JSON on a socket, whose file descriptor is the one argument; what libraries print goes elsewhere.
An order has the fields of `flows.job.JobToDo`, and so settings, which may hold secrets, are in no list of processes.
Back comes what is being done (`stage`, `note`, `begun`, `call`), and how each job ended (`ended`).

When the socket is closed, this process ends, however that of the other one came about. Then, and on SIGTERM, the job in
hand keeps what it has finished, as on Ctrl-C.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from tasks.errors import CallscribeError, places_of
from tasks.settings import prepare_environment, quieten_terminal

if TYPE_CHECKING:
    from flows.progress import CallDone

# How long keeping what is finished may take, in seconds.
STOP_S = 30.0
EXIT_STOPPED = 128 + signal.SIGTERM
READ_BYTES = 65_536


def main(descriptor: int) -> None:
    """Do what is ordered until nothing more is.

    Args:
        descriptor: file descriptor of the socket.
    """
    orders, tell = _lines(socket.socket(fileno=descriptor))
    faulthandler.enable()
    warnings.filterwarnings("ignore")
    logging.getLogger("faster_whisper").setLevel(logging.ERROR)
    prepare_environment()
    quieten_terminal()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process sees to it
    signal.signal(signal.SIGTERM, _stop)
    try:
        while True:
            tell(_done(orders.get(), tell))
    except SystemExit:
        pass  # what the job in hand has open is closed with this
    _leave()


def _done(order: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Do a job, and what to say of its end."""
    try:
        # Not before: what cannot be imported is to be told, too.
        from flows.job import JobToDo, do_job
        from flows.progress import watched_by

        with watched_by(_Teller(tell)):
            log = logging.getLogger(__name__)
            counts = do_job(JobToDo(**order), log, lambda: tell({"say": "begun"}))
    except CallscribeError as error:
        return {"say": "ended", "error": type(error).__name__, "message": error.message}
    except Exception as error:  # noqa: BLE001  # whatever it is, the other process decides what becomes of the job
        # Not what a library says of it, which may quote what was spoken: the other process tells Prefect.
        return {"say": "ended", "error": type(error).__name__, "message": places_of(error)}
    return {"say": "ended", "counts": counts}


class _Teller:
    """Watches a job, and tells the other process."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell

    def stage(self, text: str) -> None:
        """Tell it."""
        self._tell({"say": "stage", "text": text})

    def note(self, text: str) -> None:
        """Tell it."""
        self._tell({"say": "note", "text": text})

    def planned(self, calls: int, size_bytes: int) -> None:
        """Is of a run."""

    def done(self, call: CallDone) -> None:
        """Tell it."""
        self._tell({"say": "call", "call": asdict(call)})

    def certified(self, kind: str, run_id: str, month: str, rows: Sequence[tuple[str, str]]) -> None:
        """Is of a run."""


def _lines(other: socket.socket) -> tuple[queue.Queue[dict[str, Any]], Callable[[dict[str, Any]], None]]:
    """The orders as they come from the other process, and how to tell it something."""
    other.set_inheritable(False)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(other, orders), name="orders", daemon=True).start()
    lock = threading.Lock()

    def tell(something: dict[str, Any]) -> None:
        # Where nobody listens any more, this process is about to end.
        with lock, suppress(ConnectionError):
            other.sendall(json.dumps(something).encode() + b"\n")

    return orders, tell


def _read(other: socket.socket, orders: queue.Queue[dict[str, Any]]) -> None:
    """Put orders into the queue; when no more can come, end this process, well or, after a while, anyhow."""
    rest = b""
    with suppress(ConnectionError):
        while part := other.recv(READ_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                orders.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os._exit(EXIT_STOPPED)


def _leave() -> NoReturn:
    """End, with nothing left to keep, and not by way of the interpreter's end.

    There, libraries take down what they have on a device. One of three processes on a GPU was still there 30 s after it
    had been told to end, with nothing in hand, and held the card's memory and the run (evaluation/benchmarks/gpu.md).
    """
    with suppress(OSError, ValueError):  # whoever read it is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(EXIT_STOPPED)


def _stop(_number: int, _frame: object) -> None:
    """End in good order, once: what is begun on the way out is not to be broken off by another signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(EXIT_STOPPED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
