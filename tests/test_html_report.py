"""The report as a page and as tables: the same figures as the JSON, words for people, nothing from elsewhere."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scored_sets import NASTY, scored

from evaluation.advice import advice_lines
from evaluation.clips import Clip
from evaluation.figure_tables import call_columns, call_rows, write_tables
from evaluation.html_advice import looked_at, weak_spots
from evaluation.html_calls import MOST_CELLS, worst_calls
from evaluation.html_plots import plots_of
from evaluation.html_report import to_html
from evaluation.html_summary import clearly_worse, not_measured, sentences, stands_for, tiles
from evaluation.intervals import Interval
from evaluation.origin import Origin
from evaluation.report import Report
from evaluation.score import SetScore

NOW = datetime(2026, 11, 27, 1, 2, tzinfo=UTC)


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._row: str | None = None
        self.values: dict[str, list[float | None]] = {}
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep every element, and the numbers of rows that have a key."""
        told = dict(attributes)
        self.elements.append((tag, told))
        if tag == "tr":
            self._row = told.get("data-key")
        if tag == "td" and self._row is not None and "data-value" in told:
            self.values.setdefault(self._row, []).append(float(told["data-value"]) if told["data-value"] else None)

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def page(report: Report, **options: object) -> str:
    """The report as a page."""
    return to_html(report, NOW, **options)  # type: ignore[arg-type]


def test_page_json_and_parquet_hold_the_same_figures(tmp_path: Path) -> None:
    """Value, bounds and calls of every measure, and of every slice, to the last digit that is written."""
    report = scored(8)
    content = json.loads(report.to_json())
    write_tables(report, tmp_path / "new")
    rows = pq.read_table(tmp_path / "new" / "figures.parquet").to_pylist()
    numbers = {key: [one["value"], one["low"], one["high"], one["calls"]] for key, one in content["figures"].items()}

    def rounded(row: dict[str, float | None]) -> list[float | None]:
        return [None if row[name] is None else round(row[name], 6) for name in ("value", "low", "high", "calls")]

    assert numbers == {row["measure"]: rounded(row) for row in rows if row["scope"] == "set"}
    assert {
        (one["dimension"], one["value"], key): [figure[name] for name in ("value", "low", "high", "calls")]
        for one in content["slices"]
        for key, figure in one["figures"].items()
    } == {(row["dimension"], row["slice"], row["measure"]): rounded(row) for row in rows if row["scope"] == "slice"}
    shown = Page(page(report)).values
    assert {key: values for key, values in numbers.items() if "." not in key} == {
        key: values for key, values in shown.items() if key in numbers
    }
    assert 100 * numbers["wer"][0] == pytest.approx(float(tiles(report)[0].number.split()[0]), abs=0.05)


def test_calls_are_a_table(tmp_path: Path) -> None:
    """A row for each call, whose counts add up to those of the set; columns say what they hold; no word is in it."""
    report = scored(5)
    write_tables(report, tmp_path)
    table = pq.read_table(tmp_path / "calls.parquet")
    assert list(call_rows(report)) == table.to_pylist()
    assert [call.call_id for call in report.score.calls] == table["call_id"].to_pylist()
    words = report.score.words
    assert [words.reference_words, words.substitutions, words.deletions, words.insertions] == [
        sum(table[name].to_pylist()) for name in ("reference", "substitutions", "deletions", "insertions")
    ]
    assert [comment for _, _, comment in call_columns()] == [
        field.metadata[b"comment"].decode() for field in table.schema
    ]
    assert b"Laura" not in (tmp_path / "calls.parquet").read_bytes()


def test_the_summary_is_for_people() -> None:
    """Numbers of 100 with their bounds, what had to be captured, and what the set stands for."""
    report = scored(8)
    said = " ".join(sentences(report))
    assert re.search(r"Of 100 words that were said, [\d.]+ are wrong in the transcript \(between [\d.]+ and", said)
    assert "of people and amounts that had to be captured" in said
    assert "Every one of the 8 calls has a transcript." in said
    assert stands_for(report).startswith("The calls were not drawn by chance")


def test_a_sample_says_what_it_stands_for() -> None:
    """For how many calls, which of them nobody has written down yet, and what is not covered."""
    report = scored(4, stratum="en", weight=25.0)
    report = replace(report, origin=Origin(awaited=1, uncovered={"de": 7.0}))
    assert (
        "The calls are a sample, drawn by chance: 4 calls stand for 100 calls, and figures in percent are estimates "
        "for all of these. 1 call of the sample had no reference yet; the others stand for them. Nothing is known of 7 "
        "calls, those of de."
    ) == stands_for(report)


def test_slices_are_worse_where_bounds_do_not_overlap() -> None:
    """What overlaps is named nowhere, what does not is named with both."""
    report = scored(8)
    assert () == clearly_worse(replace(report, slices=()))
    first, *others = report.slices
    wer = next(figure for figure in first.figures if figure.measure.key == "wer")
    bad = replace(wer, value=0.9, interval=Interval(0.85, 0.95))
    (found,) = clearly_worse(replace(report, slices=(replace(first, figures=(bad,)),)))
    assert (first.value, "WER", "90.0 % (85.0 to 95.0)") == (found.slice, found.measure, found.own)
    near = replace(bad, interval=Interval(0.0, 0.95))
    assert () == clearly_worse(replace(report, slices=(replace(first, figures=(near,)),)))
    assert others


def test_what_could_not_be_measured_is_said() -> None:
    """A set without entities and word probabilities names both, with the reason."""
    reasons = dict(not_measured(scored(1, entities=False)))
    assert "needs references that name what had to be captured" == next(
        why for what, why in reasons.items() if "entity recall" in what
    )
    assert any(why.startswith("no bounds: fewer than 3") for why in reasons.values())


