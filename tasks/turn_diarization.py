"""pyannote.audio's diarization pipeline, with speakers told apart by the voices of whole turns.

Segmentation, embedding and the last step to turns are pyannote's own; between them, local speakers are followed through
windows (`tasks.tracklets`) and turns clustered (`tasks.voice_clusters`), in place of clustering what each window of a
few seconds holds of a voice. Imports torch and pyannote.audio: import it only where they are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.speaker_diarization import DiarizeOutput
from pyannote.audio.utils.signal import binarize
from pyannote.core import Annotation, SlidingWindowFeature
from pyannote.pipeline.parameter import ParamDict, Uniform

from tasks.tracklets import Frames, SoleTurn, Tracklet, find_tracklets, find_turns, label_frames
from tasks.voice_clusters import DEFAULT_BOUNDS, Bounds, cluster_voices

# Of a turn, so many seconds are embedded; its voice is known by then.
MOST_EMBEDDED_S = 20.0
# What is shorter, in seconds, is no turn.
LEAST_TURN_S = 0.1
NOBODY = -1
CACHED_VOICES = "callscribe/voices"


class TurnDiarization(SpeakerDiarization):
    """pyannote.audio's pipeline, for a model of segmentation by several labels (not a powerset).

    Its arguments are those of `SpeakerDiarization`, and so are its parameters, of which those of clustering have no
    effect; instead of these, `voices` holds the bounds of `tasks.voice_clusters`. While it is `training`, what the
    models say of a file is kept in the file, so that other bounds on voices are soon tried.
    """

    OWN_PARAMETERS: ClassVar = {"voices": asdict(DEFAULT_BOUNDS)}

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401  # pyannote.audio's own
        super().__init__(**arguments)
        self.voices = ParamDict(
            plain_turn_s=Uniform(0.5, 2.0),
            least_talk_s=Uniform(0.5, 4.0),
            own_distance=Uniform(0.1, 0.4),
            least_silhouette=Uniform(0.1, 0.5),
        )

    def apply(  # type: ignore[override]  # of the files that pyannote.audio takes, only sound in memory
        self,
        file: MutableMapping[str, Any],
        num_speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        **_: object,
    ) -> DiarizeOutput:
        """Diarize a recording.

        Args:
            file: `waveform` (`[1, sample]`), `sample_rate` and `uri`.
            num_speakers: how many people speak, where that is known.
            min_speakers: fewest; fewer are found where there is too little speech for so many.
            max_speakers: most.

        Returns:
            who speaks when, with and without overlaps, and the voice of each speaker, in order of the labels.
        """
        scores = self.get_segmentations(file)
        model = self._segmentation.model
        count = self.speaker_count(
            binarize(scores, onset=self.segmentation.threshold, initial_state=False),
            model.receptive_field,
            warm_up=(0.0, 0.0),
        )
        seconds = model.receptive_field.step
        frames = Frames(seconds, scores.data.shape[1], scores.sliding_window.step / seconds)
        tracklets = find_tracklets(scores.data, frames, self.segmentation.threshold)
        turns = find_turns(tracklets, frames)
        if not tracklets:
            nobody = Annotation(uri=file["uri"])
            return DiarizeOutput(nobody, nobody, np.zeros((0, self._embedding.dimension)))
        voices = file[CACHED_VOICES] if self.training and CACHED_VOICES in file else self._voices(file, turns, seconds)
        if self.training:
            file[CACHED_VOICES] = voices
        talk_s = np.array([turn.talks.sum() * seconds for turn in turns])
        known = ~np.isnan(voices[:, 0])
        # Where no turn is long enough for a voice, nothing says that there is more than one.
        speakers = np.full(len(turns), NOBODY if known.any() else 0)
        if known.any():
            speakers[known] = cluster_voices(
                voices[known],
                talk_s[known],
                fewest=num_speakers or min_speakers or 1,
                most=num_speakers or max_speakers or len(turns),
                bounds=Bounds(**self.voices),
            )
        clustered = _clustered(scores, frames, tracklets, turns, _unheard_like_neighbours(turns, speakers))
        centroids = np.stack(
            [_mean_voice(voices, talk_s, known & (speakers == one)) for one in range(clustered.data.shape[2])]
        )
        found = self._annotations(clustered, count, str(file["uri"]))
        return DiarizeOutput(*found, centroids[[int(label.removeprefix("SPEAKER_")) for label in found[0].labels()]])

    def _voices(self, file: Mapping[str, Any], turns: Sequence[SoleTurn], seconds: float) -> NDArray[np.floating]:
        """The voice of each turn, `[turn, dimension]`; NaN where there is too little speech to tell."""
        waveform, rate_hz = file["waveform"], file["sample_rate"]
        most = round(MOST_EMBEDDED_S / seconds)
        found = np.full((len(turns), self._embedding.dimension), np.nan)
        # Turns of like length share a batch: the shorter ones are filled up.
        ordered = sorted(range(len(turns)), key=lambda index: len(turns[index].talks))
        size = self.embedding_batch_size
        for batch in (ordered[start : start + size] for start in range(0, len(ordered), size)):
            length = min(most, max(len(turns[index].talks) for index in batch))
            samples = round(length * seconds * rate_hz)
            waveforms, masks = torch.zeros(len(batch), 1, samples), torch.zeros(len(batch), length)
            for row, index in enumerate(batch):
                start = round(turns[index].first * seconds * rate_hz)
                sound = waveform[0, start : start + samples]
                waveforms[row, 0, : len(sound)] = sound
                talks = torch.from_numpy(turns[index].talks[:length])
                masks[row, : len(talks)] = talks.float()
            found[batch] = self._embedding(waveforms, masks=masks)
        return found

    def _annotations(
        self, clustered: SlidingWindowFeature, count: SlidingWindowFeature, uri: str
    ) -> tuple[Annotation, Annotation]:
        """Who speaks when: with overlaps, and with the one who is more plainly heard in their place."""
        found = []
        for most in (clustered.data.shape[2], 1):
            capped = SlidingWindowFeature(np.minimum(count.data, most).astype(np.int8), count.sliding_window)
            turns = self.to_annotation(
                self.to_diarization(clustered, capped),
                min_duration_on=LEAST_TURN_S,
                min_duration_off=self.segmentation.min_duration_off,
            )
            turns.uri = uri
            found.append(turns.rename_labels({label: f"SPEAKER_{label:02d}" for label in turns.labels()}))
        return found[0], found[1]


def _mean_voice(
    voices: NDArray[np.floating], talk_s: NDArray[np.floating], chosen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The mean of some voices, by how long each talks; zeros, which say nothing, of none."""
    if not chosen.any():
        return np.zeros(voices.shape[1])
    mean: NDArray[np.floating] = np.average(voices[chosen], axis=0, weights=talk_s[chosen])
    return mean


