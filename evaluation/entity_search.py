"""Where the entities of a reference are in what was heard, by value or by words. Pure.

`evaluation.entities` says what counts as found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from evaluation.addresses import address_parts, addresses
from evaluation.code_search import Place, code_places
from evaluation.entity_classes import kind_of
from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance
from evaluation.moments import years
from evaluation.phones import phone_codes
from evaluation.spoken import spellings, text_atoms
from evaluation.streams import READERS, Heard, Stream, letter_runs, listen, tokens_of, word_runs
from evaluation.values import Reading, agree, read

WINDOW_S: Final = 5.0
"""How far from its time an entity is looked for, in seconds."""

_Text: TypeAlias = tuple[Sequence[Heard], Sequence[Stream]]


class _Plan(NamedTuple):
    """How to look for an entity: the length of what it needs, what finds it in a stream, whether it is a code."""

    length: int
    find: Callable[[Stream, Sequence[Heard]], Iterable[Place]]
    is_code: bool = False


def locate(
    entities: Iterable[ReferenceEntity], utterances: Iterable[HypothesisUtterance], language: str = "en"
) -> tuple[list[Heard], list[frozenset[int] | None]]:
    """Say where the entities of one call are in the text of the reference itself.

    Returns:
        The words of the utterances, and of each entity which of these it is; None where it was not found.
    """
    wanted, (heard, streams) = tuple(entities), listen(utterances, language)
    plans = [_plan(entity, language) for entity in wanted]
    return heard, _words(_assign(wanted, plans, (heard, streams), lambda *_: True))


def places_of(
    entities: Sequence[ReferenceEntity],
    heard: Sequence[Heard],
    streams: Sequence[Stream],
    language: str,
    said: _Text | None = None,
) -> list[frozenset[int] | None]:
    """Give each entity its words.

    Args:
        entities: of the reference.
        heard: the words of the hypothesis, as from `evaluation.streams.listen`.
        streams: these words laid out for searching.
        language: of the normaliser.
        said: the reference, as from `evaluation.streams.listen_to_lines`; None where its text is not known. Without,
            no code may run on into a further number.
    """
    plans = [_plan(entity, language) for entity in entities]
    own: dict[int, Place | None] = {}
    if said is not None and (codes := [index for index, plan in enumerate(plans) if plan.is_code]):
        named, of_codes = [entities[index] for index in codes], [plans[index] for index in codes]
        own = dict(zip(codes, _assign(named, of_codes, said, lambda *_: True), strict=True))
    return _words(_assign(entities, plans, (heard, streams), lambda index, place: place.runs_on_as(own.get(index))))


def _assign(
    entities: Sequence[ReferenceEntity], plans: Sequence[_Plan], text: _Text, fits: Callable[[int, Place], bool]
) -> list[Place | None]:
    """Give each entity a place: the longest first, then in order of time, each the earliest that is left.

    A place at which an entity stands alone goes before one at which it runs on.
    """
    heard, streams = text
    used: dict[str, set[int]] = {}
    places: list[Place | None] = [None] * len(plans)
    for index in sorted(range(len(plans)), key=lambda i: (-plans[i].length, _end(entities[i]), i)):
        entity, find = entities[index], plans[index].find
        taken = used.setdefault(entity.type, set())
        found = [
            place
            for stream in streams
            for place in find(stream, heard)
            if not place.words & taken and _near(entity, heard, place.words) and fits(index, place)
        ]
        if found:
            best = min(found, key=lambda place: _order(place, heard))
            taken |= best.words
            places[index] = best
    return places


def _words(places: Iterable[Place | None]) -> list[frozenset[int] | None]:
    return [None if place is None else place.words for place in places]


def _order(place: Place, heard: Sequence[Heard]) -> tuple[bool, float, list[int]]:
    return not place.alone, min(heard[word].start for word in place.words), sorted(place.words)


def _plan(entity: ReferenceEntity, language: str) -> _Plan:
    """Decide how to look for an entity."""
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
            return _Plan(longest, lambda stream, heard: code_places(stream, heard, codes), is_code=True)
    elif kind == "address":
        parts = address_parts(run)
        return _Plan(len(parts), lambda stream, _: map(Place, addresses(stream.atoms, parts)))
    elif reader := READERS.get(kind):
        found = read(run, reader)
        if len(found) == 1:
            return _Plan(1, lambda stream, _: _readings(stream, kind, found[0]))
    tokens = tokens_of(entity.text, language)
    if kind == "term":
        return _Plan(len(tokens), lambda stream, _: _spans(stream, letter_runs(stream.tokens, "".join(tokens))))
    return _Plan(len(tokens), lambda stream, _: _spans(stream, word_runs(stream.tokens, tokens)))


def _readings(stream: Stream, kind: str, wanted: Reading) -> Iterator[Place]:
    """Find values that say what the reference says."""
    for reading in stream.readings(kind):
        if any(agree(reference, value) for reference in wanted.values for value in reading.values):
            yield Place(frozenset(atom.word for atom in stream.atoms[reading.first : reading.end]))


def _spans(stream: Stream, runs: Iterable[tuple[int, int]]) -> Iterator[Place]:
    """Give the words of runs of tokens."""
    return (Place(frozenset(index for _, index in stream.tokens[first:end])) for first, end in runs)


def _near(entity: ReferenceEntity, heard: Sequence[Heard], words: Iterable[int]) -> bool:
    """Whether any word of a match lies within reach of the entity's time, or that time is not known."""
    if entity.start is None:
        return True
    low, high = entity.start - WINDOW_S, _end(entity) + WINDOW_S
    return any(heard[word].end >= low and heard[word].start <= high for word in words)


def _end(entity: ReferenceEntity) -> float:
    """When an entity ends; the start where only that is known, and behind all others where nothing is."""
    return next((time for time in (entity.end, entity.start) if time is not None), float("inf"))
