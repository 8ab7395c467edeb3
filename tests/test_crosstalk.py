"""Crosstalk: an echo is found with its level and delay, and nobody's own words are taken for one."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from builders import region
from hypothesis import given
from hypothesis import strategies as st
from sounds import ARCHIVE, SECOND, noise, silence, sine, track

from tasks import crosstalk
from tasks.crosstalk import (
    ECHO,
    LEAST_LEFT_S,
    NEITHER,
    OWN,
    Crosstalk,
    find_crosstalk,
    frame_kinds,
    without,
)
from tasks.records import Region, Samples
from tasks.vad import total_s

REFERENCES = Path("evaluation/sets/demo/references")
AGENT, CUSTOMER = 0, 1

# ------------------------------------------------------------------------------------------------------- sounds


@cache
def call(name: str = "14/demo-0008.flac") -> Samples:
    """A demo call, `[channel, sample]` at 16 kHz: two synthetic voices on the telephone."""
    samples, rate = soundfile.read(ARCHIVE / name, dtype="float32")
    return np.stack([soxr.resample(channel, rate, SECOND) for channel in samples.T]).astype(np.float32)


@cache
def turns(channel: int, name: str = "demo-0008") -> tuple[Region, ...]:
    """Where a channel's own speaker speaks."""
    rows = [line.split() for line in (REFERENCES / f"{name}.rttm").read_text().splitlines()]
    return tuple(region(float(row[3]), float(row[3]) + float(row[4])) for row in rows if row[2] == str(channel + 1))


def padded(*stretches: Region, seconds: float = 60.0) -> tuple[Region, ...]:
    """Speech regions as the detector has them: half a second on each side, one where they meet."""
    found: list[Region] = []
    for one in sorted(stretches):
        start, end = max(one.start - 0.5, 0.0), min(one.end + 0.5, seconds)
        if found and start <= found[-1].end:
            start, end = found[-1].start, max(found.pop().end, end)
        found.append(region(start, end))
    return tuple(found)


def leaked(samples: Samples, level_db: float, delay_ms: float) -> Samples:
    """A sound as it comes through a line that lets 300 to 3000 Hz through, weaker and later (or earlier)."""
    from scipy.signal import firwin, oaconvolve

    taps = firwin(101, [300, 3000], pass_zero=False, fs=SECOND)
    passed = oaconvolve(samples, taps)[50 : 50 + len(samples)]
    shift = round(delay_ms * SECOND / 1000)
    late = np.roll(passed, shift)
    late[slice(shift) if shift > 0 else slice(len(late) + shift, None)] = 0
    factor = 10 ** (level_db / 20) * np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(late)))
    echo: Samples = (factor * late).astype(np.float32)
    return echo


