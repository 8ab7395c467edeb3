"""Channels, resampling, loudness and true peak."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from builders import source_format
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, noise, silence, sine

from tasks.audio import (
    MODEL_SAMPLING_RATE,
    TRUE_PEAK_BLOCK,
    distinct_channels,
    integrated_loudness,
    loudness_gain_db,
    prepare,
    resample,
    true_peak_dbtp,
)
from tasks.records import Audio, Samples
from tasks.setting_groups import AudioSettings


def faint(seed: int = 9, seconds: float = 1.0) -> Samples:
    """Line noise at about -62 dBFS, as an idle channel carries it."""
    return noise(seed, seconds, level=0.0008)


def prepared(samples: Samples, rate: int = MODEL_SAMPLING_RATE, **settings: object):  # noqa: ANN201
    """`prepare` with the given audio settings."""
    return prepare(Audio(samples, rate), source_format(channels=samples.shape[0]), AudioSettings(**settings))


# --------------------------------------------------------------------------------------------- distinct_channels

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
    assert (kept, layout) == distinct_channels(np.stack(channels))


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
    kept, layout = distinct_channels(10 ** (gain_db / 20) * np.stack([sounds[kind] for kind in kinds]))
    assert kept
    assert sorted(set(kept)) == list(kept)
    assert (layout == "separate") == (len(kept) > 1)
    assert (layout == "mono") == (len(kinds) == 1)
    assert len(kept) == len({"first" if kinds[index] == "antiphase" else kinds[index] for index in kept})


# ------------------------------------------------------------------------------------------------------ resample


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_length_and_level(rate: int) -> None:
    """Resampled sound lasts as long, is as loud and has the same pitch, on every channel."""
    samples = np.stack([sine(440, 2.0, 0.5, rate), sine(1000, 2.0, 0.25, rate)])
    resampled = resample(samples, rate)
    assert np.float32 == resampled.dtype
    assert (2, 2 * SECOND) == resampled.shape
    inner = slice(SECOND // 2, 3 * SECOND // 2)
    expected = np.stack([sine(440, 2.0, 0.5), sine(1000, 2.0, 0.25)])
    assert np.allclose(expected[:, inner], resampled[:, inner], atol=0.005)


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 7999])
def test_resampling_of_little(samples: int) -> None:
    """Even a single sample resamples, to the length that its rate asks for."""
    assert (1, 2 * samples) == resample(np.ones((1, samples), dtype=np.float32), 8000).shape


# ------------------------------------------------------------------------------------------ loudness, true peak


@pytest.mark.parametrize(
    ("channels", "lufs"),
    [
        ([1.0, 1.0], -23.0),
        ([1.0], -26.01),
        ([1.0, 0.0], -26.01),
        ([0.0, 1.0], -26.01),
        ([1.0, -1.0], -23.0),
        ([0.1, 0.1], -43.0),
        ([10.0, 10.0], -3.0),
    ],
)
def test_loudness_of_a_known_signal(channels: list[float], lufs: float) -> None:
    """EBU Tech 3341, case 1: a 997 Hz sine that peaks at -23 dBFS on two channels measures -23.0 LUFS."""
    tone = sine(997, 20.0, 10 ** (-23 / 20))
    assert pytest.approx(lufs, abs=0.1) == integrated_loudness(np.stack([gain * tone for gain in channels]))


def test_the_gate_keeps_pauses_out() -> None:
    """EBU Tech 3341, case 3: quiet stretches before and after the tone do not lower its loudness."""
    quiet, loud = sine(997, 10.0, 10 ** (-36 / 20)), sine(997, 60.0, 10 ** (-23 / 20))
    tone = np.concatenate([quiet, loud, quiet])
    assert pytest.approx(-23.0, abs=0.1) == integrated_loudness(np.stack([tone, tone]))


@pytest.mark.parametrize(
    "samples",
    [
        silence(2.0)[None],
        np.stack([silence(2.0), silence(2.0)]),
        sine(440, 0.399)[None],
        sine(440, 0.0)[None],
        sine(440, 2.0, peak=1e-4)[None],
    ],
    ids=["silence", "stereo silence", "under 0.4 s", "nothing", "under the gate"],
)
def test_what_cannot_be_measured_has_no_loudness(samples: Samples) -> None:
    """Undefined is None, not a number that stands for it, and then nothing is amplified."""
    assert integrated_loudness(samples) is None
    assert 0.0 == loudness_gain_db(samples[0], AudioSettings())


@pytest.mark.parametrize(("channels", "measured"), [(1, 1), (2, 2), (5, 5), (6, 2), (8, 2)])
def test_loudness_of_many_channels(channels: int, measured: int) -> None:
    """Any number of channels can be measured; of more than the standard knows, the first two."""
    sound = np.stack([noise(seed) for seed in range(channels)])
    assert integrated_loudness(sound[:measured]) == integrated_loudness(sound)
    assert -30 < integrated_loudness(sound) < 0


@pytest.mark.parametrize(
    ("sound", "dbtp"),
    [
        (sine(SECOND / 4, 1.0, 1.0, phase=math.pi / 4), 0.0),
        (sine(SECOND / 4, 1.0, 0.5, phase=math.pi / 4), -6.02),
        (sine(997, 1.0, 1.0), 0.0),
        (sine(SECOND / 6, 1.0, 0.5, phase=math.pi / 6), -6.02),
    ],
    ids=["fs/4 at 45 degrees", "fs/4 at half scale", "997 Hz", "fs/6 at 30 degrees"],
)
def test_the_true_peak_lies_between_samples(sound: Samples, dbtp: float) -> None:
    """A sine whose samples all miss its crest peaks where the sound does (EBU Tech 3341: +0.2, -0.4 dB)."""
    faded = sound * np.minimum(1, np.minimum(np.arange(SECOND), np.arange(SECOND)[::-1]) / 1600).astype(np.float32)
    assert dbtp - 0.4 <= true_peak_dbtp(faded) <= dbtp + 0.2


def test_silence_has_no_true_peak() -> None:
    """The peak of silence is minus infinity."""
    assert -math.inf == true_peak_dbtp(silence()) == true_peak_dbtp(silence(0.0))


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.75])
def test_blocks_leave_no_mark_on_the_true_peak(phase: float) -> None:
    """Sound is measured in blocks; where they meet, the peak is that of the sound, not of the cut."""
    before, after = sine(50, 1.0, 0.5, phase=phase * math.pi), silence((TRUE_PEAK_BLOCK - SECOND / 2) / SECOND)
    hump = before * np.hanning(SECOND).astype(np.float32)
    sound = np.concatenate([after, hump, silence(1.0)])
    assert pytest.approx(true_peak_dbtp(hump), abs=0.01) == true_peak_dbtp(sound)


@pytest.mark.parametrize("level_db", [-50.0, -35.0, -23.0, -12.0])
def test_the_gain_reaches_the_target(level_db: float) -> None:
    """Sound that is not peaky ends at the target loudness, from below and from above."""
    sound = sine(997, 3.0, 10 ** (level_db / 20))
    gain_db = loudness_gain_db(sound, AudioSettings())
    assert pytest.approx(-23.0, abs=0.05) == integrated_loudness(10 ** (gain_db / 20) * sound[None])


@pytest.mark.parametrize(("max_gain_db", "gain_db"), [(0.0, 0.0), (6.0, 6.0), (40.0, 30.08)])
def test_the_gain_has_a_limit(max_gain_db: float, gain_db: float) -> None:
    """No more gain than `max_gain_db` is applied."""
    sound = sine(997, 3.0, 10 ** (-50 / 20))
    assert pytest.approx(gain_db, abs=0.1) == loudness_gain_db(sound, AudioSettings(max_gain_db=max_gain_db))


@given(clicks=st.integers(1, 20), level_db=st.floats(-60, 0), ceiling=st.sampled_from([-1.0, -3.0, -9.0]))
@settings(max_examples=25, deadline=None)
def test_the_true_peak_stays_under_the_ceiling(clicks: int, level_db: float, ceiling: float) -> None:
    """Quiet speech with loud clicks is amplified only as far as the clicks allow."""
    sound = noise(clicks, 1.0, 10 ** (level_db / 20))
    sound[:: SECOND // clicks] = 0.9
    gain_db = loudness_gain_db(sound, AudioSettings(true_peak_dbtp=ceiling))
    assert true_peak_dbtp((10 ** (gain_db / 20) * sound).astype(np.float32)) <= ceiling + 0.01


# ------------------------------------------------------------------------------------------------------- prepare


def test_preparing_one_channel() -> None:
    """A mono call at 8 kHz is resampled and brought to the target; each step is written down with its numbers."""
    call = prepared(sine(997, 2.0, 10 ** (-33 / 20), 8000)[None], 8000)
    assert ("mono", (0,), (1, 2 * SECOND), SECOND, 2.0) == (
        call.layout,
        call.source_channels,
        call.audio.samples.shape,
        call.audio.sampling_rate,
        call.duration_s,
    )
    assert pytest.approx(-36.0, abs=0.15) == call.loudness_lufs
    assert pytest.approx(-23.0, abs=0.05) == integrated_loudness(call.audio.samples)
    assert ("channels(mono: 0 of 1)", "resample(soxr_hq: 8000 to 16000 Hz)") == call.preprocessing[:2]
    assert ("loudness(-23 LUFS: +13.1 dB)",) == call.preprocessing[2:]


def test_preparing_channels_of_different_levels() -> None:
    """Each speaker is brought to the target alone; the loudness that is reported is that of the recording."""
    loud, quiet = sine(997, 2.0, 10 ** (-20 / 20)), sine(500, 2.0, 10 ** (-40 / 20))
    call = prepared(np.stack([loud, quiet]))
    assert ("separate", (0, 1)) == (call.layout, call.source_channels)
    assert pytest.approx(-23.0, abs=0.1) == integrated_loudness(call.audio.samples[:1])
    assert pytest.approx(-23.0, abs=0.1) == integrated_loudness(call.audio.samples[1:])
    assert pytest.approx(integrated_loudness(np.stack([loud, quiet]))) == call.loudness_lufs
    assert "channels(separate: 0,1 of 2)" == call.preprocessing[0]
    assert len(call.preprocessing) == 2, "at 16 kHz nothing is resampled"


@pytest.mark.parametrize(
    ("channels", "kept", "layout"),
    [
        ([_VOICE, _VOICE], (0,), "dual_mono"),
        ([_VOICE, -_VOICE], (0,), "dual_mono"),
        ([silence(), _VOICE], (1,), "one_sided"),
        ([silence(), _VOICE, _OTHER], (1, 2), "separate"),
        ([silence(), silence()], (0,), "dual_mono"),
    ],
    ids=["dual mono", "antiphase", "one-sided", "two of three", "all silent"],
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_preparing_keeps_the_channels_that_matter(
    channels: list[Samples], kept: tuple[int, ...], layout: str, rate: int
) -> None:
    """Rows of the prepared sound are the kept channels, whose numbers in the file are remembered."""
    call = prepared(np.stack(channels), rate)
    assert (kept, layout, len(kept)) == (call.source_channels, call.layout, call.audio.channels)
    assert f"channels({layout}: {','.join(map(str, kept))} of {len(channels)})" == call.preprocessing[0]
    assert np.isfinite(call.audio.samples).all()
    for row, index in zip(call.audio.samples, kept, strict=True):
        expected = resample(channels[index][None], rate)[0]
        assert np.dot(row, expected) >= 0.99 * np.linalg.norm(row) * np.linalg.norm(expected)


def test_preparing_leaves_the_recording_alone() -> None:
    """A frozen record holds what it held: `prepare` works on a copy, also where nothing is resampled."""
    samples = np.stack([noise(1), noise(2)])
    before = samples.copy()
    prepared(samples)
    assert np.array_equal(before, samples)


@pytest.mark.parametrize(
    ("sound", "ratio"),
    [
        (np.clip(sine(100, 1.0, 1.2), -1, 1), pytest.approx(0.39, abs=0.02)),
        (sine(100, 1.0, 0.9), 0.0),
        (silence(), 0.0),
    ],
    ids=["clipped", "loud", "silent"],
)
def test_clipping_is_counted(sound: Samples, ratio: float) -> None:
    """The share of samples at full scale, before any gain."""
    assert ratio == prepared(sound[None]).clipped_ratio


def test_silence_is_not_amplified() -> None:
    """A silent call stays silent, and has no loudness."""
    call = prepared(silence(2.0)[None])
    assert call.loudness_lufs is None
    assert not call.audio.samples.any()
    assert "loudness(-23 LUFS: +0.0 dB)" == call.preprocessing[-1]


@pytest.mark.parametrize("samples", [1, 3, 100, 1023, 1024, 5000])
@pytest.mark.parametrize("denoise", ["off", "always"])
def test_preparing_very_short_calls(samples: int, denoise: str) -> None:
    """A call of a few samples is prepared like any other."""
    call = prepared(noise(1)[None, :samples], denoise=denoise)
    assert (1, samples) == call.audio.samples.shape
    assert np.isfinite(call.audio.samples).all()


def test_denoising_is_off_unless_asked_for() -> None:
    """The default does nothing to the noise; `always` takes it down and says so, before the gain."""
    speech = sine(300, 2.0, 0.3) * (np.arange(2 * SECOND) % SECOND < SECOND // 2) + noise(5, 2.0, 0.01)
    plain, denoised = prepared(speech[None]), prepared(speech[None], denoise="always")
    assert not [step for step in plain.preprocessing if step.startswith("denoise")]
    assert ["channels", "denoise", "loudness"] == [step.partition("(")[0] for step in denoised.preprocessing]
    pause = slice(int(0.7 * SECOND), int(0.9 * SECOND))
    level: Callable[[Samples], float] = lambda samples: float(np.sqrt(np.mean(samples[0, pause] ** 2)))  # noqa: E731
    assert level(denoised.audio.samples) < 0.5 * level(plain.audio.samples)
    assert plain.loudness_lufs == denoised.loudness_lufs, "the loudness is that of the recording"
    assert np.float32 == denoised.audio.samples.dtype
