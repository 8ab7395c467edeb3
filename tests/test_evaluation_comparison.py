"""Variants of settings, held against each other: the file, the differences, the front, and what to take."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_sets import SPOKEN, made_up_set, scores

from evaluation.choice import pareto_front
from evaluation.comparison import compare
from evaluation.comparison_report import choice_line, to_json, worse_lines
from evaluation.evaluation_set import EvaluationSet
from evaluation.multiplicity import adjusted, significant_by_holm
from evaluation.variants import parse_variants
from tasks.errors import SettingsError
from tasks.settings import load_settings

POINTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)),
    max_size=9,
)
P_VALUES = st.dictionaries(st.integers(0, 99), st.none() | st.floats(0, 1), max_size=12)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of ten calls."""
    return made_up_set(tmp_path_factory.mktemp("sets") / "made-up", calls=10)


def _parsed(text: str) -> tuple[list[str], str]:
    found = parse_variants(text, "mine.toml", lambda overrides: load_settings(overrides=overrides))
    return [f"{one.name}: {one.told}" for one in found.each], found.baseline


def test_a_variants_file() -> None:
    """Each variant is the settings with what it changes; the first is the baseline unless the file says another."""
    text = '[variants.a]\n[variants.b]\nrecognizer.beam_size = 1\naudio.denoise = "auto"\n'
    told = ["a: as set", 'b: recognizer.beam_size = 1, audio.denoise = "auto"']
    assert (told, "a") == _parsed(text)
    assert (told, "b") == _parsed(f'baseline = "b"\n{text}')
    found = parse_variants(text, "mine.toml", lambda overrides: load_settings(overrides=overrides))
    assert [(5, "off"), (1, "auto")] == [
        (one.settings.recognizer.beam_size, one.settings.audio.denoise) for one in found.each
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("variants = 3", "two variants at least"),
        ("[variants.a]", "two variants at least"),
        ("[variants.a", "mine.toml is not valid TOML"),
        ("[variant.a]", "variant is nothing that it has"),
        ('baseline = "c"\n[variants.a]\n[variants.b]', "the baseline 'c' is none of the variants a, b"),
        ("[variants]\na = 1\nb = 2", "variant a: a variant is a table of settings"),
        ("[variants.a]\nbeam_size = 1\n[variants.b]", "variant a: beam_size: a setting has a group and a name"),
        ("[variants.a]\n[variants.b]\nrun.job_hours = 1", "mine.toml, variant b: run changes no transcript"),
        ("[variants.a]\n[variants.b]\nrecognizer.beam = 1", "variant b: wrong setting: recognizer.beam: no such"),
        ("[variants.a]\n[variants.b]\nnonsense.beam = 1", "variant b: wrong setting: nonsense: no such"),
        ('[variants.a]\n[variants.b]\naudio.denoise = "on"', "variant b: wrong setting: audio.denoise: "),
        ("[variants.a]\n[variants.b]\nrecognizer.beam_size = 0", "variant b: wrong setting: recognizer.beam_size: "),
    ],
)
def test_a_wrong_variants_file(text: str, said: str) -> None:
    """The message names the file, the variant and the setting."""
    with pytest.raises(SettingsError, match=r"mine\.toml") as caught:
        _parsed(text)
    assert said in caught.value.message


@given(POINTS)
def test_the_front_has_no_dominated_member_and_loses_none(points: dict[str, tuple[float, float]]) -> None:
    """What is on it nothing beats; what is not, something on it beats."""

    def beats(one: str, other: str) -> bool:
        (a, b), (c, d) = points[one], points[other]
        return a <= c and b <= d and (a, b) != (c, d)

    front = pareto_front(points)
    assert [] == [one for one in front if any(beats(other, one) for other in points)]
    assert [] == [one for one in points.keys() - front if not any(beats(other, one) for other in front)]


