"""Stretches of time, and what they have in common."""

from itertools import pairwise

import pytest
from builders import region
from hypothesis import given
from hypothesis import strategies as st
from talk import milliseconds

from tasks.records import Region, Turn
from tasks.regions import by_speaker, common_s, merge, together, within_regions

regions = st.lists(
    st.builds(lambda start, length: Region(start / 1000, (start + length) / 1000), milliseconds, st.integers(0, 9000)),
    max_size=20,
)


@given(regions)
def test_merged_regions_are_disjoint_and_cover_the_same(found: list[Region]) -> None:
    """Merging loses no moment, adds none, and is done after once."""
    merged = merge(found)
    assert all(before.end < after.start for before, after in pairwise(merged))
    assert all(any(one.start <= item.start and item.end <= one.end for one in merged) for item in found)
    assert {item.start for item in merged} <= {item.start for item in found}
    assert {item.end for item in merged} <= {item.end for item in found}
    assert merged == merge(merged)


def test_a_gap_is_bridged() -> None:
    """Regions no further apart than the gap are one."""
    found = [region(0.0, 1.0), region(1.3, 2.0), region(2.4, 3.0)]
    assert [region(0.0, 2.0), region(2.4, 3.0)] == merge(found, 0.3 + 1e-9)


def sampled(of: list[Turn]) -> list[set[str]]:
    """Who talks in each thousandth of a second, in the middle of it."""
    return [{one.speaker for one in of if one.start <= at + 0.0005 < one.end} for at in (n / 1000 for n in range(800))]


short_turns = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start / 1000, (start + length) / 1000, speaker),
        st.integers(0, 600), st.integers(0, 200), st.sampled_from(["A", "B", "C"]),
    ),
    max_size=6,
)  # fmt: skip


@given(short_turns)
def test_who_talks_at_once(of: list[Turn]) -> None:
    """Together is where two or more do; a speaker's own turns do not count twice."""
    at_once = sum(len(talking) >= 2 for talking in sampled(of))
    found = together(of)
    assert pytest.approx(at_once / 1000, abs=1e-6) == sum(one.duration_s for one in found)
    assert all(before.end < after.start for before, after in pairwise(found))
    for speaker, own in by_speaker(of).items():
        talks = sum(speaker in talking for talking in sampled(of))
        assert pytest.approx(talks / 1000, abs=1e-6) == sum(one.duration_s for one in own)


@given(regions, st.integers(0, 60_000), st.integers(0, 9000))
def test_what_regions_cover_of_a_stretch(found: list[Region], start: int, length: int) -> None:
    """The search that starts near the stretch finds what a search of all finds."""
    merged = merge(found)
    begin, end = start / 1000, (start + length) / 1000
    plain = sum(max(0.0, min(end, one.end) - max(begin, one.start)) for one in merged)
    assert pytest.approx(plain) == common_s(begin, end, merged)


@given(short_turns, regions)
def test_turns_within_regions(of: list[Turn], found: list[Region]) -> None:
    """Each moment of a turn that lies in a region stays its speaker's, and no other does."""
    merged = merge(Region(one.start / 100, one.end / 100) for one in found)
    inside = within_regions(of, merged)
    assert list(inside) == sorted(inside)
    for at in (n / 1000 + 0.0005 for n in range(0, 800, 7)):
        heard = any(one.start <= at < one.end for one in merged)
        expected = sorted(one.speaker for one in of if one.start <= at < one.end) if heard else []
        assert expected == sorted(one.speaker for one in inside if one.start <= at < one.end)
