"""How far a word can be trusted: from the recogniser's raw probability to the share of such words that are right. Pure.

Whisper's probability of a word is the mean over its tokens and was never meant to say how often such a word is right.
A calibration is a monotone line through a few knots, fitted once for a recogniser on recordings with references
(`evaluation.benchmarks.calibrate`) and packaged in `calibrations.json`. It changes no word and keeps their order by
trust, but for ties. A recogniser that nobody calibrated keeps its raw probabilities.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from tasks.bundles import Manifest

CALIBRATIONS: Final = Path(__file__).with_name("calibrations.json")
"""What is packaged: a JSON object, bundle → `recognizer` (SHA-256 of its model), `knots`, and how they were found."""

RECOGNIZER_FILE: Final = "recognizer/model.bin"
"""The file of a bundle whose digest tells which recogniser it holds."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone piecewise-linear map of probabilities, both 0 to 1.

    `knots` are (raw, calibrated), by rising raw probability; before the first and after the last the line is level.
    Without knots every probability stays as it is.

    Raises:
        ValueError: a knot lies outside of [0, 1], raw values do not rise, or calibrated ones fall.
    """

    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check that the knots make a monotone map."""
        if not all(0.0 <= value <= 1.0 for knot in self.knots for value in knot):
            raise ValueError(f"a knot lies outside of [0, 1]: {self.knots}")
        if any(raw >= next_raw or value > next_value for (raw, value), (next_raw, next_value) in pairwise(self.knots)):
            raise ValueError(f"the knots do not rise: {self.knots}")

    @property
    def digest(self) -> str:
        """A short hash of the knots, 16 hexadecimal digits, for the fingerprint; empty where nothing is changed."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16] if self.knots else ""

    def apply(self, probability: float) -> float:
        """The share of words of this raw probability that are right, 0 to 1; what lies outside is clamped first."""
        clamped = min(max(probability, 0.0), 1.0)
        if not self.knots:
            return clamped
        after = bisect_right(self.knots, clamped, key=_raw)
        if after in {0, len(self.knots)}:
            return self.knots[max(after - 1, 0)][1]
        (left, low), (right, high) = self.knots[after - 1], self.knots[after]
        # Each step rounds monotonously, so that the whole is monotone to the last bit.
        return min(low + (high - low) * ((clamped - left) / (right - left)), high)

    def to_json(self) -> str:
        """Serialise the knots, as a list of pairs."""
        return json.dumps(self.knots)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Parse what `to_json` wrote.

        Raises:
            ValueError, TypeError: the text is no list of knots.
        """
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, knots: Iterable[Sequence[float]]) -> Calibration:
        """Take knots as JSON gives them, pairs in any kind of sequence.

        Raises:
            ValueError, TypeError: they are no knots.
        """
        return cls(tuple((float(raw), float(value)) for raw, value in knots))


def load_calibration(bundle_name: str, recognizer_sha256: str, path: Path = CALIBRATIONS) -> Calibration:
    """The packaged calibration of a bundle's recogniser.

    Args:
        bundle_name: the bundle.
        recognizer_sha256: digest of its recogniser, as `recognizer_digest` gives it.
        path: the file of calibrations.

    Returns:
        The calibration; one that changes nothing where the bundle is not known, or holds another recogniser.
    """
    known = json.loads(path.read_text(encoding="utf-8")).get(bundle_name)
    if known is None or known["recognizer"] != recognizer_sha256:
        return Calibration()
    return Calibration.of(known["knots"])


def recognizer_digest(manifest: Manifest) -> str:
    """SHA-256 of a bundle's recogniser; empty where the bundle has none."""
    return next((file.sha256 for file in manifest.files if file.path == RECOGNIZER_FILE), "")


def _raw(knot: tuple[float, float]) -> float:
    return knot[0]
