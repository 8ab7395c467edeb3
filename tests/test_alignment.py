"""Reference and hypothesis word by word: the alignment that WER counted, in raw words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import alignment
from evaluation.alignment import Cell, align
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import ErrorCounts
from evaluation.references import StmLine
from evaluation.wer import word_errors

WORDS = st.lists(
    st.sampled_from(
        "uh one hundred and a half $1.50 thirty five dollars (hm x) don't 's 5550-142 - the colour 3:30 1 Ä mr.".split()
    ),
    max_size=9,
).map(" ".join)
TEXTS = st.lists(WORDS, max_size=4)


def said(*texts: str) -> list[StmLine]:
    """Lines, one after the other."""
    return [StmLine("a", 1, "agent", float(at), at + 1.0, text) for at, text in enumerate(texts)]


def heard(*texts: str) -> list[HypothesisUtterance]:
    """Utterances, one after the other."""
    return [HypothesisUtterance("S0", float(at), at + 1.0, text) for at, text in enumerate(texts)]


def shown(cells: tuple[Cell, ...]) -> list[tuple[str, str, str]]:
    """What people see of cells."""
    return [
        (" ".join(one.text for one in cell.reference), " ".join(one.text for one in cell.hypothesis), cell.kind)
        for cell in cells
    ]


def test_words_stand_against_each_other_as_written() -> None:
    """An amount in words and in digits is one cell; fillers are shown and not counted."""
    cells = align(said("You owe uh one hundred and thirty five dollars, please."), heard("You own $135", "Bye."))
    assert [
        ("You", "You", "equal"),
        ("owe", "own", "substitute"),
        ("uh", "", "uncounted"),
        ("one hundred and thirty five dollars,", "$135", "equal"),
        ("please.", "Bye.", "substitute"),
    ] == shown(cells)


def test_several_words_against_one_are_one_cell() -> None:
    """Groups of digits that one side joins: all words of it, with all errors of it."""
    (cell,) = align(said("four four seven one nine zero two five"), heard("4471-9025"))
    assert ("substitute", 2) == (cell.kind, cell.counts.errors)


@pytest.mark.parametrize("empty", [(), ("",), ("uh",)])
def test_sides_without_words(empty: tuple[str, ...]) -> None:
    """Nothing said, or nothing heard."""
    assert ["insert"] == [cell.kind for cell in align(said(*empty), heard("hello")) if cell.kind != "uncounted"]
    assert ["delete"] == [cell.kind for cell in align(said("hello"), heard(*empty)) if cell.kind != "uncounted"]
    assert [] == [cell for cell in align(said(*empty), heard(*empty)) if cell.kind != "uncounted"]


@pytest.mark.parametrize("long", [alignment.LONG, 2])
@given(TEXTS, TEXTS, st.sampled_from(["en", "de"]))
@settings(deadline=None, max_examples=300)
def test_cells_add_up_to_what_wer_counts(long: int, reference: list[str], hypothesis: list[str], language: str) -> None:
    """The errors that are shown are those that are counted, and every word of both sides is shown once, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "LONG", long)
        cells = align(said(*reference), heard(*hypothesis), language)
    assert word_errors(said(*reference), heard(*hypothesis), language) == sum(
        (cell.counts for cell in cells), ErrorCounts.zero()
    )
    assert " ".join(reference).split() == [word.text for cell in cells for word in cell.reference]
    assert " ".join(hypothesis).split() == [word.text for cell in cells for word in cell.hypothesis]
    assert all((cell.kind == "equal") <= (cell.counts.errors == 0) for cell in cells)
