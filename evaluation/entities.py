"""Entity accuracy: which names, numbers, amounts, dates and times of the reference the hypothesis holds.

For each entity of the reference its value is looked for in the hypothesis, whoever is said to have spoken it:

- `phone`, `zip_code` and every `…_number`: the same digits and letters, however grouped, spelled or separated, as whole
  words, with no further digit directly before or behind.
- `amount`, `date`, `time`: the same value (`evaluation.values`), also where the words differ.
- every other type (`person`, `organisation`, …), and what cannot be read as its type says: the same words in the same
  order after normalisation, word by word.

Where the entity's time is known, a word of the match must lie within `WINDOW_S` of it, by word times where the
hypothesis has them, else by those of the utterance. Words are searched speaker by speaker (so that an "okay" of the
other side does not cut a number in two) and then as one text. A word of the hypothesis counts once per type: entities
are looked for longest first, then in order of time, and each takes the earliest match that is left: an entity said
twice and heard once counts one of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import EntityCounts
from evaluation.spoken import Atom, is_number, spelled, spellings, text_atoms
from evaluation.streams import READERS, Heard, Stream, listen, tokens_of
from evaluation.values import Reading, agree, read

WINDOW_S: Final = 5.0
"""How far from its time an entity is looked for, in seconds."""

_CODES: Final = frozenset({"phone", "zip_code"})


@dataclass(frozen=True, slots=True)
class EntityMiss:
    """An entity of the reference that the hypothesis lacks; for people to look at, never for logs."""

    type: str
    text: str
    start: float | None = None


@dataclass(frozen=True, slots=True)
class EntityScore:
    """Counts per type of entity, and what was missed."""

    by_type: Mapping[str, EntityCounts] = field(default_factory=dict)
    misses: tuple[EntityMiss, ...] = ()

    @classmethod
    def zero(cls) -> EntityScore:
        """Nothing looked for: the start of a sum."""
        return cls()

    def __add__(self, other: EntityScore) -> EntityScore:
        """Add type by type."""
        zero = EntityCounts.zero()
        return EntityScore(
            {
                kind: self.by_type.get(kind, zero) + other.by_type.get(kind, zero)
                for kind in sorted({*self.by_type, *other.by_type})
            },
            self.misses + other.misses,
        )

    @property
    def counts(self) -> EntityCounts:
        """All types together."""
        return sum(self.by_type.values(), EntityCounts.zero())


_Span = frozenset[int]
_Finder = Callable[[Stream], Iterable[_Span]]


def entity_score(
    entities: Iterable[ReferenceEntity], utterances: Iterable[HypothesisUtterance], language: str = "en"
) -> EntityScore:
    """Look for the entities of one call.

    Args:
        entities: what was said and matters.
        utterances: the hypothesis, in any order.
        language: of the normaliser, for names.

    Returns:
        Counts per type, and the misses in the order of the reference.
    """
    heard, streams = listen(utterances, language)
    wanted = [(entity, *_plan(entity, heard, language)) for entity in entities]
    used: dict[str, set[int]] = {}
    correct: set[int] = set()
    for index in sorted(range(len(wanted)), key=lambda i: (-wanted[i][1], _end(wanted[i][0]), i)):
        entity, _, find = wanted[index]
        taken = used.setdefault(entity.type, set())
        spans = [span for stream in streams for span in find(stream) if not span & taken and _near(entity, heard, span)]
        if spans:
            taken |= min(spans, key=lambda span: (min(heard[word].start for word in span), sorted(span)))
            correct.add(index)
    by_type: dict[str, EntityCounts] = {}
    for index, (entity, _, _) in enumerate(wanted):
        by_type[entity.type] = by_type.get(entity.type, EntityCounts.zero()) + EntityCounts(1, index in correct)
    misses = (entity for index, (entity, _, _) in enumerate(wanted) if index not in correct)
    return EntityScore(
        dict(sorted(by_type.items())), tuple(EntityMiss(miss.type, miss.text, miss.start) for miss in misses)
    )


def _plan(entity: ReferenceEntity, heard: Sequence[Heard], language: str) -> tuple[int, _Finder]:
    """Decide how to look for an entity: the length of what it needs, and what finds it in a stream."""
    run = text_atoms(entity.text)
    if entity.type in _CODES or entity.type.endswith("_number"):
        codes = {code for code in spellings(run) if code}
        if codes:
            return max(map(len, codes)), lambda stream: _codes(stream, heard, codes)
    elif reader := READERS.get(entity.type):
        found = read(run, reader)
        if len(found) == 1:
            return 1, lambda stream: _readings(stream, entity.type, found[0])
    tokens = tokens_of(entity.text, language)
    return len(tokens), lambda stream: _sequences(stream, tokens)


def _codes(stream: Stream, heard: Sequence[Heard], codes: Iterable[str]) -> Iterator[_Span]:
    """Find codes that stand alone: no digit of the same breath before or behind."""
    run = stream.atoms
    for first in range(len(run)):
        for code in codes:
            end = spelled(run, first, code)
            if end is None or _joins(run, first - 1, heard) or _joins(run, end - 1, heard):
                continue
            yield frozenset(atom.word for atom in run[first:end])


def _joins(run: Sequence[Atom], at: int, heard: Sequence[Heard]) -> bool:
    """Whether two atoms, `at` and the next, are digits of one utterance without punctuation between them."""
    if not 0 <= at < len(run) - 1:
        return False
    left, right = run[at], run[at + 1]
    same = heard[left.word].utterance == heard[right.word].utterance
    return same and is_number(left) and is_number(right) and not set(left.tail) & set(".,;:?!")


def _readings(stream: Stream, kind: str, wanted: Reading) -> Iterator[_Span]:
    """Find values that say what the reference says."""
    for reading in stream.readings[kind]:
        if any(agree(reference, value) for reference in wanted.values for value in reading.values):
            yield frozenset(atom.word for atom in stream.atoms[reading.first : reading.end])


def _sequences(stream: Stream, tokens: Sequence[str]) -> Iterator[_Span]:
    """Find normalised words in order."""
    for first in range(len(stream.tokens) - len(tokens) + 1 if tokens else 0):
        found = stream.tokens[first : first + len(tokens)]
        if [token for token, _ in found] == list(tokens):
            yield frozenset(index for _, index in found)


def _near(entity: ReferenceEntity, heard: Sequence[Heard], span: _Span) -> bool:
    """Whether any word of a match lies within reach of the entity's time, or that time is not known."""
    if entity.start is None:
        return True
    low, high = entity.start - WINDOW_S, _end(entity) + WINDOW_S
    return any(heard[word].end >= low and heard[word].start <= high for word in span)


def _end(entity: ReferenceEntity) -> float:
    """When an entity ends; the start where only that is known, and behind all others where nothing is."""
    return next((time for time in (entity.end, entity.start) if time is not None), float("inf"))
