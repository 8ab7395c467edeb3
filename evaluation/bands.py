"""Numbers of calls as bands that people read: the same for the strata of a sample and the slices of a report. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Bands:
    """A column of numbers as bands: `names[i]` holds what is from `cuts[i - 1]` to below `cuts[i]`."""

    column: str
    cuts: tuple[float, ...]
    names: tuple[str, ...]

    def name(self, value: float) -> str:
        """The band of a value.

        >>> BANDS["snr"].name(12.0), BANDS["snr"].name(3.0), BANDS["snr"].name(20.0)
        ('10 to 20 dB', 'under 10 dB', '20 to 30 dB')
        """
        return self.names[bisect_right(self.cuts, value)]


BANDS: Final[Mapping[str, Bands]] = {
    "snr": Bands("snr_db", (10.0, 20.0, 30.0), ("under 10 dB", "10 to 20 dB", "20 to 30 dB", "30 dB or more")),
    "duration": Bands("duration_s", (60.0, 300.0, 900.0), ("under 1 min", "1 to 5 min", "5 to 15 min", "15 min on")),
    "confidence": Bands("confidence", (0.6, 0.8, 0.9), ("under 0.6", "0.6 to 0.8", "0.8 to 0.9", "0.9 or more")),
    "overlap": Bands("overlap", (0.02, 0.05, 0.15), ("under 2 %", "2 to 5 %", "5 to 15 %", "15 % or more")),
}  # fmt: skip
"""SNR in dB, duration in seconds; confidence, and the share of speech in which several people speak, 0 to 1."""
