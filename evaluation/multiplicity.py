"""Many tests at once: which differences still count when they are looked at together. Pure.

Of twenty differences that are all chance, one is significant at 5 %. Holm's method (S. Holm, "A simple sequentially
rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979) holds the chance that *any* of a family
is called significant by mistake under 5 %, whatever hangs on what: the smallest p-value is multiplied by how many there
are, the next by one less, and so on, and no adjusted value is smaller than one before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from evaluation.intervals import CONFIDENCE

KeyT = TypeVar("KeyT", bound=Hashable)


def adjusted(p_values: Mapping[KeyT, float | None]) -> dict[KeyT, float | None]:
    """The p-values of a family by Holm's method; None stays None, and is no member of it.

    >>> adjusted({"a": 0.01, "b": 0.04, "c": 0.03, "d": None})
    {'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': None}
    """
    told = sorted(((value, number) for number, value in enumerate(p_values.values()) if value is not None))
    found: dict[int, float] = {}
    largest = 0.0
    for rank, (value, number) in enumerate(told):
        largest = max(largest, min(1.0, value * (len(told) - rank)))
        found[number] = largest
    return {key: found.get(number) for number, key in enumerate(p_values)}


def significant_by_holm(p_values: Mapping[KeyT, float | None]) -> frozenset[KeyT]:
    """Those whose adjusted p-value is under 5 %."""
    return frozenset(key for key, value in adjusted(p_values).items() if value is not None and value < 1 - CONFIDENCE)
