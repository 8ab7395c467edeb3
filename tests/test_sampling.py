"""Stratified samples: which calls are drawn, and for how many each of them stands."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.cases import Case
from evaluation.sampling import Stratum, allocate, draw, reweighted, shuffled, uncovered
from evaluation.strata import MOST_CELLS, Cell, cell_of, parse_by, strata_of
from tasks.errors import SettingsError

BY = ("language", "snr", "queue")
LEVELS = (
    ("de", "en", "none"),
    ("under 10 dB", "10 to 20 dB", "20 to 30 dB", "30 dB or more", "none"),
    ("sales", "help", "none"),
)
CELLS = st.tuples(*map(st.sampled_from, LEVELS))


@st.composite
def populations(draw_: st.DrawFn) -> dict[Cell, list[str]]:
    """Calls in cells, two at least."""
    counts = draw_(st.dictionaries(CELLS, st.integers(1, 30), min_size=1, max_size=12))
    numbers = iter(range(10_000))
    cells = {cell: [f"call-{next(numbers)}" for _ in range(count)] for cell, count in counts.items()}
    cells[next(iter(cells))].append("one-more")
    return cells


def _calls(cells: Mapping[Cell, Sequence[str]]) -> int:
    return sum(map(len, cells.values()))


def _cases(strata: Sequence[Stratum]) -> list[Case]:
    return [
        Case(call_id=call_id, stratum=one.name, weight=one.calls / one.wanted)
        for one in strata
        for call_id in one.drawn
    ]


# ----------------------------------------------------------------------------------------------------------- strata


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"language": "de", "snr_db": 9.99, "queue": "sales"}, ("de", "under 10 dB", "sales")),
        ({"language": "de", "snr_db": 10.0, "queue": ""}, ("de", "10 to 20 dB", "")),
        ({"language": None, "snr_db": None, "queue": None}, ("none", "none", "none")),
        ({"language": "en", "snr_db": 60.0, "queue": "1"}, ("en", "30 dB or more", "1")),
    ],
)
def test_cells(call: dict[str, object], expected: Cell) -> None:
    """A band begins with its lower bound; what is not known is a value of its own."""
    assert expected == cell_of(call, BY)


def test_what_strata_are_made_of() -> None:
    """Names between commas; none is one stratum of all calls."""
    assert ("language", "snr") == parse_by(" language, snr")
    assert () == parse_by("")
    assert {(): "all calls"} == strata_of({(): 7}, (), 2)
    for wrong in ("language,,snr", "snr,snr", ","):
        with pytest.raises(SettingsError, match="name each once"):
            parse_by(wrong)


def test_too_many_cells() -> None:
    """What differs in every call makes no strata."""
    with pytest.raises(SettingsError, match="leave out what has a value of its own in nearly every call"):
        strata_of({(str(number),): 1 for number in range(MOST_CELLS + 1)}, ("agent_id",), 200)


def test_small_cells_go_to_their_nearest() -> None:
    """To a band beside theirs sooner than to another language; names say of which cells a stratum is."""
    counts = {
        ("en", "under 10 dB"): 1,
        ("en", "10 to 20 dB"): 50,
        ("en", "30 dB or more"): 60,
        ("de", "under 10 dB"): 70,
    }
    named = strata_of(counts, ("language", "snr"), 20)
    assert "language: en; snr: under 10 dB or 10 to 20 dB" == named["en", "under 10 dB"] == named["en", "10 to 20 dB"]
    assert "language: en; snr: 30 dB or more" == named["en", "30 dB or more"]
    assert "language: de; snr: under 10 dB" == named["de", "under 10 dB"]


def test_names_say_what_is_joined() -> None:
    """And no more than that: what is joined across languages is said part by part, and not all of what is long."""
    bands = ("under 10 dB", "10 to 20 dB", "20 to 30 dB", "30 dB or more")
    counts = {("en", band): 1000 for band in bands} | {("de", band): 1 for band in bands}
    named = strata_of(counts, ("language", "snr"), 40)
    assert "language: de; snr: any + language: en; snr: 10 to 20 dB" in named.values()
    assert "language: en; snr: 20 to 30 dB" in named.values()
    crossed = {(str(number), str(number % 9)): 1 for number in range(20)}
    assert {"a: 0 or 18 or 9; b: 0 + a: 1 or 10 or 19; b: 1 + a: 11 or 2; b: 2 + 6 more"} == {
        *strata_of(crossed, ("a", "b"), 3).values()
    }


@given(st.dictionaries(CELLS, st.integers(1, 50), min_size=1, max_size=20), st.integers(2, 60), st.randoms())
def test_strata_are_large_enough(counts: dict[Cell, int], n: int, chance: random.Random) -> None:
    """Each can give two calls without getting more than twice its share, whatever the order of the cells."""
    named = strata_of(counts, BY, n)
    sizes = Counter[str]()
    for cell, count in counts.items():
        sizes[named[cell]] += count
    assert len(sizes) == 1 or all(size >= 2 and size * n >= sum(counts.values()) for size in sizes.values())
    assert len(sizes) == 1 or 2 * len(sizes) <= n
    shuffled_ = list(counts.items())
    chance.shuffle(shuffled_)
    assert named == strata_of(dict(shuffled_), BY, n)


# ------------------------------------------------------------------------------------------------------- allocation


def test_allocation() -> None:
    """In proportion, two at least, and what remains of fractions to the largest."""
    assert {"a": 5, "b": 3, "c": 2} == allocate({"a": 500, "b": 300, "c": 200}, 10)
    assert {"a": 16, "b": 2, "c": 2} == allocate({"a": 900, "b": 50, "c": 50}, 20)
    assert {"a": 3, "b": 3, "c": 4} == allocate({"a": 100, "b": 100, "c": 101}, 10)
    assert {"a": 1} == allocate({"a": 1}, 1)
    for n in (3, 201):
        with pytest.raises(ValueError, match="cannot be drawn"):
            allocate({"a": 100, "b": 100}, n)


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(2, 200), min_size=1, max_size=10), st.data())
def test_every_allocation(calls: dict[str, int], data: st.DataObject) -> None:
    """It adds up to n, gives two at least, never more than there are, and more to no smaller stratum."""
    n = data.draw(st.integers(2 * len(calls), sum(calls.values())))
    given_ = allocate(calls, n)
    assert n == sum(given_.values())
    assert all(2 <= given_[name] <= count for name, count in calls.items())
    assert all(given_[one] <= given_[two] for one in calls for two in calls if calls[one] < calls[two])


# ---------------------------------------------------------------------------------------------------------- drawing


@given(populations(), st.data())
def test_a_sample_stands_for_its_population(cells: dict[Cell, list[str]], data: st.DataObject) -> None:
    """It has n calls, none twice; the weights of each stratum add up to its calls, and strata to all calls."""
    n = data.draw(st.integers(2, _calls(cells)))
    strata = draw(cells, BY, n, "7")
    cases = _cases(strata)
    assert n == len(cases) == len({case.call_id for case in cases})
    assert {call_id for ids in cells.values() for call_id in ids} == {
        one for stratum in strata for one in stratum.order
    }
    for stratum in strata:
        weights = [case.weight for case in cases if case.stratum == stratum.name]
        assert pytest.approx(stratum.calls) == sum(weights)
        assert stratum.wanted >= min(2, stratum.calls)


@given(populations(), st.integers(2, 10), st.randoms())
def test_the_same_seed_draws_the_same_calls(cells: dict[Cell, list[str]], n: int, chance: random.Random) -> None:
    """In whatever order cells and calls come."""
    n = min(n, _calls(cells))
    shuffled_ = [(cell, chance.sample(ids, len(ids))) for cell, ids in cells.items()]
    chance.shuffle(shuffled_)
    assert draw(cells, BY, n, "7") == draw(dict(shuffled_), BY, n, "7")


def test_seeds_and_sizes() -> None:
    """Another seed draws other calls; a larger sample of the same seed holds the smaller one."""
    ids = [f"call-{number}" for number in range(300)]
    assert set(shuffled(ids, "1")) == set(ids)
    assert shuffled(ids, "1") != shuffled(ids, "2")
    (small,), (large,) = (draw({(): ids}, (), n, "1") for n in (20, 50))
    assert set(small.drawn) < set(large.drawn)


def _population() -> dict[Cell, list[str]]:
    """Sixty calls of three languages, one of them rare."""
    sizes = {("en",): 38, ("de",): 18, ("tr",): 4}
    return {cell: [f"{cell[0]}-{number}" for number in range(size)] for cell, size in sizes.items()}


def test_a_total_is_estimated_without_bias() -> None:
    """The mean of the estimates over many seeds is the total, and every call is drawn as often as its weight says."""
    cells = _population()
    call_ids = [call_id for ids in cells.values() for call_id in ids]
    errors = {call_id: (number % 7) + 10 * call_id.startswith("tr") for number, call_id in enumerate(call_ids)}
    total, seeds = sum(errors.values()), 1000
    estimates, drawn = [], Counter[str]()
    for seed in range(seeds):
        cases = _cases(draw(cells, ("language",), 12, str(seed)))
        estimates.append(sum(case.weight * errors[case.call_id] for case in cases))
        drawn.update({case.call_id: case.weight for case in cases})
    assert pytest.approx(total, rel=0.02) == sum(estimates) / seeds
    assert errors.keys() == drawn.keys()
    # Weight times how often it is drawn is 1 in the mean for each call.
    assert all(0.75 < count / seeds < 1.25 for count in drawn.values())


# ----------------------------------------------------------------------------------------------- missing references


@given(populations(), st.data())
def test_weights_of_what_is_there(cells: dict[Cell, list[str]], data: st.DataObject) -> None:
    """The cases that have a reference stand for all calls of their strata; strata without any are named."""
    strata = draw(cells, BY, data.draw(st.integers(2, _calls(cells))), "7")
    cases = _cases(strata)
    present = data.draw(st.sets(st.sampled_from([case.call_id for case in cases])))
    usable, bare = reweighted(cases, present), uncovered(cases, present)
    assert [case.call_id for case in cases if case.call_id in present] == [case.call_id for case in usable]
    for stratum in strata:
        weights = [case.weight for case in usable if case.stratum == stratum.name]
        assert pytest.approx(stratum.calls) == (sum(weights) if weights else bare[stratum.name])
        assert bool(weights) == (stratum.name not in bare)


def test_weights_of_a_complete_set() -> None:
    """They stay as they are; also those of cases that nobody sampled."""
    cases = (Case(call_id="a"), Case(call_id="b", stratum="s", weight=4.0))
    assert cases == reweighted(cases, {"a", "b", "c"})
    assert {} == uncovered(cases, {"a", "b"})
    assert {"": 1.0} == uncovered(cases, {"b"})
