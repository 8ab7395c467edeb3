"""Who speaks when: the starter pipeline on a real call, and its speaker encoder."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import turn
from sounds import SECOND, beginning, demo, silence, track

from tasks.devices import Device
from tasks.diarize import Diarizer
from tasks.errors import DeviceError
from tasks.models import Models
from tasks.records import Diarization, Samples, Turn
from tasks.setting_groups import DiarizationSettings
from tasks.tracks import Track

SECONDS = 24
CPU = Device("cpu", 0, "a test", "int8")
# Who speaks in its first 24 seconds, from the reference.
REFERENCE = (
    Turn(0.6, 4.8, "agent"),
    Turn(5.602, 9.692, "customer"),
    Turn(10.368, 13.968, "agent"),
    Turn(14.858, 18.098, "customer"),
    Turn(18.42, 24.0, "agent"),
)


@pytest.fixture(scope="module")
def call() -> Track:
    """demo-0001, 45 seconds of it: two voices, by turns."""
    return demo("05/demo-0001.wav").tracks[0]


@pytest.fixture(scope="module")
def speech(call: Track) -> Track:
    """Its beginning."""
    return beginning(call, SECONDS)


@pytest.fixture(scope="module")
def turns(models: Models, speech: Track) -> tuple[Turn, ...]:
    """What the starter models make of it."""
    return models.diarizer.diarize(speech).exclusive


def test_two_voices_are_two_speakers(turns: tuple[Turn, ...]) -> None:
    """A woman and a man are told apart, without being told that there are two."""
    assert {"SPEAKER_00", "SPEAKER_01"} == {turn.speaker for turn in turns}


def test_turns_are_ordered_and_do_not_overlap(turns: tuple[Turn, ...]) -> None:
    """Turns follow one another inside the call."""
    assert all(turn.start < turn.end for turn in turns)
    assert all(before.end <= after.start + 1e-9 for before, after in pairwise(turns))
    assert turns[0].start >= 0.0
    assert turns[-1].end <= SECONDS + 0.1


def test_turns_agree_with_the_reference(turns: tuple[Turn, ...]) -> None:
    """Each turn of the reference is one speaker's, and agent and customer are not the same one."""
    names: dict[str, set[str]] = {}
    for reference in REFERENCE:
        shares: dict[str, float] = {}
        for one in turns:
            common = min(one.end, reference.end) - max(one.start, reference.start)
            shares[one.speaker] = shares.get(one.speaker, 0.0) + max(0.0, common)
        main = max(shares, key=lambda speaker: shares[speaker])
        assert shares[main] > 0.7 * (reference.end - reference.start)
        names.setdefault(reference.speaker, set()).add(main)
    assert [1, 1] == [len(found) for found in names.values()]
    assert names["agent"] != names["customer"]


def test_diarizing_again_gives_the_same(models: Models, speech: Track, turns: tuple[Turn, ...]) -> None:
    """Nothing in it is left to chance."""
    assert turns == models.diarizer.diarize(speech).exclusive


def test_told_one_speaker(models: Models, speech: Track) -> None:
    """What is known of the call is believed."""
    assert {"SPEAKER_00"} == {turn.speaker for turn in models.diarizer.diarize(speech, speakers=1).turns}


def test_at_most_one_speaker(models: Models, speech: Track) -> None:
    """The settings' bound holds where nothing is known."""
    bounded = Diarizer(models.diarizer._pipeline, CPU, DiarizationSettings(max_speakers=1), 0.3)
    assert {"SPEAKER_00"} == {turn.speaker for turn in bounded.diarize(speech).turns}


