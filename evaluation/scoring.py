"""Score transcripts against references: an evaluation set, a data set, or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evaluation.evaluation_set import EvaluationSet, SetCase
from evaluation.formats import RttmTurn, StmLine
from evaluation.hypotheses import HypothesisUtterance, group_rows
from evaluation.origin import Compared, origin_of
from evaluation.references import Reference, load_references
from evaluation.report import Report
from evaluation.score import score_set
from evaluation.set_transcripts import CaseTranscript
from evaluation.slices import CallFacts
from tasks.errors import SettingsError
from tasks.host import usable_cores
from tasks.query import read_utterances
from tasks.records import Turn
from tasks.regions import by_speaker, merge, together
from tasks.storage import Storage

STAGES = ("load_s", "vad_s", "recognize_s", "diarize_s")
"""Columns of `calls` that say what a call took, in seconds."""


STREAMS_BELOW_S = 360_000.0
"""Sets of more audio do without ORC-WER: of short calls it takes as long as all other measures, of long ones longer."""


def score_evaluation_set(known: EvaluationSet, transcripts: Mapping[str, CaseTranscript]) -> Report:
    """Score the transcripts of a set, with every measure and slice.

    Args:
        known: the set.
        transcripts: call_id → transcript; a case without one counts with all its words deleted.
    """
    return _report_of_set(
        f"{known.name}: {len(known.cases)} cases",
        known,
        {call_id: made.spoken for call_id, made in transcripts.items() if not made.failed},
        {call_id: made.call for call_id, made in transcripts.items()},
    )


def score_dataset_by_set(known: EvaluationSet, storage: Storage, month: str | None = None) -> Report:
    """Score what a data set holds of the calls of a set: how good a month is, where the set was drawn from it.

    Args:
        known: the set; its call_ids are those of the data set.
        storage: the data set.
        month: only this month, `YYYY-MM`; needed where a call_id is in several.

    Raises:
        SettingsError: a call is in several months.
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read.
        QueryError: the data set cannot be read.
    """
    calls, spoken = _heard(storage, [one.case.call_id for one in known.cases], month)
    return _report_of_set(f"{storage.uri} against {known.name}", known, spoken, calls, storage.uri)


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
    calls, hypotheses = _heard(storage, sorted(known), month)
    return Report(
        f"{storage.uri} against {_name(references)}",
        score_set(known, hypotheses, language),
        origin=origin_of(calls.values(), place=_name(references), hypotheses=storage.uri),
        compared=_compared(known, hypotheses, dict.fromkeys(known, language)),
    )


def score_files(references: Path | Storage, hypotheses: Path | Storage, language: str = "en") -> Report:
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
    return Report(
        f"{_name(hypotheses)} against {_name(references)}",
        score_set(known, found, language),
        origin=origin_of((), place=_name(references), hypotheses=_name(hypotheses)),
        compared=_compared(known, found, dict.fromkeys(known, language)),
    )


def _heard(
    storage: Storage, call_ids: list[str], month: str | None
) -> tuple[dict[str, Mapping[str, Any]], dict[str, tuple[HypothesisUtterance, ...]]]:
    """The rows and the utterances of the calls that a data set has of those."""
    calls, rows = read_utterances(storage, call_ids, month)
    counts = Counter(str(call["call_id"]) for call in calls)
    twice = sorted(call_id for call_id, count in counts.items() if count > 1)
    if twice:
        message = f"{', '.join(twice)}: in several months of the data set; say which with --month"
        raise SettingsError(message)
    spoken = group_rows(rows)
    found: dict[str, Mapping[str, Any]] = {str(call["call_id"]): call for call in calls}
    return found, {call_id: spoken.get(call_id, ()) for call_id in found}


def _report_of_set(
    name: str,
    known: EvaluationSet,
    spoken: Mapping[str, tuple[HypothesisUtterance, ...]],
    calls: Mapping[str, Mapping[str, Any]],
    hypotheses: str | None = None,
) -> Report:
    """The report of a set with the facts of its cases."""
    chosen = known.cases
    languages = {one.case.call_id: one.case.language for one in chosen}
    references = {one.case.call_id: one.reference for one in chosen}
    score = score_set(
        references,
        spoken,
        languages=languages,
        facts={one.case.call_id: _facts(one, calls.get(one.case.call_id, {})) for one in chosen},
        processes=usable_cores(),
        streams=sum(call.get("duration_s") or 0.0 for call in calls.values()) < STREAMS_BELOW_S,
    )
    return Report(
        name,
        score,
        origin=origin_of(calls.values(), place=known.storage.uri, known=known, hypotheses=hypotheses),
        compared=_compared(references, spoken, languages),
    ).with_figures()


def _compared(
    references: Mapping[str, Reference],
    spoken: Mapping[str, tuple[HypothesisUtterance, ...]],
    languages: Mapping[str, str],
) -> dict[str, Compared]:
    """What was said and heard in each call."""
    return {
        call_id: Compared(reference, spoken.get(call_id), languages[call_id])
        for call_id, reference in references.items()
    }


def _facts(one: SetCase, call: Mapping[str, Any]) -> CallFacts:
    """What the set and the row of a call say of it."""
    case, reference = one.case, one.reference
    work_s = sum(call.get(stage) or 0.0 for stage in STAGES)
    return CallFacts(
        tags=case.tags,
        language=case.language.partition("-")[0],
        codec=call.get("codec"),
        channel_layout=call.get("channel_layout"),
        snr_db=call.get("snr_db"),
        overlap=overlap_of(reference.turns or reference.lines or ()),
        duration_s=call.get("duration_s"),
        work_s=work_s or None,
        stratum=case.stratum,
        weight=case.weight,
        group=one.group,
    )


def overlap_of(spoken: Iterable[RttmTurn | StmLine]) -> float | None:
    """The share of the time of speech in which several people speak, 0 to 1; None where nobody does."""
    turns = [Turn(one.start, one.end, one.speaker) for one in spoken if one.end > one.start]
    speech = merge(region for regions in by_speaker(turns).values() for region in regions)
    length_s = sum(region.end - region.start for region in speech)
    return sum(region.end - region.start for region in together(turns)) / length_s if length_s else None


def _name(folder: Path | Storage) -> str:
    return folder.name if isinstance(folder, Path) else folder.uri
