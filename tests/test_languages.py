"""Languages: the likeliest path through a call, the ones that are allowed, and what a call is in."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.languages import CHANGE, FLOOR, FULL_S, LEAST, CallLanguages, Odds, restrict, smooth, summarise

NAMES = ("cy", "en", "es")
PROBABILITIES = st.floats(0.0, 1.0)
ODDS = st.dictionaries(st.sampled_from(NAMES), PROBABILITIES, max_size=3)
SECONDS = st.floats(0.1, 28.0)
# Odds of a model, which leave something for every language, with at least one that is likely.
MODELS_ODDS = st.tuples(*[st.integers(1, 100)] * 3).map(lambda found: shared(dict(zip(NAMES, found, strict=True))))


def shared(weights: Mapping[str, float]) -> dict[str, float]:
    """Odds that add up to 1."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def surely(language: str, probability: float = 0.97) -> dict[str, float]:
    """What a model gives a clear chunk: the rest goes to the two others."""
    rest = (1 - probability) / 2
    return {name: probability if name == language else rest for name in (language, *NAMES)}


# ---------------------------------------------------------------------------------------------------------- smooth


def test_a_short_odd_chunk_is_outvoted() -> None:
    """Two seconds that sound Welsh in the middle of English are English."""
    odds = [surely("en"), surely("en"), surely("cy", 0.8), surely("en"), surely("en")]
    assert ("en",) * 5 == smooth(odds, [25.0, 20.0, 2.0, 25.0, 25.0])


@pytest.mark.parametrize("at", [0, 4])
def test_a_short_odd_chunk_at_an_end_is_outvoted(at: int) -> None:
    """Where a call begins or ends there is one neighbour to go by."""
    odds = [surely("cy", 0.7) if index == at else surely("en") for index in range(5)]
    assert ("en",) * 5 == smooth(odds, [1.5 if index == at else 25.0 for index in range(5)])


@pytest.mark.parametrize("before", [None, "en"])
def test_a_change_is_followed(before: str | None) -> None:
    """Half of the call in another language, and back: people do change it."""
    odds = [surely(name) for name in ("en", "en", "es", "es", "es", "en", "en")]
    assert ("en", "en", "es", "es", "es", "en", "en") == smooth(odds, [20.0] * 7, before)


def test_a_change_at_the_end_is_followed() -> None:
    """One clear long chunk suffices where nothing comes after it."""
    assert ("en", "en", "es") == smooth([surely("en"), surely("en"), surely("es", 0.998)], [20.0] * 3)


def test_a_call_in_one_language() -> None:
    """What the model is sure of, it is in."""
    assert ("es",) * 4 == smooth([surely("es")] * 4, [3.0, 28.0, 0.5, 9.0])


@pytest.mark.parametrize("before", [None, "cy", "en", "es"])
def test_what_came_before_counts(before: str | None) -> None:
    """A few unclear words are in the language that was spoken before them; without one, in the likelier."""
    odds = [{"en": 0.4, "es": 0.45, "cy": 0.15}]
    assert (before or "es",) == smooth(odds, [2.0], before)


def test_what_came_before_does_not_bind() -> None:
    """A long clear stretch is in its own language, whatever was spoken before it."""
    assert ("es", "es") == smooth([surely("es"), surely("es")], [25.0, 25.0], "en")
    assert ("es", "es") == smooth([surely("es"), surely("es")], [25.0, 25.0], "ja")


@pytest.mark.parametrize(
    "odds",
    [
        {f"l{index}": 1 / 100 - 1e-9 for index in range(100)},
        dict.fromkeys(NAMES, 0.0),
        {"en": LEAST / 2},
    ],
    ids=["flat", "none", "little"],
)
@pytest.mark.parametrize("before", [None, "en"])
def test_odds_that_name_nothing_likely(odds: Odds, before: str | None) -> None:
    """A model that takes a chunk for nothing at all fails no call: what was spoken before, else one that it names."""
    (found,) = smooth([odds], [20.0], before)
    assert found in ({before} if before else set(odds))


def test_one_chunk_without_mass_takes_its_neighbours() -> None:
    """What says nothing of itself is in what is spoken around it."""
    nothing = dict.fromkeys(NAMES, 0.0)
    assert ("es", "es", "es") == smooth([surely("es"), nothing, surely("es")], [20.0] * 3)


def test_one_chunk_settles_no_call() -> None:
    """However sure the model is of it, and however unlikely it takes all others there."""
    odds = [{"en": 0.6, "es": 0.4}, {"en": 0.6, "es": 0.4}, {"en": 0.0, "es": 1.0}, *[{"en": 0.9, "es": 0.1}] * 4]
    assert ("en", "en") == smooth(odds, [20.0] * 7)[-2:]


def test_no_chunks_no_languages() -> None:
    """An empty call has no path, also after something."""
    assert ((), ()) == (smooth([], []), smooth([], [], "en"))


def test_every_chunk_needs_its_length() -> None:
    """A mistake of ours is not passed over."""
    with pytest.raises(ValueError, match="shorter"):
        smooth([surely("en"), surely("en")], [20.0])


