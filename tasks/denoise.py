"""Optional noise reduction; off by default: recognisers that were trained on noisy speech seldom gain from it."""

from __future__ import annotations

import numpy as np

from tasks.records import Samples


def reduce_noise(channel: Samples, sampling_rate: int) -> Samples:
    """Stationary spectral gating (noisereduce) of one channel.

    Args:
        channel: `[sample]`.
        sampling_rate: in Hz.
    """
    import noisereduce

    if channel.size == 0:
        return channel
    reduced = noisereduce.reduce_noise(y=channel, sr=sampling_rate, stationary=True)
    return np.asarray(reduced, dtype=np.float32)
