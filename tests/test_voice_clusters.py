"""How many voices there are, and which turns have one: whatever the turns, and without a distance known beforehand."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.voice_clusters import DEFAULT_BOUNDS, Bounds, cluster_voices, silhouettes


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def voices(
    *turns: int, likeness: float = 0.55, steady: float = 0.8, seed: int = 0, dimension: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """So many turns of each speaker, with cosine `steady` within one and `likeness` between them; and who speaks."""
    rng = np.random.default_rng(seed)
    common = unit(rng.normal(size=(1, dimension)))[0]
    people = [
        common * np.sqrt(likeness) + own * np.sqrt(steady - likeness) for own in unit(rng.normal(size=(9, dimension)))
    ]
    who = np.repeat(np.arange(len(turns)), turns)
    noise = unit(rng.normal(size=(len(who), dimension))) * np.sqrt(1 - steady)
    return unit(np.stack([people[one] for one in who]) + noise), who


def same(found: np.ndarray, who: np.ndarray) -> bool:
    """Whether two labellings tell the same apart."""
    return bool(((found[:, None] == found[None]) == (who[:, None] == who[None])).all())


@pytest.mark.parametrize("turns", [(3, 3), (10, 4), (12, 2), (6, 5, 4), (5, 5, 5, 5)])
@pytest.mark.parametrize("likeness", [0.3, 0.55, 0.65])
def test_the_number_of_speakers_is_found(turns: tuple[int, ...], likeness: float) -> None:
    """However many turns each has, and however alike all voices are on this line."""
    held, who = voices(*turns, likeness=likeness)
    assert same(cluster_voices(held, np.full(len(who), 2.5), 1, 4), who)


@pytest.mark.parametrize("turns", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("steady", [0.75, 0.8, 0.9])
def test_one_speaker_is_one(turns: int, steady: float) -> None:
    """However much the voice changes from turn to turn."""
    held, who = voices(turns, steady=steady, likeness=0.5)
    assert same(cluster_voices(held, np.full(turns, 2.5), 1, 4), who)


def test_a_short_word_is_nobody_new() -> None:
    """A cluster that talks for less than two seconds goes to the nearest one, also where it is told of two speakers."""
    held, who = voices(6, 5, 1)
    seconds = np.where(who == 2, DEFAULT_BOUNDS.least_talk_s - 0.1, 3.0)
    for fewest, most in ((1, 4), (2, 2)):
        found = cluster_voices(held, seconds, fewest, most)
        assert {0, 1} == set(found.tolist())
        assert same(found[:-1], who[:-1])


def test_turns_too_short_for_a_voice_are_somebodys() -> None:
    """They decide nothing, and go to the speaker that they are nearest to."""
    held, who = voices(4, 4)
    seconds = np.array([3.0, 3.0, 3.0, DEFAULT_BOUNDS.plain_turn_s / 2] * 2)
    assert same(cluster_voices(held, seconds, 1, 4), who)


def test_told_how_many() -> None:
    """As many as are said, where there is speech for them; else as many as there is speech for."""
    held, _ = voices(8)
    seconds = np.full(8, 2.5)
    assert 2 == len(set(cluster_voices(held, seconds, 2, 2).tolist()))
    assert 1 == len(set(cluster_voices(held, seconds, 1, 1).tolist()))
    assert 1 == len(set(cluster_voices(held, np.full(8, 0.2), 2, 2).tolist()))
    three, who = voices(5, 5, 5)
    assert 2 == len(set(cluster_voices(three, np.full(15, 2.5), 1, 2).tolist()))
    assert same(cluster_voices(three, np.full(15, 2.5), 3, 3), who)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_the_bounds_may_be_moved(factor: float) -> None:
    """They lie where no voices do."""
    two, who = voices(6, 6, likeness=0.6)
    one, _ = voices(12)
    seconds = np.full(12, 2.5)
    bounds = Bounds(**{name: factor * value for name, value in asdict(DEFAULT_BOUNDS).items()})
    assert same(cluster_voices(two, seconds, 1, 4, bounds), who)
    assert {0} == set(cluster_voices(one, seconds, 1, 4, bounds).tolist())


@given(st.integers(1, 14), st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_every_turn_has_a_speaker(turns: int, seed: int, fewest: int, more: int) -> None:
    """Numbered by their first turn, and never more than may be."""
    rng = np.random.default_rng(seed)
    held, seconds = unit(rng.normal(size=(turns, 8))), rng.uniform(0.3, 5, size=turns)
    found = cluster_voices(held, seconds, fewest, fewest + more).tolist()
    assert turns == len(found)
    firsts = list(dict.fromkeys(found))
    assert list(range(len(firsts))) == firsts
    assert len(firsts) <= fewest + more


@pytest.mark.parametrize("seed", range(5))
def test_two_turns_of_two_people(seed: int) -> None:
    """One turn each is enough, if it is long enough; two turns of one are one speaker's."""
    two, who = voices(1, 1, seed=seed)
    assert same(cluster_voices(two, np.array([2.5, 2.5]), 1, 4), who)
    one, who = voices(2, seed=seed)
    assert same(cluster_voices(one, np.array([2.5, 2.5]), 1, 4), who)


def test_the_silhouette_of_five() -> None:
    """By hand: (b - a) / max(a, b); what is alone is as far from its own as turns of a speaker are."""
    distances = np.array(
        [[0, 1, 4, 4, 2], [1, 0, 4, 4, 2], [4, 4, 0, 8, 6], [4, 4, 8, 0, 6], [2, 2, 6, 6, 0]], dtype=float
    )
    expected = [0.5, 0.5, -0.5, -0.5, 1 - 0.25 / 2]
    assert pytest.approx(expected) == silhouettes(distances, np.array([0, 0, 1, 1, 2]), 0.25).tolist()


def test_the_silhouette_is_that_of_the_book() -> None:
    """As scikit-learn has it, where nothing is alone."""
    from sklearn.metrics import silhouette_samples

    held, who = voices(4, 5, 3)
    distances = np.clip(1 - held @ held.T, 0, 2)
    np.fill_diagonal(distances, 0)
    assert np.allclose(silhouette_samples(distances, who, metric="precomputed"), silhouettes(distances, who, 0.25))
