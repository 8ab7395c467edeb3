"""A process that does something to a small month, started by the tests: forked, or `python tests/month_worker.py JSON`.

JSON is an `Order`. The process says `ready`, waits for a line where it is told to, works, and says `done` or the error
that stopped it.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forked import ForkedProcess
from small_month import MONTH, SmallMonth, without_prefect
from stand_ins import StandInRecognizer, stand_in_models

from tasks.erase import erase_calls
from tasks.errors import CallscribeError, RunUnderWay
from tasks.heard import CallSpeech
from tasks.records import Recognition
from tasks.run_job import run_job
from tasks.runs import read_head
from tasks.setting_groups import ArchiveSettings
from tasks.settings import load_settings
from tasks.storage_file import FileStorage
from tasks.storage_s3 import S3Storage


@dataclass(frozen=True)
class Order:
    """What the process shall do.

    Attributes:
        archive: URI of the archive.
        transcripts: URI of the data set.
        bundles: folder of the stand-in's bundle.
        erase: calls to erase.
        job: run of which to do the one job, whoever has the month. Without it and `erase`, the month is run.
        insists: a run that is refused because another one is under way is started again until it is not.
        pause_s: how long the recogniser takes for each call.
        dies_at: `before` or `after`, the number, and a pattern: at that PUT on a key which the pattern is found in, the
            process kills itself.
        waits: whether to wait for a line before it works.
        settings: that differ from those of `SmallMonth`, by group and name.
    """

    archive: str
    transcripts: str
    bundles: str
    erase: tuple[str, ...] = ()
    job: str = ""
    insists: bool = False
    pause_s: float = 0.0
    dies_at: tuple[str, int, str] | None = None
    waits: bool = False
    settings: dict[str, dict[str, Any]] | None = None


class SlowRecognizer(StandInRecognizer):
    """Takes its time."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call."""
        time.sleep(self._pause_s)
        return super().hear(call)


def start(order: Order) -> ForkedProcess:
    """Start a process with an order."""
    return ForkedProcess(main, order)


def start_under(before: Sequence[str], order: Order) -> subprocess.Popen[str]:
    """Start a process with an order, by way of a command that runs another one."""
    command = [*before, sys.executable, __file__, json.dumps(asdict(order))]
    return subprocess.Popen(  # our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: ForkedProcess | subprocess.Popen[str], timeout_s: float = 120.0) -> list[str]:
    """Wait for a process; what it said. One that was neither killed nor came to its end is an error."""
    said, errors = process.communicate(timeout=timeout_s)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return said.split()


def die_at(when: str, number: int, pattern: str) -> None:
    """Let the process die at a PUT."""
    found, numbers = re.compile(pattern), itertools.count(1)

    def deadly(put: Callable[..., str]) -> Callable[..., str]:
        def counted(store: object, key: str, *arguments: object, **options: object) -> str:
            here = found.search(key) is not None and next(numbers) == number
            if here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            etag = put(store, key, *arguments, **options)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return etag

        return counted

    for kind in (FileStorage, S3Storage):
        kind.put = deadly(kind.put)  # type: ignore[method-assign]  # in this process alone


def obey(order: Order) -> str:
    """Do what is ordered; what to say of it."""
    month = SmallMonth(order.archive, order.transcripts, Path(order.bundles))
    if order.erase:
        erase_calls(month.data, order.erase, "request", ArchiveSettings(), MONTH)
        return "done"
    models = stand_in_models(Path(order.bundles), SlowRecognizer(order.pause_s))
    if order.job:
        settings = load_settings(overrides=month.overrides(**(order.settings or {})))
        run_job(month.data, read_head(month.storage, order.job), 1, models, settings, lambda _: None)
        return "done"
    with without_prefect(models):
        while True:
            with contextlib.suppress(*([RunUnderWay] if order.insists else [])):
                month.run(**(order.settings or {}))
                return "done"


def main(order: Order) -> None:
    """Be ready, and obey."""
    print("ready", flush=True)
    if order.waits:
        sys.stdin.readline()
    if order.dies_at:
        die_at(*order.dies_at)
    try:
        print(obey(order), flush=True)
    except CallscribeError as error:
        print(f"{type(error).__name__} {error.message}", flush=True)


if __name__ == "__main__":
    main(Order(**json.loads(sys.argv[1])))