def likelihood(path: Sequence[str], odds: Sequence[Odds], seconds: Sequence[float], candidates: int) -> float:
    """The logarithm of how likely a path through a call is."""
    changes = sum(one != other for one, other in pairwise(path))
    found = changes * math.log(CHANGE / (candidates - 1)) + (len(path) - 1 - changes) * math.log(1 - CHANGE)
    for name, one, length in zip(path, odds, seconds, strict=True):
        found += min(1.0, length / FULL_S) * math.log(max(one[name], FLOOR))
    return found


@given(st.lists(st.tuples(MODELS_ODDS, SECONDS), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_no_path_is_likelier(chunks: list[tuple[dict[str, float], float]]) -> None:
    """Of all paths through a short call, the one that is found is the likeliest."""
    odds, seconds = [one for one, _ in chunks], [length for _, length in chunks]
    candidates = len({name for one in odds for name, value in one.items() if value >= LEAST})
    if candidates > 1:
        best = max(likelihood(path, odds, seconds, candidates) for path in product(NAMES, repeat=len(odds)))
        assert pytest.approx(best) == likelihood(smooth(odds, seconds), odds, seconds, candidates)


@given(st.lists(st.tuples(MODELS_ODDS, SECONDS), max_size=12), st.none() | st.sampled_from(["en", "ja"]))
def test_every_chunk_has_a_language(chunks: list[tuple[dict[str, float], float]], before: str | None) -> None:
    """One that the model named, or that was spoken before."""
    found = smooth([one for one, _ in chunks], [length for _, length in chunks], before)
    assert len(chunks) == len(found)
    assert {*found} <= {*NAMES, before}


# -------------------------------------------------------------------------------------------------------- restrict


@given(ODDS, st.lists(st.sampled_from([*NAMES, "ja"]), min_size=1, max_size=4, unique=True))
def test_odds_of_allowed_languages(odds: dict[str, float], allowed: list[str]) -> None:
    """All that are allowed and no other, adding up to 1, in their proportions; equal where the model has none."""
    found = restrict(odds, allowed)
    assert {*allowed} == {*found}
    assert pytest.approx(1.0) == sum(found.values())
    total = sum(odds.get(name, 0.0) for name in allowed)
    for name in allowed:
        assert pytest.approx(odds.get(name, 0.0) / total if total else 1 / len(allowed)) == found[name]


@given(MODELS_ODDS)
def test_no_language_named_means_any(odds: dict[str, float]) -> None:
    """Then the odds are the model's."""
    assert pytest.approx(odds) == restrict(odds, ())


def test_a_call_stays_in_what_is_allowed() -> None:
    """What the model takes for Welsh is heard in what else it may be."""
    odds = [restrict(one, ("en", "es")) for one in (surely("cy"), {"cy": 0.9, "en": 0.02, "es": 0.08})]
    assert ("es", "es") == smooth(odds, [20.0, 20.0])
    assert ("es",) == smooth([restrict(surely("cy"), ("es",))], [20.0])
    assert ("ja",) == smooth([restrict({"en": 1.0}, ("ja",))], [20.0])


# ------------------------------------------------------------------------------------------------------- summarise


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | ODDS, SECONDS), min_size=1, max_size=20))
def test_shares_add_up(chunks: list[tuple[str, Odds | None, float]]) -> None:
    """To all of the speech; the call's language has most of it, and a probability that a chunk of it was heard with."""
    languages, odds, seconds = (list(column) for column in zip(*chunks, strict=True))
    found = summarise(languages, odds, seconds)
    assert tuple(languages) == found.chunks
    assert {*languages} == {*found.shares}
    assert pytest.approx(1.0) == sum(found.shares.values())
    assert pytest.approx(max(found.shares.values())) == found.shares[found.language]
    known = [one.get(name, 0.0) for name, one, _ in chunks if name == found.language and one is not None]
    assert bool(known) == (found.probability is not None)
    if known:
        assert min(known) - 1e-9 <= found.probability <= max(known) + 1e-9


def test_what_a_call_is_in() -> None:
    """By seconds: the probability is the mean over the chunks in that language alone."""
    found = summarise(
        ["en", "es", "en", "en"], [surely("en", 0.9), surely("es"), surely("en", 0.5), None], [10.0, 15.0, 30.0, 5.0]
    )
    assert ("en", pytest.approx((0.9 * 10 + 0.5 * 30) / 40)) == (found.language, found.probability)
    assert pytest.approx({"en": 0.75, "es": 0.25}) == found.shares
    assert ["en", "es"] == list(found.shares)


def test_a_given_language_has_no_probability() -> None:
    """Nobody asked the model."""
    assert CallLanguages(("de", "de"), "de", None, {"de": 1.0}) == summarise(["de", "de"], [None, None], [3.0, 4.0])


def test_a_tie_has_an_answer() -> None:
    """As much in one language as in another: the same one in whatever order they come."""
    one, other = (summarise(names, [None, None], [5.0, 5.0]).language for names in (["es", "en"], ["en", "es"]))
    assert ("en", "en") == (one, other)


def test_an_empty_call_is_in_no_language() -> None:
    """Nobody speaks in it."""
    assert CallLanguages((), None, None, {}) == summarise([], [], [])
