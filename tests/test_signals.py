"""Measured signals: levels, noise, band, silence and correlation of sounds that are known."""

from collections.abc import Iterator

import numpy as np
import pytest
from builders import channel_signals
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sounds import recording, scratch, track

from evaluation.benchmarks.snr import (
    DEMO,
    Clip,
    Estimate,
    active_level_dbfs,
    estimates,
    load_clips,
    markdown,
    noises,
)
from tasks.audio import PreparedAudio, prepare
from tasks.channels import survey
from tasks.records import CallSignals, ChannelLevels, ChannelSignals, Region, Samples
from tasks.setting_groups import AudioSettings
from tasks.settings import load_settings
from tasks.signals import (
    FRAME,
    HIGHEST_DBFS,
    SILENCE_DBFS,
    active_speech,
    frame_powers,
    measure,
    noise_power,
    speech_mask,
)
from tasks.signals import measure_channel as measure_track
from tasks.tracks import MODEL_SAMPLING_RATE

SECOND = MODEL_SAMPLING_RATE
LEVELS = ChannelLevels(loudness_lufs=-23.0, true_peak_dbtp=-3.0, clipped_ratio=0.0)

# ------------------------------------------------------------------------------------------------------- sounds


def sine(hz: float, seconds: float = 1.0, peak: float = 0.5, rate: int = SECOND) -> Samples:
    """A sine of one channel."""
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float = 1.0, dbfs: float = -40.0, seed: int = 1) -> Samples:
    """White noise at a level; another seed is another sound."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * SECOND))
    return (10 ** (dbfs / 20) * samples).astype(np.float32)


def band(low_hz: float, high_hz: float, seconds: float, dbfs: float = -20.0, seed: int = 1) -> Samples:
    """Noise of a level that holds nothing outside of a band."""
    spectrum = np.fft.rfft(noise(seconds, 0.0, seed).astype(np.float64))
    hz = np.fft.rfftfreq(round(seconds * SECOND), 1 / SECOND)
    limited = np.fft.irfft(spectrum * ((hz >= low_hz) & (hz <= high_hz)), round(seconds * SECOND))
    return (10 ** (dbfs / 20) * limited / np.sqrt(np.mean(limited**2))).astype(np.float32)


def talk(seconds: float = 8.0, high_hz: float = 3400.0, dbfs: float = -20.0) -> Samples:
    """Something like speech: bursts of 0.3 s of sound with pauses of 0.3 s between, silence before and after."""
    times = np.arange(round(seconds * SECOND)) / SECOND
    on = ((times + 1e-9) % 0.6 < 0.3) & (times >= 2) & (times < seconds - 2)
    # Sound that is cut off spreads over all frequencies: 40 ms of fading, as of a voice.
    fade = np.convolve(on.astype(float), np.hanning(640) / np.hanning(640).sum(), mode="same")
    return (band(300, high_hz, seconds, dbfs, seed=2) * fade).astype(np.float32)


def talking(seconds: float = 8.0) -> tuple[Region, ...]:
    """Where `talk` is, padded as the detector does."""
    return (Region(1.5, seconds - 1.5),)


def prepared(samples: Samples, rate: int = SECOND) -> PreparedAudio:
    """`[sample]` or `[channel, sample]` at any rate, prepared."""
    return prepare(recording(samples, rate), AudioSettings(), scratch())


def measured(samples: Samples, regions: tuple[tuple[Region, ...], ...], rate: int = SECOND) -> CallSignals:
    """`[sample]` or `[channel, sample]` at any rate, prepared and measured."""
    return measure(prepared(samples, rate), regions)


def measure_channel(
    samples: Samples, regions: tuple[Region, ...], levels: ChannelLevels, source_rate_hz: int
) -> ChannelSignals:
    """Measure `[sample]` at 16 kHz."""
    return measure_track(track(samples), regions, levels, source_rate_hz)


# ------------------------------------------------------------------------------------------------ level and offset


@pytest.mark.parametrize("offset", [0.0, 0.02, -0.3])
def test_the_offset_is_the_mean_and_no_noise(offset: float) -> None:
    """A DC offset is told, and neither noise floor nor SNR hear it."""
    sound = talk() + noise(8.0, -50.0)
    plain = measure_channel(sound, talking(), LEVELS, 8000)
    found = measure_channel(sound + np.float32(offset), talking(), LEVELS, 8000)
    assert pytest.approx(plain.dc_offset + offset, abs=1e-5) == found.dc_offset
    assert pytest.approx(plain.noise_floor_db, abs=0.05) == found.noise_floor_db
    assert pytest.approx(plain.snr_db, abs=0.05) == found.snr_db


def test_the_true_peak_lies_between_the_samples() -> None:
    """A sine whose samples miss its crests: the peak is that of the sine, in every channel its own."""
    sound = (0.5 * np.sin(2 * np.pi * 4000 * np.arange(SECOND) / SECOND + np.pi / 4)).astype(np.float32)
    found = measured(np.stack([sound, 0.5 * sine(440)]), ((), ()))
    assert pytest.approx(0.354, abs=0.001) == np.max(np.abs(sound))
    assert pytest.approx([-6.02, -12.04], abs=0.3) == [one.true_peak_dbtp for one in found.channels]
    assert max(one.true_peak_dbtp for one in found.channels) == found.true_peak_dbtp


def test_each_channel_has_its_own_clipping_and_loudness() -> None:
    """A clipped and a clean channel: the call's ratio is the mean, each channel tells its own."""
    clipped = np.clip(sine(100, 4.0, peak=2.0), -1, 1)
    call = prepared(np.stack([clipped, sine(300, 4.0, peak=0.1)]))
    found = measure(call, ((), ()))
    ratio = float(np.mean(np.abs(clipped) >= 0.98))
    assert ratio > 0.6
    assert [pytest.approx(ratio), 0.0] == [one.clipped_ratio for one in found.channels]
    assert pytest.approx(ratio / 2) == call.clipped_ratio
    assert found.channels[0].loudness_lufs > found.channels[1].loudness_lufs + 10


