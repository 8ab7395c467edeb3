"""The flow `evaluate`: what a data set holds against references in storage, as a table that names no call."""

import logging
from pathlib import Path
from typing import Any

import pytest
from builders import call_ref, outcome, provenance, transcript, utterance

from evaluation.references import ReferenceFileError, load_references
from evaluation.scoring import score_dataset, score_files
from flows.evaluate import evaluate
from tasks.dataset import DataSet
from tasks.errors import SettingsError
from tasks.rows import rows_of
from tasks.storage import Storage, open_storage

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
    monkeypatch.setattr("flows.artifacts.create_table_artifact", lambda **fields: found.append(fields))
    monkeypatch.setattr("flows.evaluate.get_run_logger", logging.getLogger)
    return found


def test_the_flow(data: DataSet, references: Storage, tables: list[dict[str, Any]]) -> None:
    """Counts and rates go into the table and what it returns: which calls they are of, into none of them."""
    totals = evaluate.fn(references.uri, MONTH, transcripts=data.storage.uri)
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
        evaluate.fn(references.uri)
    with pytest.raises(SettingsError, match="month must be YYYY-MM"):
        evaluate.fn(references.uri, "2026-1", transcripts=data.storage.uri)
    references.put("broken.stm", f"{CALL_ID} 1 A 0".encode())
    with pytest.raises(SettingsError, match=r"nothing was scored \(ReferenceFileError\)") as caught:
        evaluate.fn(references.uri, transcripts=data.storage.uri)
    assert CALL_ID not in str(caught.value)
    with pytest.raises(ReferenceFileError, match=r"broken\.stm, line 1"):
        score_dataset(references, data.storage)
    with pytest.raises(ReferenceFileError, match="no references"):
        load_references(references.beside(_folder(tmp_path / "empty")))
    assert [] == tables
