"""The flow `transcribe-job` as a pod of the fake cluster runs it, with stand-in models on nodes that have a GPU.

A node's working GPU brings `STAND_IN_GPU`; without it, the real device gate looks for a GPU. `CLUSTER_JOB` names a
folder of bundles and one of signs: where `signs/stops` is there when a pod begins, it stops at its third call, says so
by `signs/stopped`, and goes on when `signs/go` is there.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

from stopping import StoppingDiarizer, stopping_models

import flows.job
from flows.job import transcribe_job
from tasks.devices import Device
from tasks.fallback_settings import FallbackSettings
from tasks.models import Models, load_models
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings

__all__ = ["transcribe_job"]

STOPS_AT = 3


def load(
    models: ModelSettings, recognizer: RecognizerSettings, diarization: DiarizationSettings, fallback: FallbackSettings
) -> Models:
    """In the place of the real models, where the device is in place."""
    if models.device != "cpu" and "STAND_IN_GPU" not in os.environ:
        return load_models(models, recognizer, diarization, fallback)
    order = json.loads(os.environ["CLUSTER_JOB"])
    signs = Path(order["signs"])
    stand_in = stopping_models(
        Path(order["bundles"]), StoppingDiarizer(signs, STOPS_AT if (signs / "stops").exists() else 0)
    )
    if models.device == "cpu":
        return stand_in
    # Of the kind cpu: nothing here has streams of a GPU.
    return replace(stand_in, device=Device("cpu", 0, "a stand-in of a GPU", "float16"))


if "CLUSTER_JOB" in os.environ:  # not where pytest looks for doctests
    flows.job._load_once = load  # type: ignore[assignment]  # in this process alone
