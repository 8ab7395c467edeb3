"""Optional noise reduction; off by default: recognisers that were trained on noisy speech seldom gain from it."""

from __future__ import annotations

import numpy as np

from tasks.records import Samples

WINDOW = 1024


def reduce_noise(channel: Samples, sampling_rate: int) -> Samples:
    """Stationary spectral gating (noisereduce) of one channel.

    Args:
        channel: `[sample]`.
        sampling_rate: in Hz.
    """
    import noisereduce

    if channel.size == 0:
        return channel
    # noisereduce refuses less than one window of its transform.
    filled = np.pad(channel, (0, max(0, WINDOW - channel.size)))
    reduced = noisereduce.reduce_noise(y=filled, sr=sampling_rate, stationary=True, n_fft=WINDOW)
    return np.asarray(reduced[: channel.size], dtype=np.float32)
