"""Plain numbers as values: cardinals, decimals, percentages, ordinals. A reader for `evaluation.values.read`. Pure.

"1.5 million", "one point five million" and "one and a half million" are one value, so are "35%" and "thirty five
percent", "3rd" and "third", "4471", "four four seven one" and "forty four seventy one". A percentage is no plain
number, an ordinal no cardinal.

text2num, which is installed with the normaliser, was looked at and is not used: it turns "four four seven one" into
"4 4 7 1", leaves "one forty two fifty" in pieces and gives text, where this gives every value with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from evaluation.moments import ORDINALS
from evaluation.spoken import SCALES, SMALL, ZEROS, Atom, cardinals
from evaluation.values import PERCENT, Number, Value, pairwise, text_at

_SUFFIXES: Final = ("st", "nd", "rd", "th")


def numbers(run: Sequence[Atom], at: int) -> Iterator[tuple[Value, int]]:
    """Read a number of any of these kinds; none begins inside a word ("Q3")."""
    text = run[at].text
    if at and run[at - 1].word == run[at].word and run[at - 1].text.isalpha() and run[at - 1].text not in SMALL:
        return
    if text in ORDINALS:
        yield Number(Decimal(ORDINALS[text]), "th"), at + 1
    elif text[0].isdecimal() and text.endswith(_SUFFIXES):
        yield Number(Decimal(text[:-2]), "th"), at + 1
    for value, end in [*cardinals(run, at), *pairwise(run, at), *_digit_by_digit(run, at)]:
        yield from _finished(run, value, end)
        yield from _ordinal(run, value, end)
        yield from (found for longer, last in _fractions(run, value, end) for found in _finished(run, longer, last))


def _finished(run: Sequence[Atom], value: Decimal, end: int) -> Iterator[tuple[Number, int]]:
    """Take the sign of a percentage with a number, if there is one."""
    if run[end - 1].ends_sentence and text_at(run, end) != "%":
        yield Number(value), end
    elif text_at(run, end) in PERCENT:
        yield Number(value, "%"), end + 1
    elif (text_at(run, end), text_at(run, end + 1)) == ("per", "cent"):
        yield Number(value, "%"), end + 2
    else:
        yield Number(value), end


def _ordinal(run: Sequence[Atom], value: Decimal, end: int) -> Iterator[tuple[Number, int]]:
    """End a number with an ordinal: "twenty first", "one hundred and fifth"."""
    before = run[end - 1]
    at = end + (before.text == "hundred" and text_at(run, end) == "and")
    last = ORDINALS.get(text_at(run, at), 0)
    fits = 0 < last < 10 if SMALL.get(before.text, 0) >= 20 else last > 0 and before.text == "hundred"
    if fits and not before.ends_sentence:
        yield Number(value + last, "th"), at + 1


def _fractions(run: Sequence[Atom], value: Decimal, end: int) -> Iterator[tuple[Decimal, int]]:
    """Read "point five" or "and a half" behind a whole number, and the "million" behind them."""
    if value != int(value) or run[end - 1].ends_sentence:
        return
    if text_at(run, end) == "point":
        fraction, last = "", end + 1
        while len(digit := _digit(run, last)) == 1:
            fraction, last = fraction + digit, last + 1
        found = [(value + Decimal(f"0.{fraction}"), last)] if fraction else []
    elif [text_at(run, end + ahead) for ahead in range(3)] == ["and", "a", "half"]:
        found = [(value + Decimal("0.5"), end + 3)]
    else:
        return
    for longer, last in found:
        yield longer, last
        if scale := SCALES.get(text_at(run, last)):
            yield longer * scale, last + 1


def _digit_by_digit(run: Sequence[Atom], at: int) -> Iterator[tuple[Decimal, int]]:
    """Read two digits or more that are said one by one, all in words or all in writing."""
    said, end = _digit(run, at), at + 1
    while said and not run[end - 1].ends_sentence and (digit := _digit(run, end)):
        if run[end].text.isalpha() != run[at].text.isalpha():
            break
        said, end = said + digit, end + 1
    if len(said) > 1:
        yield Decimal(said), end


def _digit(run: Sequence[Atom], at: int) -> str:
    """Give a single digit in words or writing; "" where there is none."""
    text = text_at(run, at)
    if text in ZEROS:
        return "0"
    if SMALL.get(text, 10) < 10:
        return str(SMALL[text])
    return text if len(text) == 1 and "0" <= text <= "9" else ""