@pytest.mark.parametrize("samples", [1, 100, SECOND // 2, 5 * SECOND])
def test_silence_has_no_turns(models: Models, samples: int) -> None:
    """Nobody speaks in silence, however short."""
    assert Diarization((), ()) == models.diarizer.diarize(track(silence(samples / SECOND)))


def test_a_word_too_short_for_a_voice_is_somebodys(models: Models, speech: Track) -> None:
    """Under 0.4 s nothing can be said of a voice; that somebody spoke, can."""
    word = np.concatenate([silence(1.0), speech.read(round(1.3 * SECOND), round(1.6 * SECOND)), silence(1.0)])
    assert {"SPEAKER_00"} == {turn.speaker for turn in models.diarizer.diarize(track(word)).turns}


# ------------------------------------------------------------------------------------------------------- memory


class Tight:
    """The starter pipeline on a device with memory for batches of so many."""

    def __init__(self, pipeline: Callable[..., object], most: int, error: Exception) -> None:
        self._pipeline = pipeline
        self._most = most
        self._error = error
        self.segmentation_batch_size = self.embedding_batch_size = 32
        self.tried: list[tuple[int, int]] = []

    def __call__(self, file: object, **options: object) -> object:
        """As the pipeline, where the batches are small enough."""
        self.tried.append((self.segmentation_batch_size, self.embedding_batch_size))
        if max(self.tried[-1]) > self._most:
            raise self._error
        return self._pipeline(file, **options)


OUT_OF_MEMORY = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("batch_size ( 32) is probably too large. Try with a smaller value until memory error disappears."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "pyannote"])
def test_batches_shrink_where_memory_runs_out(
    models: Models, speech: Track, turns: tuple[Turn, ...], error: Exception
) -> None:
    """The call is diarized as ever, and so are all after it, without running out again."""
    tight = Tight(models.diarizer._pipeline, 8, error)
    diarizer = Diarizer(tight, CPU, DiarizationSettings(), 0.3)
    assert turns == diarizer.diarize(speech).exclusive
    assert turns == diarizer.diarize(speech).exclusive
    assert [(32, 32), (16, 16), (8, 8), (8, 8)] == tight.tried


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "pyannote"])
def test_no_memory_for_batches_of_one(models: Models, speech: Track, error: Exception) -> None:
    """That is the device's fault, and no call's."""
    tight = Tight(models.diarizer._pipeline, 0, error)
    with pytest.raises(DeviceError, match="has no memory to diarize"):
        Diarizer(tight, CPU, DiarizationSettings(), 0.3).diarize(speech)
    assert [32, 16, 8, 4, 2, 1] == [size for size, _ in tight.tried]


