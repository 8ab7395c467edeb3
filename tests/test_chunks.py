"""Chunks: all speech once, few and equal ones, cuts at quiet moments, times in the call, halves."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations, pairwise
from math import ceil

import numpy as np
import pytest
from builders import region
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, noise, silence, track
from speech import UNREAD, regions, spans

from tasks.chunks import CUT_AROUND, LEAST_ROOM_S, QUIET_S, Chunk, cut, quietest
from tasks.records import Region, Samples
from tasks.tracks import Track

HEARD_S = 120
MOST_S = 28.0
# Less than a millisecond: what floats make of sums.
ABOUT_S = 1e-9

LIMITS = st.sampled_from([1.0, 5.0, 12.5, MOST_S])
# Times in hundredths of a second, as floats that are not exact; a region may be longer than any chunk.
SPEECH = regions(most=6, longest=200, widest=500, unit_s=0.01) | regions(most=3, longest=3300, widest=500, unit_s=0.01)
# Regions that fit into a chunk, on a grid where sums are exact.
FITTING = regions(most=9, longest=round(MOST_S * 8), widest=80)
CHUNKS = regions(most=5, fewest=1, longest=80, widest=80).map(Chunk)


@pytest.fixture(scope="module")
def murmur() -> Track:
    """Two minutes of noise that swells and fades in no order."""
    levels = np.random.default_rng(5).uniform(0.01, 1.0, HEARD_S * 50)
    return track((np.repeat(levels, SECOND // 50) * noise(1, HEARD_S)).astype(np.float32))


def pieces(chunks: Sequence[Chunk]) -> list[Region]:
    """The regions of all chunks, in order."""
    return [piece for chunk in chunks for piece in chunk.regions]


def sound(source: Track, held: Sequence[Region]) -> Samples:
    """The samples of regions, joined."""
    return np.concatenate([silence(0.0), *map(source.read_region, held)])


def lengths(chunks: Sequence[Chunk]) -> list[float]:
    """Seconds of sound in each chunk."""
    return [chunk.duration_s for chunk in chunks]


def quietest_tenth(samples: Samples) -> int:
    """Which whole tenth of a second has the least power."""
    tenths = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    return int(np.argmin(np.square(tenths).mean(axis=1)))


# -------------------------------------------------------------------------------------------------------- all of it


@given(held=SPEECH, longest_s=LIMITS)
@settings(max_examples=60, deadline=None)
def test_chunks_hold_all_speech_once(murmur: Track, held: tuple[Region, ...], longest_s: float) -> None:
    """Every sample once and in order, in chunks of sound, none longer than the limit."""
    chunks = cut(murmur, held, longest_s)
    assert np.array_equal(
        sound(murmur, held), np.concatenate([silence(0.0), *(chunk.read(murmur) for chunk in chunks)])
    )
    assert all(0 < length <= longest_s + ABOUT_S for length in lengths(chunks))
    assert all(piece.duration_s > 0 for piece in pieces(chunks))
    assert all(before.end <= after.start for before, after in pairwise(pieces(chunks)))


@given(held=SPEECH, longest_s=LIMITS)
@settings(max_examples=60, deadline=None)
def test_a_region_that_fits_stays_whole(murmur: Track, held: tuple[Region, ...], longest_s: float) -> None:
    """What is shorter than a chunk is not cut, and no region is heard together with a part of another one."""
    found = pieces(cut(murmur, held, longest_s))
    assert [one for one in held if one.duration_s <= longest_s] == [one for one in found if one in set(held)]
    assert all(any(whole.start <= one.start and one.end <= whole.end for whole in held) for one in found)


@given(FITTING)
def test_sound_is_read_only_where_a_region_is_cut(held: tuple[Region, ...]) -> None:
    """Regions that fit are put together by their lengths alone."""
    assert list(held) == pieces(cut(UNREAD, held, MOST_S))


def test_no_speech_no_chunks() -> None:
    """Nothing of nothing."""
    assert () == cut(UNREAD, (), MOST_S)


# -------------------------------------------------------------------------------------------------------- quiet cuts


@given(held=SPEECH, longest_s=LIMITS)
@settings(max_examples=60, deadline=None)
def test_cuts_are_at_quiet_moments(murmur: Track, held: tuple[Region, ...], longest_s: float) -> None:
    """A cut is made where there is need, in the middle of the quietest tenth near to where equal pieces would end."""
    for whole in held:
        found = pieces(cut(murmur, (whole,), longest_s))
        assert (whole.start, whole.end) == (found[0].start, found[-1].end)
        for piece, after in pairwise(found):
            left_s = whole.end - piece.start
            assert left_s > longest_s, "there was need"
            assert piece.end == after.start
            fewest = ceil(left_s / longest_s)
            rooms = [room(left_s, parts, longest_s) for parts in (fewest, fewest + 1)]
            wide = rooms[0][1] - rooms[0][0] >= min(LEAST_ROOM_S, longest_s / 4)
            first, last = (piece.start + second for second in rooms[not wide])
            assert first < piece.end < last
            tenth = quietest_tenth(murmur.read_region(Region(first, last)))
            assert tenth == round((piece.end - first) / QUIET_S - 0.5)


def room(left_s: float, parts: int, longest_s: float) -> tuple[float, float]:
    """Between which lengths the first of so many parts may be, for it to be about equal and the rest to fit."""
    equal_s = left_s / parts
    first = max(left_s - (parts - 1) * longest_s, (1 - CUT_AROUND) * equal_s)
    return first, max(first + 2 * QUIET_S, min(longest_s, (1 + CUT_AROUND) * equal_s))


@given(whole_s=st.floats(28.1, 119.0))
@settings(max_examples=50, deadline=None)
def test_a_long_region_is_cut_evenly(murmur: Track, whole_s: float) -> None:
    """Of speech without a pause, no piece is less than three tenths of a chunk."""
    found = pieces(cut(murmur, (Region(0.5, 0.5 + whole_s),), MOST_S))
    least_s = (1 - CUT_AROUND) * MOST_S / 2
    assert all(least_s <= one.duration_s <= MOST_S for one in found)


def test_a_pause_is_where_speech_is_cut() -> None:
    """Of 25 seconds without a region's end, no more than 10 at a time: cut in the pauses that there are."""
    samples = noise(1, 25.0)
    for pause_s in (3.0, 7.0, 16.0, 16.5):
        samples[round(pause_s * SECOND) : round((pause_s + 0.3) * SECOND)] = 0
    one, two, three = cut(track(samples), (region(0, 25),), 10.0)
    assert 7.0 <= one.end == two.start <= 7.3
    assert 16.0 <= two.end == three.start <= 16.8, "each third ends in a pause"
    assert 25.0 == three.end


