"""The language of each chunk: given, or found and smoothed over its call; a chunk is parted where it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from tasks.chunks import Chunk
from tasks.heard import HeardChunk, Steps
from tasks.languages import smooth


def find_languages(
    recognizer: Steps, load: Sequence[HeardChunk], before: Mapping[int, str], pool: ThreadPoolExecutor
) -> list[HeardChunk]:
    """Give every encoded chunk its language.

    Args:
        recognizer: its steps.
        load: chunks of many calls, those of one call in order of time.
        before: for calls of which a part has been recognised, the language of its last chunk, by `HeardChunk.call`.
        pool: threads that compute spectra.

    Returns:
        the chunks, encoded; where a call changes its language inside of one, what it falls into stands in its place.
    """
    recognizer.detect([heard for heard in load if heard.hints.language is None])
    found: list[HeardChunk] = []
    for call in dict.fromkeys(heard.call for heard in load):
        own = [heard for heard in load if heard.call == call and heard.error is None]
        found += [heard for heard in load if heard.call == call and heard.error is not None]
        given = own[0].hints.language if own else None
        if given is None:
            _smooth(own, before.get(call))
            own = _part_at_changes(recognizer, own, before.get(call), pool)
        else:
            for heard in own:
                heard.language = given
        found += own
    return found


def _part_at_changes(
    recognizer: Steps, own: Sequence[HeardChunk], before: str | None, pool: ThreadPoolExecutor
) -> list[HeardChunk]:
    """Look again, region by region, at the chunks on both sides of a change of language."""
    beside = {
        heard
        for one, other in pairwise(own)
        if one.language != other.language
        for heard in (one, other)
        if len(heard.chunk.regions) > 1
    }
    if not beside:
        return list(own)
    parts = {heard: [heard.part(Chunk((region,))) for region in heard.chunk.regions] for heard in beside}
    new = [part for held in parts.values() for part in held]
    recognizer.encode(new, pool)
    recognizer.detect(new)
    _smooth([part for heard in own for part in parts.get(heard, [heard]) if part.error is None], before)
    parted = [run for heard in own for run in _runs(heard, parts.get(heard, []))]
    recognizer.encode([heard for heard in parted if heard.encoded is None], pool)
    return parted


def _smooth(own: Sequence[HeardChunk], before: str | None) -> None:
    """Give the chunks of a call, in order of time, the languages of the likeliest path through them."""
    path = smooth([heard.odds or {} for heard in own], [heard.duration_s for heard in own], before)
    for heard, language in zip(own, path, strict=True):
        heard.language = language


def _runs(heard: HeardChunk, parts: Sequence[HeardChunk]) -> list[HeardChunk]:
    """A chunk, or what it falls into where its regions are in different languages."""
    sound = [part for part in parts if part.error is None]
    if len(sound) < len(parts) or len({part.language for part in parts}) <= 1:
        heard.language = sound[0].language if sound else heard.language
        return [heard]
    runs: list[HeardChunk] = []
    for part in parts:
        if runs and runs[-1].language == part.language:
            longer = heard.part(Chunk((*runs[-1].chunk.regions, *part.chunk.regions)), part.language)
            longer.odds = runs[-1].odds
            runs[-1] = longer
        else:
            runs.append(part)
    return runs
