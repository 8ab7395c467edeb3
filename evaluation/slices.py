"""Which calls belong together: by scenario, codec, noise, channels, language, length and overlap. Pure.

A figure over all calls hides where it is bad. Each call is in one slice of a dimension, in none where nothing is known
of it, and in as many slices of `tag` as it has tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evaluation.bands import BANDS


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known of a call beside its score; None where it is not.

    `duration_s` is the length of the recording and `work_s` what the pipeline took for it, in seconds; `overlap` the
    share of the time of speech, by the reference, in which several people speak. `weight` says how many calls it
    stands for, `stratum` of which part of a sampled month. Cases of one `group` are the same call, recorded in several
    ways: what goes wrong in one goes wrong in all, so that they are drawn together for intervals.
    """

    tags: tuple[str, ...] = ()
    language: str | None = None
    codec: str | None = None
    channel_layout: str | None = None
    snr_db: float | None = None
    overlap: float | None = None
    duration_s: float | None = None
    work_s: float | None = None
    stratum: str | None = None
    weight: float = 1.0
    group: str | None = None


def slices_of(facts: CallFacts) -> tuple[tuple[str, str], ...]:
    """The slices that a call is in: (dimension, value)."""
    single: Mapping[str, str | None] = {
        "language": facts.language,
        "codec": facts.codec,
        "channels": facts.channel_layout,
        "snr": _band("snr", facts.snr_db),
        "duration": _band("duration", facts.duration_s),
        "overlap": _band("overlap", facts.overlap),
    }
    tags = (("tag", tag) for tag in sorted(set(facts.tags)))
    return (*tags, *((dimension, value) for dimension, value in single.items() if value is not None))


def group(calls: Iterable[CallFacts]) -> dict[tuple[str, str], list[int]]:
    """Which calls are in each slice, by their place.

    Dimensions in which all calls are alike, as far as that is known, are left out.

    Returns:
        (dimension, value) → places of the calls, dimensions in the order of `slices_of`, values in order of bands or
        of the alphabet.
    """
    found: dict[tuple[str, str], list[int]] = {}
    count = 0
    for count, facts in enumerate(calls, start=1):
        for key in slices_of(facts):
            found.setdefault(key, []).append(count - 1)
    values = Counter(dimension for dimension, _ in found)
    whole = {dimension for (dimension, _), places in found.items() if len(places) == count}
    telling = {dimension for dimension in values if values[dimension] > 1 or (dimension == "tag" and not whole)}
    order = ["tag", "language", "codec", "channels", "snr", "duration", "overlap"]
    keys = sorted((key for key in found if key[0] in telling), key=lambda key: (order.index(key[0]), _place(key)))
    return {key: found[key] for key in keys}


def _band(name: str, value: float | None) -> str | None:
    return None if value is None else BANDS[name].name(value)


def _place(key: tuple[str, str]) -> tuple[int, str]:
    """Bands by their size, all else by name."""
    dimension, value = key
    return (BANDS[dimension].names.index(value), "") if dimension in BANDS else (0, value)
