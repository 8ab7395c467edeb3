"""The cheapest path through states."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.viterbi import cheapest_path

costs = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9).map(float), min_size=1, max_size=3), max_size=5
)


@given(costs, st.lists(st.integers(0, 9).map(float), min_size=4, max_size=4))
def test_no_path_is_cheaper(found: list[dict[str, float]], prices: list[float]) -> None:
    """Of all paths through the states that are there, none costs less."""
    changes = prices[: max(0, len(found) - 1)]

    def total(path: tuple[str, ...]) -> float:
        moved = sum(price for (one, other), price in zip(pairwise(path), changes, strict=True) if one != other)
        return moved + sum(cost[state] for cost, state in zip(found, path, strict=True))

    path = tuple(cheapest_path(found, changes))
    assert len(found) == len(path)
    assert total(path) == min(map(total, product(*found)))


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        ([], [], []),
        ([{"b": 1.0, "a": 1.0}], [], ["b"]),
        ([{"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 0.0}], [1.0], ["a", "a"]),
        ([{"a": 0.0}, {"b": 5.0}, {"a": 0.0, "b": 0.5}], [1.0, 1.0], ["a", "b", "b"]),
    ],
    ids=["nothing", "a tie: the first named", "a tie: no change", "a state that must be"],
)
def test_cheapest_paths(found: list[dict[str, float]], changes: list[float], expected: list[str]) -> None:
    """What is taken where several would do."""
    assert expected == cheapest_path(found, changes)
