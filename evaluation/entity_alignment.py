"""Class WER: the word errors inside the entities of each class, as fstalign counts them.

fstalign (Rev; README, docs/Usage.md and src/wer.cpp, AlignmentTraversor.cpp, fstalign.cpp of version 1) aligns the
reference with the hypothesis word by word, in lower case and without punctuation, and gives each entity the errors of
its words:

- An entity with an entry in `.norm.json` may be said in any of the ways there or as written. The way with the fewest
  errors is taken, and its words are the words of the reference: "2020" that is heard as "twenty thirty" is one error in
  two words.
- A word with a hyphen may also be said as two words, one that is cut off ("th-") without the hyphen, and a mark
  (`<inaudible>`) as `<unk>`.
- Substitutions and deletions count for every entity that the word is part of, insertions only where they stand between
  the words of one such way. An insertion between two words of a name belongs to nobody.
- Where a way has another number of words than the entity has tokens, all but the last word go with the first token's
  entities and the last with the last token's.
- The rate of a class is the sum of its errors over the sum of its words. A word of two entities of a class counts
  twice.

fstalign finds the alignment in two steps, and so does this: a first one, in which entities match nothing, fixes what is
right beyond doubt (`_SURE` words in a row; here of `evaluation.word_alignment`), and between these the best way through
all ways of all entities is found exactly. Where several alignments have the fewest errors, the kinds may differ from
fstalign's.

References of other kinds name entities and not their place (`located_pieces`): each is looked for in the text of the
reference as it would be in a hypothesis, and may be said as it stands there, word by word or normalised as a whole
("one hundred dollars": `$100`), or as the entity itself is written. `language`'s normaliser is applied there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from evaluation.entity_classes import class_of
from evaluation.entity_search import locate
from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance, Spoken, in_order
from evaluation.lattice import Op, best_ops
from evaluation.nlp_format import NlpDocument, NlpToken, entity_ids
from evaluation.normalise import normalise
from evaluation.rates import ErrorCounts
from evaluation.streams import tokens_of
from evaluation.word_alignment import aligned

_SURE: Final = 3
_PUNCTUATION: Final = '.,;:?!…"()[]'


@dataclass(frozen=True, slots=True)
class Piece:
    """Reference words that are said in one way or another.

    `ways` are the words of each, none empty; `tags` the types of the entities of each token as written.
    """

    ways: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...] = ((),)


@dataclass(frozen=True, slots=True)
class ClassErrors:
    """Word errors of everything, and of the entities of each type."""

    total: ErrorCounts = field(default_factory=ErrorCounts.zero)
    by_type: Mapping[str, ErrorCounts] = field(default_factory=dict)

    @classmethod
    def zero(cls) -> ClassErrors:
        """Nothing compared: the start of a sum."""
        return cls()

    def __add__(self, other: ClassErrors) -> ClassErrors:
        """Add type by type."""
        zero = ErrorCounts.zero()
        types = sorted({*self.by_type, *other.by_type})
        return ClassErrors(
            self.total + other.total,
            {kind: self.by_type.get(kind, zero) + other.by_type.get(kind, zero) for kind in types},
        )

    @property
    def by_class(self) -> dict[str, ErrorCounts]:
        """By class (`evaluation.entity_classes`) rather than by the types of the file."""
        found: dict[str, ErrorCounts] = {}
        for kind, counts in self.by_type.items():
            found[class_of(kind)] = found.get(class_of(kind), ErrorCounts.zero()) + counts
        return dict(sorted(found.items()))


def class_errors(pieces: Sequence[Piece], hypothesis: Sequence[str]) -> ClassErrors:
    """Count the word errors of one call, by type of entity.

    Args:
        pieces: the reference, from `document_pieces` or `located_pieces`.
        hypothesis: the words of the hypothesis, from `document_words` or `located_words`.

    Returns:
        The counts; types without a word are not in it.
    """
    every: Counter[Op] = Counter()
    found: dict[str, Counter[Op]] = {}
    for first, end, low, high, sure in _passages(pieces, hypothesis):
        best, outside = best_ops([piece.ways for piece in pieces[first:end]], hypothesis[low:high])
        hits: list[list[Op]] = [["hit"]] * sure
        every["ins"] += outside
        for piece, ops in zip(pieces[first : end + sure], best + hits, strict=True):
            every.update(ops)
            for op, tags in zip(ops, _spread(piece.tags, len(ops)), strict=True):
                for kind in tags:
                    found.setdefault(kind, Counter())[op] += 1
    return ClassErrors(_counts(every), {kind: _counts(ops) for kind, ops in sorted(found.items())})


def document_pieces(document: NlpDocument) -> tuple[Piece, ...]:
    """Make the pieces of an `.nlp` file: each entity of `tags` is one, every other token too."""
    pieces = []
    for label, run in groupby(enumerate(document.tokens), key=lambda item: _group(*item)):
        tokens = [token for _, token in run]
        written = _plain(token.text for token in tokens) or (tokens[0].text,)
        ways = filter(None, map(_plain, document.ways.get(label, ())))
        tags = tuple(tuple(document.type_of(entity, token) for entity in entity_ids(token)) for token in tokens)
        pieces.append(Piece(tuple(dict.fromkeys([*ways, written, *_synonyms(written)])), tags))
    return tuple(pieces)


def document_words(utterances: Iterable[Spoken]) -> list[str]:
    """Give the words of a hypothesis as fstalign compares them: in lower case, without punctuation around them."""
    return [word for one in in_order(utterances) for word in _plain(one.text.split())]


def located_pieces(
    lines: Iterable[Spoken], entities: Iterable[ReferenceEntity], language: str = "en"
) -> tuple[tuple[Piece, ...], int]:
    """Make the pieces of a reference whose entities have no place yet.

    Args:
        lines: what was said.
        entities: what of it matters.
        language: of the normaliser.

    Returns:
        The pieces, and how many entities were not found in the lines and count nowhere.
    """
    wanted = tuple(entities)
    spoken = [
        HypothesisUtterance(line.speaker, line.start, getattr(line, "end", line.start), line.text) for line in lines
    ]
    heard, places = locate(wanted, spoken, language)
    tags: dict[int, list[str]] = {}
    written: dict[int, str] = {}
    for entity, place in zip(wanted, places, strict=True):
        for word in place or ():
            tags.setdefault(word, []).append(entity.type)
            written[word] = entity.text
    pieces = []
    for kinds, run in groupby(range(len(heard)), key=lambda word: tuple(tags.get(word, ()))):
        places_of_run = list(run)
        tokens = [tuple(tokens_of(heard[word].text, language)) for word in places_of_run]
        if not kinds:
            pieces += [Piece(((one,),)) for words in tokens for one in words]
            continue
        said = " ".join(heard[word].text for word in places_of_run)
        texts = {written[word] for word in places_of_run}
        ways = [
            tuple(token for word in tokens for token in word),
            tuple(normalise(said, language).split()),
            *(tuple(tokens_of(text, language)) for text in texts if len(texts) == 1),
        ]
        if ways[0]:
            pieces.append(Piece(tuple(dict.fromkeys(filter(None, ways))), (kinds,) * len(ways[0])))
    return tuple(pieces), sum(place is None for place in places)


def located_words(utterances: Iterable[Spoken], language: str = "en") -> list[str]:
    """Give the words of a hypothesis as `located_pieces` has those of the reference."""
    return [token for one in in_order(utterances) for token in tokens_of(one.text, language)]


def _plain(words: Iterable[str]) -> tuple[str, ...]:
    """Bring words to lower case, without punctuation around them; what is nothing else is no word."""
    return tuple(plain for word in words if (plain := word.lower().strip(_PUNCTUATION)))


def _group(at: int, token: NlpToken) -> str:
    """Name the piece of a token: its first tag, else its own place."""
    return token.tags[0][0] if token.tags else f"#{at}"


def _synonyms(written: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Give the ways of a token that are no errors: without hyphens, a mark as unknown."""
    if len(written) != 1:
        return
    word = written[0]
    if word.startswith("<") and word.endswith(">"):
        yield ("<unk>",)
    elif parts := tuple(part for part in word.split("-") if part):
        yield parts


