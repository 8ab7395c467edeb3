"""Who speaks when: the starter pipeline on a real call, and its speaker encoder."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tasks.audio import MODEL_SAMPLING_RATE, prepare
from tasks.decoding import decode
from tasks.diarize import Diarizer
from tasks.models import Models
from tasks.records import Samples, Turn
from tasks.setting_groups import AudioSettings, DiarizationSettings

CALL = Path("evaluation/sets/demo/archive/2026/10/05/demo-0001.wav")
SECONDS = 24
# Who speaks in its first 24 seconds, from the reference.
REFERENCE = (
    Turn(0.6, 4.8, "agent"),
    Turn(5.602, 9.692, "customer"),
    Turn(10.368, 13.968, "agent"),
    Turn(14.858, 18.098, "customer"),
    Turn(18.42, 24.0, "agent"),
)


@pytest.fixture(scope="module")
def speech() -> Samples:
    """The beginning of demo-0001: two voices, by turns."""
    audio, source = decode(CALL, 3600)
    return prepare(audio, source, AudioSettings()).audio.samples[0, : SECONDS * MODEL_SAMPLING_RATE]


@pytest.fixture(scope="module")
def turns(models: Models, speech: Samples) -> tuple[Turn, ...]:
    """What the starter models make of it."""
    return models.diarizer.diarize(speech)


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
        for turn in turns:
            common = min(turn.end, reference.end) - max(turn.start, reference.start)
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + max(0.0, common)
        main = max(shares, key=lambda speaker: shares[speaker])
        assert shares[main] > 0.7 * (reference.end - reference.start)
        names.setdefault(reference.speaker, set()).add(main)
    assert [1, 1] == [len(found) for found in names.values()]
    assert names["agent"] != names["customer"]


def test_diarizing_again_gives_the_same(models: Models, speech: Samples, turns: tuple[Turn, ...]) -> None:
    """Nothing in it is left to chance."""
    assert turns == models.diarizer.diarize(speech)


def test_told_one_speaker(models: Models, speech: Samples) -> None:
    """What is known of the call is believed."""
    assert {"SPEAKER_00"} == {turn.speaker for turn in models.diarizer.diarize(speech, speakers=1)}


def test_at_most_one_speaker(models: Models, speech: Samples) -> None:
    """The settings' bound holds where nothing is known."""
    bounded = Diarizer(models.diarizer._pipeline, DiarizationSettings(max_speakers=1))
    assert {"SPEAKER_00"} == {turn.speaker for turn in bounded.diarize(speech)}


@pytest.mark.parametrize("samples", [1, 100, MODEL_SAMPLING_RATE // 2, 5 * MODEL_SAMPLING_RATE])
def test_silence_has_no_turns(models: Models, samples: int) -> None:
    """Nobody speaks in silence, however short."""
    assert () == models.diarizer.diarize(np.zeros(samples, dtype=np.float32))


# --------------------------------------------------------------------------------------------------- the encoder


@pytest.fixture(scope="module")
def encoder(models: Models):  # noqa: ANN201  # its type needs torch
    """The speaker encoder of the starter bundle, with its weights."""
    return models.diarizer._pipeline._embedding.model_


@pytest.fixture(scope="module")
def voices(speech: Samples) -> Samples:
    """Three pieces of three seconds: agent, customer, agent."""
    starts = (1.2, 6.2, 10.6)
    return np.stack([speech[round(at * MODEL_SAMPLING_RATE) :][: 3 * MODEL_SAMPLING_RATE] for at in starts])


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
