"""Sounds and files for the tests."""

import io
from pathlib import Path

import numpy as np
import soundfile

from tasks.audio import MODEL_SAMPLING_RATE
from tasks.records import Samples

SECOND = MODEL_SAMPLING_RATE


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
