"""Loudness and true peak, block by block: what the standard's test signals give, and what the whole sound gives."""

import math
from collections.abc import Sequence

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly
from sounds import SECOND, demo, noise, silence, sine, track

from tasks.audio import gain_db
from tasks.loudness import MARGIN, PIECE, STEP, LoudnessMeter, Powers, integrated_loudness, true_peak_dbtp
from tasks.records import Samples
from tasks.setting_groups import AudioSettings


def powers(samples: Samples, cuts: Sequence[int] = ()) -> Powers:
    """What a meter says of a channel that it is given in pieces."""
    meter = LoudnessMeter()
    for piece in np.split(samples.astype(np.float32), sorted(cuts)):
        meter.add(piece)
    return meter.block_powers()


def loudness(*channels: Samples) -> float | None:
    """The loudness of channels that sound together."""
    return integrated_loudness([powers(channel) for channel in channels])


def gain_of(sound: Samples, audio: AudioSettings) -> float:
    """The gain that a sound would get."""
    return gain_db(loudness(sound), true_peak_dbtp(track(sound)), audio)


# ------------------------------------------------------------------------------------------------------ loudness


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
        ([1.0, 1.0, 1.0, 1.0], -19.99),
        ([1.0] * 8, -16.98),
    ],
)
def test_loudness_of_a_known_signal(channels: list[float], lufs: float) -> None:
    """EBU Tech 3341, case 1: a 997 Hz sine that peaks at -23 dBFS on two channels measures -23.0 LUFS."""
    tone = sine(997, 20.0, 10 ** (-23 / 20))
    assert pytest.approx(lufs, abs=0.1) == loudness(*(gain * tone for gain in channels))


def test_the_gate_keeps_pauses_out() -> None:
    """EBU Tech 3341, case 3: quiet stretches before and after the tone do not lower its loudness."""
    quiet, loud = sine(997, 10.0, 10 ** (-36 / 20)), sine(997, 60.0, 10 ** (-23 / 20))
    tone = np.concatenate([quiet, loud, quiet])
    assert pytest.approx(-23.0, abs=0.1) == loudness(tone, tone)


@pytest.fixture(scope="module")
def speech() -> dict[str, tuple[Samples, ...]]:
    """Channels of the demo's calls: one alone, one noisy, two that talk by turns; whole tenths of a second of them."""
    calls = {name: demo(path) for name, path in _CALLS.items()}
    return {name: tuple(one.recorded.read(0, 38 * SECOND) for one in call.tracks) for name, call in calls.items()}


_CALLS = {"mono": "05/demo-0001.wav", "noisy": "13/demo-0005.flac", "stereo": "14/demo-0008.flac"}
_SOUNDS = {
    "noise": (noise(1, 5.0, 0.05),),
    "faint noise": (noise(2, 5.0, 0.0004),),
    "tone": (sine(440, 3.0, 0.3),),
    "low tone": (sine(60, 3.0, 0.3),),
    "stereo tones": (sine(440, 3.0, 0.3), sine(3000, 3.0, 0.02)),
    "noise and a pause": (np.concatenate([noise(3, 2.0), silence(3.0), noise(4, 1.0, 0.3)]),),
    "one gating block": (noise(5, 0.4),),
}


@pytest.mark.parametrize("name", [*_SOUNDS, *_CALLS])
@pytest.mark.parametrize("gain_db", [-30.0, 0.0])
def test_loudness_is_pyloudnorms(speech: dict[str, tuple[Samples, ...]], name: str, gain_db: float) -> None:
    """The meter that works on the whole sound says the same, of one channel and of two that sound together."""
    channels = [10 ** (gain_db / 20) * channel for channel in (_SOUNDS | speech)[name]]
    whole = pyloudnorm.Meter(SECOND).integrated_loudness(np.stack(channels, axis=1).astype(np.float64))
    found = loudness(*channels)
    assert (pytest.approx(whole, abs=0.02) if math.isfinite(whole) else None) == found


