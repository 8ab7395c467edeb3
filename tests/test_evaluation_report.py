"""Scores of calls and sets, and their reports."""

import json
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evaluation.hypotheses import HypothesisUtterance, group_rows
from evaluation.normalise import NORMALISER
from evaluation.rates import ErrorCounts
from evaluation.references import Reference, ReferenceEntity, StmLine, parse_stm
from evaluation.report import Report, missed_line, percent, report_table
from evaluation.score import SetScore, score_call, score_set
from evaluation.spurious import known_terms
from tasks.records import Utterance, Word

STM = """\
a 1 agent 0 4 you owe one hundred and thirty five dollars
a 1 customer 5 7 okay thank you
b 1 agent 0 2 this is laura
"""
ENTITIES = (ReferenceEntity("amount", "$135", "agent", 0.0, 4.0), ReferenceEntity("person", "Ann|e", "customer"))
TEXTS = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["a b", "c", "laura", ""])), max_size=4)


def references() -> dict[str, Reference]:
    """Two calls with words, one of them with entities, and a third without a word."""
    lines = parse_stm(STM)
    return {
        "a": Reference("a", lines=tuple(line for line in lines if line.call_id == "a"), entities=ENTITIES),
        "b": Reference("b", lines=tuple(line for line in lines if line.call_id == "b")),
        "c": Reference("c", lines=()),
    }


def hypotheses() -> dict[str, tuple[HypothesisUtterance, ...]]:
    """A transcript of the first call with one wrong word, words in the silent one, and a call nobody asked for."""
    return {
        "a": (
            HypothesisUtterance("S1", 0.0, 4.0, "You owe $135."),
            HypothesisUtterance("S0", 5.0, 7.0, "Okay, think you."),
        ),
        "c": (HypothesisUtterance("S0", 0.0, 1.0, "Thank you."),),
        "x": (),
    }


def report() -> Report:
    """The report of the small set."""
    return Report("demo [8 kHz]", score_set(references(), hypotheses()))


def said(texts: list[tuple[str, str]]) -> list[HypothesisUtterance]:
    """Utterances, one after the other."""
    return [HypothesisUtterance(speaker, float(i), i + 1.0, text) for i, (speaker, text) in enumerate(texts)]


def test_hypotheses_come_from_records_rows_and_stm() -> None:
    """The same utterance is scored the same, wherever it comes from."""
    word = Word("hello", 0.0, 0.5, 0.9)
    record = Utterance(0, "S0", 0, 0.0, 0.5, "hello", (word,), "en", 0.9, -0.1, 0.0, 1.0, overlap=False)
    row = {
        "call_id": "a",
        "speaker": "S0",
        "start": 0.0,
        "end": 0.5,
        "text": "hello",
        "words": [{"text": "hello", "start": 0.0, "end": 0.5, "probability": 0.9}],
        "flags": [],
    }
    expected = HypothesisUtterance("S0", 0.0, 0.5, "hello", (word,))
    assert expected == HypothesisUtterance.from_utterance(record)
    assert expected == HypothesisUtterance.from_row(row)
    assert HypothesisUtterance.from_stm(StmLine("a", 1, "S0", 0.0, 0.5, "hello")) == HypothesisUtterance.from_row(
        {**row, "words": None}
    )


def test_rows_are_sorted_into_calls() -> None:
    """Rows of a table come in any order; calls and their utterances do not."""
    rows = [
        {"call_id": call_id, "speaker": "S", "start": start, "end": start + 1, "text": call_id}
        for call_id, start in [("b", 1), ("a", 5), ("a", 2)]
    ]
    starts = [(call_id, [one.start for one in utterances]) for call_id, utterances in group_rows(rows).items()]
    assert starts == [("a", [2.0, 5.0]), ("b", [1.0])]


def test_a_call_without_a_transcript_counts() -> None:
    """A failed call has all its words deleted; leaving it out would flatter the set."""
    score = score_set(references(), hypotheses())
    assert ErrorCounts(9, substitutions=1, deletions=3, insertions=2) == score.words
    assert (score.untranscribed, score.unreferenced) == (("b",), ("x",))


def test_a_call_without_a_reference_of_a_kind_is_undefined() -> None:
    """Turns alone say nothing about words: rates are None, and no word counts as inserted."""
    score = score_call(Reference("a", turns=()), hypotheses()["a"])
    assert (score.words.rate, score.speakers.counts.rate, score.entities.counts.accuracy) == (None, None, None)
    assert ErrorCounts.zero() == score.words


