"""Entity accuracy: which names, numbers, amounts, dates and times of the reference the hypothesis holds.

For each entity of the reference its value is looked for in the hypothesis, whoever is said to have spoken it. How hangs
on its type (`evaluation.entity_classes`):

- codes (ids, zip codes): the same digits and letters, however grouped, spelled or separated, as whole words, with no
  further digit directly before or behind, unless the reference runs on in the same way (`evaluation.code_search`).
  Telephone numbers also with or without the code of the country.
- amounts, dates, times, numbers: the same value (`evaluation.values`), also where the words differ.
- addresses: the same numbers and words, abbreviated or not (`evaluation.addresses`).
- products and other terms: the same letters, in one word or several ("voice mail", "voicemail").
- every other type (`person`, `organisation`, …), and what cannot be read as its type says: the same words in the same
  order after normalisation, word by word.

Where the entity's time is known, a word of the match must lie within `WINDOW_S` of it, by word times where the
hypothesis has them, else by those of the utterance. Words are searched speaker by speaker (so that an "okay" of the
other side does not cut a number in two) and then as one text. A word of the hypothesis counts once per type: entities
are looked for longest first, then in order of time, and each takes the earliest match that is left: an entity said
twice and heard once counts one of two.

That is recall. For precision, what the hypothesis holds and the reference does not is counted by class, where the text
of the reference is given (`evaluation.spurious`).

dateparser, which is installed with Prefect, was looked at for dates and times and is not used: it gives no place in the
text, cannot read "third of march" or "half past three", and guesses ("5" is a day in May, "Monday" one of last week).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from evaluation.entity_classes import class_of
from evaluation.entity_search import WINDOW_S, places_of
from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance, Spoken
from evaluation.rates import EntityCounts
from evaluation.spurious import spurious_counts
from evaluation.streams import listen, listen_to_lines

__all__ = ["WINDOW_S", "EntityMiss", "EntityScore", "entity_score"]


@dataclass(frozen=True, slots=True)
class EntityMiss:
    """An entity of the reference that the hypothesis lacks; for people to look at, never for logs."""

    type: str
    text: str
    start: float | None = None


@dataclass(frozen=True, slots=True)
class EntityScore:
    """Counts per type of entity, and what was missed.

    `spurious` holds what was found too much, by class; None where it was not looked for, and then no sum has it.
    """

    by_type: Mapping[str, EntityCounts] = field(default_factory=dict)
    misses: tuple[EntityMiss, ...] = ()
    spurious: Mapping[str, int] | None = None

    @classmethod
    def zero(cls) -> EntityScore:
        """Nothing looked for: the start of a sum."""
        return cls(spurious={})

    def __add__(self, other: EntityScore) -> EntityScore:
        """Add type by type."""
        zero = EntityCounts.zero()
        known = self.spurious is not None and other.spurious is not None
        return EntityScore(
            {
                kind: self.by_type.get(kind, zero) + other.by_type.get(kind, zero)
                for kind in sorted({*self.by_type, *other.by_type})
            },
            self.misses + other.misses,
            dict(sorted((Counter(self.spurious) + Counter(other.spurious)).items())) if known else None,
        )

    @property
    def counts(self) -> EntityCounts:
        """All types together."""
        return sum(self.by_type.values(), EntityCounts.zero())

    @property
    def by_class(self) -> dict[str, EntityCounts]:
        """Counts by class (`evaluation.entity_classes`), with what is spurious where it was looked for."""
        found: dict[str, EntityCounts] = {}
        for kind, counts in self.by_type.items():
            own = EntityCounts(counts.reference, counts.correct, None if self.spurious is None else 0)
            found[class_of(kind)] = found.get(class_of(kind), EntityCounts.zero()) + own
        for name, spurious in (self.spurious or {}).items():
            found[name] = found.get(name, EntityCounts.zero()) + EntityCounts(0, 0, spurious)
        return dict(sorted(found.items()))


def entity_score(
    entities: Iterable[ReferenceEntity],
    utterances: Iterable[HypothesisUtterance],
    language: str = "en",
    *,
    lines: Iterable[Spoken] | None = None,
    terms: Mapping[str, Iterable[str]] | None = None,
    classes: Collection[str] | None = None,
) -> EntityScore:
    """Look for the entities of one call.

    Args:
        entities: what was said and matters.
        utterances: the hypothesis, in any order.
        language: of the normaliser, for names.
        lines: everything that was said; None when it is not known, and with it nothing about precision, nor where a
            number follows a code.
        terms: class → names that are known in the set (`evaluation.spurious.known_terms`), for their precision.
        classes: those that the references name: where nobody wrote down the numbers that were said, a wrong one says
            nothing of precision. All of them when None.

    Returns:
        Counts per type, and the misses in the order of the reference.
    """
    wanted = tuple(entities)
    heard, streams = listen(utterances, language)
    said = None if lines is None else listen_to_lines(lines, language)
    places = places_of(wanted, heard, streams, language, said)
    by_type: dict[str, EntityCounts] = {}
    for entity, place in zip(wanted, places, strict=True):
        by_type[entity.type] = by_type.get(entity.type, EntityCounts.zero()) + EntityCounts(1, place is not None)
    misses = (entity for entity, place in zip(wanted, places, strict=True) if place is None)
    right = frozenset[int]().union(*(place for place in places if place))
    spurious = None if said is None else spurious_counts(said, heard, streams, right, language, terms or {})
    if spurious is not None and classes is not None:
        spurious = {name: count for name, count in spurious.items() if name in classes}
    return EntityScore(
        dict(sorted(by_type.items())),
        tuple(EntityMiss(miss.type, miss.text, miss.start) for miss in misses),
        spurious,
    )