@pytest.mark.parametrize("quiet_s", [0.0, 1.2, 2.9])
def test_the_quietest_moment(quiet_s: float) -> None:
    """The middle of the tenth of a second that has the least power, as a time in the call."""
    samples = noise(1, 4.0)
    samples[round((1 + quiet_s) * SECOND) : round((1.1 + quiet_s) * SECOND)] *= 0.01
    assert pytest.approx(1.05 + quiet_s) == quietest(track(samples), region(1.0, 4.0))


# ----------------------------------------------------------------------------------------------------- few and equal


def greedy(held: Sequence[Region], longest_s: float) -> int:
    """How many chunks there are when each takes all that fits."""
    count, filled_s = 0, float("inf")
    for one in held:
        filled_s += one.duration_s
        if filled_s > longest_s:
            count, filled_s = count + 1, one.duration_s
    return count


def partings(held: Sequence[Region]) -> Iterator[list[float]]:
    """The lengths of the chunks of every way to part regions."""
    for count in range(len(held)):
        for cuts in combinations(range(1, len(held)), count):
            bounds = [0, *cuts, len(held)]
            yield [sum(one.duration_s for one in held[first:last]) for first, last in pairwise(bounds)]


@given(held=SPEECH, longest_s=LIMITS)
@settings(max_examples=60, deadline=None)
def test_no_more_chunks_than_it_takes(murmur: Track, held: tuple[Region, ...], longest_s: float) -> None:
    """As many as when each takes all that fits, which is the fewest; also where regions had to be cut."""
    chunks = cut(murmur, held, longest_s)
    total_s = sum(one.duration_s for one in held)
    assert ceil(total_s / longest_s - ABOUT_S) <= len(chunks)
    found = pieces(chunks)
    assert greedy(found, longest_s + ABOUT_S) <= len(chunks) <= greedy(found, longest_s - ABOUT_S)


