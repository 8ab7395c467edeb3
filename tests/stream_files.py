"""Voices of a call as streams of a file, and where they are found again."""

import numpy as np
from format_files import Stream

from tasks.records import Audio, Samples


def hiss(seed: int, seconds: int, rate: int, channels: int = 1) -> Samples:
    """Noise between 400 and 2500 Hz, `[channel, sample]`; one seed is one sound, at any rate."""
    rng = np.random.default_rng(seed)
    spectrum = np.zeros((channels, seconds * rate // 2 + 1), dtype=complex)
    band = slice(400 * seconds, 2500 * seconds)
    parts = rng.standard_normal((2, channels, 2100 * seconds))
    spectrum[:, band] = parts[0] + 1j * parts[1]
    samples = np.fft.irfft(spectrum, seconds * rate)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def stream(seed: int, seconds: int, encoder: str = "flac", rate: int = 8000, start_s: float = 0.0) -> Stream:
    """One voice of a call."""
    return Stream(encoder, rate, hiss(seed, seconds, rate), start_s)


def found(audio: Audio, channel: int, seed: int, seconds: int) -> tuple[float, float]:
    """Where in a channel a sound starts, in seconds, and its correlation with what is there."""
    rate, sound = audio.sampling_rate, audio.samples[channel]
    expected = hiss(seed, seconds, rate)[0]
    size = 1 << (len(sound) + len(expected)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(expected, size)), size)
    lag = int(np.argmax(correlation))
    lag -= size if lag > size // 2 else 0
    one, other = sound[max(lag, 0) :], expected[max(-lag, 0) :]
    length = min(len(one), len(other))
    one, other = one[:length], other[:length]
    return lag / rate, float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))
