"""Codes in a text, and the digits that run on from them. Pure.

A code that goes on is another one: "4471" is not in "4471 9025". But people say numbers right behind a code ("invoice
two three eight nine one four pounds"), and where a recogniser writes no comma between the two, only the reference tells
where the code ends. So a code may run on where the reference's own text runs on beside it, into as many digits:
"2 3 8 9 1 4 pounds" holds 23891 then, and "2 3 8 9 1 1 4 pounds", with a digit too many, does not. Which digits follow
does not matter: a wrong amount makes no code wrong. A word that holds more than the code ("238914") is another word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.spoken import Atom, is_number, is_numeral, spelled, spellings
from evaluation.streams import Heard, Stream

NONE: Final = frozenset({0})
_MOST_ATOMS: Final = 12  # of a number that is read in every way in which it can be: a hallucination may be endless


@dataclass(frozen=True, slots=True)
class Place:
    """Words of a text that say an entity.

    `before` and `behind` are how many digits stand directly beside it, in each way in which they can be read; 0 is
    among them where they are apart from it, or may be no number.
    """

    words: frozenset[int]
    before: frozenset[int] = NONE
    behind: frozenset[int] = NONE

    @property
    def alone(self) -> bool:
        """Whether it is nothing but itself: no digit runs on."""
        return 0 in self.before and 0 in self.behind

    def runs_on_as(self, reference: Place | None) -> bool:
        """Whether it is alone, or runs on into as many digits as its place in the reference; None: none is known."""
        own = reference or Place(frozenset())
        return not self.before.isdisjoint(own.before | NONE) and not self.behind.isdisjoint(own.behind | NONE)


def code_places(stream: Stream, heard: Sequence[Heard], codes: Collection[str]) -> Iterator[Place]:
    """Find codes, each as whole words.

    Args:
        stream: the words that are searched.
        heard: the words of the call, which the stream names by their index.
        codes: as from `evaluation.spoken.spellings`, none empty.
    """
    run = stream.atoms
    for first in sorted({at for code in codes for at in stream.beginnings.get(code[0], ())}):
        for code in codes:
            if (end := spelled(run, first, code)) is not None:
                words = frozenset(atom.word for atom in run[first:end])
                yield Place(words, _before(run, first, heard), _behind(run, end, heard))


def _before(run: Sequence[Atom], first: int, heard: Sequence[Heard]) -> frozenset[int]:
    """How many digits end where a code begins."""
    start = first
    while start and first - start <= _MOST_ATOMS and is_numeral(run[start - 1]):
        start -= 1
    return _lengths(run[start:first]) | (frozenset() if _joins(run, first - 1, heard) else NONE)


def _behind(run: Sequence[Atom], end: int, heard: Sequence[Heard]) -> frozenset[int]:
    """How many digits begin where a code ends."""
    stop = end
    while stop < len(run) and stop - end <= _MOST_ATOMS and is_numeral(run[stop]):
        stop += 1
    return _lengths(run[end:stop]) | (frozenset() if _joins(run, end - 1, heard) else NONE)


def _lengths(numerals: Sequence[Atom]) -> frozenset[int]:
    """How many digits a number has, however it is read; nothing where it is endless."""
    if len(numerals) > _MOST_ATOMS:
        return frozenset()
    return frozenset(len(digits) for digits in spellings(numerals) if digits.isdecimal())


def _joins(run: Sequence[Atom], at: int, heard: Sequence[Heard]) -> bool:
    """Whether two atoms, `at` and the next, are digits of one utterance without punctuation between them."""
    if not 0 <= at < len(run) - 1:
        return False
    left, right = run[at], run[at + 1]
    same = heard[left.word].utterance == heard[right.word].utterance
    return same and is_number(left) and is_number(right) and not set(left.tail) & set(".,;:?!")
