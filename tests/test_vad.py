"""Speech regions: ordered, disjoint, inside the call, and none where nobody speaks."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import region

from tasks.audio import MODEL_SAMPLING_RATE, prepare
from tasks.decoding import decode
from tasks.records import Samples
from tasks.setting_groups import AudioSettings, VadSettings
from tasks.vad import speech_regions, total_s

ARCHIVE = Path("evaluation/sets/demo/archive/2026/10")
# demo-0001's first turns, from its reference: 0.6 to 4.8 s, 5.6 to 9.7 s, 10.4 to 14.0 s.
TURNS = ((0.6, 4.8), (5.602, 9.692), (10.368, 13.968))
SECONDS = 15


@pytest.fixture(scope="module")
def speech() -> Samples:
    """The first turns of demo-0001, as the models hear them."""
    audio, source = decode(ARCHIVE / "05/demo-0001.wav", 3600)
    return prepare(audio, source, AudioSettings()).audio.samples[0, : SECONDS * MODEL_SAMPLING_RATE]


def noise(seconds: float, level: float) -> Samples:
    """White noise."""
    samples = np.random.default_rng(3).standard_normal(round(seconds * MODEL_SAMPLING_RATE))
    return (level * samples).astype(np.float32)


@pytest.mark.parametrize("pad_ms", [0, 200, 500])
@pytest.mark.parametrize("min_silence_ms", [100, 500, 2000])
def test_regions_are_ordered_disjoint_and_inside(speech: Samples, pad_ms: int, min_silence_ms: int) -> None:
    """Padding makes no two regions overlap and none leave the call."""
    found = speech_regions(speech, VadSettings(pad_ms=pad_ms, min_silence_ms=min_silence_ms))
    assert found
    assert all(item.duration_s > 0 for item in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert found[0].start >= 0
    assert found[-1].end <= SECONDS


def test_speech_is_found_where_it_is(speech: Samples) -> None:
    """With short silences cut out, there is a region for each turn and nothing long beside them."""
    found = speech_regions(speech, VadSettings(pad_ms=100, min_silence_ms=200))
    for start, end in TURNS:
        covered = sum(max(0.0, min(item.end, end) - max(item.start, start)) for item in found)
        assert covered > 0.85 * (end - start)
    assert total_s(found) < sum(end - start for start, end in TURNS) + 1.5


def test_a_longer_silence_joins_regions(speech: Samples) -> None:
    """The silence that ends a region decides how many there are."""
    counts = [len(speech_regions(speech, VadSettings(pad_ms=0, min_silence_ms=ms))) for ms in (100, 600, 5000)]
    assert sorted(counts, reverse=True) == counts
    assert (True, 1) == (counts[0] >= 3, counts[-1])


def test_padding_adds_to_each_side(speech: Samples) -> None:
    """A padded region holds the bare one."""
    bare = speech_regions(speech, VadSettings(pad_ms=0, min_silence_ms=5000))[0]
    padded = speech_regions(speech, VadSettings(pad_ms=300, min_silence_ms=5000))[0]
    assert pytest.approx(bare.start - 0.3, abs=0.05) == padded.start
    assert pytest.approx(min(SECONDS, bare.end + 0.3), abs=0.05) == padded.end


@pytest.mark.parametrize("pause_s", [3.0])
def test_a_pause_between_two_stretches(speech: Samples, pause_s: float) -> None:
    """Speech, silence, speech: two regions, with the pause between them."""
    first = speech[: 5 * MODEL_SAMPLING_RATE]
    call = np.concatenate([first, np.zeros(round(pause_s * MODEL_SAMPLING_RATE), dtype=np.float32), first])
    found = speech_regions(call, VadSettings(min_silence_ms=1500, pad_ms=100))
    assert 2 == len(found)
    assert found[0].end < 6.0
    assert found[1].start > 7.0


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, dtype=np.float32),
        np.zeros(1, dtype=np.float32),
        np.zeros(511, dtype=np.float32),
        np.zeros(10 * MODEL_SAMPLING_RATE, dtype=np.float32),
        noise(5.0, 0.0008),
        noise(5.0, 0.05),
        0.3 * np.sin(2 * np.pi * 50 * np.arange(5 * MODEL_SAMPLING_RATE) / MODEL_SAMPLING_RATE).astype(np.float32),
    ],
    ids=["nothing", "one sample", "less than a frame", "silence", "line noise", "loud noise", "mains hum"],
)
def test_no_speech_no_regions(samples: Samples) -> None:
    """Where nobody speaks there is no region, however short or loud the call is."""
    assert () == speech_regions(samples, VadSettings())


def test_a_call_without_speech() -> None:
    """The demo's call of line noise and hum has no speech, amplified to the target or not."""
    audio, source = decode(ARCHIVE / "13/demo-0006.wav", 3600)
    assert () == speech_regions(prepare(audio, source, AudioSettings()).audio.samples[0], VadSettings())


@pytest.mark.parametrize(
    ("regions", "seconds"),
    [((), 0.0), ((region(1, 3),), 2.0), ((region(1, 3), region(5, 5.5)), 2.5)],
)
def test_total(regions: tuple, seconds: float) -> None:
    """Seconds of speech."""
    assert seconds == total_s(regions)
