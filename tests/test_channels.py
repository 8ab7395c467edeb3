"""Channels: what one pass over a recording says of them, and which of them carry something of their own."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, recording, silence, sine

from tasks.channels import FULL_SCALE, LEVEL_FRAME_S, survey
from tasks.records import ChannelLayout, Samples
from tasks.tracks import BLOCK_SAMPLES


def faint(seed: int = 9, seconds: float = 1.0) -> Samples:
    """Line noise at about -62 dBFS, as an idle channel carries it."""
    return noise(seed, seconds, level=0.0008)


def distinct(samples: Samples) -> tuple[tuple[int, ...], ChannelLayout]:
    """What of `[channel, sample]` is kept."""
    return survey(recording(samples)).distinct()


def correlation(*channels: Samples) -> float | None:
    """The correlation of a recording of these channels."""
    return survey(recording(np.stack(channels))).correlation()


# -------------------------------------------------------------------------------------------------------- survey


@given(
    channels=st.integers(1, 4),
    samples=st.sampled_from([1, 799, 800, 801, 1599, 1600, 2399, 2400, 2401, 4999, 8000]) | st.integers(1, 9000),
    block=st.sampled_from([1, 800, 1600, 3300, BLOCK_SAMPLES]),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_blocks_say_what_the_whole_says(channels: int, samples: int, block: int, seed: int) -> None:
    """Levels, clipping, means, peaks and products of any recording are those of all its samples, however it is cut."""
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal((channels, samples)) * rng.uniform(0.01, 1.0, (channels, 1)) + 0.1
    sound[0, -1] = 2.0
    sound = sound.astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.tracks.BLOCK_SAMPLES", block)
        found = survey(recording(sound, 8000))
    wide = sound.astype(np.float64)
    frame = min(samples, round(8000 * LEVEL_FRAME_S))
    frames = wide[:, : samples // frame * frame].reshape(channels, -1, frame)
    loudest = 10 * np.log10(np.var(frames, axis=2).max(axis=1))
    assert pytest.approx(loudest.tolist()) == found.levels_dbfs
    assert np.mean(np.abs(sound) >= FULL_SCALE, axis=1).tolist() == list(found.clipped_ratio)
    assert np.allclose(wide.mean(axis=1), found.means)
    assert np.array_equal(np.abs(sound).max(axis=1), found.peaks)
    assert np.allclose(wide @ wide.T / samples, found.products)


def test_silence_has_no_level() -> None:
    """The level of digital silence is minus infinity, and nothing in it is clipped."""
    found = survey(recording(np.stack([silence(), 0.5 * noise()])))
    assert -math.inf == found.levels_dbfs[0] < found.levels_dbfs[1]
    assert (0.0, 0.0) == found.clipped_ratio


def test_one_word_in_a_minute_is_a_level() -> None:
    """The level is that of the loudest tenth of a second, not the mean of the call."""
    quiet = silence(60.0)
    quiet[8000:9600] = sine(300, 0.1, peak=0.5)
    assert pytest.approx(-9.03, abs=0.01) == survey(recording(quiet)).levels_dbfs[0]


# ------------------------------------------------------------------------------------------------------ distinct

_VOICE, _OTHER = noise(1), noise(2)


@pytest.mark.parametrize(
    ("channels", "kept", "layout"),
    [
        ([_VOICE], (0,), "mono"),
        ([silence()], (0,), "mono"),
        ([_VOICE, _VOICE], (0,), "dual_mono"),
        ([_VOICE, -_VOICE], (0,), "dual_mono"),
        ([_VOICE, 0.1 * _VOICE], (0,), "dual_mono"),
        ([_VOICE, -0.1 * _VOICE], (0,), "dual_mono"),
        ([_VOICE, _VOICE + 0.05 * _OTHER], (0,), "dual_mono"),
        ([_VOICE, _VOICE + 0.2 * _OTHER], (0, 1), "separate"),
        ([_VOICE, silence()], (0,), "one_sided"),
        ([silence(), _VOICE], (1,), "one_sided"),
        ([_VOICE, faint()], (0,), "one_sided"),
        ([faint(), _VOICE], (1,), "one_sided"),
        ([_VOICE, _OTHER], (0, 1), "separate"),
        ([_VOICE, 0.05 * _OTHER], (0, 1), "separate"),
        ([0.001 * _VOICE, 0.001 * _OTHER], (0, 1), "separate"),
        ([silence(), silence()], (0,), "dual_mono"),
        ([silence(), silence(), silence()], (0,), "dual_mono"),
        ([silence(), 0.001 * _VOICE], (1,), "one_sided"),
        ([_VOICE, _OTHER, silence()], (0, 1), "separate"),
        ([silence(), _VOICE, _OTHER], (1, 2), "separate"),
        ([_VOICE, _OTHER, _VOICE], (0, 1), "separate"),
        ([_VOICE, _OTHER, noise(3), noise(4)], (0, 1, 2, 3), "separate"),
        ([_VOICE, silence(), -_VOICE], (0,), "dual_mono"),
        ([silence(), silence(), _VOICE, silence(), silence(), silence()], (2,), "one_sided"),
    ],
    ids=[
        "mono", "mono silence", "dual mono", "antiphase", "dual mono, quieter", "antiphase, quieter", "leak at -26 dB",
        "leak at -14 dB", "second silent", "first silent", "second idle", "first idle", "separate",
        "separate, 26 dB apart", "separate, both faint", "all silent", "three silent", "faint beside silence",
        "third silent", "first of three silent", "third repeats", "four speakers", "antiphase around silence",
        "one of six",
    ],
)  # fmt: skip
def test_distinct_channels(channels: list[Samples], kept: tuple[int, ...], layout: str) -> None:
    """Channels that repeat another or carry nothing go; one always stays."""
    assert (kept, layout) == distinct(np.stack(channels))


@given(
    kinds=st.lists(st.sampled_from(["silent", "faint", "first", "second", "antiphase"]), min_size=1, max_size=4),
    gain_db=st.floats(-40, 0),
)
@settings(max_examples=60, deadline=None)
def test_something_always_stays(kinds: list[str], gain_db: float) -> None:
    """Whatever the channels carry, at least one stays, in order, and no two kept ones are the same."""
    sounds = {
        "silent": silence(0.1),
        "faint": faint(seconds=0.1),
        "first": noise(1, 0.1),
        "second": noise(2, 0.1),
        "antiphase": -noise(1, 0.1),
    }
    kept, layout = distinct(10 ** (gain_db / 20) * np.stack([sounds[kind] for kind in kinds]))
    assert kept
    assert sorted(set(kept)) == list(kept)
    assert (layout == "separate") == (len(kept) > 1)
    assert (layout == "mono") == (len(kinds) == 1)
    assert len(kept) == len({"first" if kinds[index] == "antiphase" else kinds[index] for index in kept})


# --------------------------------------------------------------------------------------------------- correlation


def test_correlation_of_two_channels() -> None:
    """The same, the same turned round, half the same, and unlike; gain and offset change nothing."""
    first, second = noise(1, 2.0), noise(2, 2.0)
    assert pytest.approx(1.0) == correlation(first, 0.1 * first + 0.2)
    assert pytest.approx(-1.0) == correlation(first, -3 * first)
    assert pytest.approx(0.0, abs=0.02) == correlation(first, second)
    assert pytest.approx(0.5**0.5, abs=0.02) == correlation(first, first + second)
    assert correlation(first, np.zeros_like(first)) is None
    assert correlation(first, np.full_like(first, 0.1)) is None
    assert correlation(first[:0], first[:0]) is None
    assert (None, None) == (correlation(first), correlation(first, second, first))


@given(seed=st.integers(0, 99), share=st.floats(-1, 1), scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_correlation_is_pearsons(seed: int, share: float, scale: float) -> None:
    """Numpy's own, whatever the level."""
    first = noise(seed, 0.1)
    second = (scale * (share * first + (1 - abs(share)) * noise(seed + 100, 0.1) + 0.05)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.tracks.BLOCK_SAMPLES", 700)
        found = correlation(first, second)
    assert pytest.approx(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1], abs=1e-6) == found


def test_an_offset_in_common_is_nothing_in_common() -> None:
    """Two voices over the same large DC offset are two channels, and a silent channel with an offset is silent."""
    voices = np.stack([noise(1, 2.0, 0.02), noise(2, 2.0, 0.02)])
    assert ((0, 1), "separate") == survey(recording(voices + np.float32(0.3))).distinct()
    beside = np.stack([voices[0], np.full_like(voices[0], 0.3)])
    assert ((0,), "one_sided") == survey(recording(beside)).distinct()
    assert ((0, 1), "separate") == survey(recording(voices - np.float32([[0.2], [-0.4]]))).distinct()
