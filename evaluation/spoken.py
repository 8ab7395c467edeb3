"""Numbers as people say them and as recognisers write them: cardinals, and digits one by one. Pure.

A text is cut into atoms that both spellings share ("$142.50" → "$", "142.50"; "p.m." → "p", "m"; "forty-two" →
"forty", "two"), and numbers are read from runs of atoms. Number words are English; digits are read in any language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

_ATOM: Final = re.compile(
    r"""
      \d+(?:st|nd|rd|th)\b                      # 5th
    | \d{4}-\d{1,2}-\d{1,2}(?!\d)               # 2026-10-05
    | \d{1,2}/\d{1,2}(?:/\d{4}|/\d{2})?(?!\d)   # 10/05, 10/05/2026
    | \d{1,2}:\d{2}(?!\d)                       # 3:30
    | \d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?        # 2,500.00
    | \d+(?:\.\d+)?                             # 4471, 142.50
    | [^\W\d_]+                                 # any word
    | [$£€%]
    """,
    re.VERBOSE,
)
_SENTENCE_ENDS: Final = frozenset(".?!")
_WRITTEN: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")

_TO_NINETEEN: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TWENTY_TO_NINETY: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS: Final = {word: 10 * value for value, word in enumerate(_TWENTY_TO_NINETY.split(), start=2)}
SMALL: Final = {word: value for value, word in enumerate(_TO_NINETEEN.split())} | _TENS
"""Number words below a hundred that are one word."""

ZEROS: Final = frozenset({"oh", "o", "nought"})
"""What people say for the digit zero, besides zero."""

SCALES: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
"""Words that multiply what stands before them."""

_A_HUNDRED: Final = frozenset({"hundred", *SCALES})
_REPEATS: Final = {"double": 2, "triple": 3}
_NUMERALS: Final = frozenset({"one", *ZEROS, *_A_HUNDRED, *_REPEATS})
_SEPARATORS: Final = frozenset({"dash", "hyphen", "dot", "point", "slash", "space", "plus", "uh", "um"})
_NO_CODE: Final = _SEPARATORS | _A_HUNDRED
_ALPHABET: Final = (
    "alfa alpha bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike november oscar papa"
    " quebec romeo sierra tango uniform victor whiskey xray yankee zulu zed zee"
)
_LETTERS: Final = {word: word[0] for word in _ALPHABET.split()}
"""The spelling alphabet of ICAO and NATO."""

# What is no code, or whose code hangs on the words behind it.
_NO_PLAIN_WORD: Final = _NO_CODE | ZEROS | _REPEATS.keys() | SMALL.keys()


class Atom(NamedTuple):
    """The smallest piece of a text; `word` is the index of its word, `tail` the punctuation after that word's end."""

    text: str
    word: int
    tail: str = ""

    @property
    def ends_sentence(self) -> bool:
        """Whether a sentence ends here, and with it a number."""
        return self.tail[-1:] in _SENTENCE_ENDS if self.tail else False


def atoms(words: Iterable[tuple[int, str]]) -> list[Atom]:
    """Cut words into atoms.

    Args:
        words: (index, raw text) of each word.

    Returns:
        Lower-case atoms; only the last one of a word has its tail.
    """
    return [Atom(text, index, tail) for index, word in words for text, tail in _cut(word)]


@lru_cache(maxsize=65_536)  # people have few words
def _cut(word: str) -> tuple[tuple[str, str], ...]:
    """Cut a word into atoms with their tails."""
    matches = list(_ATOM.finditer(word.lower()))
    tails = [*[""] * (len(matches) - 1), *(word[match.end() :] for match in matches[-1:])]
    return tuple((match.group(), tail) for match, tail in zip(matches, tails, strict=True))


def text_atoms(text: str) -> list[Atom]:
    """Cut a whole text into atoms."""
    return atoms(enumerate(text.split()))


def cardinals(run: Sequence[Atom], at: int) -> list[tuple[Decimal, int]]:
    """Read every cardinal number that starts at an atom.

    Args:
        run: atoms of what one speaker said.
        at: where to start.

    Returns:
        (value, index behind it), shortest first: "one hundred and five" is 1, 100 and 105. Empty where no number is.
    """
    found: list[tuple[Decimal, int]] = []
    if at >= len(run) or not (run[at].text[0].isdecimal() or run[at].text in SMALL or run[at].text == "a"):
        return found  # nearly every word
    total, group, room, last_scale = Decimal(0), Decimal(0), 100, 10**12
    for index in range(at, len(run)):
        text = run[index].text
        if index > at and run[index - 1].ends_sentence:
            break
        if index == at and _WRITTEN.fullmatch(text):
            group, room = Decimal(text.replace(",", "")), 0
        elif (small := SMALL.get(text)) is not None and small < room and (small or index == at):
            group, room = group + small, 10 if small >= 20 else 0
        elif text == "hundred" and 1 <= group < 100:
            group, room = group * 100, 100
        elif (scale := SCALES.get(text, last_scale)) < last_scale and group:
            total, group, room, last_scale = total + group * scale, Decimal(0), 100, scale
        elif text == "a" and index == at and index + 1 < len(run) and run[index + 1].text in _A_HUNDRED:
            group, room = Decimal(1), 0
            continue
        elif text == "and" and index > at and room == 100:
            continue
        else:
            break
        found.append((total + group, index + 1))
    return found


