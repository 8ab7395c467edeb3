"""Pure: how high the speech of a channel reaches, from its long-term average spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.tracks import MODEL_SAMPLING_RATE, Track

# Windows of 32 ms (bins of 31 Hz), of which two thousand say as much as all.
WINDOW = 512
MOST_WINDOWS = 2048
# The band reaches as far as the spectrum stays within 50 dB of its strongest part, and 3 dB over the noise.
BAND_FLOOR = 1e-5
AUDIBLE_OVER_NOISE = 2.0
# A lone line (a whistle of the recorder) fills four or five bins and is no band: most of these must be filled.
MEDIAN_BINS = 9

Starts = NDArray[np.int64]


def bandwidth_hz(track: Track, speech: Starts, noise: Starts) -> float:
    """The highest frequency at which the long-term average spectrum of speech stands out of the noise.

    Args:
        track: the channel.
        speech: where stretches of active speech begin, in samples.
        noise: where stretches of noise alone begin; none where there is none.

    Returns:
        from 0 (nothing stands out) to 8000.
    """
    from scipy.ndimage import median_filter

    spoken, quiet = _average_spectrum(track, speech), _average_spectrum(track, noise)
    clear = spoken - quiet
    heard = (clear >= BAND_FLOOR * np.max(clear)) & (spoken > AUDIBLE_OVER_NOISE * quiet)
    filled = np.nonzero(median_filter(heard, MEDIAN_BINS, mode="nearest"))[0]
    return float(np.max(filled, initial=0) * MODEL_SAMPLING_RATE / WINDOW)


def _average_spectrum(track: Track, starts: Starts) -> NDArray[np.float64]:
    """The mean power spectrum of windows that begin at every second start, or more rarely; zeros without any."""
    from scipy.fft import rfft

    starts = starts[starts <= track.samples - WINDOW]
    starts = starts[:: max(2, -(-len(starts) // MOST_WINDOWS))]
    if not starts.size:
        return np.zeros(WINDOW // 2 + 1)
    windows = _gather(track, starts)
    # Scaled, so that the squares of absurdly large or small samples stay finite and above zero.
    peak = max(float(np.max(np.abs(windows))), 1e-30)
    found = rfft(windows / np.float32(peak) * np.hanning(WINDOW).astype(np.float32), axis=1)
    mean = np.mean(np.square(found.real) + np.square(found.imag), axis=0, dtype=np.float64)
    return np.asarray(mean * peak**2)


def _gather(track: Track, starts: Starts) -> NDArray[np.float32]:
    """The windows that begin at these samples, `[window, sample]`; only they are read."""
    samples = np.memmap(track.path, dtype=np.float32, mode="r", shape=(track.samples,))
    windows: NDArray[np.float32] = samples[starts[:, np.newaxis] + np.arange(WINDOW)]
    return windows * np.float32(track.gain)
