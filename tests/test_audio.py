"""A recording becomes tracks: channels, resampling, gain, and what is written down of it."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, demo, noise, recording, scratch, silence, sine, track

from tasks.audio import PreparedAudio, amplified, gain_db, prepare
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.records import Samples
from tasks.setting_groups import AudioSettings
from tasks.signals import measure
from tasks.tracks import MODEL_SAMPLING_RATE


def prepared(samples: Samples, rate: int = MODEL_SAMPLING_RATE, **settings: object) -> PreparedAudio:
    """`prepare` with the given audio settings, of `[sample]` or `[channel, sample]`."""
    return prepare(recording(samples, rate), AudioSettings(**settings), scratch())


def loudness(*channels: Samples) -> float | None:
    """The loudness of channels that sound together."""
    meters = [LoudnessMeter() for _ in channels]
    for meter, channel in zip(meters, channels, strict=True):
        meter.add(channel)
    return integrated_loudness([meter.block_powers() for meter in meters])


def resampled(samples: Samples, rate: int) -> Samples:
    """The tracks of a recording that keeps all its channels, before any gain."""
    return np.stack([one.recorded.read() for one in prepared(samples, rate).tracks])


# ---------------------------------------------------------------------------------------------------- resampling


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_length_and_level(rate: int) -> None:
    """Resampled sound lasts as long, is as loud and has the same pitch, on every channel."""
    found = resampled(np.stack([sine(440, 2.0, 0.5, rate), sine(1000, 2.0, 0.25, rate)]), rate)
    assert np.float32 == found.dtype
    assert (2, 2 * SECOND) == found.shape
    inner = slice(SECOND // 2, 3 * SECOND // 2)
    expected = np.stack([sine(440, 2.0, 0.5), sine(1000, 2.0, 0.25)])
    assert np.allclose(expected[:, inner], found[:, inner], atol=0.005)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("block", [997, 32_000, 960_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_resampling_in_blocks_is_that_of_the_whole(
    rate: int, block: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks meet there is nothing to hear: the samples are those of librosa's soxr_hq over all of them."""
    monkeypatch.setattr("tasks.tracks.BLOCK_SAMPLES", block)
    sound = np.stack([noise(seed, 3.0)[: round(2.5 * rate) + 7] for seed in range(channels)])
    found = resampled(np.tile(sound, 2), rate)
    centred = np.tile(sound - sound.mean(axis=1, keepdims=True), 2)
    expected = librosa.resample(centred, orig_sr=rate, target_sr=MODEL_SAMPLING_RATE, res_type="soxr_hq")
    # librosa rounds the length up, and fills up with a zero.
    assert 0 <= expected.shape[1] - found.shape[1] <= 1
    assert np.allclose(expected[:, : found.shape[1]], found, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 7999])
def test_resampling_of_little(samples: int) -> None:
    """Even a single sample resamples, to the length that its rate asks for."""
    assert (1, 2 * samples) == resampled(np.ones(samples, dtype=np.float32), 8000).shape


@given(samples=st.integers(1, 300), rate=st.sampled_from([6000, 8000, 11025, 22050, 44100, 48000, 192_000]))
@settings(max_examples=60, deadline=None)
def test_any_little_at_any_rate(samples: int, rate: int) -> None:
    """A track is as long as its recording, to a sample, and has a file of that length; it may even be empty."""
    (found,) = prepared(noise()[:samples], rate).tracks
    assert abs(found.samples - samples * MODEL_SAMPLING_RATE / rate) <= 1
    assert 4 * found.samples == found.path.stat().st_size


# ---------------------------------------------------------------------------------------------------------- gain


@pytest.mark.parametrize(
    ("lufs", "peak_dbtp", "gain"),
    [
        (-30.0, -20.0, 7.0),
        (-10.0, -20.0, -13.0),
        (-30.0, -5.0, 4.0),
        (-30.0, 3.0, -4.0),
        (-69.0, -60.0, 40.0),
        (None, -60.0, 0.0),
        (None, 3.0, 0.0),
    ],
    ids=["louder", "quieter", "as the peak allows", "for the peak's sake", "at most", "unknown", "unknown and loud"],
)
def test_the_gain_of_a_channel(lufs: float | None, peak_dbtp: float, gain: float) -> None:
    """To -23 LUFS, by 40 dB at most, and no peak over -1 dBTP; none where there is no loudness."""
    assert pytest.approx(gain) == gain_db(lufs, peak_dbtp, AudioSettings())


