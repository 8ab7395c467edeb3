"""One attempt at a call on its way through the pipeline, and the outcome that it becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from tasks.audio import PreparedAudio
from tasks.crosstalk import Crosstalk
from tasks.denoise import STEP
from tasks.errors import CallError, ProcessingError, ScratchFull, UsageError, is_full
from tasks.logs import working_on
from tasks.records import (
    CallSignals,
    CopiedAudio,
    DenoiseTrial,
    Diarization,
    Failure,
    Outcome,
    PlannedCall,
    Recognition,
    Region,
    SourceFormat,
    StageTimings,
    Transcript,
)
from tasks.tracks import Track


@dataclass(slots=True)
class Attempt:
    """What is known so far of one attempt at a call; filled stage by stage, frozen into an `Outcome` at the end."""

    planned: PlannedCall
    scratch: Path
    sha256: str | None = None
    leg_sha256: tuple[str, ...] = ()
    source: SourceFormat | None = None
    duration_s: float | None = None
    prepared: PreparedAudio | None = None
    regions: list[tuple[Region, ...]] = field(default_factory=list)
    crosstalk: tuple[Crosstalk | None, ...] | None = None
    signals: CallSignals | None = None
    voices: list[tuple[Region, ...]] = field(default_factory=list)
    denoised: list[Track | None] = field(default_factory=list)
    heard: list[Track] = field(default_factory=list)
    recognition: Recognition | None = None
    trials: list[DenoiseTrial] = field(default_factory=list)
    diarization: Future[tuple[Mapping[int, Diarization], float]] | None = None
    transcript: Transcript | None = None
    failure: Failure | None = None
    timings: StageTimings = field(default_factory=StageTimings)

    @property
    def sound(self) -> PreparedAudio:
        """The sound of a call that was loaded without failing."""
        if self.prepared is None:  # pragma: no cover  # a loaded call that did not fail has been prepared
            message = "the call was not prepared"
            raise ProcessingError(message)
        return self.prepared

    @property
    def copied(self) -> bool:
        """Whether these very bytes have a good transcript already."""
        return self.sha256 is not None and self.sha256 == self.planned.known_sha256


def stage(attempt: Attempt, name: str, step: Callable[[], None]) -> None:
    """Run one stage of one call; whatever goes wrong is this call's failure, and no other's.

    What is logged meanwhile carries the call and the name of the stage.
    """
    if attempt.failure is not None:
        return
    try:
        with working_on(call_id=attempt.planned.call.call_id, stage=name):
            step()
    except UsageError:
        raise
    except CallError as error:
        attempt.failure = Failure(error.code, error.message, error.transient)
    except Exception as error:  # noqa: BLE001  # a batch cannot be failed by a call, whatever a library raises
        failed = ScratchFull() if is_full(error) else ProcessingError(f"{type(error).__name__}: {error}")
        attempt.failure = Failure(failed.code, failed.message, failed.transient)


def outcome_of(attempt: Attempt) -> Outcome | CopiedAudio:
    """What became of an attempt."""
    if attempt.copied:
        return CopiedAudio(attempt.planned.call, str(attempt.sha256), attempt.leg_sha256)
    prepared = attempt.prepared
    return Outcome(
        call=attempt.planned.call,
        audio_sha256=attempt.sha256,
        source=attempt.source,
        duration_s=attempt.duration_s,
        layout=prepared.layout if prepared else None,
        loudness_lufs=prepared.loudness_lufs if prepared else None,
        clipped_ratio=prepared.clipped_ratio if prepared else None,
        preprocessing=_preprocessing(attempt),
        transcript=None if attempt.failure else attempt.transcript,
        failure=attempt.failure,
        timings=attempt.timings,
        signals=attempt.signals,
        denoise_trials=tuple(attempt.trials),
        leg_sha256=attempt.leg_sha256,
    )


def _preprocessing(attempt: Attempt) -> tuple[str, ...]:
    """What was done to the sound that the transcript was made from, in order."""
    prepared = attempt.prepared
    if prepared is None:
        return ()
    tried = {trial.channel: trial.applied for trial in attempt.trials}
    reduced = [
        f"{channel} {20 * math.log10(track.gain):+.1f} dB"
        for channel, track in zip(prepared.source_channels, attempt.denoised, strict=False)
        if track is not None and attempt.transcript is not None and tried.get(channel, True)
    ]
    steps = [
        f"crosstalk(channel {one.channel}: {one.crosstalk_s:.1f} s of channel {one.crosstalk_source} set aside)"
        for one in (attempt.signals.channels if attempt.signals else ())
        if one.crosstalk_s
    ]
    steps += [f"denoise({STEP}: {', '.join(reduced)})"] if reduced else []
    return (*prepared.preprocessing, *steps)
