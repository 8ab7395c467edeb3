"""Strata: groups of calls that are alike, each of which a sample draws from. Pure.

A call lies in one cell: what it is by each of the things that are asked for (`--by language,confidence`). Numbers are
put into bands. Cells that are too small to be drawn from are joined with their nearest, until each stratum can have two
calls of the sample without getting more than twice its share: two are the least from which a variance can be
estimated (W. G. Cochran, Sampling Techniques, 3rd edition, 1977, sections 5.5 to 5.9 and 5A.8).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from evaluation.bands import BANDS
from tasks.errors import SettingsError

Cell = tuple[str, ...]
"""What a call is, by each of the things that are asked for."""

LEAST_DRAWN: Final = 2
"""Calls of each stratum, where it has so many."""
MOST_CELLS: Final = 1000
UNKNOWN: Final = "none"
_FAR: Final = 10
"""How far two languages are from each other, or two values of an attribute, in bands."""
_MOST_NAMED: Final = 3


COLUMNS: Final[Mapping[str, str]] = {"language": "language"} | {
    name: BANDS[name].column for name in ("snr", "duration", "confidence")
}
"""Columns of `calls` by the names that are asked for; every other name is an attribute of calls."""


def parse_by(text: str) -> tuple[str, ...]:
    """What `--by` names, such as `language,snr`; nothing where it is empty.

    Raises:
        SettingsError: something is named twice, or not at all.
    """
    by = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    if "" in by or len(set(by)) < len(by):
        message = (
            f"--by {text!r}: name each once, with commas between them: {', '.join(COLUMNS)}, or attributes of calls, "
            "such as queue"
        )
        raise SettingsError(message)
    return by


def attributes_of(by: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are attributes of calls."""
    return tuple(name for name in by if name not in COLUMNS)


def cell_of(call: Mapping[str, Any], by: Sequence[str]) -> Cell:
    """The cell of a call.

    >>> cell_of({"language": "de", "snr_db": 12.5, "queue": None}, ["language", "snr", "queue"])
    ('de', '10 to 20 dB', 'none')

    Args:
        call: its columns by name, and its attributes by theirs.
        by: what is asked for.
    """
    return tuple(_level(name, call[COLUMNS.get(name, name)]) for name in by)


def strata_of(counts: Mapping[Cell, int], by: Sequence[str], n: int) -> dict[Cell, str]:
    """Join cells until every stratum is large enough.

    A stratum is too small where it has one call alone, where two calls of it would be more than twice its share of the
    sample, or while the strata are more than half the calls that are to be drawn. The smallest one is joined first,
    with the nearest: bands beside each other are nearer than other bands, and any bands nearer than other languages.

    Args:
        counts: calls by cell.
        by: what the parts of a cell are.
        n: calls that are to be drawn.

    Returns:
        the name of its stratum by cell; names are unique.

    Raises:
        SettingsError: there are too many cells for any of this to mean something.
    """
    total = sum(counts.values())
    if len(counts) > MOST_CELLS:
        message = (
            f"--by {','.join(by)} makes {len(counts):,} groups of {total:,} calls, more than {MOST_CELLS:,}: leave out "
            "what has a value of its own in nearly every call"
        )
        raise SettingsError(message)
    groups: list[tuple[int, tuple[Cell, ...]]] = [(calls, (cell,)) for cell, calls in counts.items()]
    while len(groups) > 1:
        (calls, cells), *others = sorted(groups)
        if calls >= LEAST_DRAWN and calls * n >= total and LEAST_DRAWN * len(groups) <= n:
            break
        nearest = min(others, key=lambda other: (_distance(cells, other[1], by), other))
        others.remove(nearest)
        groups = [*others, (calls + nearest[0], tuple(sorted(cells + nearest[1])))]
    return _named([cells for _, cells in sorted(groups, key=lambda group: group[1])], by)


def _level(name: str, value: object) -> str:
    if value is None:
        return UNKNOWN
    if name not in COLUMNS or name not in BANDS:
        return str(value)
    return BANDS[name].name(float(str(value)))


def _distance(some: Sequence[Cell], others: Sequence[Cell], by: Sequence[str]) -> int:
    """How far the nearest cells of two groups are from each other."""
    return min(
        sum(_apart(name, one, two) for name, one, two in zip(by, mine, theirs, strict=True))
        for mine in some
        for theirs in others
    )


def _apart(name: str, one: str, two: str) -> int:
    if one == two:
        return 0
    names = BANDS[name].names if name in BANDS else ()
    return abs(names.index(one) - names.index(two)) if one in names and two in names else _FAR


def _named(groups: Sequence[Sequence[Cell]], by: Sequence[str]) -> dict[Cell, str]:
    """A name for each group: what its cells are. Long ones are cut, and numbered where they come to the same."""
    every = [{cell[place] for cells in groups for cell in cells} for place in range(len(by))]
    used: Counter[str] = Counter()
    names: dict[Cell, str] = {}
    for cells in groups:
        parts = _parts(frozenset(cells), by, every) if by else ["all calls"]
        more = [f"{len(parts) - _MOST_NAMED} more"] if len(parts) > _MOST_NAMED else []
        name = " + ".join([*parts[:_MOST_NAMED], *more])
        used[name] += 1
        names |= dict.fromkeys(cells, f"{name} ({used[name]})" if used[name] > 1 else name)
    return names


def _parts(cells: frozenset[Cell], by: Sequence[str], every: Sequence[set[str]]) -> list[str]:
    """What cells are, each part as `language: de or en; snr: any`: those with the same rest are said together."""
    rests: defaultdict[str, set[Cell]] = defaultdict(set)
    for first, *rest in cells:
        rests[first].add(tuple(rest))
    together: defaultdict[frozenset[Cell], set[str]] = defaultdict(set)
    for level, found in rests.items():
        together[frozenset(found)].add(level)
    heads = sorted(((_levels(by[0], levels, every[0]), found) for found, levels in together.items()), key=itemgetter(0))
    return [
        f"{by[0]}: {head}{tail and '; '}{tail}"
        for head, found in heads
        for tail in (_parts(found, by[1:], every[1:]) if len(by) > 1 else [""])
    ]


def _levels(name: str, levels: set[str], every: set[str]) -> str:
    order = BANDS[name].names if name in BANDS else ()
    ordered = sorted(levels, key=lambda level: (order.index(level) if level in order else len(order), level))
    if len(ordered) > 1 and levels == every:
        return "any"
    return " or ".join(ordered) if len(ordered) <= _MOST_NAMED else f"one of {len(ordered)}"