def test_a_gain_in_decibels_is_a_factor() -> None:
    """6.02 dB is twice as much, and is no more than it where there was a gain before."""
    sound = track(noise(), gain=7.0)
    assert np.allclose(2 * noise(), amplified(sound, 20 * np.log10(2)).read(), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------- prepare


def test_preparing_one_channel() -> None:
    """A mono call at 8 kHz is resampled and brought to the target; each step is written down with its numbers."""
    call = prepared(sine(997, 2.0, 10 ** (-33 / 20), 8000), 8000)
    (found,) = call.tracks
    assert ("mono", (0,), 2 * SECOND, 2.0, 2.0) == (
        call.layout,
        call.source_channels,
        found.samples,
        found.duration_s,
        call.duration_s,
    )
    assert pytest.approx(-36.0, abs=0.15) == call.loudness_lufs == call.levels[0].loudness_lufs
    assert pytest.approx(-23.0, abs=0.05) == loudness(found.read())
    assert ("channels(mono: 0 of 1)", "resample(soxr_hq: 8000 to 16000 Hz)") == call.preprocessing[:2]
    assert ("loudness(-23 LUFS: +13.1 dB)",) == call.preprocessing[2:]


def test_preparing_channels_of_different_levels() -> None:
    """Each speaker is brought to the target alone; the loudness that is reported is that of the recording."""
    loud, quiet = sine(997, 2.0, 10 ** (-20 / 20)), sine(500, 2.0, 10 ** (-40 / 20))
    call = prepared(np.stack([loud, quiet]))
    assert ("separate", (0, 1)) == (call.layout, call.source_channels)
    assert [pytest.approx(-23.0, abs=0.1)] * 2 == [loudness(one.read()) for one in call.tracks]
    assert pytest.approx(loudness(loud, quiet)) == call.loudness_lufs
    assert [pytest.approx(loudness(one)) for one in (loud, quiet)] == [one.loudness_lufs for one in call.levels]
    assert [pytest.approx(true_peak_dbtp(track(one))) for one in (loud, quiet)] == [
        one.true_peak_dbtp for one in call.levels
    ]
    assert "channels(separate: 0,1 of 2)" == call.preprocessing[0]
    assert len(call.preprocessing) == 2, "at 16 kHz nothing is resampled"


_VOICE, _OTHER = noise(1), noise(2)


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
    """The tracks are the kept channels, whose numbers in the file are remembered."""
    call = prepared(np.stack(channels), rate)
    assert (kept, layout, len(kept), len(kept)) == (
        call.source_channels,
        call.layout,
        len(call.tracks),
        len(call.levels),
    )
    assert f"channels({layout}: {','.join(map(str, kept))} of {len(channels)})" == call.preprocessing[0]
    for found, index in zip(call.tracks, kept, strict=True):
        samples, expected = found.read(), resampled(channels[index], rate)[0]
        assert np.isfinite(samples).all()
        assert np.dot(samples, expected) >= 0.99 * np.linalg.norm(samples) * np.linalg.norm(expected)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_preparing_leaves_the_recording_alone(rate: int) -> None:
    """The decoded file holds what it held; beside the tracks nothing is written, and nothing of another call."""
    source = recording(np.stack([noise(1), noise(2), silence()]), rate)
    before, folder = source.path.read_bytes(), scratch()
    call = prepare(source, AudioSettings(), folder)
    assert before == source.path.read_bytes()
    assert {one.path for one in call.tracks} == set(folder.iterdir())
    assert [4 * one.samples for one in call.tracks] == [one.path.stat().st_size for one in call.tracks]


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
    """The share of samples at full scale, before any gain; that of a call is the mean of its channels."""
    assert ratio == prepared(sound).clipped_ratio
    call = prepared(np.stack([noise(1), sound, noise(2)]))
    assert pytest.approx(sum(one.clipped_ratio for one in call.levels) / len(call.levels)) == call.clipped_ratio


def test_silence_is_not_amplified() -> None:
    """A silent call stays silent, and has no loudness."""
    call = prepared(silence(2.0))
    assert call.loudness_lufs is None
    assert not call.tracks[0].read().any()
    assert "loudness(-23 LUFS: +0.0 dB)" == call.preprocessing[-1]


@pytest.mark.parametrize("samples", [1, 3, 100, 1023, 1024, 5000])
def test_preparing_very_short_calls(samples: int) -> None:
    """A call of a few samples is prepared like any other."""
    (found,) = prepared(noise()[:samples]).tracks
    assert samples == found.samples == len(found.read())
    assert np.isfinite(found.read()).all()


@pytest.mark.parametrize("denoise", ["off", "auto", "always"])
def test_noise_is_no_question_here(denoise: str) -> None:
    """What the models hear besides the recogniser is the recording, whatever is done about noise later."""
    speech = sine(300, 2.0, 0.3) * (np.arange(2 * SECOND) % SECOND < SECOND // 2) + noise(5, 2.0, 0.01)
    call = prepared(speech - speech.mean(), denoise=denoise)
    assert ["channels", "loudness"] == [step.partition("(")[0] for step in call.preprocessing]
    assert np.allclose(speech - speech.mean(), call.tracks[0].recorded.read(), atol=1e-6)


@pytest.mark.parametrize("offset", [0.05, 0.3, -0.3])
def test_an_offset_is_taken_away(offset: float) -> None:
    """What the models hear is the same with and without a DC offset; the row says what it was."""
    sound = demo("05/demo-0001.wav", 10).tracks[0].recorded.read() * np.float32(0.1)
    plain = prepare(recording(sound), AudioSettings(), scratch())
    heard = plain.tracks[0].read()
    found = prepare(recording(sound + np.float32(offset)), AudioSettings(), scratch())
    assert np.abs(heard - found.tracks[0].read()).max() < 2e-3
    assert plain.levels[0].dc_offset + offset == pytest.approx(found.levels[0].dc_offset, abs=1e-6)
    assert f"dc_offset({-found.levels[0].dc_offset:+.4f})" in found.preprocessing
    assert pytest.approx(found.levels[0].dc_offset, abs=1e-6) == measure(found, [()]).channels[0].dc_offset
