"""Models that only pretend, in a real bundle; and recordings for them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
from builders import diarization, segment, turn, words

from tasks.bundles import Manifest, describe_file, open_bundle, pull_bundle
from tasks.calibration import Calibration
from tasks.devices import Device
from tasks.diarize import Diarizer
from tasks.heard import CallSpeech
from tasks.models import Models
from tasks.recognize import Recognizer
from tasks.records import Diarization, Recognition, RecognitionCounts, Samples
from tasks.tracks import Track

BUNDLE = "stand-in"
RATE_HZ = 8000
# A word that is nowhere else: where it turns up, it leaked.
SPOKEN = "zarquonflute"
# The stand-in recogniser raises on calls of this length.
CURSED_S = 0.75


def tone(frequency_hz: float = 300, duration_s: float = 1.0, channels: int = 1) -> Samples:
    """A tone, another one on each channel."""
    times = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return np.stack([0.3 * np.sin(2 * np.pi * frequency_hz * (1 + n) * times) for n in range(channels)]).astype("f4")


def wav(samples: Samples) -> bytes:
    """A WAV file of samples `[channel, sample]`, 16 bit."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


class StandInRecognizer:
    """Hears the same words on every channel that has sound, one marked; cannot hear calls of the cursed length."""

    calibration = Calibration()

    def __init__(self, says: str = f"{SPOKEN} indeed") -> None:
        self.heard = 0
        self.says = says

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """Hear them."""
        return [self.hear(call) for call in calls]

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call."""
        assert {()} == {channel.regions for channel in call.channels}, "a tone is no speech"
        if call.channels[0].track.duration_s == CURSED_S:
            return RuntimeError("the model broke")
        self.heard += 1
        segments = tuple(
            segment(*words(self.says, 0.1, channel.track.duration_s - 0.1), channel=index)
            for index, channel in enumerate(call.channels)
            if np.abs(channel.track.read()).max() > 0
        )
        counts = RecognitionCounts(chunks=len(segments))
        return Recognition(segments, "en", 0.9, {"en": 1.0} if segments else {}, counts=counts)


class StandInDiarizer:
    """Hears one speaker all the time."""

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """Hear them."""
        assert (speakers, fewest) == (None, None)
        return diarization(turn(0.0, track.duration_s))


def build_bundle(folder: Path) -> None:
    """Make the bundle `BUNDLE` in a folder of bundles."""

    def build(target: Path, _say: Callable[[str], None]) -> Manifest:
        (target / "model.bin").write_bytes(b"weights")
        described = describe_file(target, "model.bin", source="here", version="1", licence="none")
        return Manifest(BUNDLE, "starter", (described,))

    pull_bundle(folder, BUNDLE, build, lambda _: None)


def stand_in_models(folder: Path, recognizer: StandInRecognizer | None = None) -> Models:
    """The models of the bundle in a folder of bundles."""
    return Models(
        open_bundle(folder, BUNDLE),
        Device("cpu", 0, "a stand-in", "int8"),
        cast("Recognizer", recognizer or StandInRecognizer()),
        cast("Diarizer", StandInDiarizer()),
    )
