"""The flow `transcribe-job` as a deployment starts it, with stand-in models; run as a program, `callscribe` with them.

`SERVED_JOB` in the environment is a JSON object: `bundles`, a folder of bundles; `signs` and `stops_at` of a
`StoppingDiarizer`; `broken`, why the device cannot be used (empty: it can).
"""

import json
import os
from pathlib import Path

from stopping import StoppingDiarizer, stopping_models

import flows.job
from flows.job import transcribe_job
from tasks.errors import DeviceError
from tasks.models import Models

__all__ = ["transcribe_job"]


def load(*_: object) -> Models:
    """In the place of the real models."""
    order = json.loads(os.environ["SERVED_JOB"])
    if order["broken"]:
        raise DeviceError(order["broken"])
    return stopping_models(Path(order["bundles"]), StoppingDiarizer(Path(order["signs"]), order["stops_at"]))


if "SERVED_JOB" in os.environ:  # not where pytest looks for doctests
    flows.job._load_once = load  # type: ignore[assignment]  # in this process alone

if __name__ == "__main__":  # `callscribe` with these models
    from flows.cli import main

    main()
