"""Noise reduction: what it does to the sound, and the evidence by which the recogniser takes it or leaves it."""

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from builders import region, segment, word
from hypothesis import given
from hypothesis import strategies as st
from sounds import SECOND, noise, scratch, silence, sine, track

from tasks.denoise import HeardChannel, choose, is_better, is_candidate, reduce_noise, score
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.records import DenoiseTrial, ProbeScore, Region, Samples, Segment
from tasks.setting_groups import AudioSettings
from tasks.tracks import Track

# ------------------------------------------------------------------------------------------------------ the sound

SPEECH = (region(2, 4), region(6, 8))


def noisy(seconds: float = 10.0, level: float = 0.03) -> Samples:
    """Something like two stretches of speech in white noise."""
    time = np.arange(round(seconds * SECOND)) / SECOND
    spoken = np.zeros(len(time))
    for one in SPEECH:
        spoken[(time >= one.start) & (time < one.end)] = 1
    # As broad as speech, and louder and softer four times a second.
    voice = np.convolve(noise(2, seconds, 0.3), np.hanning(8) / 4, mode="same")
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)
    return (spoken * syllables * voice + noise(1, seconds, level)).astype(np.float32)


def reduced(sound: Track, regions: tuple[Region, ...] = SPEECH, **settings: object) -> Track:
    """The sound with noise reduced."""
    return reduce_noise(sound, regions, scratch() / "denoised", AudioSettings(**settings))


def level_db(samples: Samples, start_s: float, end_s: float) -> float:
    """The mean level of a stretch."""
    return 10 * math.log10(np.mean(np.square(samples[round(start_s * SECOND) : round(end_s * SECOND)])))


