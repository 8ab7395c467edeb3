"""Addresses: numbers as codes, words with their usual abbreviations, in order. Pure.

"123 Main St.", "one twenty three main street" and "one two three Main Street" are one address. usaddress was looked at
and is not used: it labels the parts of an address that is written as on an envelope of the United States, after a model
trained on those, and reads nothing that is spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from evaluation.moments import ORDINALS
from evaluation.spoken import SMALL, Atom, spelled, spellings

Part: TypeAlias = frozenset[str] | str
"""Codes of a number (`evaluation.spoken.spellings`), or a word as `_canonical`."""

_SHORT: Final = {
    long: short
    for short, longs in {
        "st": "street saint",
        "ave": "avenue av",
        "rd": "road",
        "blvd": "boulevard",
        "dr": "drive doctor",
        "ln": "lane",
        "ct": "court",
        "pl": "place",
        "sq": "square",
        "hwy": "highway",
        "pkwy": "parkway",
        "apt": "apartment",
        "ste": "suite",
        "fl": "floor",
        "n": "north",
        "s": "south",
        "e": "east",
        "w": "west",
        "mt": "mount",
        "ft": "fort",
    }.items()
    for long in longs.split()
}
_SKIPPED: Final = frozenset({"uh", "um", "the", "number", "comma"})


def address_parts(run: Sequence[Atom]) -> list[Part]:
    """Take an address apart into numbers and words."""
    parts: list[Part] = []
    run, at = _folded(run), 0
    while at < len(run):
        end = at
        while end < len(run) and _is_plain(run[end]):
            end += 1
        if end > at and (codes := {code for code in spellings(run[at:end]) if code}):
            parts.append(frozenset(codes))
            at = end
        else:
            if run[at].text not in _SKIPPED:
                parts.append(_canonical(run[at].text))
            at += 1
    return parts


def addresses(run: Sequence[Atom], parts: Sequence[Part]) -> Iterator[frozenset[int]]:
    """Find an address in what was said.

    Args:
        run: atoms of one speaker.
        parts: of the address, as from `address_parts`.

    Yields:
        The words (`Atom.word`) of each place where it is.
    """
    run = _folded(run)
    for first in range(len(run)) if parts else ():
        if run[first].text not in _SKIPPED and (end := _follow(run, first, parts)) is not None:
            yield frozenset(atom.word for atom in run[first:end])


def _is_plain(atom: Atom) -> bool:
    """Whether an atom belongs to a number; ordinals ("5th") are words."""
    return atom.text.isdecimal() or atom.text in SMALL or atom.text in {"oh", "hundred", "thousand"}


def _folded(run: Sequence[Atom]) -> list[Atom]:
    """Make one atom of an ordinal of two words: "twenty first" is "21st"."""
    folded: list[Atom] = []
    for atom in run:
        tens = SMALL.get(folded[-1].text, 0) if folded else 0
        if tens >= 20 and ORDINALS.get(atom.text, 10) < 10:
            folded[-1] = Atom(f"{tens + ORDINALS[atom.text]}th", folded[-1].word, atom.tail)
        else:
            folded.append(atom)
    return folded


def _follow(run: Sequence[Atom], at: int, parts: Sequence[Part]) -> int | None:
    """Match all parts one after the other, past fillers; the index behind them, None where they are not."""
    for part in parts:
        while at < len(run) and run[at].text in _SKIPPED:
            at += 1
        if at == len(run):
            return None
        if isinstance(part, str):
            if _canonical(run[at].text) != part:
                return None
            at += 1
        else:
            ends = [end for code in part if (end := spelled(run, at, code)) is not None]
            if not ends:
                return None
            at = max(ends)
    return at


def _canonical(word: str) -> str:
    """Bring a word to its short form: "street" and "saint" to "st", "5th" and "fifth" to "5"."""
    if word in ORDINALS:
        return f"{ORDINALS[word]}th"
    if word[:1].isdecimal() and word[-2:] in {"st", "nd", "rd", "th"}:
        return f"{int(word[:-2])}th"
    return _SHORT.get(word, word)
