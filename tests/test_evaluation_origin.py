"""Where the figures of a report come from: in its JSON, in its tables, and on its page."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_up_sets import SPOKEN, made_up_set, transcripts

from evaluation.evaluation_set import EvaluationSet, load_set
from evaluation.figure_tables import write_tables
from evaluation.html_report import to_html
from evaluation.origin import Bundle, Origin
from evaluation.report import Report
from evaluation.scoring import score_evaluation_set
from evaluation.set_transcripts import CaseTranscript
from tasks.storage import open_storage


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A sample of six calls: one has no reference yet, and it is the only one of its stratum."""
    folder = tmp_path_factory.mktemp("sets") / "bank"
    made_up_set(folder, calls=6)
    cases = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    for number, case in enumerate(cases):
        case |= {"stratum": "de" if number == 5 else "en", "weight": 7.0 if number == 5 else 2.0}
    (folder / "cases.jsonl").write_text("".join(f"{json.dumps(case)}\n" for case in cases))
    (folder / "call-5.stm").unlink()
    return load_set(open_storage(folder.as_uri()))


@pytest.fixture(scope="module")
def report(known: EvaluationSet) -> Report:
    """Of transcripts by two bundles, one call failed."""
    made = transcripts(known, [1] * 5, fingerprint="f1", recognizer="whisper")
    other = {"bundle": "large", "bundle_digest": "e" * 64, "device": "a GPU", "fingerprint": "f2"}
    made["call-1"] = CaseTranscript({**made["call-1"].call, **other}, made["call-1"].utterances)
    made["call-3"] = CaseTranscript({"call_id": "call-3", "outcome": "failed", "error_code": "too_long"}, ())
    return score_evaluation_set(known, made)


def test_the_json_says_where_the_figures_come_from(known: EvaluationSet, report: Report) -> None:
    """The set with its digest, the models with theirs, what a sample lacks, and which calls failed why."""
    assert {
        "place": known.storage.uri,
        "hypotheses": None,
        "digest": known.digest,
        "bundles": [{"name": "large", "digest": "e" * 64}, {"name": "stand-in", "digest": "d" * 64}],
        "devices": ["a GPU", "a stand-in"],
        "recognizers": ["whisper"],
        "fingerprints": ["f1", "f2"],
        "awaited": 1,
        "uncovered": {"de": 7.0},
        "failures": {"call-3": "too_long"},
    } == json.loads(report.to_json())["origin"]


def test_tables_say_it_too(report: Report, tmp_path: Path) -> None:
    """As metadata of the files; where the rows name no call, the metadata names none either."""
    write_tables(report, tmp_path)
    origin = json.loads(report.to_json())["origin"]
    calls, figures = (
        json.loads(pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"callscribe.origin"])
        for name in ("calls", "figures")
    )
    assert origin == calls
    assert {key: value for key, value in origin.items() if key != "failures"} == figures
    assert b"call-3" not in (tmp_path / "figures.parquet").read_bytes()
    assert SPOKEN.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_people_see_the_beginning_of_a_digest(report: Report) -> None:
    """Enough to hold two reports against each other; a row without a digest has the name alone."""
    page = to_html(report, datetime(2026, 11, 27, tzinfo=UTC), words=False)
    assert "<dd>large eeeeeeeeeeee, stand-in dddddddddddd</dd>" in page
    assert "starter" == str(Bundle("starter"))


def test_a_report_of_nothing_known() -> None:
    """Every field is there, whatever is known."""
    origin = Origin().to_json()
    assert ("", None, [], {}) == tuple(origin[name] for name in ("place", "digest", "bundles", "failures"))