def test_measured_before_gain() -> None:
    """What is told is the recording, whatever gain it gets for the models."""
    quiet = 0.05 * (talk() + noise(8.0, -35.0))
    call = prepared(quiet)
    assert call.tracks[0].gain > 2
    found = measure(call, (talking(),))
    assert (measure_track(call.tracks[0].recorded, talking(), call.levels[0], SECOND),) == found.channels
    assert pytest.approx(-61.0, abs=0.5) == found.noise_floor_db


# ------------------------------------------------------------------------------------------------- noise and SNR


@pytest.mark.parametrize("dbfs", [-80.0, -50.0, -20.0])
def test_noise_floor_of_known_noise(dbfs: float) -> None:
    """White noise around speech: its level, a little less for the percentile."""
    found = measure_channel(talk() + noise(8.0, dbfs), talking(), LEVELS, SECOND)
    assert pytest.approx(dbfs - 0.3, abs=0.3) == found.noise_floor_db


def test_noise_floor_without_silence_comes_from_all() -> None:
    """Where speech regions fill the channel, the floor is that of the pauses."""
    found = measure_channel(talk() + noise(8.0, -50.0), (Region(0, 8),), LEVELS, SECOND)
    assert pytest.approx(-50.3, abs=0.4) == found.noise_floor_db


@pytest.mark.parametrize("snr_db", [5, 10, 15, 20, 25, 30])
@pytest.mark.parametrize("regions", [talking(), (Region(0, 8),)], ids=["silence outside", "no silence outside"])
def test_snr_of_known_mixtures(snr_db: int, regions: tuple[Region, ...]) -> None:
    """Bursts at known levels in white noise: the SNR of the bursts, also where the noise is known from pauses alone."""
    speech = talk()
    level = active_level_dbfs(speech.astype(np.float64), SECOND)
    found = measure_channel(speech + noise(8.0, level - snr_db), regions, LEVELS, 8000)
    assert pytest.approx(snr_db, abs=1.5) == found.snr_db


