"""The alignment of words with a text that may be said in several ways. Pure.

Wagner and Fischer's edit distance (1974), with a choice of ways at every piece of the reference: each way goes on from
the costs in front of the piece, and behind it the cheapest way counts. Every error costs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Row: TypeAlias = NDArray[np.int32]

Op: TypeAlias = Literal["hit", "sub", "del", "ins"]
Ways: TypeAlias = Sequence[Sequence[str]]

MOST_CELLS: Final = 20_000_000
"""Reference words times hypothesis words (4 bytes each) above which both are cut in halves."""


def best_ops(pieces: Sequence[Ways], hypothesis: Sequence[str]) -> tuple[list[list[Op]], int]:
    """Align with the fewest errors.

    Args:
        pieces: for each piece of the reference the ways in which it may be said, none without words.
        hypothesis: words.

    Returns:
        For each piece what became of the words of its best way, with the insertions between them; and the number of
        insertions before, between and behind pieces.
    """
    words = sum(len(way) for ways in pieces for way in ways)
    if words * len(hypothesis) > MOST_CELLS and len(pieces) > 1:
        middle = len(pieces) // 2
        cut = len(hypothesis) * middle // len(pieces)
        left, right = best_ops(pieces[:middle], hypothesis[:cut]), best_ops(pieces[middle:], hypothesis[cut:])
        return left[0] + right[0], left[1] + right[1]
    ids: dict[str, int] = {}
    heard = np.array([ids.setdefault(word, len(ids)) for word in hypothesis], dtype=np.int32)
    costs = np.arange(len(heard) + 1, dtype=np.int32)
    tables: list[list[list[Row]]] = []
    for ways in pieces:
        table = [_rows(costs, [ids.get(word, -1) for word in way], heard) for way in ways]
        costs = np.minimum.reduce([rows[-1] for rows in table])
        tables.append(table)
    ops: list[list[Op]] = []
    outside, at = 0, len(heard)
    for table, ways in zip(reversed(tables), reversed(pieces), strict=True):
        best = min(range(len(ways)), key=lambda way: int(table[way][-1][at]))
        found, at = _back(table[best], [ids.get(word, -1) for word in ways[best]], heard, at)
        inside = len(found)
        while found[inside - 1] == "ins":
            inside -= 1
        outside += len(found) - inside
        ops.append(found[:inside])
    return ops[::-1], outside + at


def _rows(costs: Row, way: Sequence[int], heard: Row) -> list[Row]:
    """Go through the words of a way: the costs in front of it and behind each word."""
    steps = np.arange(len(costs), dtype=np.int32)
    rows = [costs]
    for word in way:
        row = rows[-1] + 1
        np.minimum(row[1:], rows[-1][:-1] + (heard != word), out=row[1:])
        rows.append(np.minimum.accumulate(row - steps) + steps)
    return rows


def _back(rows: Sequence[Row], way: Sequence[int], heard: Row, at: int) -> tuple[list[Op], int]:
    """Follow the cheapest path from behind a way to its front; insertions in front of it are left to what is before."""
    found: list[Op] = []
    word = len(way)
    while word:
        cost = rows[word][at]
        right = at > 0 and heard[at - 1] == way[word - 1]
        if at and cost == rows[word - 1][at - 1] + (not right):
            found.append("hit" if right else "sub")
            word, at = word - 1, at - 1
        elif cost == rows[word - 1][at] + 1:
            found.append("del")
            word -= 1
        else:
            found.append("ins")
            at -= 1
    return found[::-1], at
