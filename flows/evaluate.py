"""Score transcripts against references: a data set, or files."""

from __future__ import annotations

from pathlib import Path

from evaluation.hypotheses import HypothesisUtterance, group_rows
from evaluation.references import Reference, load_references
from evaluation.report import Report
from evaluation.score import score_set
from tasks.errors import SettingsError
from tasks.query import connect
from tasks.storage import Storage


def score_dataset(references: Path, storage: Storage) -> Report:
    """Score the calls of a data set that a folder has references of.

    Raises:
        SettingsError: the folder holds no references.
    """
    known = _references(references)
    with connect(storage) as connection:
        calls = connection.execute("SELECT call_id, language FROM calls WHERE outcome <> 'failed'").fetchall()
        rows = connection.execute("SELECT * FROM utterances").to_arrow_table().to_pylist()
    spoken = group_rows(rows)
    hypotheses = {call_id: spoken.get(call_id, ()) for call_id, _ in calls if call_id in known}
    languages = {call_id: language for call_id, language in calls if language}
    return Report(f"{storage.uri} against {references.name}", score_set(known, hypotheses, languages=languages))


def score_files(references: Path, hypotheses: Path) -> Report:
    """Score STM files, one call or many in each, against a folder of references.

    Raises:
        SettingsError: a folder holds nothing to score.
    """
    known = _references(references)
    found = {
        call_id: tuple(HypothesisUtterance.from_stm(line) for line in reference.lines or ())
        for call_id, reference in _references(hypotheses).items()
    }
    return Report(f"{hypotheses.name} against {references.name}", score_set(known, found))


def _references(folder: Path) -> dict[str, Reference]:
    found = load_references(folder)
    if not found:
        message = f"{folder} holds no .stm, .rttm or .entities.json file"
        raise SettingsError(message)
    return found
