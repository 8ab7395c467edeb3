"""A `flows.device_worker` with stand-in models: `python tests/device_stand_in.py JSON FD`; JSON is a `Script`.

Each call of one channel leaves a line in `calls.txt` of the folder: the process that did it.
"""

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from stand_ins import StandInDiarizer, StandInRecognizer, stand_in_models

import flows.job
from flows.device_worker import main
from tasks.diarize import Diarizer
from tasks.errors import DeviceError
from tasks.heard import CallSpeech
from tasks.host import usable_cores
from tasks.models import Models
from tasks.records import Diarization, Recognition
from tasks.tracks import Track

WAIT_S = 240.0


@dataclass(frozen=True)
class Script:
    """What the processes do.

    Attributes:
        folder: where they leave signs.
        bundles: folder of the stand-in's bundle.
        together: how many processes hear their first call only when so many have come to theirs.
        dies_at: the call of one channel at which the first process that comes to it is killed; 0: none is.
        stays_at: that at which a process waits for its end.
        refuses: why the devices cannot be used.
    """

    folder: str
    bundles: str
    together: int = 1
    dies_at: int = 0
    stays_at: int = 0
    refuses: str = ""

    @property
    def program(self) -> tuple[str, ...]:
        """Arguments for Python, without that of the socket."""
        return (__file__, json.dumps(asdict(self)))


def heard_by(folder: Path) -> list[int]:
    """The process that heard each call, in order."""
    file = folder / "calls.txt"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


class MeetingRecognizer(StandInRecognizer):
    """Hears its first call when other processes have come to theirs."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call."""
        folder = Path(self._script.folder)
        if not self.heard:
            (folder / f"came-{os.getpid()}").touch()
            until = time.monotonic() + WAIT_S
            while len(list(folder.glob("came-*"))) < self._script.together:
                assert time.monotonic() < until, "nobody else came"
                time.sleep(0.02)
        return super().hear(call)


class ScriptedDiarizer(StandInDiarizer):
    """Leaves signs, and dies or stays where it is to; calls before that one are done by then."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._diarized = 0

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """Hear one call of one channel."""
        folder = Path(self._script.folder)
        self._diarized += 1
        if self._diarized == self._script.dies_at and _is_first(folder / "died"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._diarized == self._script.stays_at:
            (folder / f"stays-{os.getpid()}").touch()
            time.sleep(WAIT_S)
        with (folder / "calls.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return super().diarize(track, speakers, fewest)


def _is_first(file: Path) -> bool:
    """Whether this process is the one that the file then names."""
    try:
        with file.open("x") as opened:
            opened.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def serve(script: Script, descriptor: int) -> None:
    """Be a worker."""
    plain = stand_in_models(Path(script.bundles), MeetingRecognizer(script))
    models = replace(plain, diarizer=cast("Diarizer", ScriptedDiarizer(script)))

    def load(*_: object) -> Models:
        if script.refuses:
            raise DeviceError(script.refuses)
        threads = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"], "cores": usable_cores()}
        (Path(script.folder) / "threads.json").write_text(json.dumps(threads))
        return models

    flows.job._load_once = load  # type: ignore[assignment]  # in this process alone
    main(descriptor)


if __name__ == "__main__":
    serve(Script(**json.loads(sys.argv[1])), int(sys.argv[2]))