def test_each_call_has_its_language() -> None:
    """A German call is not normalised as English."""
    reference = {"a": Reference("a", lines=(StmLine("a", 1, "x", 0.0, 1.0, "eins two"),))}
    heard = {"a": said([("x", "eins 2")])}
    assert score_set(reference, heard).words.errors == 0
    assert score_set(reference, heard, languages={"a": "de"}).words.errors == 1
    assert score_set(reference, heard, language="de").words.errors == 1


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(TEXTS, TEXTS)))
def test_the_set_is_the_sum_of_its_calls(calls: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]) -> None:
    """Counts of a set are those of its calls added up, and scoring calls one by one gives the same."""
    known = {
        call_id: Reference(
            call_id,
            lines=tuple(StmLine(call_id, 1, one.speaker, one.start, one.end, one.text) for one in said(reference)),
            entities=(ReferenceEntity("person", "Laura"),),
        )
        for call_id, (reference, _) in calls.items()
    }
    heard = {call_id: said(hypothesis) for call_id, (_, hypothesis) in calls.items()}
    score = score_set(known, heard)
    terms = known_terms(entity for reference in known.values() for entity in reference.entities or ())
    alone = [score_call(known[call_id], heard[call_id], terms=terms) for call_id in sorted(calls)]
    assert alone == list(score.calls)
    assert sum((call.words for call in alone), ErrorCounts.zero()) == score.words
    assert sum((call.speakers.counts for call in alone), ErrorCounts.zero()) == score.speakers
    assert len(calls) == score.entities.counts.reference


def test_percentages_have_one_decimal() -> None:
    """An undefined rate is a dash, never a zero."""
    assert [percent(rate) for rate in (0.0, 0.0432, 4 / 3, None)] == ["0.0", "4.3", "133.3", "-"]


def test_json_is_stable_and_has_counts_and_rates() -> None:
    """Machines get counts, rates (null where undefined), the normaliser, and the same text each time."""
    content = json.loads(report().to_json())
    assert (content["name"], content["normaliser"]) == ("demo [8 kHz]", NORMALISER)
    assert content["total"]["wer"] == {
        "reference_words": 9,
        "hits": 5,
        "substitutions": 1,
        "deletions": 3,
        "insertions": 2,
        "errors": 6,
        "rate": 0.666667,
    }
    assert content["total"]["entities"]["by_type"]["person"] == {"reference": 1, "correct": 0, "accuracy": 0.0}
    assert content["calls"]["a"]["assignment"] == [["agent", "S1"], ["customer", "S0"]]
    assert content["calls"]["a"]["missed_entities"] == [{"type": "person", "text": "Ann|e", "start": None}]
    assert content["calls"]["c"]["wer"]["rate"] is None
    assert (content["untranscribed"], content["unreferenced"]) == (["b"], ["x"])
    assert report().to_json() == report().to_json()
    assert sorted(content) == list(content)


def test_reports_can_be_without_spoken_words() -> None:
    """Where no word of a call may lie, the report has types and counts only."""
    assert "Ann" not in report().to_json(spoken=False)
    assert "Ann" not in report().to_markdown(spoken=False)


def test_missed_entities_fit_in_a_line() -> None:
    """One line names what was missed, or says that nothing was, or that nothing was looked for."""
    assert missed_line(report()) == 'Missed entities (1 of 2): a person "Ann|e".'
    assert missed_line(Report("empty", SetScore(()))) == "Missed entities: no references."
    found = Reference("a", lines=(), entities=ENTITIES[:1])
    assert missed_line(Report("found", score_set({"a": found}, hypotheses()))) == "Missed entities (0 of 1): none."


def test_markdown_is_a_table() -> None:
    """Benchmarks are checked in as Markdown: a row per call, the total last, notes below."""
    expected = "\n".join(
        [
            "### demo [8 kHz]",
            "",
            "| call | words | WER % | sub | del | ins | cpWER % | WDER % | entities | entities % |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            "| a | 6 | 16.7 | 1 | 0 | 0 | 16.7 | 0.0 | 1/2 | 50.0 |",
            "| b | 3 | 100.0 | 0 | 3 | 0 | 100.0 | - | - | - |",
            "| c | 0 | - | 0 | 0 | 2 | - | - | - | - |",
            "| total | 9 | 66.7 | 1 | 3 | 2 | 66.7 | 0.0 | 1/2 | 50.0 |",
            "",
            f"Normaliser: {NORMALISER}.",
            "",
            "No transcript, all words counted as deleted: b.",
            "",
            "No reference, not scored: x.",
            "",
            'Missed entities (1 of 2): a person "Ann\\|e".',
            "",
        ]
    )
    assert expected == report().to_markdown()


def test_the_terminal_shows_the_same_table() -> None:
    """Names with brackets are text, not markup; the last row is the total of the counts."""
    output = StringIO()
    Console(file=output, width=120, color_system=None).print(report_table(report()))
    lines = output.getvalue().splitlines()
    assert "demo [8 kHz]" in lines[0]
    assert next(line.split("│")[1:-1] for line in lines if "total" in line)[2].strip() == "66.7"
    assert [lines[-2].strip(), lines[-1].strip()] == [
        "No transcript, all words counted as deleted: b.",
        "No reference, not scored: x.",
    ]
