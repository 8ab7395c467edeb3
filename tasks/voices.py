"""Pure: the same speaker across stretches of one call that were diarized apart, known by the voice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.records import Turn

Voice = NDArray[np.floating]
"""A speaker embedding, of any length but zero (which says nothing)."""

# Who talks less than this in a stretch, in seconds, is a new speaker only where nobody is known yet: the voice of a
# few words is a poor one.
NEW_SPEAKER_S = 5.0


class VoiceBook:
    """The speakers of a call so far. It lives as long as one call is diarized, and is kept nowhere.

    Args:
        most: how many speakers the call may have.
        link_distance: cosine distance up to which two voices are one speaker's.
    """

    def __init__(self, most: int, link_distance: float) -> None:
        self._most = most
        self._link_distance = link_distance
        self._known: list[NDArray[np.float64]] = []

    def match(self, talk_s: Mapping[str, float], voices: Mapping[str, Voice]) -> dict[str, str]:
        """Name the speakers of the next stretch.

        Two speakers of a stretch never become one. As many as possible are matched with known ones, nearest voices
        first (a one-to-one assignment of least distance); the others are new while there is room.

        Args:
            talk_s: label of each speaker within the stretch, with seconds of talk.
            voices: their voices, where they are known.

        Returns:
            for each label, `SPEAKER_00`, `SPEAKER_01`, … of the call.
        """
        from scipy.optimize import linear_sum_assignment

        labels = sorted(talk_s)
        units = [_unit(voices.get(label)) for label in labels]
        distances = np.array([[_distance(unit, _unit(voice)) for voice in self._known] for unit in units])
        distances = distances.reshape(len(labels), len(self._known))
        # All that is too far is equally far: no pair that matches is given up for others that do not.
        costs = np.where(distances <= self._link_distance, distances, 2.0 * (len(labels) + 1))
        pairs = zip(*linear_sum_assignment(costs), strict=True)
        found = {int(row): int(column) for row, column in pairs if distances[row, column] <= self._link_distance}
        # A voice that is only guessed at teaches nothing: it is another one's, or a poor one.
        guessed: set[int] = set()
        for row, label in enumerate(labels):
            if row in found:
                continue
            free = [column for column in range(distances.shape[1]) if column not in found.values()]
            full = len(self._known) >= self._most
            if free and (full or talk_s[label] < NEW_SPEAKER_S):
                found[row] = min(free, key=lambda column: distances[row, column])
                guessed.add(row)
            else:
                found[row] = len(self._known)
                self._known.append(np.zeros(0))
        for row, unit in enumerate(units):
            if unit is not None and row not in guessed:
                self._learn(found[row], talk_s[labels[row]] * unit)
        return {label: f"SPEAKER_{found[row]:02d}" for row, label in enumerate(labels)}

    def _learn(self, speaker: int, voice: NDArray[np.float64]) -> None:
        held = self._known[speaker]
        self._known[speaker] = held + voice if held.size else voice


def talk_s(turns: Iterable[Turn]) -> dict[str, float]:
    """Seconds of talk of each speaker."""
    found: dict[str, float] = {}
    for turn in turns:
        found[turn.speaker] = found.get(turn.speaker, 0.0) + turn.end - turn.start
    return found


def _unit(voice: Voice | None) -> NDArray[np.float64] | None:
    if voice is None or not voice.size:
        return None
    wide = np.asarray(voice, dtype=np.float64)
    length = float(np.linalg.norm(wide))
    return wide / length if np.isfinite(length) and length > 0 else None


def _distance(first: NDArray[np.float64] | None, second: NDArray[np.float64] | None) -> float:
    """Cosine distance; as far as can be from a voice that is not known."""
    return 2.0 if first is None or second is None else float(1 - first @ second)
