"""Word times as a measure of a report: CTM references, counts that are added, and figures in every form."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import word
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ctm_format import CtmWord, parse_ctm, serialise_ctm
from evaluation.evaluation_set import load_set
from evaluation.fields import ReferenceFileError
from evaluation.figure_tables import write_tables
from evaluation.figures import figures_of
from evaluation.html_report import to_html
from evaluation.html_summary import not_measured
from evaluation.hypotheses import HypothesisUtterance
from evaluation.measure import median_of_errors
from evaluation.nlp_format import NlpToken, serialise_nlp
from evaluation.references import Reference, collect_references
from evaluation.report import Report
from evaluation.score import SetScore, lines_said, score_call
from evaluation.scoring import score_evaluation_set
from evaluation.set_transcripts import CaseTranscript
from evaluation.sets.word_times import load_calls
from evaluation.time_measures import TIME_MEASURES
from evaluation.word_times import EDGES_MS, TOLERANCES_MS, Match, TimingCounts, match_words, timing_counts
from tasks.records import Word
from tasks.storage import open_storage

ALPHABET = "abcdefgh'$-."
MILLISECONDS = st.integers(0, 10_000_000)
ctm_words = st.builds(
    lambda call_id, channel, start, length, text: CtmWord(
        call_id, channel, start / 1000, round((start + length) / 1000, 6), text
    ),
    st.text("abcXYZ019_-", min_size=1, max_size=8),
    st.integers(1, 9),
    MILLISECONDS,
    MILLISECONDS,
    st.text(ALPHABET, min_size=1, max_size=6),
)
errors = st.lists(st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)), max_size=20)


def matches(errors_ms: Sequence[tuple[int, int]]) -> list[Match]:
    """Words that start and end so many milliseconds late."""
    known = word("a", 20.0, 30.0)
    return [
        Match((known,), (word("a", round(20 + start / 1000, 3), round(30 + end / 1000, 3)),))
        for start, end in errors_ms
    ]


def heard(words: Sequence[Word], late_s: float = 0.0, *, long_s: float = 0.0) -> HypothesisUtterance:
    """An utterance whose words are so much too late, and so much too long."""
    moved = tuple(Word(one.text, one.start + late_s, one.end + late_s + long_s, 0.9) for one in words)
    return HypothesisUtterance("S", moved[0].start, moved[-1].end, " ".join(one.text for one in moved), moved)


# ------------------------------------------------------------------------------------------------------------ files


@given(st.lists(ctm_words, max_size=5))
def test_ctm_survives_a_round_trip(words: list[CtmWord]) -> None:
    """What is written as CTM is read back the same."""
    assert tuple(words) == parse_ctm(serialise_ctm(words))


def test_ctm_as_it_is_found() -> None:
    """Comments, letters for channels, tabs, foreign line ends and confidences are read."""
    text = ";; made by hand\ncall A 1.5 0.25 hello\r\ncall\t2 2 0 there 0.93\ncall 2 3 0.5 bye NA\n"
    assert (
        CtmWord("call", 1, 1.5, 1.75, "hello"),
        CtmWord("call", 2, 2.0, 2.0, "there"),
        CtmWord("call", 2, 3.0, 3.5, "bye"),
    ) == parse_ctm(f"\ufeff{text}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("call 1 0.5 0.5", "expected `waveform channel begin duration word [confidence]`"),
        ("call 1 0.5 0.5 hello 0.9 lex speaker", "expected `waveform"),
        ("call 1 0.5 0.5 hello there", "could not convert"),
        ("call 1 0.5 0.5 hello 1.5", "1.5 is no confidence from 0 to 1"),
        ("call 1 0.5 -0.5 hello", "-0.5 is no time in seconds"),
        ("call left 0.5 0.5 hello", "left is no channel"),
        ("call 1 agent 0.5 1 hello", "could not convert"),
        ("call 1 * * <ALT_BEGIN>", "alternatives cannot be scored"),
    ],
)
def test_malformed_ctm_names_file_and_line(line: str, problem: str) -> None:
    """An error says where and what."""
    with pytest.raises(ReferenceFileError) as caught:
        parse_ctm(f";; first\n{line}\n", "calls.ctm")
    assert caught.value.message.startswith("calls.ctm, line 2: ")
    assert problem in caught.value.message


def test_names_that_ctm_cannot_carry_are_refused() -> None:
    """White space in a word would shift the fields."""
    with pytest.raises(ValueError, match="CTM"):
        serialise_ctm([CtmWord("call", 1, 0.0, 1.0, "two words")])


def test_words_are_part_of_a_reference() -> None:
    """From CTM beside lines, from CTM alone, where they are the text, too, and from an `.nlp` file with times."""
    tokens = [NlpToken("hello", "a", 0.5, 0.9), NlpToken("um", "a"), NlpToken("there", "a", 1.0, 1.4)]
    found = collect_references(
        [
            ("both.stm", "both 1 x 0 2 Hello there.\n"),
            ("words.ctm", "both 1 0.5 0.4 hello\nboth 1 1.0 0.4 there\nalone 1 1.0 0.4 there\nalone 1 0.5 0.4 hello\n"),
            ("silence.ctm", ";; nobody speaks\n"),
            ("told.nlp", serialise_nlp(tokens)),
            ("untimed.nlp", serialise_nlp([NlpToken("hello", "a")])),
        ]
    )
    assert [2, 2, 0, 2, None] == [
        None if found[call_id].words is None else len(found[call_id].words or ())
        for call_id in ("both", "alone", "silence", "told", "untimed")
    ]
    assert ["Hello there.", "hello there", "", "hello um there"] == [
        " ".join(line.text for line in lines_said(found[call_id]) or ())
        for call_id in ("both", "alone", "silence", "told")
    ]
    with pytest.raises(ReferenceFileError, match=r"b\.ctm: call a has a reference of this kind in another file"):
        collect_references([("a.ctm", "a 1 0 1 hi\n"), ("b.ctm", "a 1 0 1 hi\n")])


# ----------------------------------------------------------------------------------------------------------- counts


def test_times_are_counted_by_how_far_they_are_off() -> None:
    """To either side, to the step; within a tolerance is a word whose two ends are."""
    counts = TimingCounts.of(matches([(0, 10), (-50, 50), (51, 0), (-120, 480), (700, 1000), (20, 5001)]))
    assert 6 == counts.words
    assert (2, 3, 3, 4) == counts.within
    by_edge = {edge: count for edge, count in zip((*EDGES_MS, None), counts.ends, strict=True) if count}
    assert {10: 2, 50: 1, 480: 1, 1000: 1, None: 1} == by_edge
    assert pytest.approx((0.941, 6.541)) == (counts.start_s, counts.end_s)
    with pytest.raises(ValueError, match="impossible counts"):
        replace(counts, within=(7, 7, 7, 7))
    with pytest.raises(ValueError, match="impossible counts"):
        replace(counts, starts=(1,))


@given(errors, errors)
def test_counts_of_calls_are_added(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """The counts of two calls are those of all their words."""
    apart = TimingCounts.of(matches(first)) + TimingCounts.of(matches(second))
    both = TimingCounts.of(matches(first + second))
    assert (both.starts, both.ends, both.within) == (apart.starts, apart.ends, apart.within)
    assert pytest.approx((both.start_s, both.end_s)) == (apart.start_s, apart.end_s)
    assert len(first) + len(second) == apart.words


@given(errors.filter(len), st.floats(0.3, 30))
def test_the_median_is_right_to_its_step(errors_ms: list[tuple[int, int]], weight: float) -> None:
    """It is the edge that the lower median lies below, whatever the call stands for."""
    found = 1000 * median_of_errors(weight * np.array(TimingCounts.of(matches(errors_ms)).starts, dtype=float))
    exact = sorted(abs(start) for start, _ in errors_ms)[(len(errors_ms) - 1) // 2]
    assert pytest.approx(next(edge for edge in EDGES_MS if exact <= edge)) == float(found)


def test_a_median_that_cannot_be_told() -> None:
    """Where there are no words, and where most are off by more than five seconds."""
    counts = [
        TimingCounts.zero(),
        TimingCounts.of(matches([(5001, 0), (6000, 0), (1, 0)])),
        TimingCounts.of(matches([(1, 1)])),
    ]
    found = median_of_errors(np.array([one.starts for one in counts], dtype=float))
    assert [True, True, False] == np.isnan(found).tolist()
    assert 0.01 == found[2]


def test_only_words_that_are_right_are_compared() -> None:
    """In any order, by their normalised text; not wrong words, numbers in other words, or words without times."""
    known = [word(text, at, at + 0.5) for at, text in enumerate("i owe you four four dollars today".split())]
    spoken = [
        word("Today.", 6.1, 6.6),
        word("I", 0.1, 0.6),
        word("own", 1.1, 1.6),
        word("you,", 2.1, 2.6),
        word("44", 3, 4),
    ]
    untimed = HypothesisUtterance("S", 5.0, 5.5, "dollars")
    counts = timing_counts(reversed(known), [replace(heard(spoken), words=tuple(spoken)), untimed])
    assert (3, pytest.approx(0.3), pytest.approx(0.3)) == (counts.words, counts.start_s, counts.end_s)
    assert 0 == timing_counts(known, [untimed]).words
    spoken = sorted(spoken, key=lambda one: one.start)
    stretches = [one for one in match_words(known, spoken) if not one.one_to_one]
    assert [(["four", "four"], ["44"])] == [
        ([said.text for said in one.known], [said.text for said in one.found]) for one in stretches
    ]


# ---------------------------------------------------------------------------------------------------------- figures


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """The stored calls with known word times, as CTM; transcripts of them start 27 ms late and end 117 ms late."""
    cases, transcripts = [], {}
    for number, call in enumerate(load_calls()[:6]):
        known = [CtmWord(call.call_id, 1, one.start, one.end, one.text) for one in call.words]
        (tmp_path / f"{call.call_id}.ctm").write_text(serialise_ctm(known))
        lines = f"{call.call_id} 1 x 0 60 {' '.join(one.text for one in call.words)}\n"
        (tmp_path / f"{call.call_id}.stm").write_text(lines)
        files = [f"{call.call_id}.stm", *([f"{call.call_id}.ctm"] if number < 5 else [])]
        cases.append({"call_id": call.call_id, "references": files, "tags": ["odd" if number % 2 else "even"]})
        spoken = heard(call.words, 0.027, long_s=0.09)
        row = {"call_id": call.call_id, "speaker": "S", "start": spoken.start, "end": spoken.end, "text": spoken.text}
        words = [{"text": one.text, "start": one.start, "end": one.end, "probability": 0.9} for one in spoken.words]
        transcripts[call.call_id] = CaseTranscript(
            {"call_id": call.call_id, "outcome": "transcribed", "duration_s": 60.0}, ({**row, "words": words},)
        )
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    return score_evaluation_set(load_set(open_storage(tmp_path.as_uri())), transcripts)


def test_every_form_of_a_report_has_word_times(report: Report, tmp_path: Path) -> None:
    """JSON, slices, page and tables; five of six calls have references that tell, which is what the figures are of."""
    content = json.loads(report.to_json())
    figures = {key: (one["value"], one["unit"], one["calls"]) for key, one in content["figures"].items()}
    assert {
        "word_start_error_s": (0.03, "s", 5),
        "word_end_error_s": (0.12, "s", 5),
        "word_start_error_mean_s": (pytest.approx(0.027, abs=0.001), "s", 5),
        "word_end_error_mean_s": (pytest.approx(0.117, abs=0.001), "s", 5),
        "words_within_50_ms": (0, "%", 5),
        "words_within_100_ms": (0, "%", 5),
        "words_within_200_ms": (1, "%", 5),
        "words_within_500_ms": (1, "%", 5),
    } == {measure.key: figures[measure.key] for measure in TIME_MEASURES}
    assert content["figures"]["word_start_error_s"]["low"] is not None
    assert {0.03} == {one["figures"]["word_start_error_s"]["value"] for one in content["slices"]}
    page = to_html(report, datetime(2026, 11, 27, tzinfo=UTC))
    assert "word start error, median" in page
    assert "0.030 s" in page
    write_tables(report, tmp_path)
    calls = pq.read_table(tmp_path / "calls.parquet").to_pylist()
    words = sum(call["timed_words"] for call in calls)
    assert words == sum(len(call.words) for call in load_calls()[:5])
    within = {
        tolerance: sum(call[f"timed_words_within_{tolerance}_ms"] for call in calls) for tolerance in TOLERANCES_MS
    }
    assert {50: 0, 100: 0, 200: words, 500: words} == within
    assert pytest.approx(0.027 * words, rel=0.02) == sum(call["word_start_errors_s"] for call in calls)
    rows = pq.read_table(tmp_path / "figures.parquet").to_pylist()
    assert 3 == len([row for row in rows if row["measure"] == "word_start_error_s" and row["value"] == 0.03])


def test_references_without_word_times() -> None:
    """There is no figure, and the report says what is missing."""
    known = Reference("call", text="hello there")
    call = score_call(known, [heard([word("hello", 0.0, 0.5), word("there", 1.0, 1.5)])])
    assert TimingCounts.zero() == call.timing
    found = {figure.measure.key for figure in figures_of([call])}
    assert not found & {measure.key for measure in TIME_MEASURES}
    reasons = dict(not_measured(Report("r", SetScore((call,)))))
    assert "needs references and transcripts with the times of words" == next(
        why for what, why in reasons.items() if "word start error, median" in what
    )


def test_a_call_without_a_transcript_has_no_word_times() -> None:
    """Its words are deleted, and say nothing of times."""
    known = Reference("call", words=(CtmWord("call", 1, 0.0, 0.5, "hello"),))
    call = score_call(known, None)
    assert (1, 0) == (call.words.deletions, call.timing.words)