def voice(seed: int, seconds: float, speaking: tuple[Region, ...], level: float = 0.1) -> Samples:
    """Something like speech: hummed noise in syllables of a fifth of a second, over a faint noise of its own."""
    from scipy.signal import lfilter

    hummed = lfilter([1.0], [1.0, -1.2, 0.5], noise(seed, seconds, 1.0))
    syllables = np.repeat(np.random.default_rng(seed).uniform(0.1, 1.0, round(seconds * 5) + 1), SECOND // 5)
    times = np.arange(len(hummed)) / SECOND
    on = np.any([(times >= one.start) & (times < one.end) for one in speaking], axis=0)
    fade = np.convolve(on * syllables[: len(on)], np.hanning(400) / np.hanning(400).sum(), mode="same")
    spoken: Samples = (level * hummed * fade / hummed.std()).astype(np.float32)
    return spoken + noise(seed + 100, seconds, 1e-4)


def shared_s(regions: tuple[Region, ...], others: tuple[Region, ...]) -> float:
    """Seconds that are in both."""
    return sum(max(0.0, min(a.end, b.end) - max(a.start, b.start)) for a in regions for b in others)


def less(regions: tuple[Region, ...], others: tuple[Region, ...], guard_s: float) -> tuple[Region, ...]:
    """Regions less others with a guard around them."""
    return without(regions, told(*(region(one.start - guard_s, one.end + guard_s) for one in others)))


def told(*stretches: Region) -> Crosstalk:
    """Crosstalk in these stretches."""
    return Crosstalk(-20.0, 10.0, 0, stretches)


def found_in_customer(sound: Samples, agent: Samples) -> Crosstalk | None:
    """What is found in the customer's channel of a call whose agent never hears an echo."""
    speaking = padded(*turns(AGENT), *turns(CUSTOMER))
    found = find_crosstalk([track(agent), track(sound)], [padded(*turns(AGENT)), speaking])
    assert found[AGENT] is None
    return found[CUSTOMER]


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("level_db", [-10, -20, -30])
@pytest.mark.parametrize("delay_ms", [-15.0, 0.0, 40.0, 250.0])
def test_an_echo_is_found_with_its_level_and_delay(level_db: float, delay_ms: float) -> None:
    """The agent leaks into the customer's channel: that is found, and no word of the customer is lost."""
    agent, customer = call()
    found = found_in_customer(customer + leaked(agent, level_db, delay_ms), agent)
    assert found is not None
    assert found.source == AGENT
    # The demo's own echo, at -45 dB and without delay, adds up to 1.5 dB.
    assert pytest.approx(level_db, abs=1.6) == found.level_db
    assert pytest.approx(delay_ms, abs=0.5) == found.delay_ms
    bleed = less(turns(AGENT), turns(CUSTOMER), 0.4)
    assert shared_s(found.regions, bleed) > 0.9 * total_s(bleed)
    assert shared_s(found.regions, turns(CUSTOMER)) == 0
    assert pytest.approx(total_s(found.regions)) == found.seconds


def test_the_stretches_are_ordered_and_lie_in_speech() -> None:
    """Each stretch is inside of a speech region of its channel, to the last digit."""
    agent, customer = call()
    speaking = padded(*turns(AGENT), *turns(CUSTOMER))
    odd = tuple(region(one.start + 0.0037, one.end - 0.0041) for one in speaking)
    sounds = [track(agent), track(customer + leaked(agent, -15, 25.0))]
    found = find_crosstalk(sounds, [speaking, odd])[CUSTOMER]
    assert found is not None
    assert all(any(one.start <= part.start < part.end <= one.end for one in odd) for part in found.regions)
    assert all(before.end <= after.start for before, after in pairwise(found.regions))


def test_each_side_hears_the_other() -> None:
    """Echo both ways: each channel has its own, and none loses words."""
    agent, customer = call()
    sounds = [track(agent + leaked(customer, -12, 30.0)), track(customer + leaked(agent, -18, 90.0))]
    found = find_crosstalk(sounds, [padded(*turns(AGENT), *turns(CUSTOMER))] * 2)
    for index, level_db, delay_ms in ((AGENT, -12, 30.0), (CUSTOMER, -18, 90.0)):
        one = found[index]
        assert one is not None
        assert 1 - index == one.source
        assert pytest.approx(delay_ms, abs=0.5) == one.delay_ms
        assert pytest.approx(level_db, abs=1.0) == one.level_db
        assert shared_s(one.regions, turns(index)) == 0


def test_gains_do_not_matter() -> None:
    """The level is that between the recorded channels, whatever was done to them for the models."""
    agent, customer = call()
    mixed = customer + leaked(agent, -20, 40.0)
    regions = [padded(*turns(AGENT)), padded(*turns(AGENT), *turns(CUSTOMER))]
    plain = find_crosstalk([track(agent), track(mixed)], regions)
    assert plain == find_crosstalk([track(agent, 0.5), track(mixed, 60.0)], regions)


@pytest.mark.parametrize("own_db", [0, -10])
def test_double_talk_is_kept(own_db: int) -> None:
    """The customer speaks all the time over the agent's echo, louder and as loud: nothing of that may go."""
    agent, customer = call()
    steps = round(9.7 * SECOND)
    late = 10 ** (own_db / 20) * np.roll(customer, steps)
    own = tuple(region(one.start + 9.7, one.end + 9.7) for one in turns(CUSTOMER) if one.end < 50)
    mixed = late + leaked(agent, -10, 60.0)
    found = find_crosstalk([track(agent), track(mixed)], [padded(*turns(AGENT)), padded(*turns(AGENT), *own)])[CUSTOMER]
    assert found is not None
    over = less(own, less(own, turns(AGENT), 0.0), 0.0)
    assert total_s(over) > 3
    assert shared_s(found.regions, own) == 0


def test_a_delay_that_jumps_is_followed() -> None:
    """A jitter buffer adds 10 ms in the middle of the call."""
    agent, customer = call()
    before, after = leaked(agent, -15, 140.0), leaked(agent, -15, 150.0)
    half = len(agent) // 2
    found = found_in_customer(customer + np.concatenate([before[:half], after[half:]]), agent)
    assert found is not None
    bleed = less(turns(AGENT), turns(CUSTOMER), 0.4)
    assert shared_s(found.regions, bleed) > 0.8 * total_s(bleed)
    assert shared_s(found.regions, turns(CUSTOMER)) == 0


def test_the_source_is_told() -> None:
    """Of three channels the third hears the second."""
    agent, customer = call()
    third = np.roll(call("06/demo-0002.wav")[0], 5 * SECOND)
    third = np.pad(third, (0, len(agent) - len(third))) + leaked(customer, -18, 70.0)
    found = find_crosstalk(
        [track(agent), track(customer), track(third)],
        [padded(*turns(AGENT)), padded(*turns(CUSTOMER)), (region(0.0, 60.0),)],
    )
    assert (None, None) == found[:2]
    assert found[2] is not None
    assert found[2].source == CUSTOMER


@pytest.mark.parametrize(("damage_db", "own_db", "kept"), [(-20, -6, True), (-8, 2, True), (-8, -6, False)])
def test_a_voice_over_the_echo_leaves_more_than_usual(damage_db: float, own_db: float, kept: bool) -> None:
    """A fifth of a second of an own voice, over an echo of which a line or codec has left so much unexplained."""
    frames, noise_power = 500, 1e-9
    echo = 1e-4 * np.random.default_rng(1).uniform(0.2, 1.0, frames)
    heard = echo * (1 + 10 ** (damage_db / 10)) + noise_power
    heard[200:210] += 1e-4 * 10 ** (own_db / 10)
    heard[400:], echo[400:] = noise_power, 0.0
    kinds, rise = frame_kinds(heard, echo, echo, noise_power)
    assert kept == bool(np.all(kinds[200:210] == OWN))
    assert set(np.delete(kinds[:390], np.arange(190, 220))) == {ECHO}
    assert set(kinds[410:]) == {NEITHER}
    assert pytest.approx(1.0, abs=0.01) == rise[100]


# -------------------------------------------------------------------------------------------- what is left alone


def test_the_calls_as_they_are_hold_none() -> None:
    """What is 45 dB under a voice is in no speech region."""
    assert found_in_customer(call()[CUSTOMER], call()[AGENT]) is None


def test_voices_of_two_calls_have_nothing_to_do_with_each_other() -> None:
    """Unrelated channels, with speech everywhere."""
    one, other = call()[AGENT][: 42 * SECOND], call("06/demo-0002.wav")[CUSTOMER][: 42 * SECOND]
    assert (None, None) == find_crosstalk([track(one), track(0.1 * other)], [(region(0.0, 42.0),)] * 2)


@pytest.mark.parametrize("kind", ["hum", "noise"])
def test_the_same_hum_on_both_is_no_crosstalk(kind: str) -> None:
    """A third sound in both channels, ten times stronger in one of them."""
    agent, customer = call()
    seconds = len(agent) / SECOND
    buzz = sum(
        (sine(50.0 * harmonic, seconds, 1 / harmonic, phase=harmonic) for harmonic in range(1, 40)), silence(seconds)
    )
    sound = 0.01 * buzz if kind == "hum" else noise(5, seconds, 0.01)
    regions = [padded(*turns(AGENT), *turns(CUSTOMER))] * 2
    found = find_crosstalk([track(agent + sound), track(customer + np.sqrt(0.1) * sound)], regions)
    assert all(one is None or shared_s(one.regions, turns(index)) == 0 for index, one in enumerate(found))
    assert (None, None) == find_crosstalk([track(agent + sound), track(customer + sound)], regions)


def test_a_copy_of_the_same_loudness_is_left_alone() -> None:
    """Nobody knows who is speaking."""
    agent, customer = call()
    assert found_in_customer(customer + leaked(agent, -3, 40.0), agent) is None


@pytest.mark.parametrize("delay_ms", [0.0, 20.0])
def test_the_louder_copy_is_not_the_source(delay_ms: float) -> None:
    """A customer recorded so faintly that the agent's channel holds the louder copy of what the customer says."""
    agent, customer = call()
    faint = 0.05 * customer
    regions = [padded(*turns(AGENT), *turns(CUSTOMER)), padded(*turns(CUSTOMER))]
    assert (None, None) == find_crosstalk([track(agent + leaked(faint, 10, delay_ms)), track(faint)], regions)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.3, 1.0, 3.0])
