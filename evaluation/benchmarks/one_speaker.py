"""Our models for benchmarks of recognition: nobody is told apart, and the models of diarization are not loaded."""

from __future__ import annotations

from tasks.bundles import open_bundle
from tasks.devices import open_device
from tasks.diarize import Diarizer
from tasks.models import Models, fit_batches, load_recognizer
from tasks.records import Diarization, Turn
from tasks.settings import Settings
from tasks.tracks import Track


class OneSpeaker(Diarizer):
    """In the diarizer's place: one turn over the whole track."""

    def __init__(self) -> None:
        """Load nothing."""

    def prove(self) -> None:
        """There is nothing to prove."""

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """One turn, from the start of the track to its end in seconds."""
        del speakers, fewest
        turns = (Turn(0.0, track.duration_s, "SPEAKER_00"),)
        return Diarization(turns, turns)


def load(settings: Settings) -> Models:
    """Check the bundle, prove the device, load and prove the recogniser, as `load_models` does."""
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    device = open_device(settings.models.device, settings.models.compute_type)
    recognizer = load_recognizer(bundle, device, settings.recognizer)
    recognizer.prove()
    models = Models(bundle, device, recognizer, OneSpeaker())
    fit_batches(models, settings.recognizer)
    return models