@given(
    tenths=st.integers(4, 30),
    # pyloudnorm rounds up a last block that is more than half there; the standard leaves it out.
    rest=st.integers(0, STEP // 2 - 1),
    bursts=st.lists(st.tuples(st.floats(-60, 0), st.integers(1, 20_000)), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 50_000), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_loudness_of_any_bursts(tenths: int, rest: int, bursts: list[tuple[float, int]], cuts: list[int]) -> None:
    """Noise that changes its level anywhere, cut into blocks anywhere, also into empty ones."""
    levels = np.repeat([10 ** (level_db / 20) for level_db, _ in bursts], [length for _, length in bursts])
    sound = noise(7, 6.0, 0.2)[: tenths * STEP + rest] * np.resize(levels, tenths * STEP + rest).astype(np.float32)
    whole = pyloudnorm.Meter(SECOND).integrated_loudness(sound.astype(np.float64))
    found = powers(sound, cuts)
    assert np.allclose(powers(sound), found, rtol=1e-9, atol=0)
    assert tenths - 3 == len(found)
    assert (pytest.approx(whole, abs=0.02) if math.isfinite(whole) else None) == integrated_loudness([found])


@pytest.mark.parametrize(
    "channels",
    [
        (silence(2.0),),
        (silence(2.0), silence(2.0)),
        (sine(440, 0.399),),
        (sine(440, 0.0),),
        (sine(440, 2.0, peak=1e-4),),
        (noise()[:1],),
    ],
    ids=["silence", "stereo silence", "under 0.4 s", "nothing", "under the gate", "one sample"],
)
def test_what_cannot_be_measured_has_no_loudness(channels: tuple[Samples, ...]) -> None:
    """Undefined is None, not a number that stands for it, and then nothing is amplified."""
    assert loudness(*channels) is None
    assert 0.0 == gain_of(channels[0], AudioSettings())


def test_an_hour_of_digital_silence_after_a_word() -> None:
    """Silence neither counts nor makes the meter's memory run dry: the word is as loud as without it."""
    word = noise(1, 1.0)
    meter = LoudnessMeter()
    meter.add(word)
    for _ in range(60):
        meter.add(silence(60.0))
    assert pytest.approx(loudness(np.concatenate([word, silence(1.0)]))) == integrated_loudness([meter.block_powers()])
    assert np.all(meter.block_powers() > 0), "no number is so small that it is counted slowly"


# ----------------------------------------------------------------------------------------------------- true peak


def oversampled_dbtp(sound: Samples) -> float:
    """The highest magnitude of the whole sound, four times oversampled."""
    peak = float(np.max(np.abs(resample_poly(sound, 4, 1)), initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


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
    assert dbtp - 0.4 <= true_peak_dbtp(track(faded)) <= dbtp + 0.2


def test_silence_has_no_true_peak() -> None:
    """The peak of silence is minus infinity."""
    assert -math.inf == true_peak_dbtp(track(silence())) == true_peak_dbtp(track(silence(0.0)))


@st.composite
def peaky_sounds(draw: st.DrawFn) -> Samples:
    """Noise of some colour, impulses, tones that alternate, and silence, in any order, up to some thousand samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    parts = [np.zeros(0)]
    for kind in draw(
        st.lists(st.sampled_from(["noise", "smooth", "impulse", "tone", "alternating", "none"]), max_size=5)
    ):
        length = draw(st.integers(1, 2500))
        time = np.arange(length)
        made = {
            "noise": rng.standard_normal(length),
            "smooth": np.convolve(rng.standard_normal(length), np.hanning(9), mode="same")[:length],
            "impulse": 4.0 * (time == rng.integers(length)),
            "tone": np.sin(rng.uniform(0, np.pi) * time + rng.uniform(0, 6)),
            "alternating": np.where(time % 2, -1.0, 1.0) * rng.choice([-1.0, 1.0], length, p=[0.05, 0.95]),
            "none": np.zeros(length),
        }[kind]
        parts.append(draw(st.floats(1e-4, 1.0)) * made)
    return np.concatenate(parts).astype(np.float32)


@given(sound=peaky_sounds(), piece=st.sampled_from([MARGIN, 40, 64, PIECE]))
@settings(max_examples=150, deadline=None)
def test_the_true_peak_is_that_of_the_whole(sound: Samples, piece: int) -> None:
    """Pieces that are passed over hold no higher peak, and no cut makes one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.loudness.PIECE", piece)
        assert pytest.approx(oversampled_dbtp(sound), abs=0.001) == true_peak_dbtp(track(sound))


@pytest.mark.parametrize("offset", [-MARGIN, -12, -11, -10, -2, -1, 0, 1, 2, 10, 11, 12, MARGIN])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, -1, 0.8, -0.6, 0.4, -0.2)], ids=["one", "two", "fading"])
def test_blocks_leave_no_mark_on_the_true_peak(
    offset: int, shape: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the border of two blocks, a sample is what it is, and so are more, that peak between them or before them."""
    monkeypatch.setattr("tasks.loudness.PIECE", MARGIN)
    border = 600 * MARGIN
    sound = np.zeros(2 * border + 100, dtype=np.float32)
    sound[border + offset : border + offset + len(shape)] = 0.5 * np.array(shape)
    assert pytest.approx(oversampled_dbtp(sound), abs=0.001) == true_peak_dbtp(track(sound))


def test_a_lone_peak_between_the_samples_of_a_long_sound() -> None:
    """Ten minutes with a click at -6 dBFS, and a soft burst, all of whose samples are lower, that peaks higher."""
    sound = noise(1, 600.0, 0.01)
    sound[3 * SECOND] = 0.5
    burst = sine(SECOND / 4, 0.05, 0.65, phase=math.pi / 4) * np.hanning(800).astype(np.float32)
    # Over the border of two blocks.
    sound[600 * PIECE - 400 : 600 * PIECE + 400] += burst
    assert np.max(np.abs(burst)) < 0.47
    found = true_peak_dbtp(track(sound))
    assert pytest.approx(oversampled_dbtp(sound), abs=0.001) == found
    assert pytest.approx(20 * math.log10(0.65), abs=0.3) == found


# ---------------------------------------------------------------------------------------------------------- gain


@pytest.mark.parametrize("level_db", [-50.0, -35.0, -23.0, -12.0])
def test_the_gain_reaches_the_target(level_db: float) -> None:
    """Sound that is not peaky ends at the target loudness, from below and from above."""
    sound = sine(997, 3.0, 10 ** (level_db / 20))
    gain = gain_of(sound, AudioSettings())
    assert pytest.approx(-23.0, abs=0.05) == loudness(10 ** (gain / 20) * sound)


@pytest.mark.parametrize(("max_gain_db", "gain"), [(0.0, 0.0), (6.0, 6.0), (40.0, 30.08)])
def test_the_gain_has_a_limit(max_gain_db: float, gain: float) -> None:
    """No more gain than `max_gain_db` is applied."""
    sound = sine(997, 3.0, 10 ** (-50 / 20))
    assert pytest.approx(gain, abs=0.1) == gain_of(sound, AudioSettings(max_gain_db=max_gain_db))


@given(clicks=st.integers(1, 20), level_db=st.floats(-60, 0), ceiling=st.sampled_from([-1.0, -3.0, -9.0]))
@settings(max_examples=25, deadline=None)
def test_the_true_peak_stays_under_the_ceiling(clicks: int, level_db: float, ceiling: float) -> None:
    """Quiet speech with loud clicks is amplified only as far as the clicks allow."""
    sound = noise(clicks, 1.0, 10 ** (level_db / 20))
    sound[:: SECOND // clicks] = 0.9
    gain = gain_of(sound, AudioSettings(true_peak_dbtp=ceiling))
    assert true_peak_dbtp(track((10 ** (gain / 20) * sound).astype(np.float32))) <= ceiling + 0.01
