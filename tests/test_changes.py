"""What another transcript of a call changed."""

from typing import Any

import pytest
from builders import call_ref, failure, outcome, provenance, transcript, utterance
from hypothesis import given
from hypothesis import strategies as st

from evaluation.changes import MOST_PASSAGES, ChangeCounts, Side, change_rows, compare
from tasks.rows import rows_of
from tasks.schemas import CHANGES
from tasks.tables import table_of

OLD, NEW = "20261101T020000000Z-aaaaaa", "20261201T020000000Z-bbbbbb"
_words = st.lists(
    st.sampled_from(["pay", "four", "hundred", "dollars", "march", "third", "no"]), min_size=1, max_size=6
)
_said = st.lists(st.tuples(st.sampled_from(["agent", "customer"]), _words), max_size=6)


def _side(run_id: str, said: list[tuple[str, str]], **row: object) -> Side:
    """A transcript, utterance by utterance."""
    spoken = [
        utterance(text, index=number, speaker=speaker, start=10.0 * number, end=10.0 * number + 5)
        for number, (speaker, text) in enumerate(said)
    ]
    rows = rows_of(outcome(call_ref(), transcript=transcript(spoken)), provenance(run_id=run_id))
    return Side(rows.call | row, rows.utterances)


def _compare(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> tuple[dict[str, Any], ChangeCounts]:
    return compare(_side(OLD, before), _side(NEW, after), NEW)


def test_nothing_changed() -> None:
    """The same words by the same speakers."""
    said = [("agent", "Good morning, how can I help?"), ("customer", "I want to pay $142.50.")]
    row, counts = _compare(said, said)
    assert (0, 0.0, [], 0, [], []) == tuple(
        row[name] for name in ("words_lost", "word_changes", "passages", "words_moved", "values_lost", "values_added")
    )
    assert ChangeCounts(calls=1, words=row["words_before"]) == counts


def test_words_and_values() -> None:
    """What was replaced, lost and added is counted, shown where it is, and read by value."""
    before = [("agent", "Your balance is $142.50."), ("customer", "Fine, until March 3rd then.")]
    after = [("agent", "Your balance is $152.50."), ("customer", "Until the third of March then, thank you.")]
    row, counts = _compare(before, after)
    assert (["amount: 142.50"], ["amount: 152.50"]) == (row["values_lost"], row["values_added"])
    assert {"start": 0.0, "before": "$142.50", "after": "$152.50"} == row["passages"][0]
    assert (1, 1, 1) == (counts.changed, counts.values_lost, counts.values_added)
    assert (OLD, NEW) == (row["run_id_of_row_before"], row["run_id_of_row_after"])


def test_another_name_for_a_speaker_is_no_change() -> None:
    """Speakers are paired before words are said to have moved."""
    before = [("SPEAKER_00", "good morning to you"), ("SPEAKER_01", "I want to pay")]
    after = [("SPEAKER_01", "good morning to you"), ("SPEAKER_00", "I want to pay")]
    assert 0 == _compare(before, after)[1].changed


def test_words_that_moved() -> None:
    """Kept, and given to somebody else."""
    before = [("agent", "good morning to you"), ("customer", "I want to pay"), ("agent", "of course")]
    after = [("agent", "good morning to you"), ("customer", "I want to pay"), ("customer", "of course")]
    row, counts = _compare(before, after)
    assert (2, 2, 1, 0.0) == (row["words_moved"], counts.moved, counts.changed, row["word_changes"])


def test_a_transcript_where_there_was_none() -> None:
    """A call that had failed has all its words new; a share of none is no number."""
    failed = rows_of(outcome(transcript=None, failure=failure("scratch_full")), provenance(run_id=OLD))
    row, counts = compare(Side(failed.call), _side(NEW, [("agent", "good morning")]), NEW)
    assert (0, 2, None, 1) == (row["words_before"], row["words_added"], row["word_changes"], counts.recovered)
    assert ("scratch_full", None) == (row["error_code_before"], row["error_code_after"])


def test_a_failed_try_leaves_what_stands() -> None:
    """The row says that it failed, and the words are the old ones."""
    said = [("agent", "good morning")]
    before = _side(OLD, said)
    row, counts = compare(before, Side(before.row | {"last_attempt_run_id": NEW}, before.utterances), NEW)
    assert (1, 0, 0) == (counts.failed, counts.changed, counts.recovered)
    assert row["transcript_id_before"] == row["transcript_id_after"]


@pytest.mark.parametrize(
    ("review", "more", "less"), [((False, True), 1, 0), ((True, False), 0, 1), ((True,) * 2, 0, 0)]
)
def test_reviews(review: tuple[bool, bool], more: int, less: int) -> None:
    """Calls that a person is now to look at, and those that nobody needs to look at any more."""
    said = [("agent", "good morning")]
    sides = [_side(run_id, said, review=value) for run_id, value in zip((OLD, NEW), review, strict=True)]
    counts = compare(sides[0], sides[1], NEW)[1]
    assert (more, less) == (counts.more_review, counts.less_review)


def test_only_the_first_passages_are_kept() -> None:
    """Of a call that came out quite different; the counts are of all of it."""
    before = [("agent", f"number {number} is the old one") for number in range(30)]
    after = [("agent", f"number {number} is the new one") for number in range(30)]
    row, counts = _compare(before, after)
    assert (MOST_PASSAGES, 30) == (len(row["passages"]), counts.replaced)


@given(_said, _said)
def test_counts_add_up(before: list[tuple[str, list[str]]], after: list[tuple[str, list[str]]]) -> None:
    """Every word of either side is kept, replaced, or lost or added; and the row is one of the table."""
    row, counts = _compare(*([(who, " ".join(what)) for who, what in said] for said in (before, after)))
    assert row["words_before"] == row["words_kept"] + row["words_replaced"] + row["words_lost"]
    assert row["words_after"] == row["words_kept"] + row["words_replaced"] + row["words_added"]
    assert row["words_moved"] <= row["words_kept"]
    assert counts == counts + ChangeCounts()
    assert 1 == len(table_of([row], CHANGES))
    assert set(CHANGES.names) == set(row)


def test_for_people() -> None:
    """Numbers, and no word that was spoken."""
    rows = dict(change_rows(ChangeCounts(calls=2, changed=1, words=1000, replaced=10, lost=5, added=6, moved=3)))
    assert "10, 5, 6 (2.1%)" == rows["  replaced, lost, added"]
    assert "0, 0, 0 (no words before)" == dict(change_rows(ChangeCounts()))["  replaced, lost, added"]
