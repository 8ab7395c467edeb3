"""Speech regions: ordered, disjoint, inside the call, none where nobody speaks, and those that faster-whisper finds."""

from itertools import pairwise

import numpy as np
import pytest
from builders import region
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, beginning, demo, noise, silence, sine, track

from tasks.records import Samples
from tasks.setting_groups import VadSettings
from tasks.tracks import Track
from tasks.vad import CONTEXT, WINDOW, Probabilities, speech_probabilities, speech_regions, to_regions, total_s

# demo-0001's first turns, from its reference: 0.6 to 4.8 s, 5.6 to 9.7 s, 10.4 to 14.0 s.
TURNS = ((0.6, 4.8), (5.602, 9.692), (10.368, 13.968))
SECONDS = 15


@pytest.fixture(scope="module")
def speech() -> Track:
    """The first turns of demo-0001, as the models hear them."""
    return beginning(demo("05/demo-0001.wav").tracks[0], SECONDS)


@pytest.mark.parametrize("pad_ms", [0, 200, 500])
@pytest.mark.parametrize("min_silence_ms", [100, 500, 2000])
def test_regions_are_ordered_disjoint_and_inside(speech: Track, pad_ms: int, min_silence_ms: int) -> None:
    """Padding makes no two regions overlap and none leave the call."""
    found = speech_regions(speech, VadSettings(pad_ms=pad_ms, min_silence_ms=min_silence_ms))
    assert found
    assert all(item.duration_s > 0 for item in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert found[0].start >= 0
    assert found[-1].end <= SECONDS


def test_speech_is_found_where_it_is(speech: Track) -> None:
    """With short silences cut out, there is a region for each turn and nothing long beside them."""
    found = speech_regions(speech, VadSettings(pad_ms=100, min_silence_ms=200))
    for start, end in TURNS:
        covered = sum(max(0.0, min(item.end, end) - max(item.start, start)) for item in found)
        assert covered > 0.85 * (end - start)
    assert total_s(found) < sum(end - start for start, end in TURNS) + 1.5


def test_a_longer_silence_joins_regions(speech: Track) -> None:
    """The silence that ends a region decides how many there are."""
    counts = [len(speech_regions(speech, VadSettings(pad_ms=0, min_silence_ms=ms))) for ms in (100, 600, 5000)]
    assert sorted(counts, reverse=True) == counts
    assert (True, 1) == (counts[0] >= 3, counts[-1])


def test_padding_adds_to_each_side(speech: Track) -> None:
    """A padded region holds the bare one."""
    bare = speech_regions(speech, VadSettings(pad_ms=0, min_silence_ms=5000))[0]
    padded = speech_regions(speech, VadSettings(pad_ms=300, min_silence_ms=5000))[0]
    assert pytest.approx(bare.start - 0.3, abs=0.05) == padded.start
    assert pytest.approx(min(SECONDS, bare.end + 0.3), abs=0.05) == padded.end


@pytest.mark.parametrize("pause_s", [3.0])
def test_a_pause_between_two_stretches(speech: Track, pause_s: float) -> None:
    """Speech, silence, speech: two regions, with the pause between them."""
    first = speech.read(0, 5 * SECOND)
    call = track(np.concatenate([first, silence(pause_s), first]))
    found = speech_regions(call, VadSettings(min_silence_ms=1500, pad_ms=100))
    assert 2 == len(found)
    assert found[0].end < 6.0
    assert found[1].start > 7.0


@pytest.mark.parametrize(
    "samples",
    [
        silence(0.0),
        silence(1.0)[:1],
        silence(1.0)[:511],
        silence(10.0),
        noise(3, 5.0, 0.0008),
        noise(3, 5.0, 0.05),
        sine(50, 5.0, 0.3),
    ],
    ids=["nothing", "one sample", "less than a frame", "silence", "line noise", "loud noise", "mains hum"],
)
def test_no_speech_no_regions(samples: Samples) -> None:
    """Where nobody speaks there is no region, however short or loud the call is."""
    assert () == speech_regions(track(samples), VadSettings())


def test_a_call_without_speech() -> None:
    """The demo's call of line noise and hum has no speech, amplified to the target or not."""
    (found,) = demo("13/demo-0006.wav").tracks
    assert ((), ()) == (speech_regions(found, VadSettings()), speech_regions(found.recorded, VadSettings()))


@pytest.mark.parametrize(
    ("regions", "seconds"),
    [((), 0.0), ((region(1, 3),), 2.0), ((region(1, 3), region(5, 5.5)), 2.5)],
)
def test_total(regions: tuple, seconds: float) -> None:
    """Seconds of speech."""
    assert seconds == total_s(regions)


# --------------------------------------------------------------------------------------------------- the rule


@st.composite
def probabilities(draw: st.DrawFn) -> Probabilities:
    """Stretches of speech, of silence and of something between, with windows of any other kind strewn in."""
    stretches = draw(
        st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.95]), st.integers(1, 40)), max_size=12)
    )
    found = np.repeat([level for level, _ in stretches], [length for _, length in stretches])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    strewn = rng.random(len(found)) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    return np.where(strewn, rng.random(len(found)), found).astype(np.float32)