@given(FITTING.filter(bool))
def test_no_other_parting_is_better(held: tuple[Region, ...]) -> None:
    """Of all ways to part the regions it is one of the fewest chunks, and among these of the most equal ones."""
    possible = [found for found in partings(held) if max(found) <= MOST_S]
    expected = min((len(found), sum(length**2 for length in found)) for found in possible)
    found = lengths(cut(UNREAD, held, MOST_S))
    assert expected == (len(found), sum(length**2 for length in found))


@pytest.mark.parametrize(
    ("held_s", "expected"),
    [
        ([8.0] * 5, [16.0, 24.0]),
        ([1.0] * 29, [14.0, 15.0]),
        ([28.0, 1.0], [1.0, 28.0]),
        ([27.0, 1.0, 1.0, 27.0], [28.0, 28.0]),
        ([20.0, 20.0, 20.0], [20.0, 20.0, 20.0]),
        ([10.0] * 8, [20.0, 20.0, 20.0, 20.0]),
        ([14.0] * 4, [28.0, 28.0]),
        ([3.0], [3.0]),
    ],
)
def test_no_short_rest_is_left(held_s: list[float], expected: list[float]) -> None:
    """Chunks are as equal as pauses allow, instead of full ones and what is left."""
    chunks = cut(UNREAD, spans((1.0, length) for length in held_s), MOST_S)
    assert expected == sorted(lengths(chunks))


@given(FITTING, st.lists(st.integers(0, 80), min_size=9, max_size=9))
def test_pauses_do_not_count(held: tuple[Region, ...], gaps: list[int]) -> None:
    """Where regions are parted depends on how much sound they hold, not on the silence between them."""
    moved = spans((gap / 8, one.duration_s) for gap, one in zip(gaps, held, strict=False))
    before, after = (cut(UNREAD, found, MOST_S) for found in (held, moved))
    assert [len(chunk.regions) for chunk in before] == [len(chunk.regions) for chunk in after]


def test_a_second_moves_no_cut_far() -> None:
    """A minute and a half of short regions: another second in the first moves no cut by more than one of them."""

    def cuts(first_s: float) -> list[int]:
        chunks = cut(UNREAD, spans((0.5, length) for length in [first_s, *[3.0] * 29]), MOST_S)
        return list(accumulate(len(chunk.regions) for chunk in chunks))

    plain = cuts(2.0)
    assert 4 == len(plain)
    for first_s in (1.0, 1.5, 2.5, 3.0, 3.5):
        assert all(abs(one - other) <= 1 for one, other in zip(plain, cuts(first_s), strict=True))


# -------------------------------------------------------------------------------------------------- times in the call


@given(CHUNKS, st.floats(0, 1), st.floats(0, 1))
def test_times_lie_in_the_region_of_their_middle(chunk: Chunk, one: float, other: float) -> None:
    """Start and end, in this order, in the region that is heard at their middle."""
    start, end = sorted((one * chunk.duration_s, other * chunk.duration_s))
    first, last = chunk.in_call(start, end)
    passed_s = 0.0
    holding = []
    for held in chunk.regions:
        if passed_s - ABOUT_S <= (start + end) / 2 <= passed_s + held.duration_s + ABOUT_S:
            holding.append(held)
        passed_s += held.duration_s
    assert first <= last
    assert any(held.start - 0.0005 <= first and last <= held.end + 0.0005 for held in holding)


@given(CHUNKS, st.lists(st.floats(0, 1), min_size=4, max_size=12))
def test_order_is_kept(chunk: Chunk, moments: list[float]) -> None:
    """What is heard later was said later: starts and ends of words that follow each other do not go back."""
    times = [moment * chunk.duration_s for moment in sorted(moments)]
    found = [chunk.in_call(start, end) for start, end in pairwise(times)]
    for before, after in pairwise(found):
        assert before[0] <= after[0]
        assert before[1] <= after[1]