def is_number(atom: Atom) -> bool:
    """Whether an atom belongs to a number for certain ("one" and "oh" may be other words)."""
    return atom.text[0].isdecimal() or (atom.text in SMALL and atom.text != "one")


def is_numeral(atom: Atom) -> bool:
    """Whether an atom may belong to a number."""
    return is_number(atom) or atom.text in _NUMERALS


def spellings(run: Sequence[Atom], at: int = 0) -> set[str]:
    """Every code (digits and letters without any separator) that a text can stand for, read to its end.

    The letter O is written as the digit 0, as nobody hears the difference: "INV 20 O 5" gives {"inv2005"}.
    """
    if at == len(run):
        return {""}
    found = {piece + rest for piece, end in _pieces(run, at) for rest in spellings(run, end)}
    return found | spellings(run, at + 1) if run[at].text in _SEPARATORS else found


def spelled(run: Sequence[Atom], at: int, code: str) -> int | None:
    """Find where a run of whole words that starts at an atom and spells a code ends.

    Args:
        run: atoms of what was said.
        at: where to start; a code starts with a word.
        code: as from `spellings`.

    Returns:
        The index behind the run; None where the code is not.
    """
    if at and run[at].word == run[at - 1].word:
        return None
    return _follow(_pieces(run, at), run, code)


def first_letters(run: Sequence[Atom], at: int) -> set[str]:
    """What a code that starts at an atom may begin with, as `spelled` reads it."""
    if at and run[at].word == run[at - 1].word:
        return set()
    text = run[at].text
    if len(text) > 1 and text.isalpha() and text not in _NO_PLAIN_WORD:  # nearly every word
        return {text[0].replace("o", "0")}
    return {piece[0] for piece, _ in _pieces(run, at) if piece}


def _follow(pieces: Iterable[tuple[str, int]], run: Sequence[Atom], code: str) -> int | None:
    """Go on with whichever piece leads to the end of the code."""
    for piece, end in pieces:
        if piece and code.startswith(piece) and (last := _rest(run, end, code[len(piece) :])) is not None:
            return last
    return None


def _rest(run: Sequence[Atom], at: int, code: str) -> int | None:
    """Spell what is left of a code; where nothing is left, a word must end."""
    if not code:
        return at if at == len(run) or run[at].word != run[at - 1].word else None
    if at == len(run):
        return None
    if (last := _follow(_pieces(run, at), run, code)) is not None:
        return last
    return _rest(run, at + 1, code) if run[at].text in _SEPARATORS else None


def _pieces(run: Sequence[Atom], at: int) -> Iterator[tuple[str, int]]:
    """Read the first part of a code that starts at an atom, in every way in which it can be read."""
    text = run[at].text
    yield from ((letter.replace("o", "0"), end) for letter, end in _letters(run, at))
    if text[0].isdecimal():
        yield re.sub(r"\D", "", text), at + 1
    elif text in ZEROS:
        yield "0", at + 1
    elif text in _REPEATS and at + 1 < len(run):
        yield from ((piece * _REPEATS[text], end) for piece, end in _pieces(run, at + 1) if len(piece) == 1)
    elif numbers := cardinals(run, at):
        ends = {end for _, end in numbers}
        # "twenty four" is 24, never 20 and 4; "eight hundred five" may be 805 or 800 and 5.
        yield from (
            (str(value), end) for value, end in numbers if run[end - 1].text not in _TENS or end + 1 not in ends
        )
        if _is_written_with_digits(run, at):
            yield text.replace("o", "0"), at + 1
    elif text.isalpha() and text not in _NO_CODE:
        yield text.replace("o", "0"), at + 1


def _is_written_with_digits(run: Sequence[Atom], at: int) -> bool:
    """Whether digits are in the same word: "TEN-4471" may be an id with the letters T, E and N."""
    beside = run[max(at - 1, 0) : at + 2]
    return any(atom.word == run[at].word and atom.text[0].isdecimal() for atom in beside)


def _letters(run: Sequence[Atom], at: int) -> Iterator[tuple[str, int]]:
    """Read a letter that is spelled: "bravo", "b as in boy", "b for boy", "b like boy"."""
    text = run[at].text
    if text in _LETTERS:
        yield _LETTERS[text], at + 1
    elif len(text) == 1 and text.isalpha():
        following = [atom.text for atom in run[at + 1 : at + 4]]
        skip = 2 if following[:2] == ["as", "in"] else int(following[:1] in (["for"], ["like"]))
        if skip and following[skip : skip + 1] and following[skip].startswith(text):
            yield text, at + skip + 2