def test_short_and_silent_channels(seconds: float) -> None:
    """There is nothing to find, and nothing breaks."""
    regions = [(region(0.0, seconds),)] * 2
    quiet, loud = silence(seconds), noise(1, seconds)
    for sounds in ((quiet, quiet), (quiet, loud), (loud, noise(2, seconds))):
        assert (None, None) == find_crosstalk([track(one) for one in sounds], regions)


def test_no_speech_no_crosstalk() -> None:
    """Without regions, without a second channel, without any."""
    agent, customer = call()
    mixed = customer + leaked(agent, -15, 25.0)
    assert (None, None) == find_crosstalk([track(agent), track(mixed)], [padded(*turns(AGENT)), ()])
    assert (None, None) == find_crosstalk([track(agent), track(mixed)], [(), ()])
    assert (None,) == find_crosstalk([track(mixed)], [padded(*turns(AGENT))])
    assert () == find_crosstalk([], [])


def test_channels_of_different_length() -> None:
    """A channel that ends early is silent from there."""
    agent, customer = call()
    mixed = customer + leaked(agent, -15, 25.0)
    regions = [padded(*turns(AGENT)), padded(*turns(AGENT), *turns(CUSTOMER))]
    for sounds in ((agent[: 30 * SECOND], mixed), (agent, mixed[: 30 * SECOND])):
        found = find_crosstalk([track(one) for one in sounds], regions)[CUSTOMER]
        assert found is not None
        assert found.regions[-1].end < 31