@given(st.integers(0, 10_000), st.integers(0, 1000), st.integers(0, 1000))
def test_in_one_region_times_are_moved(begin: int, one: int, other: int) -> None:
    """With one region nothing is taken out: times in the chunk count from its start."""
    start, end = sorted((one, other))
    chunk = Chunk((region(begin / 1000, begin / 1000 + 1.0),))
    expected = ((begin + start) / 1000, (begin + end) / 1000)
    assert pytest.approx(expected, abs=0.0006) == chunk.in_call(start / 1000, end / 1000)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.5, 1.0, (1.5, 2.0)),
        (2.5, 2.9, (10.5, 10.9)),
        (1.7, 2.1, (2.7, 3.0)),
        (1.9, 2.4, (10.0, 10.4)),
        (0.0, 0.0, (1.0, 1.0)),
        (4.0, 4.0, (12.0, 12.0)),
        (3.9, 4.6, (11.9, 12.0)),
        (4.5, 5.0, (12.0, 12.0)),
        (1.0001, 1.00049, (2.0, 2.0)),
    ],
)
def test_times_of_a_chunk_of_two(start: float, end: float, expected: tuple[float, float]) -> None:
    """Two seconds from 1 s and two from 10 s: a word over the cut lies where its middle is; none lies outside."""
    assert pytest.approx(expected, abs=1e-6) == Chunk((region(1, 3), region(10, 12))).in_call(start, end)


@given(CHUNKS)
def test_a_chunk_spans_its_regions(chunk: Chunk) -> None:
    """From the first one's start to the last one's end; as long as all of them."""
    assert (chunk.regions[0].start, chunk.regions[-1].end) == (chunk.start, chunk.end)
    assert sum(held.duration_s for held in chunk.regions) == chunk.duration_s <= chunk.end - chunk.start


# ----------------------------------------------------------------------------------------------------------- halves


@given(held=regions(most=4, fewest=1, longest=40, widest=40), near=st.none() | st.floats(0, 40))
@settings(max_examples=60, deadline=None)
def test_halves_make_the_whole(murmur: Track, held: tuple[Region, ...], near: float | None) -> None:
    """Two chunks with the same sound; of several regions each stays whole, and nothing too short is parted."""
    chunk = Chunk(held)
    halves = chunk.halves(murmur, near)
    assert np.array_equal(chunk.read(murmur), np.concatenate([half.read(murmur) for half in halves]))
    assert (2 if chunk.duration_s >= 4 * QUIET_S else 1) == len(halves)
    if len(held) > 1:
        assert list(held) == pieces(halves)


@given(held=regions(most=5, fewest=2, longest=40, widest=40, least=4), near=st.integers(0, 400))
def test_halves_part_at_the_nearest_pause(held: tuple[Region, ...], near: int) -> None:
    """No other pause lies nearer to the time, measured to where that pause begins or ends."""

    def distance(before: Region, after: Region) -> float:
        return max(before.end - near / 8, near / 8 - after.start, 0.0)

    one, other = Chunk(held).halves(UNREAD, near / 8)
    expected = min(distance(before, after) for before, after in pairwise(held))
    assert expected == distance(one.regions[-1], other.regions[0])


@pytest.mark.parametrize(
    ("held", "near", "expected"),
    [
        ([(0, 4), (5, 9), (10, 14)], 9.5, 2),
        ([(0, 4), (5, 9), (10, 14)], 100.0, 2),
        ([(0, 4), (5, 9), (10, 14)], 0.0, 1),
        ([(0, 10), (11, 12), (13, 14)], None, 1),
        ([(0, 1), (2, 3), (4, 14)], None, 2),
        # However long a pause is, it begins where the sound ends.
        ([(0, 2), (3, 20), (80, 90)], None, 2),
        ([(0, 2), (3, 20), (80, 90)], 19.0, 2),
    ],
)
def test_where_halves_are_parted(held: list[tuple[float, float]], near: float | None, expected: int) -> None:
    """At the pause nearest to the time, else to the middle of the sound."""
    one, _ = Chunk(tuple(region(*times) for times in held)).halves(UNREAD, near)
    assert expected == len(one.regions)


@pytest.mark.parametrize("near", [None, 2.0, 11.5])
def test_one_region_is_halved_at_a_quiet_moment(near: float | None) -> None:
    """Where there is no pause, in the middle half, wherever the missed speech is."""
    samples = noise(1, 12.0)
    for quiet_s in (1.0, 7.0, 11.0):
        samples[round(quiet_s * SECOND) : round((quiet_s + 0.3) * SECOND)] = 0
    one, other = Chunk((region(0, 12),)).halves(track(samples), near)
    assert 7.0 < one.end == other.start < 7.3
    assert (0, 12) == (one.start, other.end)
