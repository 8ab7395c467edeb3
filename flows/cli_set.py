"""What the commands over an evaluation set share: to open it, and to transcribe it under some settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from flows.cli_common import errors

if TYPE_CHECKING:
    from evaluation.evaluation_set import EvaluationSet
    from evaluation.set_transcripts import CaseTranscript
    from tasks.models import Models
    from tasks.settings import Settings


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
            with errors.status("loading models"):
                shared = load_models(settings.models, settings.recognizer, settings.diarization, settings.fallback)
        self.models, self.settings = shared, settings
        return shared


def opened_set(place: str, settings: Settings) -> EvaluationSet:
    """Read a set from a folder, or from where a URI says; what of a sample is not there yet is told."""
    from evaluation.evaluation_set import load_set
    from tasks.storage import open_storage

    uri = place if "://" in place else Path(place).absolute().as_uri()
    known = load_set(open_storage(uri, settings.storage.options()))
    if known.awaited:
        errors.print(f"{len(known.awaited)} calls of the sample have no reference yet; the others stand for them")
    for stratum, calls in known.uncovered.items():
        errors.print(f"no call of the stratum {escape(stratum)} has a reference: {calls:.0f} calls are not covered")
    return known


def transcribed(
    known: EvaluationSet, settings: Settings, loaded: LoadedModels | None = None
) -> dict[str, CaseTranscript]:
    """The transcripts of a set, by call_id; says what failed and where they are kept.

    Models are only loaded where a transcript is missing.
    """
    from evaluation.set_transcripts import kept_transcripts, place_to_keep, transcribe_set
    from tasks.run_models import fingerprints_of
    from tasks.samples import TRANSCRIPTS

    keep = place_to_keep(known.storage)
    if keep is None:
        errors.print(f"{escape(known.storage.uri)} cannot be written: the transcripts are not kept, and made anew")
    cases = [one.case for one in known.cases]
    found = kept_transcripts(cases, known.storage, fingerprints_of(settings).of, settings, keep) if keep else {}
    missing = [case for case in cases if case.audio and case.call_id not in found]
    if missing:
        models = (loaded or LoadedModels()).under(settings)
        with errors.status("transcribing") as status:
            for case, made in transcribe_set(missing, known.storage, models, settings, keep=keep):
                found[case.call_id] = made
                status.update(f"transcribing ({len(found)} of {len(cases)} done)")
                if made.failed:
                    reason = f"{made.call['error_code']}: {made.call['error']}"
                    errors.print(f"[red]failed[/] {escape(case.call_id)}: {escape(reason)}")
    if keep is not None:
        errors.print(f"{len(found)} transcripts are kept in {escape(keep.object_uri(TRANSCRIPTS))}")
    return found