@settings(max_examples=20, deadline=None)
@given(gain_db=st.floats(-30, 30))
def test_snr_band_and_silence_do_not_change_with_gain(gain_db: float) -> None:
    """Gain moves the levels, and nothing else."""
    sound = talk() + noise(8.0, -45.0)
    plain = measure_channel(sound, talking(), LEVELS, 8000)
    found = measure_channel(sound * np.float32(10 ** (gain_db / 20)), talking(), LEVELS, 8000)
    assert pytest.approx(plain.snr_db, abs=1e-3) == found.snr_db
    assert pytest.approx(plain.noise_floor_db + gain_db, abs=1e-3) == found.noise_floor_db
    assert (plain.bandwidth_hz, plain.silence_ratio) == (found.bandwidth_hz, found.silence_ratio)


def test_hold_music_is_not_the_noise() -> None:
    """Loud music outside of speech does not count against the speech, whose own pauses are quiet."""
    sound = talk() + noise(8.0, -50.0)
    plain = measure_channel(sound, talking(), LEVELS, SECOND).snr_db
    sound[: int(1.5 * SECOND)] += sine(700, 1.5, peak=0.3)
    sound[-int(1.5 * SECOND) :] += sine(500, 1.5, peak=0.3)
    assert pytest.approx(plain, abs=0.5) == measure_channel(sound, talking(), LEVELS, SECOND).snr_db


