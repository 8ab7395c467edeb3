"""Where the entities of a reference are in what was heard, by value or by words. Pure.

`evaluation.entities` says what counts as found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from evaluation.addresses import address_parts, addresses
from evaluation.entity_classes import kind_of
from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance
from evaluation.moments import years
from evaluation.phones import phone_codes
from evaluation.spoken import Atom, is_number, spelled, spellings, text_atoms
from evaluation.streams import READERS, Heard, Stream, letter_runs, listen, tokens_of, word_runs
from evaluation.values import Reading, agree, read

WINDOW_S: Final = 5.0
"""How far from its time an entity is looked for, in seconds."""

_Span: TypeAlias = frozenset[int]
_Finder: TypeAlias = Callable[[Stream], Iterable[_Span]]


def locate(
    entities: Iterable[ReferenceEntity], utterances: Iterable[HypothesisUtterance], language: str = "en"
) -> tuple[list[Heard], list[frozenset[int] | None]]:
    """Say where the entities of one call are.

    Returns:
        The words of the utterances, and of each entity which of these it is; None where it was not found.
    """
    heard, streams = listen(utterances, language)
    return heard, places_of(tuple(entities), heard, streams, language)


def places_of(
    entities: Sequence[ReferenceEntity], heard: Sequence[Heard], streams: Sequence[Stream], language: str
) -> list[_Span | None]:
    """Give each entity its words: the longest first, then in order of time, each the earliest that are left."""
    plans = [_plan(entity, heard, language) for entity in entities]
    used: dict[str, set[int]] = {}
    places: list[_Span | None] = [None] * len(plans)
    for index in sorted(range(len(plans)), key=lambda i: (-plans[i][0], _end(entities[i]), i)):
        entity, (_, find) = entities[index], plans[index]
        taken = used.setdefault(entity.type, set())
        spans = [span for stream in streams for span in find(stream) if not span & taken and _near(entity, heard, span)]
        if spans:
            best = min(spans, key=lambda span: (min(heard[word].start for word in span), sorted(span)))
            taken |= best
            places[index] = best
    return places


def _plan(entity: ReferenceEntity, heard: Sequence[Heard], language: str) -> tuple[int, _Finder]:
    """Decide how to look for an entity: the length of what it needs, and what finds it in a stream."""
    run, kind = text_atoms(entity.text), kind_of(entity.type)
    if kind == "code" and len(run) == 1 and run[0].text[-2:] in {"st", "nd", "rd", "th"}:
        kind = "number"
    elif kind == "date" and [(year.first, year.end) for year in read(run, years)] == [(0, len(run))]:
        kind = "year"
    if kind in {"code", "phone"}:
        codes = {code for code in spellings(run) if code}
        longest = max(map(len, codes), default=0)
        if kind == "phone" and codes:
            codes |= phone_codes(codes, international=entity.text.lstrip().startswith("+") or run[0].text == "plus")
        if codes:
            return longest, lambda stream: _codes(stream, heard, codes)
    elif kind == "address":
        parts = address_parts(run)
        return len(parts), lambda stream: addresses(stream.atoms, parts)
    elif reader := READERS.get(kind):
        found = read(run, reader)
        if len(found) == 1:
            return 1, lambda stream: _readings(stream, kind, found[0])
    tokens = tokens_of(entity.text, language)
    if kind == "term":
        return len(tokens), lambda stream: _spans(stream, letter_runs(stream.tokens, "".join(tokens)))
    return len(tokens), lambda stream: _spans(stream, word_runs(stream.tokens, tokens))


def _codes(stream: Stream, heard: Sequence[Heard], codes: Iterable[str]) -> Iterator[_Span]:
    """Find codes that stand alone: no digit of the same breath before or behind."""
    run = stream.atoms
    for first in sorted({at for code in codes for at in stream.beginnings.get(code[0], ())}):
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
    for reading in stream.readings(kind):
        if any(agree(reference, value) for reference in wanted.values for value in reading.values):
            yield frozenset(atom.word for atom in stream.atoms[reading.first : reading.end])


def _spans(stream: Stream, runs: Iterable[tuple[int, int]]) -> Iterator[_Span]:
    """Give the words of runs of tokens."""
    return (frozenset(index for _, index in stream.tokens[first:end]) for first, end in runs)


def _near(entity: ReferenceEntity, heard: Sequence[Heard], span: _Span) -> bool:
    """Whether any word of a match lies within reach of the entity's time, or that time is not known."""
    if entity.start is None:
        return True
    low, high = entity.start - WINDOW_S, _end(entity) + WINDOW_S
    return any(heard[word].end >= low and heard[word].start <= high for word in span)


def _end(entity: ReferenceEntity) -> float:
    """When an entity ends; the start where only that is known, and behind all others where nothing is."""
    return next((time for time in (entity.end, entity.start) if time is not None), float("inf"))
