"""What a telephone line does to speech: band, companding and noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
"""Samples in [-1, 1], at `RATE_HZ` if not said otherwise; (samples,) or (channels, samples)."""

RATE_HZ = 8_000
LINE_NOISE_DBFS = -62.0


def db(level: float) -> float:
    """Decibels to an amplitude ratio."""
    return float(10 ** (level / 20))


def rms(signal: Signal) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(signal**2)))


def shape(signal: Signal, gain: Callable[[Signal], Signal], rate_hz: int = RATE_HZ) -> Signal:
    """Filter without delay: multiply the spectrum by a gain over frequency in Hz."""
    frequency_hz = np.fft.rfftfreq(len(signal), 1 / rate_hz).astype(np.float64)
    spectrum = np.fft.rfft(signal) * gain(frequency_hz)
    return np.fft.irfft(spectrum, len(signal)).astype(np.float64)


def band_limit(signal: Signal, rate_hz: int = RATE_HZ) -> Signal:
    """Keep the telephone band: Butterworth slopes at 300 and 3400 Hz, nothing from 4 kHz on."""

    def gain(hz: Signal) -> Signal:
        high_pass = (hz / 300) ** 4 / np.sqrt(1 + (hz / 300) ** 8)
        low_pass = (hz < RATE_HZ / 2) / np.sqrt(1 + (hz / 3400) ** 32)
        return np.asarray(high_pass * low_pass)

    return shape(signal, gain, rate_hz)


def mu_law(signal: Signal) -> Signal:
    """Quantise like G.711 mu-law; doing it twice changes nothing more."""
    biased = np.minimum(np.abs(signal) * 32_768, 32_635) + 132
    step = 2 ** (np.floor(np.log2(biased)) - 4)
    magnitude = (np.floor(biased / step) + 0.5) * step - 132
    return np.asarray(np.copysign(magnitude, signal) / 32_768)


def line_noise(samples: int, rng: np.random.Generator) -> Signal:
    """Make faint white noise in the telephone band."""
    noise = band_limit(rng.standard_normal(samples))
    return noise * db(LINE_NOISE_DBFS) / rms(noise)


def hum(samples: int) -> Signal:
    """Make mains hum: 60 Hz and its harmonics, about -55 dBFS."""
    time_s = np.arange(samples) / RATE_HZ
    partials = [db(-52 - 3 * n) * np.sin(2 * np.pi * 60 * n * time_s) for n in (1, 2, 3, 5)]
    return np.asarray(np.sum(partials, axis=0))


def cafe_noise(speech: Signal, rng: np.random.Generator) -> Signal:
    """Fill a room with people: pink noise, and six copies of the speech backwards."""
    pink = shape(rng.standard_normal(len(speech)), lambda hz: 1 / np.sqrt(np.maximum(hz, 100)))
    shifts = rng.integers(len(speech), size=6)
    babble = np.sum([np.roll(speech[::-1], shift) for shift in shifts], axis=0)
    return band_limit(pink / rms(pink) + babble / rms(babble))