def test_the_page_says_what_to_do() -> None:
    """Right after the summary, what the terminal says, with names of settings as code."""
    report = scored(8)
    assert report.advice
    content = page(report)
    shown = content[content.index('<section id="advice">') : content.index('<section id="plots">')]
    assert content.index('<section id="summary">') < content.index('<section id="advice">')
    text = Page(shown).text
    for one, line in zip(weak_spots(report), advice_lines(report.advice), strict=True):
        assert f"{one.says} {Page(str(one.action)).text}" in text
        assert line.partition(". ")[2] == f"{one.says} {re.sub('</?code>', '`', one.action.unescape())}"
    assert "<code>callscribe compare</code>" in shown


def test_the_page_says_what_was_looked_at() -> None:
    """Where nothing is weak, which measures were held against a threshold; of too few calls, that it cannot be told."""
    good = replace(scored(8), advice=())
    text = Page(page(good)).text
    assert "No weak spot is beyond chance on these calls. Held against a threshold were: " in text
    assert {"WER", "WDER", "words in lost speech"} <= set(looked_at(good).judged)
    few = Page(page(scored(1))).text
    assert "There are too few calls to tell what is weak from what is chance." in few
    assert () == looked_at(scored(1)).judged


@pytest.mark.parametrize("calls", [0, 1, 30])
def test_pages_of_any_size(calls: int) -> None:
    """No call, one, and many; the same report gives the same page."""
    report = scored(calls)
    assert page(report) == page(report)
    assert "How right are the transcripts?" in Page(page(report)).text


def test_nothing_leaves_the_page_and_nothing_comes_into_it() -> None:
    """No address, no frame, no event handler, and a policy that would forbid them."""
    clip = Clip(0.0, 1.0, b"\xff\xfb")
    report = scored(3)
    content = Page(page(report, clips={call.call_id: clip for call in report.score.calls}))
    links = [
        value
        for _, told in content.elements
        for name, value in told.items()
        if name in {"src", "href", "action", "srcset", "data", "poster"}
    ]
    assert {"#", "d"} == {str(link)[0] for link in links}
    assert all(str(link).startswith(("#", "data:audio/mpeg;base64,")) for link in links)
    names = {name for _, told in content.elements for name in told}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    policy = next(told["content"] for _, told in content.elements if told.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'; ")
    assert "unsafe" not in str(policy)


def test_calls_and_words_are_text_whatever_they_say() -> None:
    """Markup in names of calls, speakers, words, tags and entities is shown, and does nothing."""
    content = page(scored(2, nasty=True))
    found = Page(content)
    assert 1 == len([tag for tag, _ in found.elements if tag == "script"])
    assert "img" not in {tag for tag, _ in found.elements}
    assert NASTY in found.text
    assert NASTY not in content


def test_words_can_be_left_out() -> None:
    """Then nothing that was said or heard is in the page, not even a missed name."""
    report = scored(4)
    words = Page(page(report)).text
    assert "Laura" in words
    assert "Lorra" in words
    without = page(report, words=False, clips={report.score.calls[0].call_id: Clip(0.0, 1.0, b"x")})
    assert not re.search("Laura|Lorra|data:audio|dollars", without)
    assert "nothing that was said" in without


def test_missed_entities_are_marked() -> None:
    """Where they are in the reference, and in a list."""
    content = page(scored(3))
    assert '<mark title="missed: person">Laura</mark>' in content
    assert re.search(r"Missed: <mark[^>]*>Laura</mark> \(person", content)


def test_long_calls_are_shown_around_their_worst_stretch() -> None:
    """A page stays small; what is left out is said."""
    report = scored(1, lines=400)
    (worst,) = worst_calls(report)
    content = Page(page(report))
    assert "further away from the worst stretch, are not shown" in content.text
    cells = [told for _, told in content.elements if str(told.get("class", "")).startswith("c k-")]
    assert 0 < len(cells) <= MOST_CELLS + 5
    assert worst.stretch is not None


def test_a_call_is_among_the_worst_once() -> None:
    """Of recordings of one call the one with the most errors is shown, and of how many it is the worst."""
    report = scored(30)
    calls = [
        replace(call, facts=replace(call.facts, group=f"call {at // 3}" if at < 6 else None))
        for at, call in enumerate(report.score.calls)
    ]
    found = worst_calls(replace(report, score=SetScore(tuple(calls))), most=26)
    assert 26 == len(found) == len({one.score.facts.group or one.score.call_id for one in found})
    recordings = {one.score.facts.group: (one.score.words.errors, one.recordings) for one in found}
    for group, own in (("call 0", calls[:3]), ("call 1", calls[3:6])):
        assert (max(call.words.errors for call in own), 3) == recordings[group]
    assert {1} == {one.recordings for one in found if one.score.facts.group is None}
    content = Page(page(report, worst=found)).text
    assert 2 == content.count("; the worst of 3 recordings of this call")


def test_plots_have_text_alternatives() -> None:
    """Each drawing has a name, a description and its numbers."""
    plots = plots_of(scored(8))
    assert {"wer", "distribution", "reliability", "caught"} <= {plot.key for plot in plots}
    for plot in plots:
        named = re.search(r'aria-labelledby="(\S+) (\S+)"', plot.drawing)
        assert named
        assert f'<title id="{named[1]}">{plot.title}' in plot.drawing
        assert f'<desc id="{named[2]}">' in plot.drawing
        assert plot.rows
