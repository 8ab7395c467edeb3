"""Dates and times of day, however they are said or written, as readers for `evaluation.values.read`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from evaluation.spoken import SMALL, Atom
from evaluation.values import Calendar, Clock, Value, text_at, two_digits, whole

_WRITTEN_TIME: Final = re.compile(r"(\d{1,2})\.?(\d\d)")  # "3.30 pm", "330 pm"
_PARTS: Final = {("half", "past"): 30, ("quarter", "past"): 15, ("quarter", "to"): -15}
_MONTHS: Final = {
    name: month
    for month, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        start=1,
    )
    for name in names.split()
}
ORDINALS: Final = {
    **{f"{word}th": value for word, value in SMALL.items() if value < 20},
    **{f"{word[:-1]}ieth": value for word, value in SMALL.items() if value >= 20},
    "first": 1,
    "second": 2,
    "third": 3,
    "fifth": 5,
    "eighth": 8,
    "ninth": 9,
    "twelfth": 12,
}
"""Ordinals that are one word."""

_NAMED_TIMES: Final = frozenset({"noon", "midday", "midnight"})
BEGINNINGS: Final = frozenset({*SMALL, *ORDINALS, *_MONTHS, *_NAMED_TIMES, *(first for first, _ in _PARTS)})
"""Words with which a date or a time may begin, besides digits."""


def dates(run: Sequence[Atom], at: int) -> Iterator[tuple[Value, int]]:
    """Read a date: a month's name and a day in either order, or digits."""
    text = run[at].text
    if "/" in text or "-" in text:
        year, month, day = _digits_of_date(text)
        if 1 <= month <= 12 and 1 <= day <= 31:
            yield Calendar(month, day, year), at + 1
        return
    if text in _MONTHS:
        found = [(_MONTHS[text], day, end) for day, end in _days(run, at + 1 + (text_at(run, at + 1) == "the"))]
    else:
        days = [(day, end + (text_at(run, end) == "of")) for day, end in _days(run, at)]
        found = [(_MONTHS[name], day, end + 1) for day, end in days if (name := text_at(run, end)) in _MONTHS]
    for month, day, end in found:
        yield Calendar(month, day), end
        yield from ((Calendar(month, day, year), last) for year, last in _years(run, end))


def _digits_of_date(text: str) -> tuple[int | None, int, int]:
    """Take "2026-10-05", "10/05", "10/05/26" or "10/05/2026" apart into year, month and day."""
    first, second, *third = (int(part) for part in text.replace("/", "-").split("-"))
    if "-" in text:
        return first, second, third[0]
    return (third[0] + 2000 * (third[0] < 100) if third else None), first, second


def times(run: Sequence[Atom], at: int) -> Iterator[tuple[Value, int]]:
    """Read a time of day."""
    text = run[at].text
    if text in _NAMED_TIMES:
        yield Clock(0 if text == "midnight" else 12, 0, certain=True), at + 1
    elif ":" in text:
        hour, minute = (int(part) for part in text.split(":"))
        yield from _clock(run, at + 1, hour, minute)
    elif text in {"half", "quarter"}:
        minutes = _PARTS.get((text, text_at(run, at + 1)), 0)
        for hour_said, end in whole(run, at + 2, 1, 12) if minutes else ():
            yield from _clock(run, end, (hour_said - (minutes < 0) - 1) % 12 + 1, minutes % 60)
    else:
        if (written := _WRITTEN_TIME.fullmatch(text)) and _half(run, at + 1)[0]:
            yield from _clock(run, at + 1, int(written[1]), int(written[2]))
        for hour_said, end in whole(run, at, 0, 23):
            if _half(run, end)[0] or (text_at(run, end), text_at(run, end + 1)) == ("o", "clock"):
                yield from _clock(run, end, hour_said, 0)
            for minute_said, last in two_digits(run, end, 59):
                yield from _clock(run, last, hour_said, minute_said)


def _clock(run: Sequence[Atom], at: int, hour: int, minute: int) -> Iterator[tuple[Value, int]]:
    """Finish a time with the half of the day, if it is said; nothing when there is no such time."""
    if (text_at(run, at), text_at(run, at + 1)) == ("o", "clock"):
        at += 2
    half, end = _half(run, at)
    if not (0 <= hour <= 23 and 0 <= minute <= 59):
        return
    if half and 1 <= hour <= 12:
        yield Clock(hour % 12 + 12 * (half == "p"), minute, certain=True), end
    else:
        yield Clock(hour, minute, certain=not 1 <= hour <= 12), end


def _half(run: Sequence[Atom], at: int) -> tuple[str, int]:
    """Read "am", "a.m." or "a m" (and pm) as "a" or "p" with the index behind it; "" and `at` where it is not."""
    text = text_at(run, at)
    if text in {"am", "pm"}:
        return text[0], at + 1
    return (text, at + 2) if text in {"a", "p"} and text_at(run, at + 1) == "m" else ("", at)


def _days(run: Sequence[Atom], at: int) -> Iterator[tuple[int, int]]:
    """Read a day of the month: "5", "5th", "five", "fifth", "twenty first"."""
    text = text_at(run, at)
    if text[:1].isdecimal() and text[-2:].isalpha():
        if 1 <= int(text[:-2]) <= 31:
            yield int(text[:-2]), at + 1
    elif text in ORDINALS:
        yield ORDINALS[text], at + 1
    else:
        yield from whole(run, at, 1, 31)
        if SMALL.get(text) in {20, 30} and 1 <= ORDINALS.get(text_at(run, at + 1), 0) <= 9:
            yield SMALL[text] + ORDINALS[text_at(run, at + 1)], at + 2


def years(run: Sequence[Atom], at: int) -> Iterator[tuple[Value, int]]:
    """Read a year on its own, as a number."""
    yield from ((Decimal(year), end) for year, end in _years(run, at))


def _years(run: Sequence[Atom], at: int) -> Iterator[tuple[int, int]]:
    """Read a year: "2026", "two thousand twenty six", "twenty twenty six", "nineteen oh five"."""
    yield from whole(run, at, 1900, 2099)
    for century, middle in whole(run, at, 19, 20):
        yield from ((100 * century + rest, end) for rest, end in two_digits(run, middle, 99))
