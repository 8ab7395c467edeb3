"""Which channels of a recording carry something of their own, found in one pass over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.records import ChannelLayout
from tasks.tracks import Recording

# A channel counts as silent when its loudest frame lies this low, and this far under that of the loudest channel.
SILENT_DBFS = -50.0
SILENT_BELOW_LOUDEST_DB = 30.0
LEVEL_FRAME_S = 0.1
# Two channels say the same when one, scaled, explains all but this share of the other's energy (-20 dB).
SAME_RESIDUAL = 0.01
# Samples at or over this count as clipped: the largest value of 10-bit and finer codecs, and of mu-law.
FULL_SCALE = 0.98
# A channel that varies less than this, as a mean square relative to its peak, is constant but for rounding.
CONSTANT = 1e-12


@dataclass(frozen=True, slots=True)
class ChannelSurvey:
    """Sums over all samples of a recording.

    `levels_dbfs` is the level of each channel's loudest tenth of a second: who says one word in an hour is not silent.
    `clipped_ratio` is the share of each one's samples at full scale. `products[i, j]` is the mean of the product of two
    channels, `means` and `peaks` (magnitudes) are of each. Levels and comparisons leave out the DC offset: what two
    channels have of it in common does not make them say the same.
    """

    levels_dbfs: tuple[float, ...]
    clipped_ratio: tuple[float, ...]
    means: NDArray[np.float64]
    peaks: NDArray[np.float64]
    products: NDArray[np.float64]

    def distinct(self) -> tuple[tuple[int, ...], ChannelLayout]:
        """Which channels carry something of their own.

        Of channels that say the same (also in antiphase, where summing would cancel them), the first stays; silent ones
        go, unless all are silent.

        Returns:
            the channels to keep, in order, and what kind of recording this is.
        """
        if len(self.levels_dbfs) == 1:
            return (0,), "mono"
        loudest = max(self.levels_dbfs)
        audible = [
            index
            for index, level in enumerate(self.levels_dbfs)
            if level > SILENT_DBFS or level >= loudest - SILENT_BELOW_LOUDEST_DB
        ]
        kept: list[int] = []
        for index in audible:
            if not any(self._same(other, index) for other in kept):
                kept.append(index)
        if len(kept) > 1:
            return tuple(kept), "separate"
        return tuple(kept), "dual_mono" if len(audible) > 1 else "one_sided"

    def correlation(self) -> float | None:
        """Pearson's correlation of two channels, without delay; None when they are not two, or one is constant."""
        if len(self.levels_dbfs) != 2:
            return None
        covariance = self._covariance()
        variances = np.diag(covariance)
        if np.any(variances <= CONSTANT * np.square(self.peaks)):
            return None
        return min(max(float(covariance[0, 1] / math.sqrt(variances[0] * variances[1])), -1.0), 1.0)

    def _same(self, first: int, second: int) -> bool:
        """Whether one channel is the other but for a (possibly negative) factor."""
        covariance = self._covariance()
        power, energy = covariance[first, first], covariance[second, second]
        if power == 0 or energy == 0:
            return bool(power == energy)
        shared = covariance[first, second] ** 2 / power
        return bool((energy - shared) / energy < SAME_RESIDUAL)

    def _covariance(self) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.products - np.outer(self.means, self.means)
        np.fill_diagonal(found, np.maximum(np.diag(found), 0.0))
        return found


def survey(recording: Recording) -> ChannelSurvey:
    """Read a recording once."""
    channels = recording.source.channels
    loudest, clipped = np.zeros(channels), np.zeros(channels)
    sums, peaks, products = np.zeros(channels), np.zeros(channels), np.zeros((channels, channels))
    frame = max(1, round(LEVEL_FRAME_S * recording.source.sampling_rate))
    for block in recording.blocks(frame):
        apart = np.ascontiguousarray(block.T)
        found = np.maximum(apart.max(axis=1), -apart.min(axis=1))
        peaks = np.maximum(peaks, found)
        if found.max() >= FULL_SCALE:
            clipped += np.count_nonzero(np.abs(apart) >= FULL_SCALE, axis=1)
        wide = apart.astype(np.float64)
        sums += wide.sum(axis=1)
        products += wide @ wide.T
        # What is left after the last whole frame says nothing, but in a recording that is shorter than one.
        size = min(frame, recording.samples)
        if whole := len(block) // size:
            frames = wide[:, : whole * size].reshape(channels, whole, size)
            powers = np.einsum("cfs,cfs->cf", frames, frames) / size - np.square(frames.mean(axis=2))
            loudest = np.maximum(loudest, powers.max(axis=1))
    samples = max(recording.samples, 1)
    return ChannelSurvey(
        levels_dbfs=tuple(10 * math.log10(power) if power > 0 else -math.inf for power in loudest),
        clipped_ratio=tuple(float(ratio) for ratio in clipped / samples),
        means=sums / samples,
        peaks=peaks,
        products=products / samples,
    )