def test_clicks_are_not_the_noise() -> None:
    """A few loud clicks outside of speech hardly change the SNR."""
    sound = talk() + noise(8.0, -50.0)
    plain = measure_channel(sound, talking(), LEVELS, SECOND).snr_db
    sound[1000 : SECOND : SECOND // 5] = 0.9
    assert pytest.approx(plain, abs=0.2) == measure_channel(sound, talking(), LEVELS, SECOND).snr_db


def test_digital_silence_around_noisy_speech_is_no_evidence_of_cleanness() -> None:
    """A gate that opens with speech: the SNR is that of what the gate lets through, within some dB."""
    speech = talk()
    noisy = speech + noise(8.0, -30.0)
    open_gate = np.convolve(np.abs(speech) > 0, np.ones(3200))[: speech.size] > 0.5
    noisy[~open_gate] = 0
    found = measure_channel(noisy, talking(), LEVELS, SECOND)
    assert pytest.approx(active_level_dbfs(speech.astype(np.float64), SECOND) + 30, abs=1.5) == found.snr_db
    assert found.noise_floor_db == SILENCE_DBFS


def test_digital_silence_alone_gives_the_highest_snr() -> None:
    """Even sound between digital silence: no noise is to be found, and the SNR is the bound, not infinite."""
    sound = sine(400, 8.0)
    sound[: 2 * SECOND] = sound[-2 * SECOND :] = 0
    assert measure_channel(sound, talking(), LEVELS, SECOND).snr_db == 60.0


def test_clean_speech_between_digital_silence_is_clean() -> None:
    """Speech that fades into digital silence, as synthetic speech does, is not taken for noise."""
    assert measure_channel(talk(), talking(), LEVELS, SECOND).snr_db > 20


def test_no_speech_no_snr_and_no_band() -> None:
    """Noise alone has a floor, and neither SNR nor band."""
    found = measure_channel(noise(3.0, -40.0), (), LEVELS, SECOND)
    assert (found.snr_db, found.bandwidth_hz, found.silence_ratio) == (None, None, 1.0)
    assert pytest.approx(-40.3, abs=0.3) == found.noise_floor_db


def test_nothing_but_speech_no_snr() -> None:
    """An even sound that is all speech, as the detector says, holds no pause: nothing is known of the noise."""
    found = measure_channel(sine(440, 3.0), (Region(0, 3),), LEVELS, SECOND)
    assert found.snr_db is None
    assert pytest.approx(440, abs=100) == found.bandwidth_hz


def test_speech_that_is_no_louder_than_the_noise_has_the_lowest_snr() -> None:
    """Where the detector hears speech and there is no more power than beside it, the SNR is 0 dB."""
    sound = noise(8.0, -40.0)
    sound[2 * SECOND : 6 * SECOND] *= np.float32(0.8)
    found = measure_channel(sound, talking(), LEVELS, SECOND)
    assert (found.snr_db, found.bandwidth_hz) == (0.0, None)


@pytest.mark.parametrize("regions", [(), (Region(0, 2),)], ids=["no speech", "all speech"])
def test_digital_silence(regions: tuple[Region, ...]) -> None:
    """Zeros: bounds and nulls, no infinities."""
    found = measured(np.zeros((1, 2 * SECOND), dtype=np.float32), (regions,))
    (channel,) = found.channels
    assert (channel.noise_floor_db, channel.true_peak_dbtp) == (SILENCE_DBFS, SILENCE_DBFS)
    assert (channel.loudness_lufs, channel.bandwidth_hz) == (None, None)
    assert channel.snr_db in {None, 0.0}
    assert found.dc_offset == 0.0


# ----------------------------------------------------------------------------------------------- band and silence


@pytest.mark.parametrize("high_hz", [2000.0, 3400.0, 5500.0, 7000.0])
@pytest.mark.parametrize("noise_dbfs", [-90.0, -50.0])
def test_band_of_band_limited_speech(high_hz: float, noise_dbfs: float) -> None:
    """Speech that ends at a frequency, in noise that does not."""
    found = measure_channel(talk(8.0, high_hz) + noise(8.0, noise_dbfs), talking(), LEVELS, SECOND)
    assert pytest.approx(high_hz, abs=130) == found.bandwidth_hz


@pytest.mark.parametrize(("rate", "highest_hz"), [(8000, 4000), (11025, 5512.5), (16000, 8000), (48000, 8000)])
def test_band_is_bounded_by_the_recording_and_by_what_models_hear(rate: int, highest_hz: float) -> None:
    """Full-band sound reaches half the sampling rate of the recording, and 8 kHz at most."""
    found = measure_channel(talk(8.0, 8000.0), talking(), LEVELS, rate)
    assert highest_hz == found.bandwidth_hz


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_telephone_band_in_a_wider_file(rate: int) -> None:
    """A telephone call that somebody stored at 16 or 48 kHz is a telephone call."""
    from librosa import resample

    (clip,) = load_clips(sorted(DEMO.rglob("demo-0001.wav")), 20.0)
    stored = resample(clip.samples.astype(np.float32), orig_sr=8000, target_sr=rate)
    found = measured(stored[np.newaxis], ((Region(0, 20),),), rate)
    assert 3400 <= found.bandwidth_hz <= 4000


def test_a_whistle_is_no_band() -> None:
    """A lone line over the band of speech does not widen it."""
    sound = talk() + noise(8.0, -70.0)
    plain = measure_channel(sound, talking(), LEVELS, SECOND).bandwidth_hz
    # It fades in and out with the speech, and so is not in the noise.
    whistle = np.hanning(4 * SECOND) * sine(6000, 4.0, peak=0.01)
    sound[2 * SECOND : 6 * SECOND] += whistle.astype(np.float32)
    assert plain == measure_channel(sound, talking(), LEVELS, SECOND).bandwidth_hz


def test_silence_of_channels_and_of_the_call() -> None:
    """A channel is silent outside of its regions; the call is where all channels are."""
    sound = np.stack([noise(10.0, seed=1), noise(10.0, seed=2)])
    found = measured(sound, ((Region(0, 4),), (Region(3, 6), Region(9, 10))))
    assert [pytest.approx(0.6), pytest.approx(0.6)] == [one.silence_ratio for one in found.channels]
    assert pytest.approx(0.3) == found.silence_ratio


def test_frames_and_regions() -> None:
    """A region covers the frames it touches, also past the end."""
    assert [False, True, True, False, True] == speech_mask((Region(0.02, 0.05), Region(0.08, 9.0)), 5).tolist()
    sound = np.concatenate([sine(1000, 0.02), sine(2000, 0.02, peak=1.0), noise(0.01)])
    powers, offset = frame_powers(track(sound))
    assert pytest.approx([0.125, 0.5], rel=1e-3) == powers
    assert pytest.approx(np.mean(sound), abs=1e-8) == offset


def test_digital_silence_stays_silent_beside_an_offset() -> None:
    """Frames that do not vary have no power, wherever they lie; the others lose the offset."""
    parts = [np.zeros(FRAME), np.full(FRAME, 0.3), sine(1000, 0.02) + 0.1, np.full(FRAME, 0.0)]
    powers, offset = frame_powers(track(np.concatenate(parts)))
    assert pytest.approx(0.1) == offset
    assert pytest.approx([0.0, 0.0, 0.125, 0.0], abs=1e-6) == powers


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(0, 3000), block=st.integers(1, 12), offset=st.sampled_from([0.0, -0.2]))
def test_frames_in_blocks_are_those_of_the_whole(samples: int, block: int, offset: float) -> None:
    """However much is read at a time, powers are the mean squares about the offset, which is the mean of all."""
    sound = noise(1.0, -20.0)[:samples] + np.float32(offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.signals.BLOCK_FRAMES", block)
        powers, found = frame_powers(track(sound))
    wide = sound.astype(np.float64)
    mean = float(np.mean(wide)) if samples else 0.0
    assert pytest.approx(mean, abs=1e-12) == found
    frames = (wide - mean)[: samples // FRAME * FRAME].reshape(-1, FRAME)
    assert pytest.approx(np.mean(frames**2, axis=1), rel=1e-9) == powers


@pytest.mark.parametrize("samples", [0, 1, FRAME - 1, FRAME, 511, 513])
def test_very_short_channels(samples: int) -> None:
    """Shorter than a frame or a spectrum: nothing breaks."""
    found = measure_channel(noise(1.0)[:samples], (Region(0, 1),), LEVELS, SECOND)
    assert (found.noise_floor_db is None) == (samples < FRAME)
    assert found.snr_db is None


# ---------------------------------------------------------------------------------------------------- correlation


def test_correlation_is_that_of_the_file() -> None:
    """Also where one of two channels was not kept; None where there are not two."""
    sound = noise(2.0)
    assert pytest.approx(-1.0) == measured(np.stack([sound, -sound]), ((),)).channel_correlation
    assert measured(np.stack([sound, 0 * sound]), ((),)).channel_correlation is None
    assert measured(sound[np.newaxis], ((),)).channel_correlation is None
    three = np.stack([noise(2.0, seed=seed) for seed in (1, 2, 3)])
    assert measured(three, ((), (), ())).channel_correlation is None


# -------------------------------------------------------------------------------------------------------- the call


def test_the_call_is_as_good_as_its_worst_channel() -> None:
    """Lowest SNR and band of the channels that speak, most noise, peak and offset; None where no channel knows."""
    good = channel_signals()
    bad = channel_signals(
        channel=1, snr_db=8.0, bandwidth_hz=3100.0, noise_floor_db=-30.0, dc_offset=-0.1, true_peak_dbtp=1.0
    )
    mute = channel_signals(channel=2, snr_db=None, bandwidth_hz=None, noise_floor_db=None)
    call = CallSignals((good, bad, mute), 0.1, None)
    assert (8.0, 3100.0, -30.0, -0.1, 1.0) == (
        call.snr_db,
        call.bandwidth_hz,
        call.noise_floor_db,
        call.dc_offset,
        call.true_peak_dbtp,
    )
    alone = CallSignals((mute,), 1.0, None)
    assert (None, None, None) == (alone.snr_db, alone.bandwidth_hz, alone.noise_floor_db)


def finite_channels() -> st.SearchStrategy[Samples]:
    """Any finite samples, up to a quarter of a second, also absurd ones, repeated to a length."""
    values = st.one_of(
        st.floats(-1, 1, width=32), st.floats(allow_nan=False, allow_infinity=False, width=32), st.just(0.0)
    )
    pieces = hnp.arrays(np.float32, st.integers(1, 400), elements=values)
    return st.builds(np.tile, pieces, st.integers(1, 200))


@st.composite
def sounds(draw: st.DrawFn) -> tuple[Samples, tuple[Region, ...]]:
    """A channel and disjoint regions in it."""
    channel = draw(finite_channels())
    length = channel.size / SECOND
    edges = sorted(draw(st.lists(st.floats(0, length), max_size=6)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return channel, tuple(Region(start, end) for start, end in pairs if end > start)


@settings(max_examples=150, deadline=None)
@given(sounds())
def test_finite_and_in_range_for_any_sound(sound: tuple[Samples, tuple[Region, ...]]) -> None:
    """Whatever finite samples come, every measurement is None or in its range."""
    channel, regions = sound
    found = measure_channel(channel, regions, LEVELS, 8000)
    assert np.isfinite(found.dc_offset)
    assert 0 <= found.silence_ratio <= 1
    assert found.noise_floor_db is None or SILENCE_DBFS <= found.noise_floor_db <= HIGHEST_DBFS
    assert found.snr_db is None or 0 <= found.snr_db <= 60
    assert found.bandwidth_hz is None or 0 <= found.bandwidth_hz <= 4000
    share = survey(recording(np.stack([channel, channel[::-1]]))).correlation()
    assert share is None or -1 <= share <= 1


# -------------------------------------------------------------------------------------------------- the benchmark


def test_active_level_leaves_pauses_out() -> None:
    """P.56 of a sine with pauses is that of the sine: as loud as it is, not as often as it is."""
    times = np.arange(20 * SECOND) / SECOND
    tone = 0.5 * np.sin(2 * np.pi * 300 * times)
    assert pytest.approx(-9.03, abs=0.1) == active_level_dbfs(tone, SECOND)
    assert pytest.approx(-9.6, abs=0.6) == active_level_dbfs(np.where(times % 10 < 4, tone, 0), SECOND)
    tone[:1600] *= 2
    assert pytest.approx(-9.0, abs=0.1) == active_level_dbfs(tone, SECOND), "a short loud sound is not the speech"
    with pytest.raises(ValueError, match="no speech"):
        active_level_dbfs(np.zeros(SECOND), SECOND)


def test_frames_agree_with_p56() -> None:
    """On clean speech, the level from frames is that of the standard's envelope, within half a dB."""
    (clip,) = load_clips(sorted(DEMO.rglob("demo-0001.wav")), 20.0)
    powers, _ = frame_powers(track(clip.samples.repeat(2).astype(np.float32)))
    inside = np.ones(powers.size, dtype=bool)
    level = 10 * np.log10(active_speech(powers, inside, noise_power(powers, inside) or 0.0).power)
    assert pytest.approx(clip.level_dbfs, abs=0.5) == level


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Twelve seconds of two recordings."""
    files = [path for name in ("demo-0001.wav", "demo-0003.mp3") for path in DEMO.rglob(name)]
    return load_clips(files, 12.0)


def test_noises_are_of_one_power(clips: list[Clip]) -> None:
    """Every noise has the clip's length, no offset and a mean power of 1."""
    found = dict(noises(clips, 0, np.random.default_rng(1)))
    assert ["white", "pink", "hum", "babble"] == list(found)
    for sound in found.values():
        assert clips[0].samples.shape == sound.shape
        assert pytest.approx((0, 1), abs=1e-9) == (np.mean(sound), np.mean(sound**2))


def test_mixtures_of_real_speech(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    """Real speech, found by the real detector: within 2 dB at 10 and 20 dB, for noises that do not change."""
    monkeypatch.setattr("evaluation.benchmarks.snr.SNRS_DB", (10, 20))
    found = list(estimates(clips, load_settings()))
    assert 2 * 4 * 2 == len(found)
    assert all(abs(one.error_db) <= 2 for one in found if one.kind != "babble")
    assert "2 channels, 24 s, 16 mixtures" in markdown(found, clips)


def test_table_without_an_estimate() -> None:
    """Mixtures in which no speech was heard are counted, and no error is made of them."""
    found: Iterator[Estimate] = (Estimate("white", snr_db, None, 1.0, 0.0) for snr_db in range(0, 31, 5))
    text = markdown(list(found), [Clip("a", np.zeros(8000), -20.0)])
    assert "| white | mean | n/a |" in text
    assert "in 7 of which no speech was heard" in text
