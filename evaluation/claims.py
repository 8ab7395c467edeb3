"""Values and names at their places in a text, of the reference or of the hypothesis. Pure.

`evaluation.spurious` says what is certain enough to be one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from evaluation.entity_classes import kind_of
from evaluation.spoken import SMALL, ZEROS, Atom, spellings
from evaluation.streams import Heard, Stream, letter_runs, word_runs
from evaluation.values import CURRENCIES, Clock, Number, Reading

_MIN_DIGITS: Final = 4
_DIGIT_WORDS: Final = SMALL.keys() | ZEROS
_PHONE_LENGTHS: Final = frozenset({7, 10, 11})
_MOST_ATOMS: Final = 12  # of a code that is read in every way in which it can be: a hallucination may be endless
_CLASSES: Final = {"amount": "money", "date": "date", "time": "time", "number": "number"}

Names: TypeAlias = Mapping[str, Collection[tuple[str, ...]]]
"""Class → known names in normalised words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A value or name at a place; `marked` when it is certainly of its class."""

    kind: str
    values: frozenset[Hashable]
    words: frozenset[int]
    start: float
    end: float
    marked: bool = True


def claims_of(heard: Sequence[Heard], streams: Sequence[Stream], names: Names) -> Iterator[Claim]:
    """Find everything that is a value or a known name, speaker by speaker."""
    for stream in streams[: max(1, len(streams) - 1)]:
        used: set[int] = set()
        certain = (found for kind in ("amount", "date", "time") for found in _values(stream, kind))
        for kind, values, atoms, is_certain in [*certain, *_codes(stream), *_values(stream, "number")]:
            marked = is_certain and (kind not in {"phone", "id", "number"} or used.isdisjoint(atoms))
            used |= set(atoms if marked else ())
            words = frozenset(stream.atoms[at].word for at in atoms)
            yield _claim(kind, values, words, heard, marked=marked)
        for kind, known in names.items():
            for name, words in _said(stream, known, joined=kind_of(kind) == "term"):
                yield _claim(kind, frozenset({name}), words, heard, marked=True)


def _claim(
    kind: str, values: frozenset[Hashable], words: frozenset[int], heard: Sequence[Heard], *, marked: bool
) -> Claim:
    start, end = min(heard[word].start for word in words), max(heard[word].end for word in words)
    return Claim(kind, values, words, start, end, marked)


def _values(stream: Stream, kind: str) -> Iterator[tuple[str, frozenset[Hashable], range, bool]]:
    """Give the values of a kind; whether each is marked as one."""
    is_marked: Callable[[Reading, Sequence[Atom]], bool] = _MARKS[kind]
    for reading in stream.readings(kind):
        atoms = stream.atoms[reading.first : reading.end]
        values: frozenset[Hashable] = frozenset(reading.values)
        yield _CLASSES[kind], values, range(reading.first, reading.end), is_marked(reading, atoms)


def _is_time(reading: Reading, atoms: Sequence[Atom]) -> bool:
    certain = any(isinstance(value, Clock) and value.certain for value in reading.values)
    words = {atom.text for atom in atoms}
    return (certain and not words.isdisjoint({"am", "pm", "m", "noon", "midday", "midnight"})) or (
        "clock" in words or any(":" in word for word in words)
    )


def _is_number(reading: Reading, atoms: Sequence[Atom]) -> bool:
    ordinal = all(isinstance(value, Number) and value.unit == "th" for value in reading.values)
    return [atom.text for atom in atoms] != ["one"] and not (ordinal and atoms[0].text.isalpha())


_MARKS: Final[Mapping[str, Callable[[Reading, Sequence[Atom]], bool]]] = {
    "amount": lambda _, atoms: any(atom.text in CURRENCIES for atom in atoms),
    "date": lambda _, __: True,
    "time": _is_time,
    "number": _is_number,
}


def _codes(stream: Stream) -> Iterator[tuple[str, frozenset[Hashable], range, bool]]:
    """Find codes: digits said one by one or in short groups, with the letters in their word."""
    run, first = stream.atoms, 0
    while first < len(run):
        end = first
        while end < len(run) and _codelike(run, end) and (end == first or not run[end - 1].ends_sentence):
            end += 1
        if end > first:
            atoms = run[first:end]
            codes = spellings(atoms) if len(atoms) <= _MOST_ATOMS else {"".join(map(_written, atoms))}
            long = {code for code in codes if sum(map(str.isdecimal, code)) >= _MIN_DIGITS}
            if long and not _is_year(atoms):
                phone = all(code.isdecimal() and len(code) in _PHONE_LENGTHS for code in long)
                values: frozenset[Hashable] = frozenset(codes)
                yield "phone" if phone else "id", values, range(first, end), True
        first = max(end, first + 1)


def _codelike(run: Sequence[Atom], at: int) -> bool:
    """Whether an atom belongs to a code: plain digits, a small number word, a zero, or letters in one word with digits.

    Not where its word holds a currency or a percentage.
    """
    text = run[at].text
    digits = text.isdecimal() or text in _DIGIT_WORDS
    beside = (at > 0 and run[at - 1].word == run[at].word) or (at + 1 < len(run) and run[at + 1].word == run[at].word)
    if not digits and not (beside and text.isalpha()):
        return False  # nearly every word
    own = [atom.text for atom in run[max(0, at - 3) : at + 4] if atom.word == run[at].word]
    if any(piece in CURRENCIES or piece == "%" or "." in piece or "," in piece for piece in own):
        return False
    return digits or any(piece.isdecimal() for piece in own)


def _written(atom: Atom) -> str:
    """Write an atom of an endless code in the one way that is sure."""
    return min(spellings([atom]), default="")


def _is_year(atoms: Sequence[Atom]) -> bool:
    """Whether all there is is a year, written or said in two numbers, or one number said in words."""
    if len(atoms) == 1:
        return "1900" <= atoms[0].text <= "2099" and len(atoms[0].text) == 4
    return len(atoms) <= 3 and atoms[0].text in {"nineteen", "twenty"}


def _said(
    stream: Stream, known: Collection[tuple[str, ...]], *, joined: bool
) -> Iterator[tuple[Hashable, frozenset[int]]]:
    """Find known names, the longest first; a word is part of one."""
    used: set[int] = set()
    for name in sorted(known, key=lambda tokens: (-len("".join(tokens)), tokens)):
        letters = "".join(name)
        for first, end in letter_runs(stream.tokens, letters) if joined else word_runs(stream.tokens, name):
            if used.isdisjoint(range(first, end)):
                used |= set(range(first, end))
                yield (letters if joined else name), frozenset(index for _, index in stream.tokens[first:end])