@given(
    found=probabilities(),
    last=st.integers(0, WINDOW - 1),
    threshold=st.sampled_from([0.02, 0.1, 0.4, 0.5, 0.6, 0.9]),
    min_silence_ms=st.sampled_from([0, 32, 96, 100, 500, 1000]),
    min_speech_ms=st.sampled_from([0, 32, 64, 250]),
    pad_ms=st.sampled_from([0, 16, 30, 33, 200, 500, 5000]),
)
@settings(max_examples=600, deadline=None)
def test_regions_are_those_of_silero(
    found: Probabilities, last: int, threshold: float, min_silence_ms: int, min_speech_ms: int, pad_ms: int
) -> None:
    """Any probabilities, any settings: the regions are those of faster-whisper's `get_speech_timestamps`."""
    # faster-whisper always fills up its last window: there is none that is full.
    found = np.append(found, np.float32(0.7))
    samples = (len(found) - 1) * WINDOW + last
    options = VadOptions(threshold, None, min_speech_ms, float("inf"), min_silence_ms, pad_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faster_whisper.vad.get_vad_model", lambda: lambda _: found)
        chunks = get_speech_timestamps(np.zeros(samples, dtype=np.float32), options)
    expected = [region(chunk["start"] / SECOND, chunk["end"] / SECOND) for chunk in chunks]
    vad = VadSettings(threshold=threshold, min_silence_ms=min_silence_ms, min_speech_ms=min_speech_ms, pad_ms=pad_ms)
    regions = to_regions(found, samples, vad)
    assert [item for item in expected if item.duration_s > 0] == list(regions)
    assert all(before.end <= after.start for before, after in pairwise(regions))
    assert all(0 <= item.start < item.end <= samples / SECOND for item in regions)


# -------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2, 7.3, SECONDS])
@pytest.mark.parametrize("windows", [1, 3, 128])
def test_probabilities_are_those_of_the_whole(
    speech: Track, seconds: float, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many windows are heard at a time, the model says what it says in faster-whisper, which hears all."""
    monkeypatch.setattr("tasks.vad.BATCH", windows)
    cut = beginning(speech, seconds)
    # faster-whisper zeroes the last samples of what it fills up; here they are zero anyway.
    assert cut.samples % WINDOW <= WINDOW - CONTEXT
    filled = np.pad(cut.read(), (0, WINDOW - cut.samples % WINDOW))
    found = speech_probabilities(cut)
    expected = get_vad_model()(filled).reshape(-1)
    assert expected.shape == found.shape
    assert np.allclose(expected, found, atol=1e-4)


def test_regions_of_a_call_are_faster_whispers() -> None:
    """Both channels of a call, from the samples to the regions."""
    for channel in demo("14/demo-0008.flac").tracks:
        chunks = get_speech_timestamps(channel.read(), VadOptions(min_silence_duration_ms=1000, speech_pad_ms=500))
        expected = [region(chunk["start"] / SECOND, chunk["end"] / SECOND) for chunk in chunks]
        assert expected == list(speech_regions(channel, VadSettings()))
