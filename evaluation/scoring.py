"""Score transcripts against references: a data set, or files."""

from __future__ import annotations

from pathlib import Path

from evaluation.hypotheses import HypothesisUtterance, group_rows
from evaluation.references import load_references
from evaluation.report import Report
from evaluation.score import score_set
from tasks.errors import SettingsError
from tasks.query import read_utterances
from tasks.storage import Storage


def score_dataset(
    references: Path | Storage, storage: Storage, month: str | None = None, language: str = "en"
) -> Report:
    """Score the calls of a data set that a folder has references of.

    Args:
        references: the folder, or the place in storage.
        storage: the data set.
        month: only this month, `YYYY-MM`; needed where a call_id is in several.
        language: of the references; it chooses the normaliser, whatever language was recognised.

    Raises:
        ReferenceFileError: the folder holds no references, or one of them cannot be read.
        SettingsError: a call is in several months.
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read.
        QueryError: the data set cannot be read.
    """
    known = load_references(references)
    calls, rows = read_utterances(storage, sorted(known), month)
    twice = sorted({call_id for call_id in calls if calls.count(call_id) > 1})
    if twice:
        message = f"{', '.join(twice)}: in several months of the data set; say which with --month"
        raise SettingsError(message)
    spoken = group_rows(rows)
    hypotheses = {call_id: spoken.get(call_id, ()) for call_id in calls}
    return Report(f"{storage.uri} against {_name(references)}", score_set(known, hypotheses, language))


def score_files(references: Path | Storage, hypotheses: Path, language: str = "en") -> Report:
    """Score STM files, one call or many in each, against a folder of references.

    A file without a line is a call in which nobody spoke: `NAME.stm`, or `NAME.wav.stm` as `callscribe transcribe`
    names it.

    Raises:
        ReferenceFileError: a folder holds nothing to score, or a file in it cannot be read.
    """
    known = load_references(references)
    found = {
        call_id if call_id in known or reference.lines else Path(call_id).stem: tuple(
            HypothesisUtterance.from_stm(line) for line in reference.lines or ()
        )
        for call_id, reference in load_references(hypotheses).items()
    }
    return Report(f"{hypotheses.name} against {_name(references)}", score_set(known, found, language))


def _name(references: Path | Storage) -> str:
    return references.name if isinstance(references, Path) else references.uri
