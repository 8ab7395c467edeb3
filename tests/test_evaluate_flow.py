"""The flow `evaluate`: what is scored, as a table that names no call, and a report where one is asked for."""

import io
import json
import logging
import secrets
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import call_ref, outcome, provenance, transcript, utterance
from cluster.prefect_server import PrefectServer
from conftest import BUCKET
from made_up_sets import SPOKEN, keep, made_up_set, transcripts
from stand_ins import BUNDLE, build_bundle

from evaluation.evaluation_set import EvaluationSet, load_set
from evaluation.references import ReferenceFileError, load_references
from evaluation.scoring import score_dataset, score_files
from flows.evaluate import evaluate
from flows.report_places import Place
from tasks.dataset import DataSet
from tasks.errors import BundleError, SettingsError, StorageRefused
from tasks.rows import rows_of
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage

FORMS = {"html": ".html", "json": ".json", "parquet": ""}
AGAINST = {"references": "file:///a", "transcripts": "file:///b"}
MONTH = "2026-10"
CALL_ID = "zarquon-4711"


def _folder(path: Path) -> str:
    path.mkdir()
    return path.as_uri()


@pytest.fixture
def references(tmp_path: Path) -> Storage:
    """Of a call that is there and of one that is not, beside what is no reference."""
    storage = open_storage(_folder(tmp_path / "references"))
    storage.put("all.stm", f"\ufeff{CALL_ID} 1 A 0 1 hello there\r\nabsent 1 A 0 1 good bye\r\n".encode())
    storage.put("older/other.stm", b"no reference at all")
    storage.put("README.txt", b"how they were made")
    return storage


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """One call, with a wrong word in it."""
    data = DataSet(open_storage(_folder(tmp_path / "transcripts")))
    heard = transcript([utterance("hello where")])
    data.fix_shards(MONTH, 1)
    data.commit(MONTH, 0, 1, [rows_of(outcome(call_ref(CALL_ID), transcript=heard), provenance())])
    return data


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The artifacts that are written, in the place of Prefect's server."""
    found: list[dict[str, Any]] = []
    for name in ("table", "link"):
        monkeypatch.setattr(f"flows.artifacts.create_{name}_artifact", lambda **fields: found.append(fields))
    monkeypatch.setattr("flows.evaluate.get_run_logger", logging.getLogger)
    return found


def test_the_flow(data: DataSet, references: Storage, tables: list[dict[str, Any]]) -> None:
    """Counts and rates go into the table and what it returns: which calls they are of, into none of them."""
    totals = evaluate.fn(references=references.uri, month=MONTH, transcripts=data.storage.uri)
    assert (2, 4, 1, 2) == (
        totals["calls"], *(totals["wer"][name] for name in ("reference_words", "substitutions", "deletions"))
    )  # fmt: skip
    ((key, rows, said),) = ((table["key"], table["table"], table["description"]) for table in tables)
    numbers = {row["what"]: row["number"] for row in rows}
    assert "evaluate" == key
    assert ("2", "1", "75.0") == tuple(
        numbers[what] for what in ("calls scored", "calls without a transcript", "WER %")
    )
    assert f"{data.storage.uri} against {references.uri}" in said
    assert CALL_ID not in f"{totals} {tables}"


def test_references_in_storage_are_those_of_the_folder(data: DataSet, references: Storage, tmp_path: Path) -> None:
    """The same calls and the same scores."""
    assert load_references(tmp_path / "references") == load_references(references)
    assert {CALL_ID, "absent"} == load_references(references).keys()
    folder, stored = (score_dataset(place, data.storage) for place in (tmp_path / "references", references))
    assert (folder.score, "references") == (stored.score, folder.name.rpartition(" ")[2])
    assert 0 == score_files(references, tmp_path / "references").score.words.errors