@given(P_VALUES)
def test_holm(p_values: dict[int, float | None]) -> None:
    """No p-value becomes smaller, their order stays, and of one alone nothing changes."""
    found = adjusted(p_values)
    assert p_values.keys() == found.keys()
    told = sorted((value, found[key]) for key, value in p_values.items() if value is not None)
    after = [value for _, value in told if value is not None]
    assert sorted(after) == after
    assert all(before <= value <= 1 for (before, _), value in zip(told, after, strict=True))
    assert significant_by_holm(p_values) <= {key for key, one in p_values.items() if one is not None and one < 0.05}
    assert {0: 0.04} == adjusted({0: 0.04})


def test_a_variant_that_is_the_baseline(known: EvaluationSet) -> None:
    """Differs by nothing, in no measure and no slice, and is not taken."""
    wrong = [3, 0, 2, 5, 1, 0, 4, 2, 1, 1]
    found = compare({"one": scores(known, wrong), "same": scores(known, wrong)}, "one")
    same = found.variants[1]
    differences = [one.difference for one in (*same.measures, *(one.compared for one in same.slices))]
    assert {0.0} == {one.value for one in differences if one is not None}
    assert not any(one.significant for one in (*same.measures, *(each.compared for each in same.slices)))
    assert ("one", True, True) == (found.take, *(one.on_front for one in found.variants))


def test_what_to_take(known: EvaluationSet) -> None:
    """What is significantly better; else what is cheaper and as good; else the baseline: no proof is no proof."""
    bad, good, other = [5] * 10, [1] * 10, [5, 5, 5, 5, 5, 5, 5, 5, 5, 6]
    base = scores(known, bad)
    better = compare({"base": base, "dear": scores(known, good, 3.0), "slow": scores(known, bad, 2.0)}, "base")
    assert ("dear", [True, True, False]) == (better.take, [one.on_front for one in better.variants])
    assert "significantly better" in choice_line(better)
    assert "it takes 3.00 times as long" in choice_line(better)
    cheaper = compare({"base": base, "quick": scores(known, bad, 0.5)}, "base")
    assert "quick" == cheaper.take
    assert "not worse than that of base by more than the margin" in cheaper.reason
    unsure = compare({"base": base, "quick": scores(known, other, 0.5)}, "base", margin=0.001)
    assert ("base", "no other is shown") == (unsure.take, unsure.reason[:17])
    generous = compare({"base": base, "quick": scores(known, other, 0.5)}, "base", margin=0.05)
    assert "quick" == generous.take


def test_where_a_variant_is_worse(tmp_path: Path) -> None:
    """A slice in which it is significantly worse is named, and keeps it from being taken, however cheap it is."""
    known = made_up_set(tmp_path / "made-up", calls=16)
    base = scores(known, [2] * 16)
    mixed = scores(known, [10 if call % 2 else 0 for call in range(16)], 0.1)
    found = compare({"base": base, "mixed": mixed}, "base", price=2.0)
    lines = worse_lines(found)
    assert ["mixed is significantly worse in tag: noisy (8 calls): WER +40.00, p 0.016 (Holm)"] == lines
    assert ("base", "significantly worse in something: mixed") == (found.take, found.reason.rpartition("; ")[2])
    assert [360.0, 36.0] == [round(one.seconds_per_hour or 0, 3) for one in found.variants]
    assert [0.2, 0.02] == [round(one.price_per_hour or 0, 6) for one in found.variants]
    content = to_json(found, {"set": "made-up"}, {"base": {}, "mixed": {}})
    assert SPOKEN not in content
    assert "call-1" not in content
    with pytest.raises(ValueError, match="the same calls"):
        compare({"base": base, "less": mixed[1:]}, "base")


def test_the_order_of_calls_means_nothing(known: EvaluationSet) -> None:
    """The same scores in another order give the same comparison."""
    first, second = scores(known, [3, 0, 2, 5, 1, 0, 4, 2, 1, 1]), scores(known, [1, 0, 1, 2, 1, 0, 2, 2, 0, 1])
    mixed = list(second)
    Random(3).shuffle(mixed)  # noqa: S311  # no secret depends on it
    one, other = (compare({"a": first, "b": calls}, "a") for calls in (second, mixed))
    about = ({"set": "made-up"}, {"a": {}, "b": {}})
    assert to_json(one, *about) == to_json(other, *about)
