"""A stratified sample: how many calls of each stratum, which ones, and for how many each of them stands. Pure.

Calls are allotted in proportion to the strata, and two at least to each. In a stratum they are drawn without
replacement: its calls are put in the order of a keyed hash of their call_ids, and the first ones are taken. So a
sample depends on the seed and on which calls there are, and on no order of rows; and a larger one of the same seed
holds the smaller one, as long as the strata are the same (permanent random numbers: E. Ohlsson, Coordination of Samples
Using Permanent Random Numbers, in Business Survey Methods, 1995).

A call stands for N / n calls: N of its stratum, n of them drawn. A total over a month is estimated without bias by the
weighted total over the sample, whatever the strata (W. G. Cochran, Sampling Techniques, 3rd edition, 1977, sections 5.3
and 5.4 on strata, 5.5 to 5.9 on the allocation).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.cases import Case
from evaluation.strata import LEAST_DRAWN, Cell, strata_of


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum that is drawn from.

    Attributes:
        name: what its calls are.
        wanted: how many of them are to be drawn.
        order: all its call_ids, in the order in which they are drawn: the first `wanted`, and then those that take the
            place of one that cannot be had.
    """

    name: str
    wanted: int
    order: tuple[str, ...]

    @property
    def calls(self) -> int:
        """How many calls it has."""
        return len(self.order)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The call_ids that are drawn where every call can be had."""
        return self.order[: self.wanted]


def draw(cells: Mapping[Cell, Sequence[str]], by: Sequence[str], n: int, seed: str) -> tuple[Stratum, ...]:
    """Draw a stratified sample.

    Args:
        cells: the call_ids of the population by cell, in any order; no call twice.
        by: what the parts of a cell are.
        n: calls to draw, from two to the population.
        seed: another one draws another sample.

    Returns:
        the strata, in the order of their names.

    Raises:
        SettingsError: there are too many cells.
    """
    named = strata_of({cell: len(call_ids) for cell, call_ids in cells.items()}, by, n)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for cell, call_ids in cells.items():
        members[named[cell]] += call_ids
    wanted = allocate({name: len(call_ids) for name, call_ids in members.items()}, n)
    return tuple(Stratum(name, wanted[name], shuffled(call_ids, seed)) for name, call_ids in sorted(members.items()))


def allocate(calls: Mapping[str, int], n: int) -> dict[str, int]:
    """How many calls of each stratum to draw: in proportion, and two at least of each that has so many.

    Strata that get two because their share is less are set aside, and what is left is shared by the others; what
    remains of fractions goes to the largest ones (Hamilton's method).

    Args:
        calls: of each stratum; at least one.
        n: calls to draw: no more than there are, and two for each stratum at least.

    Raises:
        ValueError: n is more, or less.
    """
    least = {name: min(LEAST_DRAWN, count) for name, count in calls.items()}
    if not sum(least.values()) <= n <= sum(calls.values()):
        message = f"{n} calls cannot be drawn from strata of {sorted(calls.values())}"
        raise ValueError(message)
    fixed: dict[str, int] = {}
    shared = dict(calls)
    while small := [
        name for name, count in shared.items() if _left(n, fixed) * count < least[name] * sum(shared.values())
    ]:
        fixed |= {name: least[name] for name in small}
        shared = {name: count for name, count in shared.items() if name not in fixed}
    left, total = _left(n, fixed), sum(shared.values())
    whole = {name: left * count // total for name, count in shared.items()}
    by_rest = sorted(shared, key=lambda name: (-(left * shared[name] % total), -shared[name], name))
    more = set(by_rest[: left - sum(whole.values())])
    return fixed | {name: count + (name in more) for name, count in whole.items()}


def _left(n: int, fixed: Mapping[str, int]) -> int:
    return n - sum(fixed.values())


def shuffled(call_ids: Iterable[str], seed: str) -> tuple[str, ...]:
    """Call_ids in an order that depends on the seed, and not on the order in which they are given."""
    key = hashlib.sha256(seed.encode()).digest()
    return tuple(
        sorted(call_ids, key=lambda one: (hashlib.blake2b(one.encode(), digest_size=16, key=key).digest(), one))
    )


def reweighted(cases: Iterable[Case], present: Collection[str]) -> tuple[Case, ...]:
    """The cases that can be scored, with weights that stand for all calls of their strata.

    That takes those without a reference for calls like the others of their stratum: it is right where they are missing
    by chance, and wrong where the hard ones are left to the last. A stratum of which no case is present is not covered
    (`uncovered`).

    Args:
        cases: of a set.
        present: call_ids of those that have a reference.

    Returns:
        those, in order.
    """
    known = tuple(cases)
    every, there = _weights(known), _weights(case for case in known if case.call_id in present)
    return tuple(
        replace(case, weight=case.weight * every[case.stratum] / there[case.stratum])
        for case in known
        if case.call_id in present
    )


def uncovered(cases: Iterable[Case], present: Collection[str]) -> dict[str, float]:
    """The strata of which no case is present, and for how many calls they stand."""
    known = tuple(cases)
    there = _weights(case for case in known if case.call_id in present)
    return {name or "": calls for name, calls in _weights(known).items() if name not in there}


def _weights(cases: Iterable[Case]) -> dict[str | None, float]:
    """For how many calls the cases of each stratum stand."""
    totals: defaultdict[str | None, float] = defaultdict(float)
    for case in cases:
        totals[case.stratum] += case.weight
    return dict(totals)