def test_what_cannot_be_scored_names_no_call(
    data: DataSet, references: Storage, tables: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Prefect keeps the message, so it says no more than whom to ask; `callscribe evaluate` says the rest."""
    with pytest.raises(SettingsError, match=r"transcripts\.uri is not set"):
        evaluate.fn(references=references.uri)
    with pytest.raises(SettingsError, match="month must be YYYY-MM"):
        evaluate.fn(references=references.uri, month="2026-1", transcripts=data.storage.uri)
    references.put("broken.stm", f"{CALL_ID} 1 A 0".encode())
    with pytest.raises(SettingsError, match=r"nothing was scored \(ReferenceFileError\)") as caught:
        evaluate.fn(references=references.uri, transcripts=data.storage.uri)
    assert CALL_ID not in str(caught.value)
    with pytest.raises(ReferenceFileError, match=r"broken\.stm, line 1"):
        score_dataset(references, data.storage)
    with pytest.raises(ReferenceFileError, match="no references"):
        load_references(references.beside(_folder(tmp_path / "empty")))
    assert [] == tables


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with a bundle of models, of which none is ever loaded: only its digest is asked for."""
    (tmp_path / "bundles").mkdir()
    build_bundle(tmp_path / "bundles")
    file = tmp_path / "callscribe.toml"
    file.write_text(f'[models]\nfolder = "{tmp_path / "bundles"}"\nbundle = "{BUNDLE}"\ndevice = "cpu"\n')
    monkeypatch.setenv("CALLSCRIBE_CONFIG", str(file))
    return file


@pytest.fixture(params=["file", "s3"])
def known(request: pytest.FixtureRequest, tmp_path: Path, settings_file: Path) -> EvaluationSet:
    """A set of four calls whose transcripts are kept, in a folder and under a prefix of a bucket."""
    local = made_up_set(tmp_path / "bank", calls=4)
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
        stored = open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}/bank")
        for info in local.storage.list():
            stored.put(info.key, local.storage.get(info.key).data)
        local = load_set(stored)
    keep(local, load_settings(settings_file), transcripts(local, [1, 0, 2, 0]))
    return local


def test_a_set_is_scored_and_its_report_written(known: EvaluationSet, tables: list[dict[str, Any]]) -> None:
    """Kept transcripts are read and no model is loaded; page, JSON and tables lie where they were asked for."""
    place = known.storage.uri.rpartition("/")[0]
    links = {form: f"{place}/reports 2026-11{end}" for form, end in FORMS.items()}
    links = {form: uri.replace(" ", "%20" if uri.startswith("file") else " ") for form, uri in links.items()}
    totals = evaluate.fn(known.storage.uri, **{f"{form}_uri": uri for form, uri in links.items()})
    assert (4, 80, 3) == (totals["calls"], *(totals["wer"][name] for name in ("reference_words", "deletions")))
    written = open_storage(place)
    page, told = (written.get(f"reports 2026-11.{form}").data.decode() for form in ("html", "json"))
    assert "How right are the transcripts?" in page
    assert known.digest == json.loads(told)["origin"]["digest"]
    assert totals == json.loads(told)["total"]
    figures = pq.read_table(io.BytesIO(written.get("reports 2026-11/figures.parquet").data)).to_pylist()
    assert 3 / 80 == pytest.approx(next(row["value"] for row in figures if row["measure"] == "wer"))
    assert SPOKEN not in f"{page}{told}{tables}"
    assert {
        "evaluate": None,
        "evaluate-report": links["html"],
        "evaluate-json": links["json"],
        "evaluate-parquet": links["parquet"],
    } == {one["key"]: one.get("link") for one in tables}
    assert "call-" not in str(tables)


@pytest.mark.parametrize("known", ["file"], indirect=True)
def test_words_are_written_where_they_may_be(known: EvaluationSet, tables: list[dict[str, Any]]) -> None:
    """Only when the flow is told so, and never to Prefect."""
    folder = known.storage.uri.rpartition("/")[0]
    evaluate.fn(known.storage.uri, html_uri=f"{folder}/words.html", words=True, audio=False)
    assert SPOKEN in open_storage(folder).get("words.html").data.decode()
    assert SPOKEN not in str(tables)


def test_the_calls_of_a_set_are_looked_up_in_a_month(
    data: DataSet, tables: list[dict[str, Any]], tmp_path: Path
) -> None:
    """As the command does, where a data set or a month is named."""
    known = open_storage(_folder(tmp_path / "set"))
    known.put("a.stm", f"{CALL_ID} 1 A 0 1 hello there\n".encode())
    known.put("cases.jsonl", json.dumps({"call_id": CALL_ID, "references": "a.stm"}).encode())
    totals = evaluate.fn(known.uri, month=MONTH, transcripts=data.storage.uri)
    assert (1, 1) == (totals["calls"], totals["wer"]["substitutions"])
    assert f"{data.storage.uri} against set" == tables[0]["description"]


