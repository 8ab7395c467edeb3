"""A diarizer that is in a library when the process is told to end, and a process that does a job with it.

`python tests/stopping.py FOLDER RUN_ID HUNG_S`: FOLDER holds `transcripts`, `models` and `signs`. SIGTERM raises in the
main thread, as Prefect's engine lets it.
"""

import hashlib
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

from stand_ins import BUNDLE, StandInDiarizer, stand_in_models

from tasks import run_job as run_job_module
from tasks.dataset import DataSet
from tasks.diarize import Diarizer
from tasks.models import Models
from tasks.records import Diarization
from tasks.run_job import run_job
from tasks.runs import read_head
from tasks.settings import load_settings
from tasks.storage import open_storage
from tasks.tracks import Track

# Some tenths of a second each; a library that computes for as long as anybody could wait.
SOME_ROUNDS, ENDLESS_ROUNDS = 500_000, 2**31 - 1


class StoppingDiarizer(StandInDiarizer):
    """Computes at one call in a library, in which Python cannot react to a signal, until `signs/go` is there.

    Args:
        signs: a folder; `stopped` in it says that it has come to that call.
        stops_at: the number of the call, from 1; 0: it stops at none.
        rounds: how long the library computes at a time.
    """

    def __init__(self, signs: Path, stops_at: int, rounds: int = SOME_ROUNDS) -> None:
        self._signs = signs
        self._stops_at = stops_at
        self._rounds = rounds
        self._diarized = 0

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """Hear them, some time."""
        self._diarized += 1
        if self._diarized == self._stops_at:
            (self._signs / "stopped").touch()
            while not (self._signs / "go").exists():
                hashlib.pbkdf2_hmac("sha256", b"", b"", self._rounds)
        return super().diarize(track, speakers, fewest)


def stopping_models(bundles: Path, diarizer: StoppingDiarizer) -> Models:
    """The stand-ins, with this diarizer."""
    return replace(stand_in_models(bundles), diarizer=cast("Diarizer", diarizer))


def main(folder: Path, run_id: str, hung_s: float) -> None:
    """Do a job, and stop at its third call."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run_job_module.HUNG_S = hung_s
    settings = load_settings(
        overrides={
            "models": {"bundle": BUNDLE, "folder": str(folder / "models")},
            "transcripts": {"monthly_hours": 3.0, "hours_per_shard": 1.0},
        }
    )
    storage = open_storage((folder / "transcripts").as_uri())
    models = stopping_models(folder / "models", StoppingDiarizer(folder / "signs", 3, ENDLESS_ROUNDS))
    run_job(DataSet(storage), read_head(storage, run_id), 1, models, settings, lambda _: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
