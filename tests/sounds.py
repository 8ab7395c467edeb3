"""Sounds, files and tracks for the tests."""

import atexit
import io
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import soundfile
from builders import source_format

from tasks.audio import PreparedAudio, prepare
from tasks.decoding import decode
from tasks.records import Samples
from tasks.setting_groups import AudioSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Recording, Track

SECOND = MODEL_SAMPLING_RATE
ARCHIVE = Path("evaluation/sets/demo/archive/2026/10")
_numbers = count()


@cache
def _session() -> Path:
    """A folder that is gone when the tests are."""
    folder = Path(mkdtemp(prefix="callscribe-tests-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder


def scratch() -> Path:
    """An empty folder, for once."""
    return Path(mkdtemp(dir=_session()))


def sine(
    hz: float, seconds: float = 1.0, peak: float = 0.5, rate: int = MODEL_SAMPLING_RATE, phase: float = 0.0
) -> Samples:
    """A sine of one channel."""
    times = np.arange(round(seconds * rate)) / rate
    return (peak * np.sin(2 * np.pi * hz * times + phase)).astype(np.float32)


def noise(seed: int = 1, seconds: float = 1.0, level: float = 0.1) -> Samples:
    """White noise of one channel; another seed is another sound."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * SECOND))
    return (level * samples).astype(np.float32)


def silence(seconds: float = 1.0) -> Samples:
    """Digital silence of one channel."""
    return np.zeros(round(seconds * SECOND), dtype=np.float32)


def track(samples: Samples, gain: float = 1.0) -> Track:
    """`[sample]` at 16 kHz on disk, in a file of its own."""
    path = _session() / f"{next(_numbers)}.f32"
    samples.astype(np.float32, copy=False).tofile(path)
    return Track(path, len(samples), gain)


def recording(samples: Samples, rate: int = MODEL_SAMPLING_RATE) -> Recording:
    """`[sample]` or `[channel, sample]` as a decoded recording on disk."""
    channels = np.atleast_2d(samples).astype(np.float32, copy=False)
    path = _session() / f"{next(_numbers)}.samples"
    np.ascontiguousarray(channels.T).tofile(path)
    return Recording(path, source_format(sampling_rate=rate, channels=len(channels)), channels.shape[1])


def demo(name: str, seconds: float | None = None) -> PreparedAudio:
    """A call of the demo, or its beginning, ready for the models."""
    audio, source = decode(ARCHIVE / name, 3600)
    samples = audio.samples if seconds is None else audio.samples[:, : round(seconds * audio.sampling_rate)]
    decoded = replace(recording(samples, audio.sampling_rate), source=source)
    return prepare(decoded, AudioSettings(), scratch())


def beginning(of: Track, seconds: float) -> Track:
    """The first seconds of a track, which is then as long."""
    return replace(of, samples=min(of.samples, round(seconds * SECOND)))


def encoded(samples: Samples, rate: int, kind: str, subtype: str | None = None) -> bytes:
    """`[sample]` or `[sample, channel]` as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def recorded(path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path.write_bytes(data)
    return path


def wav(seconds: float = 1.0, rate: int = 8000) -> bytes:
    """A WAV file of 16-bit samples."""
    return encoded(sine(440, seconds, rate=rate), rate, "WAV", "PCM_16")
