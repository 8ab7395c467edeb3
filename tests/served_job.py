"""The flow `transcribe-job` as a deployment starts it, with stand-in models: an entrypoint for tests of real processes.

`SERVED_JOB` in the environment is a JSON object: `bundles`, a folder of bundles; `signs`, a folder for what the tests
want to know; `stops_at`, the call at which the recogniser computes for a long time in a library, in which Python cannot
react to a signal (0: at none); `broken`, why the device cannot be used (empty: it can).
"""

import hashlib
import json
import os
from pathlib import Path

from stand_ins import StandInRecognizer, stand_in_models

import flows.job
from flows.job import transcribe_job
from tasks.errors import DeviceError
from tasks.heard import CallSpeech
from tasks.models import Models
from tasks.records import Recognition

__all__ = ["transcribe_job"]

ORDER = json.loads(os.environ["SERVED_JOB"])
SIGNS = Path(ORDER["signs"])


class StoppingRecognizer(StandInRecognizer):
    """Computes at one call in a library, until it is told by a file that it may go on."""

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call."""
        if self.heard + 1 == ORDER["stops_at"]:
            (SIGNS / "stopped").touch()
            while not (SIGNS / "go").exists():
                hashlib.pbkdf2_hmac("sha256", b"", b"", ORDER.get("rounds", 1_000_000))
        return super().hear(call)


def load(*_: object) -> Models:
    """In the place of the real models."""
    if ORDER["broken"]:
        raise DeviceError(ORDER["broken"])
    return stand_in_models(Path(ORDER["bundles"]), StoppingRecognizer())


flows.job._load_once = load  # type: ignore[assignment]  # in this process alone
