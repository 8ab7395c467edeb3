"""A process that does a job, forked by the tests.

At its operation number `dies_at` on a store (0: never) the process kills itself, every other time before the operation
and every other time after it. A call of `KILLER_S` kills it too.
"""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stand_ins import BUNDLE, StandInRecognizer, stand_in_models

from tasks.dataset import DataSet
from tasks.heard import CallSpeech
from tasks.records import Recognition
from tasks.run_job import run_job
from tasks.runs import read_head
from tasks.settings import Settings, load_settings
from tasks.storage import open_storage
from tasks.storage_file import FileStorage

KILLER_S = 0.9
OPERATIONS = ("get", "put", "delete", "download")


class DeadlyRecognizer(StandInRecognizer):
    """Dies of calls of one length, as a native library does that a recording makes crash."""

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call, or die of it."""
        if call.channels[0].track.duration_s == KILLER_S:
            die()
        return super().hear(call)


def die() -> None:
    """End this process as the kernel does when memory has run out."""
    os.kill(os.getpid(), signal.SIGKILL)


def settings_of(folder: Path, **run: object) -> Settings:
    """Settings under which everything is small, and a checkpoint follows every call."""
    return load_settings(
        overrides={
            "models": {"bundle": BUNDLE, "folder": str(folder / "models")},
            "transcripts": {"monthly_hours": 3.0, "hours_per_shard": 1.0},
            "run": {"checkpoint_every_s": 1e-9, "job_hours": 100.0, **run},
        }
    )


def die_at(number: int) -> None:
    """Let the process die at an operation on a store."""
    counter = itertools.count(1)  # downloads count from threads of their own

    def deadly(operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object, **options: object) -> object:
            mine = next(counter)
            if mine == number and number % 2:
                die()
            try:
                return operation(*arguments, **options)
            finally:
                if mine == number:
                    die()

        return counted

    for name in OPERATIONS:
        setattr(FileStorage, name, deadly(getattr(FileStorage, name)))


def main(folder: Path, run_id: str, job: int, dies_at: int) -> None:
    """Do the job, or die.

    Args:
        folder: holds `archive`, `transcripts` and `models`.
        run_id: the run.
        job: its job.
        dies_at: the operation.
    """
    settings = settings_of(folder)
    storage = open_storage((folder / "transcripts").as_uri())
    head = read_head(storage, run_id)
    models = stand_in_models(folder / "models", DeadlyRecognizer())
    die_at(dies_at)
    run_job(DataSet(storage), head, job, models, settings, lambda _: None)