# ------------------------------------------------------------------------------------------------- long channels

TALK = (region(2.0, 20.0), region(50.0, 70.0), region(95.0, 140.0))


def test_borders_of_windows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three minutes in windows of a minute, of half and of twice as much: the same stretches, whole across borders."""
    agent = voice(1, 180.0, TALK)
    answers = (region(25.0, 45.0), region(66.0, 67.0), region(150.0, 175.0))
    sounds = [track(agent), track(voice(2, 180.0, answers) + leaked(agent, -15, 60.0))]
    regions = [padded(*TALK, seconds=180.0), padded(*TALK, *answers, seconds=180.0)]
    for frames in (1500, 3000, 6000):
        monkeypatch.setattr(crosstalk, "WINDOW_FRAMES", frames)
        found = find_crosstalk(sounds, regions)
        one = found[CUSTOMER]
        assert found[AGENT] is None
        assert one is not None
        assert pytest.approx(60.0, abs=0.5) == one.delay_ms
        assert 0 == shared_s(one.regions, answers)
        assert 4 == len(one.regions)
        echoes = less(TALK, answers, 0.4)
        assert shared_s(one.regions, echoes) > 0.97 * total_s(echoes)


# ------------------------------------------------------------------------------------------ regions without them


@st.composite
def disjoint(draw: st.DrawFn) -> tuple[Region, ...]:
    """Ordered, disjoint regions, some of which touch."""
    steps = draw(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.01, 8.0)), max_size=8))
    found, at = [], 0.0
    for gap, length in steps:
        found.append(region(at + gap, at + gap + length))
        at = found[-1].end
    return tuple(found)


@given(disjoint(), disjoint())
def test_what_is_left_is_speech_and_no_crosstalk(regions: tuple[Region, ...], stretches: tuple[Region, ...]) -> None:
    """Ordered, disjoint, inside the regions and outside the stretches; only slivers are lost."""
    left = without(regions, told(*stretches))
    assert all(before.end <= after.start for before, after in pairwise(left))
    assert all(any(whole.start <= part.start < part.end <= whole.end for whole in regions) for part in left)
    assert 0 == shared_s(left, stretches)
    assert all(part in regions or part.duration_s >= LEAST_LEFT_S for part in left)
    gone = total_s(regions) - shared_s(regions, stretches) - total_s(left)
    assert -1e-6 < gone <= LEAST_LEFT_S * (len(regions) + len(stretches))


@given(disjoint())
def test_regions_without_crosstalk_stay_as_they_are(regions: tuple[Region, ...]) -> None:
    """Short ones too."""
    assert regions == without(regions, told())
    assert () == without(regions, told(*regions))


def test_a_sliver_disappears_and_a_word_stays() -> None:
    """A tenth of a second beside an echo is no word; half a second may be one."""
    assert (region(5.0, 5.5), region(7.0, 7.2)) == without((region(1.0, 5.5), region(7.0, 7.2)), told(region(1.1, 5.0)))