@pytest.mark.parametrize("piece_s", [3, 300])
def test_noise_goes_and_speech_stays(piece_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of speech there is at least 6 dB less, also in the first and last second; speech loses 3 dB at most."""
    monkeypatch.setattr("tasks.denoise.PIECE", piece_s * SECOND)
    before = noisy()
    found = reduced(track(before)).recorded.read()
    for start_s, end_s in ((0, 1), (0.5, 1.5), (4.5, 5.5), (8.5, 9.5), (9, 10)):
        assert level_db(found, start_s, end_s) < level_db(before, start_s, end_s) - 6
    for one in SPEECH:
        assert abs(level_db(found, one.start, one.end) - level_db(before, one.start, one.end)) < 3


def test_the_noise_is_what_nobody_says() -> None:
    """A steady tone that is speech stays; the same tone, when nobody is said to speak, is noise."""
    sound = track(np.concatenate([noise(1, 2.0, 0.01), sine(1000, 2.0, 0.1) + noise(2, 2.0, 0.01)]))
    as_speech = reduced(sound, (region(2, 4),)).recorded.read()
    as_noise = reduced(sound, ()).recorded.read()
    assert level_db(as_speech, 2.5, 3.5) > level_db(as_noise, 2.5, 3.5) + 3


@pytest.mark.parametrize("samples", [0, 1, 500, 1023, 1024, 5000, SECOND + 1])
@pytest.mark.parametrize("regions", [(), (region(0, 1),)], ids=["no speech", "speech"])
def test_length_and_format_are_kept(samples: int, regions: tuple[Region, ...]) -> None:
    """However short: as many samples, finite, and a file of them alone."""
    found = reduced(track(noise(1, 2.0)[:samples]), regions)
    assert (samples, 4 * samples) == (found.samples, found.path.stat().st_size)
    assert (np.float32, samples) == (found.read().dtype, len(found.read()))
    assert np.isfinite(found.read()).all()


@pytest.mark.parametrize("rest", [0, 1, 500, 1600])
def test_pieces_are_the_whole(rest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound of many pieces is as long as before, also where the last piece is a sample or half a window."""
    monkeypatch.setattr("tasks.denoise.PIECE", SECOND)
    found = reduced(track(noisy()[: 3 * SECOND + rest]))
    assert 3 * SECOND + rest == found.samples == len(found.read())
    assert np.abs(found.read()).max() > 0


@pytest.mark.parametrize("piece_s", [2.0, 3.3])
def test_pieces_leave_no_mark(piece_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pieces meet, in speech or out of it, sound jumps no more than elsewhere, and differs little from before."""
    sound = track(noisy(level=0.01))
    whole = reduced(sound).recorded.read()
    monkeypatch.setattr("tasks.denoise.PIECE", round(piece_s * SECOND))
    found = reduced(sound).recorded.read()
    for border in range(round(piece_s * SECOND), len(found), round(piece_s * SECOND)):
        around = np.abs(np.diff(found[border - 800 : border + 800]))
        assert np.abs(found[border] - found[border - 1]) <= np.quantile(around, 0.999)
        # A step would be heard at all frequencies: the second difference tells it from the sound itself.
        bend = np.abs(np.diff(found[border - 800 : border + 800], 2))
        assert bend[798:801].max() <= 1.5 * np.quantile(bend, 0.99)
    assert np.sqrt(np.mean(np.square(found - whole))) < 0.05 * np.sqrt(np.mean(np.square(whole)))


def test_silence_stays_silence() -> None:
    """Of nothing there is nothing less, and no gain to make it something."""
    found = reduced(track(silence(3.0)), ())
    assert (1.0, 3 * SECOND) == (found.gain, found.samples)
    assert not found.read().any()


def test_the_same_sound_gives_the_same() -> None:
    """Nothing in it is left to chance."""
    sound = track(noisy())
    assert np.array_equal(reduced(sound).read(), reduced(sound).read())


def test_the_recording_stays_as_it_is() -> None:
    """The track is only read, as it was recorded: its gain is no part of what is reduced."""
    sound = track(noisy())
    before = hashlib.sha256(sound.path.read_bytes()).digest()
    found = reduced(sound)
    assert before == hashlib.sha256(sound.path.read_bytes()).digest()
    louder = Track(sound.path, sound.samples, 5.0)
    assert np.array_equal(found.recorded.read(), reduced(louder).recorded.read())
    assert found.gain == reduced(louder).gain


def test_the_reduced_sound_has_the_target_loudness() -> None:
    """What noise took of the loudness comes back, under the ceiling of the true peak."""
    sound = track(0.2 * noisy())
    found = reduced(sound, loudness_lufs=-25.0)
    meter = LoudnessMeter()
    meter.add(found.read())
    assert pytest.approx(-25.0, abs=0.05) == integrated_loudness([meter.block_powers()])
    bounded = reduced(sound, loudness_lufs=-5.0, true_peak_dbtp=-12.0)
    assert pytest.approx(-12.0, abs=0.05) == true_peak_dbtp(track(bounded.read()))


# --------------------------------------------------------------------------------------------------- the evidence


@pytest.mark.parametrize(
    ("denoise", "snr_db", "candidate"),
    [
        ("off", 3.0, False),
        ("always", 50.0, True),
        ("always", None, True),
        ("auto", 3.0, True),
        ("auto", 9.99, True),
        ("auto", 10.0, False),
        ("auto", None, False),
    ],
)
def test_which_channels_are_a_question(denoise: str, snr_db: float | None, candidate: bool) -> None:
    """With `auto`, those that are known to be noisy."""
    assert candidate == is_candidate(snr_db, AudioSettings(denoise=denoise, denoise_below_snr_db=10.0))


@pytest.mark.parametrize(
    ("denoised", "recorded", "better"),
    [
        ((-0.30, 0.9), (-0.41, 0.9), True),
        ((-0.32, 0.9), (-0.41, 0.9), False),
        ((-0.41, 0.9), (-0.30, 0.9), False),
        ((-0.30, 0.89), (-0.41, 0.9), True),
        ((-0.30, 0.87), (-0.41, 0.9), False),
        ((-0.30, 1.0), (-0.41, 0.2), True),
        ((-0.69, 0.9), (-1.50, 0.9), True),
        ((-0.71, 0.9), (-1.50, 0.9), False),
        ((None, 0.0), (-0.90, 0.1), False),
        ((-0.50, 0.1), (None, 0.0), True),
        ((-0.80, 0.1), (None, 0.0), False),
        ((None, 0.0), (None, 0.0), False),
    ],
    ids=[
        "surer", "hardly surer", "less sure", "surer, a word less", "surer, as it hears less", "surer of more",
        "just sure enough", "surer, and still guessing", "hears nothing", "hears something", "guesses at something",
        "neither hears a thing",
    ],
)  # fmt: skip
def test_when_the_reduced_sound_is_better(
    denoised: tuple[float | None, float], recorded: tuple[float | None, float], better: bool
) -> None:
    """It must be clearly surer of what it hears, not guess, and hear no less; else the recording stands."""
    assert better == is_better(ProbeScore(*denoised), ProbeScore(*recorded))


scores = st.builds(ProbeScore, st.none() | st.floats(-3, 0), st.floats(0, 1))


@given(first=scores, second=scores)
def test_only_one_can_be_better(first: ProbeScore, second: ProbeScore) -> None:
    """No sound is better than itself, and of two at most one is the better."""
    assert not is_better(first, first)
    assert not (is_better(first, second) and is_better(second, first))


def test_the_score_of_a_stretch() -> None:
    """Words count alike, however they are grouped; coverage is the share of speech that has words near."""
    speech = (region(0, 10), region(20, 30))
    long = segment(*(word("a", start, start + 1) for start in range(10)), avg_logprob=-0.2)
    short = segment(word("b", 25, 26), word("c", 26, 27), avg_logprob=-0.8)
    found = score([long, short], speech)
    assert pytest.approx((10 * -0.2 + 2 * -0.8) / 12) == found.avg_logprob
    assert pytest.approx(14 / 20) == found.coverage, "from 24 to 28 in the second region"
    assert ProbeScore(None, 0.0) == score([], speech)
    assert ProbeScore(None, 1.0) == score([], ())


# ------------------------------------------------------------------------------------------------- the two ways


@dataclass
class Listener:
    """Stands in for a recogniser: hears a word in each region, and is as sure of it as it is told for the track."""

    sure: dict[Path, float]
    heard: list[tuple[str, tuple[Region, ...], int, str | None]] = field(default_factory=list)

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """One segment for each region."""
        self.heard.append((track.path.name, regions, channel, language))
        words = [word(track.path.name, one.start, one.end) for one in regions]
        return [segment(one, channel=channel, avg_logprob=self.sure[track.path]) for one in words]


RECORDED, DENOISED = Track(Path("recorded"), 100 * SECOND), Track(Path("denoised"), 100 * SECOND)
REGIONS = (region(0, 10), region(20, 30), region(40, 50))


def heard(
    gain: float, regions: tuple[Region, ...] = REGIONS, denoised: Track | None = DENOISED, **settings: object
) -> tuple[str, DenoiseTrial | None, list[tuple[str, tuple[Region, ...]]]]:
    """What is taken, on what evidence, and what was listened to, where the reduced sound is surer by so much."""
    listener = Listener({Path("recorded"): -0.5, Path("denoised"): -0.5 + gain})
    channel = HeardChannel(RECORDED, denoised, regions, 1, 2, 4.5)
    track, trial = choose(listener, channel, "de", AudioSettings(**settings))
    assert {(1, "de")} >= {(channel, language) for _, _, channel, language in listener.heard}
    return (
        track.path.name,
        trial,
        [(name, regions) for name, regions, _, _ in listener.heard],
    )


@pytest.mark.parametrize("denoise", ["off", "auto", "always"])
def test_without_reduced_sound_there_is_no_question(denoise: str) -> None:
    """What is no candidate is heard as it was recorded."""
    assert ("recorded", None, []) == heard(9.0, denoised=None, denoise=denoise)


def test_always_asks_nobody() -> None:
    """The reduced sound is taken, however unsure the recogniser is of it."""
    assert ("denoised", None, []) == heard(-9.0, denoise="always")


@pytest.mark.parametrize(("gain", "taken"), [(0.2, "denoised"), (0.01, "recorded"), (-0.2, "recorded")])
def test_a_probe_decides_for_the_call(gain: float, taken: str) -> None:
    """The first seconds of speech are heard both ways, and the better one is taken."""
    probe = (region(0, 10), region(20, 25))
    found, trial, listened = heard(gain, denoise="auto", denoise_probe_s=15.0)
    assert (taken, [("recorded", probe), ("denoised", probe)]) == (found, listened)
    recorded, denoised = ProbeScore(-0.5, 1.0), ProbeScore(pytest.approx(-0.5 + gain), 1.0)
    assert DenoiseTrial(2, 4.5, 15.0, recorded, denoised, taken == "denoised") == trial


@pytest.mark.parametrize("probe_s", [30.0, 60.0, 0.0])
@pytest.mark.parametrize(("gain", "taken"), [(0.2, "denoised"), (0.01, "recorded")])
def test_a_probe_of_all(probe_s: float, gain: float, taken: str) -> None:
    """The probe may be the whole call."""
    found, trial, listened = heard(gain, denoise="auto", denoise_probe_s=probe_s)
    assert (taken, [("recorded", REGIONS), ("denoised", REGIONS)]) == (found, listened)
    assert (30.0, taken == "denoised") == (trial.probe_s, trial.applied)


def test_nobody_speaks_nobody_listens() -> None:
    """A channel without speech is no trial."""
    found = choose(Listener({RECORDED.path: 0.0}), HeardChannel(RECORDED, DENOISED, (), 0, 0, None), None,
                   AudioSettings(denoise="auto"))  # fmt: skip
    assert (RECORDED, None) == found
