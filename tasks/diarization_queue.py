"""Who speaks when in the calls of a run: beside their recognition on a GPU, after it on a CPU.

On a GPU, diarization alone leaves most of the card idle, and so does recognition between its batches: side by side
(each in a stream of its own), neither waits for the other. On a CPU both take all cores already.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from tasks.attempts import Attempt
from tasks.audio import PreparedAudio
from tasks.logs import working_on
from tasks.models import Models
from tasks.records import Diarization, StageTimings
from tasks.regions import within_regions
from tasks.settings import Settings

ALL_CHANNELS = "*"


class DiarizationQueue:
    """Diarizes calls; used as a context.

    Args:
        models: loaded models.
        settings: which channels several people may share.
    """

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._shared = settings.diarization.shared_channels
        self._beside = ThreadPoolExecutor(1) if models.device.kind == "cuda" else None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what was begun and not asked for."""
        if self._beside:
            self._beside.shutdown(cancel_futures=True)

    def begin(self, attempt: Attempt) -> None:
        """Let a call that has been loaded be diarized while others are recognised, where that gains time."""
        if self._beside:
            channels = [index for index, regions in enumerate(attempt.regions) if regions]
            attempt.diarization = self._beside.submit(self._diarize, attempt, channels)

    def result_of(self, attempt: Attempt) -> Mapping[int, Diarization]:
        """Who speaks when in a call that has been recognised, by the index of each channel that several may share.

        Whatever went wrong in it is raised here. The time that it took is added to the call's. Nobody asks who speaks
        where there are no words.
        """
        segments = attempt.recognition.segments if attempt.recognition else ()
        if not segments:
            self.forget(attempt)
            return {}
        if attempt.diarization:
            found, seconds = attempt.diarization.result()
        else:
            found, seconds = self._diarize(attempt, sorted({segment.channel for segment in segments}))
        attempt.timings += StageTimings(diarize_s=seconds)
        return found

    def forget(self, attempt: Attempt) -> None:
        """Give up a call that was begun; once this returns, nothing reads its sound or runs a model for it."""
        if attempt.diarization and not attempt.diarization.cancel():
            wait([attempt.diarization])

    def _diarize(self, attempt: Attempt, channels: Sequence[int]) -> tuple[Mapping[int, Diarization], float]:
        with working_on(call_id=attempt.planned.call.call_id, stage="diarize"):
            return self._diarized(attempt, channels)

    def _diarized(self, attempt: Attempt, channels: Sequence[int]) -> tuple[Mapping[int, Diarization], float]:
        started = time.monotonic()
        prepared, hints = attempt.sound, attempt.planned.call.hints
        shared = shared_channels(prepared, channel_speakers(prepared, hints.channel_roles), self._shared)
        diarizer = self._models.diarizer
        found: dict[int, Diarization] = {}
        for index in (index for index in channels if index in shared):
            if prepared.layout != "separate":
                found[index] = diarizer.diarize(prepared.tracks[index], hints.speakers)
                continue
            # How many people are in a call says nothing of how many share each of its channels; and another channel's
            # voice, which is no speech of this one, is nobody in it.
            heard = diarizer.diarize(prepared.tracks[index], fewest=1)
            own = attempt.regions[index]
            found[index] = Diarization(within_regions(heard.turns, own), within_regions(heard.exclusive, own))
        return found, time.monotonic() - started


def channel_speakers(prepared: PreparedAudio, roles: tuple[str, ...]) -> list[str]:
    """What each kept channel of a call is called: its role where one is named, else `SPEAKER_<channel>`."""
    return [
        roles[channel] if channel < len(roles) else f"SPEAKER_{channel:02d}" for channel in prepared.source_channels
    ]


def shared_channels(prepared: PreparedAudio, names: Sequence[str], shared: Sequence[str]) -> set[int]:
    """The channels in which several people may speak: all of a call that has not one for each, else those named.

    Args:
        prepared: the call.
        names: what its channels are called.
        shared: the names of those that several may share; `*` is any.
    """
    if prepared.layout != "separate":
        return set(range(len(names)))
    return {index for index, name in enumerate(names) if name in shared or ALL_CHANNELS in shared}
