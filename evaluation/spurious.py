"""What the hypothesis holds and the reference does not: made-up or garbled values and names, by class. Pure.

It is found without any recogniser of entities, from the text of the reference alone:

- Values. Everything in the hypothesis that is certainly money (with its currency), a date, a time (with its half of the
  day, "o'clock" or a colon), a code of four digits or more, or a number is looked for among the values of the reference
  text. A code is a `phone` when it has 7, 10 or 11 digits and no letter, else an `id`: a garbled account number of ten
  digits is a spurious phone. A number is neither part of one of the others, nor "one" or an ordinal said in a word,
  which mean other things as often.
- Names. Where a name that is known in the set (`known_terms`) is said in the hypothesis, it is looked for in the
  reference text, word by word, or letter by letter for products.

Each value or name of the reference accounts for one of the hypothesis, within `WINDOW_S` where times are known (a line
that ends where it starts has none). What is left is spurious, unless its words are those of an entity that was found:
the reference may name an entity in other words than it was said in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Final

from evaluation.claims import Claim, claims_of
from evaluation.entity_classes import class_of, kind_of
from evaluation.formats import ReferenceEntity
from evaluation.streams import Heard, Stream, tokens_of
from evaluation.values import Calendar, Clock, agree

WINDOW_S: Final = 5.0
"""How far from each other the same value may be in reference and hypothesis, in seconds."""


def known_terms(entities: Iterable[ReferenceEntity]) -> dict[str, tuple[str, ...]]:
    """Collect the names of a set, by class: the list against which a name that was heard may be spurious.

    Args:
        entities: of all calls of the set.

    Returns:
        Class → texts, sorted; only of classes that are found by their words.
    """
    found: dict[str, set[str]] = {}
    for entity in entities:
        if kind_of(entity.type) in {"words", "term", "address"}:
            found.setdefault(class_of(entity.type), set()).add(entity.text)
    return {name: tuple(sorted(texts)) for name, texts in sorted(found.items())}


def spurious_counts(
    said: tuple[Sequence[Heard], Sequence[Stream]],
    heard: Sequence[Heard],
    streams: Sequence[Stream],
    right: Collection[int],
    language: str,
    terms: Mapping[str, Iterable[str]],
) -> dict[str, int]:
    """Count what is spurious in one call.

    Args:
        said: what was said, as from `evaluation.streams.listen_to_lines`.
        heard: the words of the hypothesis, as from `evaluation.streams.listen`.
        streams: these words laid out for searching.
        right: words of the hypothesis that are part of an entity that was found.
        language: of the normaliser.
        terms: class → names that are known.

    Returns:
        Class → count, without classes that have none.
    """
    names = {name: sorted({tuple(tokens_of(text, language)) for text in texts}) for name, texts in terms.items()}
    reference = list(claims_of(*said, names))
    claims = [claim for claim in claims_of(heard, streams, names) if claim.marked]
    taken: set[int] = set()
    left: Counter[str] = Counter()
    for claim in sorted(claims, key=lambda one: (one.start, one.end, sorted(one.words), one.kind)):
        partner = next((at for at, own in enumerate(reference) if at not in taken and _same(own, claim)), None)
        if partner is not None:
            taken.add(partner)
        elif not claim.words & set(right):
            left[claim.kind] += 1
    return dict(sorted(left.items()))


def _same(reference: Claim, claim: Claim) -> bool:
    """Whether a claim of the reference accounts for one of the hypothesis."""
    codes = {"id", "phone"}
    return (
        (reference.kind == claim.kind or {reference.kind, claim.kind} <= codes)
        and reference.start <= claim.end + WINDOW_S
        and claim.start <= reference.end + WINDOW_S
        and any(_means(own, value) for own in reference.values for value in claim.values)
    )


def _means(reference: Hashable, hypothesis: Hashable) -> bool:
    """Whether one value may stand for the other: in either direction, as both may say more."""
    if isinstance(reference, Calendar | Clock) and isinstance(hypothesis, Calendar | Clock):
        return agree(reference, hypothesis) or agree(hypothesis, reference)
    return reference == hypothesis