def test_other_errors_of_a_library_are_the_calls(models: Models, speech: Track) -> None:
    """They are not tried again."""
    tight = Tight(models.diarizer._pipeline, 0, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Diarizer(tight, CPU, DiarizationSettings(), 0.3).diarize(speech)
    assert [(32, 32)] == tight.tried


# ------------------------------------------------------------------------------------------------------ windows


def shared_s(first: Sequence[Turn], second: Sequence[Turn]) -> float:
    """Seconds in which somebody speaks in both."""
    return sum(max(0.0, min(one.end, two.end) - max(one.start, two.start)) for one in first for two in second)


def talk_s(turns: Sequence[Turn]) -> float:
    """Seconds of turns that do not overlap."""
    return sum(turn.end - turn.start for turn in turns)


@pytest.fixture(scope="module")
def whole(models: Models, call: Track) -> tuple[Turn, ...]:
    """What the starter models make of all 45 seconds in one go."""
    return models.diarizer.diarize(call).exclusive


def test_windows_make_one_call(
    models: Models, call: Track, whole: tuple[Turn, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heard in windows, the same time is spoken, by the same two people, whose turns are those of the call."""
    monkeypatch.setattr("tasks.diarize.WINDOW", 20 * SECOND)
    seconds = call.duration_s / 3
    found = models.diarizer.diarize(call).exclusive
    assert list(found) == sorted(found)
    assert all(turn.start < turn.end for turn in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert found[0].start >= 0.0
    assert found[-1].end <= round(call.duration_s, 3)
    assert all(turn.start // seconds == (turn.end - 0.001) // seconds for turn in found), "each is of one window"
    assert shared_s(whole, found) > 0.95 * max(talk_s(whole), talk_s(found))
    assert {"SPEAKER_00", "SPEAKER_01"} == {turn.speaker for turn in found}
    names = ("SPEAKER_00", "SPEAKER_01")
    agreed = [
        sum(shared_s([one for one in whole if one.speaker == name], [one for one in found if one.speaker == other])
            for name, other in zip(names, others, strict=True))
        for others in (names, names[::-1])
    ]  # fmt: skip
    assert max(agreed) > 0.9 * talk_s(whole), "nobody's name changes from window to window"


def test_a_call_of_one_window_is_heard_in_one_go(
    models: Models, speech: Track, turns: tuple[Turn, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the window is no shorter than the call, it changes nothing."""
    monkeypatch.setattr("tasks.diarize.WINDOW", speech.samples)
    assert turns == models.diarizer.diarize(speech).exclusive


class Scripted:
    """Stands in for pyannote's pipeline: turns and voices by the sound's first sample, which is the window's number."""

    def __init__(self, *windows: tuple[list[Turn], dict[str, list[float]]]) -> None:
        self.windows = windows
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, file: dict[str, Any], min_speakers: int, max_speakers: int) -> SimpleNamespace:
        """As the pipeline answers."""
        waveform = file["waveform"][0]
        self.asked.append((len(waveform), min_speakers, max_speakers))
        turns, voices = self.windows[round(float(waveform[0]))]
        found = [(SimpleNamespace(start=one.start, end=one.end), index, one.speaker) for index, one in enumerate(turns)]
        return SimpleNamespace(
            exclusive_speaker_diarization=SimpleNamespace(itertracks=lambda **_: found),
            speaker_diarization=SimpleNamespace(itertracks=lambda **_: found, labels=lambda: sorted(voices)),
            speaker_embeddings=np.array([voices[label] for label in sorted(voices)]),
        )


def numbered(monkeypatch: pytest.MonkeyPatch, seconds: float, window_s: int) -> Track:
    """A sound whose samples are the number of their window, and windows of at most so many seconds, all alike."""
    monkeypatch.setattr("tasks.diarize.WINDOW", window_s * SECOND)
    samples = round(seconds * SECOND)
    size = math.ceil(samples / math.ceil(seconds / window_s))
    return track((np.arange(samples) // size).astype(np.float32))


def test_speakers_are_linked_by_their_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are those of the call, names those of its speakers; turns past the end are cut or left out."""
    anna, ben = [1.0, 0.0], [0.0, 1.0]
    pipeline = Scripted(
        ([turn(0, 6, "a"), turn(6, 7.51, "b")], {"a": anna, "b": ben}),
        ([turn(0, 7, "a"), turn(7, 7.5, "b")], {"a": ben, "b": anna}),
        ([turn(0.5, 8, "a"), turn(7.6, 8.0, "b")], {"a": anna, "b": ben}),
    )
    found = Diarizer(pipeline, CPU, DiarizationSettings(), 0.3).diarize(numbered(monkeypatch, 22.5, 10))
    turns = (
        turn(0, 6, "SPEAKER_00"),
        turn(6, 7.5, "SPEAKER_01"),
        turn(7.5, 14.5, "SPEAKER_01"),
        turn(14.5, 15, "SPEAKER_00"),
        turn(15.5, 22.5, "SPEAKER_00"),
    )
    assert Diarization(turns, turns) == found
    assert [(round(7.5 * SECOND), 1, 4)] * 3 == pipeline.asked


@pytest.mark.parametrize(
    ("seconds", "speakers", "asked"), [(10, None, (2, 3)), (10, 4, (4, 4)), (11, None, (1, 3)), (11, 4, (1, 4))]
)
def test_bounds_are_those_of_the_call(
    seconds: int, speakers: int | None, asked: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most hold in each window; the fewest only where it is all of the call: not everybody speaks in each."""
    pipeline = Scripted(([], {}), ([], {}))
    diarizer = Diarizer(pipeline, CPU, DiarizationSettings(min_speakers=2, max_speakers=3), 0.3)
    assert Diarization((), ()) == diarizer.diarize(numbered(monkeypatch, seconds, 10), speakers)
    assert {asked} == {(fewest, most) for _, fewest, most in pipeline.asked}


def test_a_call_too_short_for_its_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that many cannot be told apart the bound is given up; another error is the call's."""

    class Strict(Scripted):
        def __call__(self, file: dict[str, Any], min_speakers: int, max_speakers: int) -> SimpleNamespace:
            if min_speakers > 1 or file["waveform"][0, 0] == 1:
                raise ValueError("too few stretches")
            return super().__call__(file, min_speakers, max_speakers)

    diarizer = Diarizer(Strict(([turn(0, 5, "a")], {})), CPU, DiarizationSettings(), 0.3)
    assert (turn(0, 5, "SPEAKER_00"),) == diarizer.diarize(numbered(monkeypatch, 9, 10), 2).turns
    with pytest.raises(ValueError, match="too few"):
        diarizer.diarize(numbered(monkeypatch, 11, 10), 2)


# --------------------------------------------------------------------------------------------------- the encoder


@pytest.fixture(scope="module")
def encoder(models: Models):  # noqa: ANN201  # its type needs torch
    """The speaker encoder of the starter bundle, with its weights."""
    return models.diarizer._pipeline._embedding.model_


@pytest.fixture(scope="module")
def voices(speech: Track) -> Samples:
    """Three pieces of three seconds: agent, customer, agent."""
    starts = (1.2, 6.2, 10.6)
    return np.stack([speech.read(round(at * SECOND), round((at + 3) * SECOND)) for at in starts])


def embedded(encoder, samples: Samples, weights: np.ndarray | None = None) -> np.ndarray:  # noqa: ANN001
    """Embeddings of `[batch, sample]`."""
    import torch

    with torch.inference_mode():
        mask = None if weights is None else torch.from_numpy(weights)
        return encoder(torch.from_numpy(samples)[:, None], mask).numpy()


def test_embeddings_are_unit_vectors(encoder, voices: Samples) -> None:  # noqa: ANN001
    """Each is of length one in 256 dimensions, so that cosine distance is all there is."""
    found = embedded(encoder, voices)
    assert (3, 256) == found.shape
    assert 256 == encoder.dimension
    assert np.allclose(1.0, np.linalg.norm(found, axis=1), atol=1e-5)


def test_a_voice_is_nearer_to_itself(encoder, voices: Samples) -> None:  # noqa: ANN001
    """Two pieces of one speaker are more alike than pieces of two."""
    agent, customer, agent_again = embedded(encoder, voices)
    assert agent @ agent_again > agent @ customer + 0.2
    assert agent @ agent_again > customer @ agent_again + 0.2


@pytest.mark.parametrize("gain_db", [-40.0, -20.0, 20.0])
def test_level_does_not_matter(encoder, voices: Samples, gain_db: float) -> None:  # noqa: ANN001
    """The mel is linear, so the encoder levels what it hears: a far speaker is the same speaker."""
    louder = (10 ** (gain_db / 20) * voices).astype(np.float32)
    assert np.allclose(embedded(encoder, voices), embedded(encoder, louder), atol=1e-3)


@pytest.mark.parametrize(
    ("samples", "known"),
    [(0, False), (100, False), (6399, False), (6400, True), (16_000, True), (25_600, True), (48_000, True)],
)
def test_too_little_speech_is_nan(encoder, voices: Samples, samples: int, known: bool) -> None:  # noqa: ANN001
    """Under 0.4 s nothing can be said of a voice, and nothing is."""
    found = embedded(encoder, voices[:, :samples])
    assert (3, 256) == found.shape
    assert known == bool(np.isfinite(found).all())
    assert known != bool(np.isnan(found).all())


def test_only_speech_under_the_mask_counts(encoder, voices: Samples) -> None:  # noqa: ANN001
    """Masked speech gives the voice of what is left; an empty mask gives nothing; neighbours are not touched."""
    agent, customer, _ = voices
    mixed = np.stack([np.concatenate([agent, customer])] * 3)
    mask = np.zeros((3, 100), dtype=np.float32)
    mask[0, :50] = mask[1, 50:] = 1.0
    found = embedded(encoder, mixed, mask)
    assert np.allclose(embedded(encoder, voices[:2]), found[:2], atol=1e-3)
    assert np.isnan(found[2]).all()


def test_a_voice_does_not_depend_on_its_batch(encoder, voices: Samples) -> None:  # noqa: ANN001
    """Embedding one by one gives what embedding together gives."""
    alone = np.concatenate([embedded(encoder, voices[index : index + 1]) for index in range(3)])
    assert np.allclose(alone, embedded(encoder, voices), atol=1e-5)
