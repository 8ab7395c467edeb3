"""Pure: the cheapest path through states, one for each of a row of things, where changes of state have a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def cheapest_path(costs: Sequence[Mapping[str, float]], changes: Sequence[float]) -> list[str]:
    """Find the states of which costs and changes add up to least (the Viterbi algorithm).

    At each step a state is kept rather than changed where both cost the same, and of several the first named is taken.

    Args:
        costs: for each thing, what each state costs that it may have; at least one.
        changes: between each thing and the next, what a change of state costs.

    Returns:
        the state of each.
    """
    if not costs:
        return []
    total = dict(costs[0])
    steps: list[dict[str, str]] = []
    for own, change in zip(costs[1:], changes, strict=True):
        least = min(total, key=lambda state: total[state])
        step = {state: state if state in total and total[state] <= total[least] + change else least for state in own}
        total = {
            state: cost + total[step[state]] + (0.0 if step[state] == state else change) for state, cost in own.items()
        }
        steps.append(step)
    path = [min(total, key=lambda state: total[state])]
    for step in reversed(steps):
        path.append(step[path[-1]])
    return path[::-1]