def _passages(pieces: Sequence[Piece], hypothesis: Sequence[str]) -> Iterator[tuple[int, int, int, int, int]]:
    """Cut reference and hypothesis where they agree beyond doubt: pieces first to end, words low to high, words sure.

    The words that are sure follow on both sides, each a piece with one way. Whatever stands before them, the best way
    through both has them as hits.
    """
    words = [
        piece.ways[0][0] if len(piece.ways) == len(piece.ways[0]) == 1 else f"\0{at}" for at, piece in enumerate(pieces)
    ]
    first = low = 0
    for chunk in aligned(words, hypothesis):
        if chunk.type == "equal" and (sure := chunk.ref_end_idx - chunk.ref_start_idx) >= _SURE:
            yield first, chunk.ref_start_idx, low, chunk.hyp_start_idx, sure
            first, low = chunk.ref_end_idx, chunk.hyp_end_idx
    yield first, len(pieces), low, len(hypothesis), 0


def _spread(tags: Sequence[tuple[str, ...]], words: int) -> Sequence[tuple[str, ...]]:
    """Give each word of a way the types of a token as written."""
    if len(tags) == words:
        return tags
    return [tags[0]] * (words - 1) + [tags[-1] if words > 1 else tags[0]]


def _counts(ops: Counter[Op]) -> ErrorCounts:
    """What became of words, as counts."""
    return ErrorCounts(ops["hit"] + ops["sub"] + ops["del"], ops["sub"], ops["del"], ops["ins"])
