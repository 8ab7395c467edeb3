"""To score what was transcribed: what the command `callscribe evaluate` and the flow `evaluate` share.

What goes on is told to whoever watches (`flows.progress`): a terminal names strata, and calls that failed. In a flow
run nobody watches, so that Prefect hears of neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.progress import CallDone, watcher
from tasks.errors import SettingsError

if TYPE_CHECKING:
    from evaluation.evaluation_set import EvaluationSet
    from evaluation.report import Report
    from evaluation.set_transcripts import CaseTranscript
    from tasks.models import Models
    from tasks.settings import Settings
    from tasks.storage import Storage


@dataclass(frozen=True, slots=True)
class ToScore:
    """What is to be scored, and against what.

    Attributes:
        evaluation_set: a folder with `cases.jsonl`, recordings and references, or its URI.
        references: instead of a set, a folder of references, or its URI.
        hypotheses: with references, a folder of STM files to score, or its URI; else the data set is scored.
        month: of the data set, `YYYY-MM`; with a set, its transcripts are those of the month.
        by_data_set: whether the transcripts of a set are looked up in the data set, whatever the month.
        language: of the references (ISO 639-1); the cases of a set name their own.
    """

    evaluation_set: str | None = None
    references: str | None = None
    hypotheses: str | None = None
    month: str | None = None
    by_data_set: bool = False
    language: str = "en"

    @property
    def of_data_set(self) -> bool:
        """Whether the transcripts are those of the data set: not made for it, and not files."""
        if self.evaluation_set is not None:
            return self.by_data_set or self.month is not None
        return self.hypotheses is None

    def check(self, settings: Settings) -> None:
        """Look at it before anything is read.

        Raises:
            SettingsError: the month is none, it does not say what to score against what, or no setting says where the
                data set lies.
        """
        from tasks.inventory import check_month

        if (self.evaluation_set is None) == (self.references is None):
            message = "say what to score against: either an evaluation set or references"
            raise SettingsError(message)
        if self.hypotheses is not None and self.references is None:
            message = "hypotheses are scored against references: a set is transcribed, or looked up in the data set"
            raise SettingsError(message)
        if self.month is not None:
            check_month(self.month)
        if self.of_data_set and not settings.transcripts.uri:
            message = "transcripts.uri is not set; give transcripts, or set it in callscribe.toml or the environment"
            raise SettingsError(message)


@dataclass
class LoadedModels:
    """The models that were loaded last, with their settings: the next settings may do with the same."""

    models: Models | None = None
    settings: Settings | None = field(default=None, repr=False)

    def under(self, settings: Settings) -> Models:
        """Models for some settings; loaded only where those at hand are others."""
        from tasks.models import load_models, models_under

        shared = None
        if self.models is not None and self.settings is not None:
            shared = models_under(self.models, self.settings, settings)
        if shared is None:
            self.models = None  # before the next ones take memory
            watcher().stage("loading models")
            shared = load_models(settings.models, settings.recognizer, settings.diarization, settings.fallback)
        self.models, self.settings = shared, settings
        return shared


def scored(asked: ToScore, settings: Settings) -> tuple[Report, EvaluationSet | None]:
    """Score what is asked for.

    Args:
        asked: was checked.
        settings: where the data set lies, and how a set is transcribed.

    Returns:
        The report, and the set, None where there is none.

    Raises:
        ReferenceFileError: a set or a reference is wrong; names the file and the line.
        SettingsError: a call is in several months of the data set.
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read.
        QueryError: the data set cannot be read.
        BundleError, DeviceError: the models that are to transcribe a set do not load.
    """
    from evaluation.scoring import score_dataset, score_dataset_by_set, score_evaluation_set, score_files

    if asked.evaluation_set is not None:
        known = opened_set(asked.evaluation_set, settings)
        if asked.of_data_set:
            watcher().stage("reading the data set, and scoring")
            return score_dataset_by_set(known, _data_set(settings), asked.month), known
        transcripts = transcribed(known, settings)
        watcher().stage("scoring")
        return score_evaluation_set(known, transcripts), known
    watcher().stage("reading and scoring")
    references = _folder(asked.references or "", settings)
    if asked.hypotheses is not None:
        return score_files(references, _folder(asked.hypotheses, settings), asked.language), None
    return score_dataset(references, _data_set(settings), asked.month, asked.language), None


def opened_set(place: str, settings: Settings) -> EvaluationSet:
    """Read a set from a folder, or from where a URI says; what of a sample is not there yet is told."""
    from evaluation.evaluation_set import load_set
    from tasks.storage import open_storage

    uri = place if "://" in place else Path(place).absolute().as_uri()
    known = load_set(open_storage(uri, settings.storage.options()))
    if known.awaited:
        watcher().note(f"{len(known.awaited)} calls of the sample have no reference yet; the others stand for them")
    for stratum, calls in known.uncovered.items():
        watcher().note(f"no call of the stratum {stratum} has a reference: {calls:.0f} calls are not covered")
    return known


def transcribed(
    known: EvaluationSet, settings: Settings, loaded: LoadedModels | None = None
) -> dict[str, CaseTranscript]:
    """The transcripts of a set, by call_id; what failed and where they are kept is told.

    Models are only loaded where a transcript is missing.
    """
    from evaluation.set_transcripts import kept_transcripts, place_to_keep, transcribe_set
    from tasks.run_models import fingerprints_of
    from tasks.samples import TRANSCRIPTS

    keep = place_to_keep(known.storage)
    if keep is None:
        watcher().note(f"{known.storage.uri} cannot be written: the transcripts are not kept, and made anew")
    cases = [one.case for one in known.cases]
    found = kept_transcripts(cases, known.storage, fingerprints_of(settings).of, settings, keep) if keep else {}
    missing = [case for case in cases if case.audio and case.call_id not in found]
    if missing:
        models = (loaded or LoadedModels()).under(settings)
        watcher().stage("transcribing")
        for case, made in transcribe_set(missing, known.storage, models, settings, keep=keep):
            found[case.call_id] = made
            watcher().done(_told(made))
            watcher().stage(f"transcribing ({len(found)} of {len(cases)} done)")
    if keep is not None:
        watcher().note(f"{len(found)} transcripts are kept in {keep.object_uri(TRANSCRIPTS)}")
    return found


def _told(made: CaseTranscript) -> CallDone:
    """A transcript as a watcher is told of it."""
    call = made.call
    error = f"{call['error_code']}: {call['error']}" if made.failed else ""
    return CallDone(str(call["call_id"]), "", call["outcome"], call.get("duration_s"), error=error)


def _data_set(settings: Settings) -> Storage:
    return _storage(settings.transcripts.uri or "", settings)  # that there is one was checked


def _folder(place: str, settings: Settings) -> Path | Storage:
    """A folder of this machine, or one in storage where it is named by a URI."""
    return _storage(place, settings) if "://" in place else Path(place)


def _storage(uri: str, settings: Settings) -> Storage:
    from tasks.storage import open_storage

    return open_storage(uri, settings.storage.options())