def _unheard_like_neighbours(turns: Sequence[SoleTurn], speakers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turns too short for a voice are the speaker's of the nearest turn: of the same tracklet, else of any."""
    found = speakers.copy()
    middles = np.array([(turn.first + turn.last) / 2 for turn in turns])
    tracklets = np.array([turn.tracklet for turn in turns])
    known = np.flatnonzero(speakers != NOBODY)
    for index in np.flatnonzero(speakers == NOBODY):
        own = known[tracklets[known] == tracklets[index]]
        near = own if len(own) else known
        found[index] = speakers[near[np.argmin(abs(middles[near] - middles[index]))]]
    return found


def _clustered(
    scores: SlidingWindowFeature,
    frames: Frames,
    tracklets: Sequence[Tracklet],
    turns: Sequence[SoleTurn],
    speakers: NDArray[np.int64],
) -> SlidingWindowFeature:
    """How surely each speaker of the call talks, in every frame of every window: `[window, frame, speaker]`."""
    count = int(speakers.max(initial=0)) + 1
    own: list[list[tuple[SoleTurn, int]]] = [[] for _ in tracklets]
    for turn, speaker in zip(turns, speakers.tolist(), strict=True):
        own[turn.tracklet].append((turn, speaker))
    middles = np.array([(turn.first + turn.last) / 2 for turn in turns])
    # NaN means to pyannote that a speaker is in none of the window.
    clustered = np.full((*scores.data.shape[:2], count), np.nan)
    for tracklet, held in zip(tracklets, own, strict=True):
        otherwise = 0
        if count > 1 and not held:  # who never talks alone talks into somebody else's turn
            beside = int(speakers[np.argmin(abs(middles - tracklet.first - len(tracklet.talks) / 2))])
            otherwise = (beside + 1) % count
        labels = label_frames(tracklet, held, otherwise)
        for window, local in tracklet.members:
            first = frames.first(window) - tracklet.first
            mine = labels[first : first + frames.window]
            for speaker in np.unique(mine):
                score = np.where(mine == speaker, scores.data[window, :, local], 0.0)
                clustered[window, :, speaker] = np.fmax(clustered[window, :, speaker], score)
    return SlidingWindowFeature(clustered, scores.sliding_window)
