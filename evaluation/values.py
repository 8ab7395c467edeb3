"""Amounts, dates, times and numbers as values, however they are said or written. Pure.

=======  ===============================================================================================
amount   "$142.50", "142 dollars and 50 cents", "142.50", "one forty two fifty" → Decimal("142.50")
date     "October 5", "october fifth", "5th of October", "10/05", "2026-10-05" → `Calendar(10, 5, None or 2026)`
time     "3:30 pm", "three thirty p.m.", "330 pm", "half past three", "15:30" → `Clock(15, 30, certain=True)`
number   "1.5 million", "one point five million", "35%", "35 percent", "3rd", "third" → `Number(value, unit)`
=======  ===============================================================================================

Currencies are not compared. Dates in digits are month first. A time without "am" or "pm" below 13 is not certain of its
half of the day. Words are English; what is written in digits is read in any language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from evaluation.spoken import SMALL, ZEROS, Atom, cardinals

_MAJOR: Final = frozenset({"dollar", "dollars", "buck", "bucks", "pound", "pounds", "euro", "euros"})
_MINOR: Final = frozenset({"cent", "cents", "penny", "pence", "p"})
SYMBOLS: Final = frozenset("$£€")
"""What stands before an amount of money."""

CURRENCIES: Final = _MAJOR | (_MINOR - {"p"}) | SYMBOLS
"""What marks a number as an amount of money for certain."""

PERCENT: Final = frozenset({"%", "percent"})
"""What follows a percentage."""


class Calendar(NamedTuple):
    """A day; the year is None when it was not said."""

    month: int
    day: int
    year: int | None = None


class Clock(NamedTuple):
    """A time of day; `hour` is 0 to 23 when `certain`, else on the face of a clock."""

    hour: int
    minute: int
    certain: bool


class Number(NamedTuple):
    """A number; `unit` is "%" for a percentage, "th" for an ordinal, else ""."""

    value: Decimal
    unit: str = ""


Value: TypeAlias = Decimal | Calendar | Clock | Number
Reader: TypeAlias = Callable[[Sequence[Atom], int], Iterator[tuple[Value, int]]]
"""From atoms and where to start to every value there with the index behind it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Atoms `first` up to `end` (excluded) and what they may mean."""

    first: int
    end: int
    values: frozenset[Value]


def read(run: Sequence[Atom], reader: Reader, starts: Iterable[int] | None = None) -> list[Reading]:
    """Read a text from left to right, always taking the longest run that means something.

    So "one hundred and thirty five dollars" is 135, and never 35.

    Args:
        run: atoms of the text.
        reader: of values of one kind.
        starts: where a value may begin, in order; anywhere when None.
    """
    readings: list[Reading] = []
    behind = 0
    for at in range(len(run)) if starts is None else starts:
        if at >= behind and (found := list(reader(run, at))):
            behind = max(end for _, end in found)
            readings.append(Reading(at, behind, frozenset(value for value, end in found if end == behind)))
    return readings


def agree(reference: Value, hypothesis: Value) -> bool:
    """Whether a hypothesis says at least what the reference says: it may add a year or the half of the day."""
    if isinstance(reference, Calendar) and isinstance(hypothesis, Calendar):
        return reference[:2] == hypothesis[:2] and reference.year in {None, hypothesis.year}
    if isinstance(reference, Clock) and isinstance(hypothesis, Clock) and not reference.certain:
        return (reference.hour % 12, reference.minute) == (hypothesis.hour % 12, hypothesis.minute)
    return reference == hypothesis


def amounts(run: Sequence[Atom], at: int) -> Iterator[tuple[Value, int]]:
    """Read an amount of money; a bare number is one, a percentage is not."""
    first = at + (run[at].text in SYMBOLS)
    in_pairs = list(pairwise(run, first))
    for value, end in [*cardinals(run, first), *in_pairs]:
        unit = text_at(run, end)
        if unit in _MAJOR:
            yield value, end + 1
            yield from _with_cents(run, end + 1, value)
        elif unit in _MINOR:
            yield value / 100, end + 1
            if first > at:  # "$2.25 cents", as transcribers write
                yield value, end + 1
        elif unit not in PERCENT:
            yield value, end
            if first > at:  # "$142 and 50 cents"
                yield from (found for found in _with_cents(run, end, value) if text_at(run, found[1] - 1) in _MINOR)
    for value, end in in_pairs:
        if text_at(run, end) not in _MAJOR | _MINOR | PERCENT:
            yield value / 100, end


def _with_cents(run: Sequence[Atom], at: int, value: Decimal) -> Iterator[tuple[Decimal, int]]:
    """Read what follows "142 dollars" in the same sentence: "and 50 cents", "fifty"."""
    if run[at - 1].ends_sentence:
        return
    for cents, end in cardinals(run, at + (text_at(run, at) == "and")):
        if text_at(run, end) in _MINOR and cents < 100:
            yield value + cents / 100, end + 1
        elif 10 <= cents < 100:  # "two dollars and fifty", or two dollars and something else
            yield value + cents / 100, end
            yield value, end


def pairwise(run: Sequence[Atom], at: int) -> Iterator[tuple[Decimal, int]]:
    """Read number words said in pairs of digits, as one number: "one forty two fifty" is 14250, "four oh five" 405."""
    if text_at(run, at) not in SMALL:
        return
    value, end = max((found for found in cardinals(run, at) if found[0] < 100), key=lambda found: found[1])
    while pairs := list(two_digits(run, end, 99)) if text_at(run, end).isalpha() else []:
        pair, end = pairs[-1]
        value = 100 * value + pair
        yield value, end


def two_digits(run: Sequence[Atom], at: int, most: int) -> Iterator[tuple[int, int]]:
    """Read the second half of a time or a year in the same sentence: "thirty", "30", "oh five"."""
    if run[at - 1].ends_sentence:
        return
    if text_at(run, at) in ZEROS:
        yield from whole(run, at + 1, 1, 9)
    else:
        yield from whole(run, at, 10, most)


def whole(run: Sequence[Atom], at: int, least: int, most: int) -> Iterator[tuple[int, int]]:
    """Read whole numbers within bounds."""
    for value, end in cardinals(run, at):
        if least <= value <= most and value == int(value):
            yield int(value), end


def text_at(run: Sequence[Atom], at: int) -> str:
    """Give the text of an atom, "" behind the last one."""
    return run[at].text if at < len(run) else ""
