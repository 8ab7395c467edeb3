"""Pure: stretches of time, and what they have in common."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tasks.records import Region, Turn


def merge(regions: Iterable[Region], gap_s: float = 0.0) -> list[Region]:
    """Regions in order, joined where they touch or overlap, or lie no further apart than `gap_s` seconds."""
    merged: list[Region] = []
    for region in sorted(regions):
        if merged and region.start <= merged[-1].end + gap_s:
            merged[-1] = Region(merged[-1].start, max(merged[-1].end, region.end))
        else:
            merged.append(region)
    return merged


def by_speaker(turns: Iterable[Turn], gap_s: float = 0.0) -> dict[str, list[Region]]:
    """Where each speaker talks, as `merge` gives it; speakers in order of their first turn."""
    found: dict[str, list[Region]] = {}
    for turn in sorted(turns):
        found.setdefault(turn.speaker, []).append(Region(turn.start, turn.end))
    return {speaker: merge(regions, gap_s) for speaker, regions in found.items()}


def together(turns: Iterable[Turn]) -> list[Region]:
    """Where two or more speakers talk at once: ordered, disjoint."""
    talks = [region for own in by_speaker(turns).values() for region in own]
    changes = sorted([(region.start, 1) for region in talks] + [(region.end, -1) for region in talks])
    found: list[Region] = []
    talking = 0
    for (moment, change), (following, _) in pairwise([*changes, (float("inf"), 0)]):
        talking += change
        if talking >= 2 and following > moment:
            found.append(Region(moment, following))
    return merge(found)


def within_regions(turns: Iterable[Turn], regions: Sequence[Region]) -> tuple[Turn, ...]:
    """What of turns lies in regions (ordered, disjoint), ordered by start."""
    starts = [region.start for region in regions]
    found: list[Turn] = []
    for turn in turns:
        for index in range(max(0, bisect_right(starts, turn.start) - 1), len(regions)):
            start, end = max(turn.start, regions[index].start), min(turn.end, regions[index].end)
            if regions[index].start >= turn.end:
                break
            if end > start:
                found.append(Turn(start, end, turn.speaker))
    return tuple(sorted(found))


def common_s(start: float, end: float, regions: Sequence[Region]) -> float:
    """Seconds of a stretch that regions (ordered, disjoint) cover."""
    found = 0.0
    for index in range(max(0, bisect_right(regions, start, key=lambda region: region.start) - 1), len(regions)):
        if regions[index].start >= end:
            break
        found += max(0.0, min(end, regions[index].end) - max(start, regions[index].start))
    return found
