"""Precision of entities: what the hypothesis holds and the reference does not."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.entities import EntityScore, entity_score
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import EntityCounts
from evaluation.references import ReferenceEntity
from evaluation.spurious import known_terms

SAID = st.lists(
    st.sampled_from(
        "i paid $142.50 142 dollars and 50 cents on october 5th may first at 3:30 pm account 4471-9025 four four seven"
        " one laura brooks larkfield energy 35% twenty one thousand 555-0142 hundred q3 . ,".split()
    ),
    max_size=14,
).map(" ".join)
KINDS = st.sampled_from(["person", "amount", "date", "time", "number", "phone", "id", "address", "term", "year"])
NAMES = {"person": ("Laura Brooks", "Brooks"), "organisation": ("Larkfield Energy",)}


def said(*texts: str) -> list[HypothesisUtterance]:
    """What one speaker said, each text in a second of its own."""
    return [HypothesisUtterance("S", float(at), at + 1.0, text) for at, text in enumerate(texts)]


def spurious(reference: str, heard: str, *entities: tuple[str, str]) -> dict[str, int]:
    """What is found too much, by class."""
    wanted = [ReferenceEntity(kind, text) for kind, text in entities]
    score = entity_score(wanted, said(heard), lines=said(reference), terms=NAMES)
    assert score.spurious is not None
    return dict(score.spurious)


def test_rates_come_from_counts() -> None:
    """Precision, recall and F1 of 8 right, 2 missed, 4 made up; None where there is nothing or nobody looked."""
    counts = EntityCounts(10, 8, 4)
    assert (8 / 12, 0.8, 16 / 22) == (counts.precision, counts.recall, counts.f1)
    assert counts.accuracy == counts.recall
    nothing, unknown, missed = EntityCounts.zero(), EntityCounts(2, 1), EntityCounts(1, 0, 0)
    assert [None] * 3 == [nothing.precision, nothing.recall, nothing.f1]
    assert (None, 0.5, None) == (unknown.precision, unknown.recall, unknown.f1)
    assert (None, 0.0, 0.0) == (missed.precision, missed.recall, missed.f1)
    with pytest.raises(ValueError, match="EntityCounts"):
        EntityCounts(1, 1, -1)


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    """Found of two calls but spurious of one only would be a precision that nobody measured."""
    known, unknown = EntityCounts(2, 1, 3), EntityCounts(1, 1)
    assert EntityCounts(4, 2, 6) == sum([known, known], EntityCounts.zero())
    assert EntityCounts(3, 2) == sum([known, unknown], EntityCounts.zero())
    one = entity_score([], said("$5"), lines=said("nothing"))
    other = entity_score([], said("$5"))
    assert {"money": 2} == sum([one, one], EntityScore.zero()).spurious
    assert sum([one, other], EntityScore.zero()).spurious is None


@pytest.mark.parametrize(
    ("reference", "heard", "expected"),
    [
        # The same values in other words are not spurious.
        ("one hundred and thirty five dollars", "$135", {}),
        ("I paid one forty two fifty", "I paid $142.50", {}),
        ("on the third of march", "on March 3rd", {}),
        ("at half past three", "at 3:30 PM", {}),
        ("four four seven one nine zero two five", "4471-9025", {}),
        ("twenty nine point four percent", "29.4%", {}),
        ("in two thousand nineteen", "in 2019", {}),
        # What was garbled or made up is.
        ("one hundred and thirty five dollars", "$35", {"money": 1}),
        ("on the third of march", "on March 30th", {"date": 1}),
        ("at half past three", "at 4:30 PM", {"time": 1}),
        ("four four seven one nine zero two five", "4471-9052", {"id": 1}),
        ("call five five five oh one four two", "call 555-0143", {"phone": 1}),
        ("twenty nine percent", "29", {"number": 1}),
        ("five dollars", "$5, so $5", {"money": 1}),
        ("thanks", "thanks for 12 and $7 on May 2nd", {"date": 1, "money": 1, "number": 1}),
        # What may be another word is not counted.
        ("sure", "one moment, the first one", {}),
        # Known names.
        ("this is laura burke", "this is Laura Brooks", {"person": 1}),
        ("this is laura brooks", "this is Laura Brooks", {}),
        ("lark field energy", "Larkfield Energy", {"organisation": 1}),
    ],
)
def test_what_is_spurious(reference: str, heard: str, expected: dict[str, int]) -> None:
    """A value is spurious where the reference text does not say it as often."""
    assert expected == spurious(reference, heard)


def test_what_is_found_is_not_spurious() -> None:
    """The entity file names the amount, the transcript has a gap there."""
    assert {"money": 1} == spurious("it was", "it was $98")
    assert {} == spurious("it was", "it was $98", ("amount", "$98"))


def test_values_account_for_each_other_near_their_time() -> None:
    """The same amount minutes later is another one."""
    lines = [HypothesisUtterance("S", 0.0, 2.0, "five dollars"), HypothesisUtterance("S", 60.0, 62.0, "bye")]
    heard = [HypothesisUtterance("S", 60.0, 62.0, "bye $5")]
    assert entity_score([], heard, lines=lines).spurious == {"money": 1}
    untimed = [HypothesisUtterance("S", 0.0, 0.0, "five dollars bye")]
    assert entity_score([], heard, lines=untimed).spurious == {}


def test_classes_have_all_their_counts() -> None:
    """Types of a class are added up, and what is spurious stands beside them."""
    wanted = [
        ReferenceEntity("amount", "$5"),
        ReferenceEntity("MONEY", "$6"),
        ReferenceEntity("person", "Laura Brooks"),
    ]
    score = entity_score(wanted, said("$5 and $7"), lines=said("five and six dollars"), terms=NAMES)
    assert {"money": EntityCounts(2, 1, 1), "person": EntityCounts(1, 0, 0)} == score.by_class
    assert {"money": EntityCounts(2, 1), "person": EntityCounts(1, 0)} == entity_score(
        wanted, said("$5 and $7")
    ).by_class


def test_the_names_of_a_set_are_known() -> None:
    """Names are collected from all calls; values are not names."""
    entities = [
        ReferenceEntity("person", "Laura Brooks"),
        ReferenceEntity("PERSON", "Ann"),
        ReferenceEntity("person", "Ann"),
        ReferenceEntity("amount", "$5"),
        ReferenceEntity("term", "voicemail"),
    ]
    assert {"person": ("Ann", "Laura Brooks"), "product": ("voicemail",)} == known_terms(entities)


@given(st.lists(SAID, max_size=4))
def test_a_perfect_hypothesis_holds_nothing_too_much(texts: Sequence[str]) -> None:
    """What the reference says itself is never spurious."""
    assert {} == entity_score([], said(*texts), lines=said(*texts), terms=NAMES).spurious


@given(SAID, SAID, st.integers(0, 3))
def test_counts_do_not_hang_on_the_order_of_calls(one: str, other: str, shift: int) -> None:
    """Scores of calls are added in any order, and nothing is negative."""
    scores = [
        entity_score([], said(heard), lines=said(said_), terms=NAMES) for said_, heard in ((one, other), (other, one))
    ]
    turned = scores[shift % 2 :] + scores[: shift % 2]
    assert sum(scores, EntityScore.zero()) == sum(turned, EntityScore.zero())
    assert all(count > 0 for score in scores for count in (score.spurious or {}).values())
    assert entity_score([], (), lines=said(one), terms=NAMES).spurious == {}


@given(st.lists(st.tuples(KINDS, SAID), max_size=4), st.lists(SAID, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_entities_changes_nothing(
    entities: Sequence[tuple[str, str]], heard: Sequence[str], random: Random
) -> None:
    """Counts of a call do not hang on the order in which its entities stand in the file."""
    wanted = [ReferenceEntity(kind, text) for kind, text in entities]
    shuffled = random.sample(wanted, len(wanted))
    first, second = (entity_score(found, said(*heard), lines=said(*heard[:1])) for found in (wanted, shuffled))
    assert first.by_class == second.by_class
    assert len(wanted) == first.counts.reference == first.counts.correct + len(second.misses)


@given(st.lists(SAID.filter(lambda text: "one" not in text and "." not in text), min_size=1, max_size=3))
def test_a_perfect_hypothesis_has_precision_and_recall_of_one(texts: Sequence[str]) -> None:
    """Names and amounts that were said and heard as they are."""
    named = [f"{text}, thanks Laura Brooks. I paid $142.50." for text in texts]
    wanted = [ReferenceEntity("person", "Laura Brooks"), ReferenceEntity("amount", "$142.50")] * len(texts)
    score = entity_score(wanted, said(*named), lines=said(*named), terms=NAMES)
    assert {(1.0, 1.0, 1.0)} == {(one.precision, one.recall, one.f1) for one in score.by_class.values()}
