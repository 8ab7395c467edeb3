"""Word errors of transcripts with and without noise reduction, counted and put into tables.

Counts are added up over files and rates derived from the sums. Variants are compared on the same mixtures only: one
that any of them lacks is left out, and the tables say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from evaluation.benchmarks.mixtures import Recipe
from evaluation.benchmarks.noises import KINDS
from evaluation.normalise import normalised_words
from evaluation.rates import ErrorCounts
from evaluation.wer import count_errors

Variant = Literal["off", "always", "auto"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

_RESAMPLES = 5_000
_ALL_KINDS = "all kinds"


@dataclass(frozen=True, slots=True)
class Scored:
    """The word errors of one mixture in one variant; names as in `Recipe`."""

    mixture: str
    clip: str
    band: str
    kind: str
    variant: Variant
    counts: ErrorCounts


@dataclass(frozen=True, slots=True)
class Difference:
    """WER of one variant less that of another, in points, with a 95 % interval (None for less than two clips)."""

    points: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        """As in the table."""
        if self.interval is None:
            return f"{self.points:+.1f} (n/a)"
        return f"{self.points:+.1f} ({self.interval[0]:+.1f} to {self.interval[1]:+.1f})"


def score(recipe: Recipe, hypothesis: str | Iterable[str], variant: Variant) -> Scored:
    """Count the word errors of one transcript.

    Args:
        recipe: the mixture that was transcribed, or its recipe.
        hypothesis: raw text; better the utterances in order, which are normalised one by one as the reference is.
        variant: what was done about noise.
    """
    clip = recipe.clip
    texts = (hypothesis,) if isinstance(hypothesis, str) else hypothesis
    counts = count_errors(normalised_words(clip.reference, clip.language), normalised_words(texts, clip.language))
    return Scored(recipe.name, clip.name, recipe.band, recipe.kind, variant, counts)


def difference(pairs: Iterable[tuple[Scored, Scored]], seed: int = 1) -> Difference | None:
    """How much higher the WER of the second of each pair is; None without reference words.

    The interval is that of a paired bootstrap (percentiles) over clips: what one clip gives under several noises is no
    independent evidence.

    Args:
        pairs: two variants of the same mixture.
        seed: of the bootstrap.
    """
    by_clip: dict[str, list[int]] = {}
    for one, other in pairs:
        sums = by_clip.setdefault(one.clip, [0, 0])
        sums[0] += other.counts.errors - one.counts.errors
        sums[1] += one.counts.reference_words
    # A clip without words has no rate of its own, so that a draw of such clips alone would have none.
    more, words = np.array([sums for sums in by_clip.values() if sums[1]], dtype=np.int64).reshape(-1, 2).T
    if not len(words):
        return None
    points = 100 * float(more.sum() / words.sum())
    if len(words) < 2:
        return Difference(points, None)
    drawn = np.random.default_rng(seed).integers(len(words), size=(_RESAMPLES, len(words)))
    low, high = np.percentile(100 * more[drawn].sum(axis=1) / words[drawn].sum(axis=1), [2.5, 97.5])
    return Difference(points, (float(low), float(high)))


def tables(scored: Iterable[Scored]) -> str:
    """WER and the difference that `auto` makes, and the kinds of errors, by band and kind of noise.

    Raises:
        ValueError: a mixture is scored twice in one variant.
    """
    complete, left_out = _by_mixture(scored)
    rows = list(_rows(complete))
    lines = [
        f"| SNR | noise | words | {' | '.join(f'WER % {variant}' for variant in VARIANTS)} | auto - off, points |",
        f"| --- | --- | ---: | {' | '.join('---:' for _ in VARIANTS)} | ---: |",
        *(_rates(band, kind, found) for band, kind, found in rows),
        "",
        f"| SNR | noise | {' | '.join(f'sub / del / ins {variant}' for variant in VARIANTS)} |",
        f"| --- | --- | {' | '.join('---:' for _ in VARIANTS)} |",
        *(_kinds_of_errors(band, kind, found) for band, kind, found in rows),
    ]
    if left_out:
        lines += ["", f"Mixtures left out, as not every variant has them: {left_out}"]
    return "\n".join(lines) + "\n"


def total(found: Iterable[Mapping[Variant, Scored]], variant: Variant) -> ErrorCounts:
    """The counts of one variant over some mixtures."""
    return sum((one[variant].counts for one in found if variant in one), ErrorCounts.zero())


def _by_mixture(scored: Iterable[Scored]) -> tuple[list[dict[Variant, Scored]], int]:
    """Each mixture's variants, and how many mixtures lack one that others have."""
    found: dict[str, dict[Variant, Scored]] = defaultdict(dict)
    for one in scored:
        if one.variant in found[one.mixture]:
            raise ValueError(f"{one.mixture} is scored twice with {one.variant}")
        found[one.mixture][one.variant] = one
    every = {variant for variants in found.values() for variant in variants}
    complete = [variants for variants in found.values() if variants.keys() == every]
    return complete, len(found) - len(complete)


def _rows(
    complete: Sequence[Mapping[Variant, Scored]],
) -> Iterator[tuple[str, str, Sequence[Mapping[Variant, Scored]]]]:
    """Band by band, from the noisiest: what belongs to each kind, and to all kinds where there are several."""
    bands: dict[str, dict[str, list[Mapping[Variant, Scored]]]] = defaultdict(lambda: defaultdict(list))
    for variants in complete:
        one = next(iter(variants.values()))
        bands[one.band][one.kind].append(variants)
    for band in sorted(bands, key=_place):
        kinds = bands[band]
        for kind in sorted(kinds, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS)):
            yield band, kind, kinds[kind]
        if len(kinds) > 1:
            yield band, _ALL_KINDS, [variants for found in kinds.values() for variants in found]


def _place(band: str) -> tuple[float, str]:
    """Numbers by size, then the bands without one."""
    number, _, unit = band.partition(" ")
    return (float(number) if unit == "dB" else float("inf"), band)


def _rates(band: str, kind: str, found: Sequence[Mapping[Variant, Scored]]) -> str:
    counts = [total(found, variant) for variant in VARIANTS]
    rates = ["n/a" if one.rate is None else f"{100 * one.rate:.1f}" for one in counts]
    change = difference((one["off"], one["auto"]) for one in found if {"off", "auto"} <= one.keys())
    words = max(one.reference_words for one in counts)
    return f"| {band} | {kind} | {words} | {' | '.join(rates)} | {'n/a' if change is None else change} |"


def _kinds_of_errors(band: str, kind: str, found: Sequence[Mapping[Variant, Scored]]) -> str:
    counts = [total(found, variant) if any(variant in one for one in found) else None for variant in VARIANTS]
    cells = ["n/a" if one is None else f"{one.substitutions} / {one.deletions} / {one.insertions}" for one in counts]
    return f"| {band} | {kind} | {' | '.join(cells)} |"