def test_files_are_scored_against_references(references: Storage, tables: list[dict[str, Any]], tmp_path: Path) -> None:
    """Transcripts that another system made, as STM."""
    heard = open_storage(_folder(tmp_path / "heard"))
    heard.put("heard.stm", f"{CALL_ID} 1 A 0 1 hello there\nabsent 1 A 0 1 good buy\n".encode())
    totals = evaluate.fn(references=references.uri, hypotheses=heard.uri)
    assert (4, 1) == (totals["wer"]["reference_words"], totals["wer"]["substitutions"])
    assert 1 == len(tables)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({}, "either an evaluation set or references"),
        ({"evaluation_set": "file:///a", "references": "file:///b"}, "either an evaluation set or references"),
        ({"evaluation_set": "file:///a", "hypotheses": "file:///b"}, "hypotheses are scored against references"),
        ({"evaluation_set": "sets/bank"}, "'sets/bank' is neither s3://bucket/prefix nor file:///folder"),
        ({**AGAINST, "html_uri": "report.html"}, "html_uri: 'report.html' is no place for a report"),
        ({**AGAINST, "json_uri": "s3://bucket"}, "json_uri: 's3://bucket' is no place for a report"),
        ({**AGAINST, "html_uri": "s3://bucket/reports/"}, "s3://bucket/reports/2026-11.html"),
    ],
)
def test_what_is_asked_for_wrongly_is_named(asked: dict[str, Any], problem: str, tables: list[dict[str, Any]]) -> None:
    """Before anything is read, and with what is wrong: a URI that was typed in names no call."""
    with pytest.raises(SettingsError) as caught:
        evaluate.fn(**asked)
    assert problem in str(caught.value)
    assert [] == tables


def test_a_missing_place_is_told_before_the_work(references: Storage, tmp_path: Path) -> None:
    """Hours of transcribing are not for nothing."""
    with pytest.raises(StorageRefused, match=r"reports does not exist: .* create it"):
        evaluate.fn(
            references=references.uri, hypotheses=references.uri, html_uri=f"{tmp_path.as_uri()}/reports/2026-11.html"
        )
    with pytest.raises(StorageRefused, match="does not exist"):
        Place.at("parquet", f"{tmp_path.as_uri()}/reports/2026-11/", load_settings().storage.options())


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("known", ["file"], indirect=True)
def test_what_is_wrong_with_a_set_names_no_call(known: EvaluationSet) -> None:
    """A case without its recording is for the command to name; a bundle that is not there is no call."""
    with pytest.raises(BundleError, match="no-such-bundle"):
        evaluate.fn(known.storage.uri, bundle="no-such-bundle")
    known.storage.delete("call-2.wav")
    with pytest.raises(
        SettingsError, match=r"nothing was scored \(ReferenceFileError\): .* with the same set"
    ) as caught:
        evaluate.fn(known.storage.uri)
    assert "call-2" not in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("known", ["file"], indirect=True)
def test_prefect_links_to_the_report(known: EvaluationSet, prefect_here: PrefectServer, tmp_path: Path) -> None:
    """A flow run leaves a table and a link to its page, read back from Prefect's API; no word and no call is there."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    page = f"{tmp_path.as_uri()}/report.html"
    evaluate(known.storage.uri, html_uri=page, words=True, audio=False)
    (tmp_path / "bank" / "call-1.stm").unlink()
    with pytest.raises(SettingsError):
        evaluate(known.storage.uri)
    ours = ArtifactFilter(key=ArtifactFilterKey(like_="evaluate"))
    with get_client(sync_client=True) as client:
        found = {one.key: one for one in client.read_artifacts(artifact_filter=ours)}
    assert {"evaluate", "evaluate-report"} == found.keys()
    assert f"]({page})" in str(found["evaluate-report"].data)
    assert (tmp_path / "report.html").is_file()
    rows = {row["what"]: row["number"] for row in json.loads(str(found["evaluate"].data))}
    assert "4" == rows["calls scored"]
    deadline, told = time.monotonic() + 20, b"bank: 4 cases: calls scored 4"
    # Prefect sends its log now and then: once that line is there, so is what was before it.
    while told not in (stored := _all_of(prefect_here.home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert told in stored
    assert not [one for one in (SPOKEN, "call-1") if one.encode() in stored]


def _all_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
