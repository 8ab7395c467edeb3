"""A run is made with one bundle and one set of settings throughout: what a job is held to before it takes work."""

from __future__ import annotations

from tasks.errors import SettingsError
from tasks.fingerprint import fingerprint
from tasks.instead import Instead
from tasks.models import Models
from tasks.records import CallHints
from tasks.runs import RunHead
from tasks.settings import Settings


def fingerprint_of(settings: Settings, models: Models, hints: CallHints) -> str:
    """The fingerprint of a call with these hints, under the settings and models of this process."""
    calibration = models.recognizer.calibration.digest
    return fingerprint(settings, models.bundle.digest, models.device.compute_type, hints, calibration=calibration)


def require_leave(head: RunHead, instead: Instead | None) -> None:
    """Nothing is used instead of what was planned, unless the plan allows it: said before models are loaded.

    Raises:
        SettingsError: it does not.
    """
    if instead is not None and instead not in head.alternatives:
        message = (
            f"run {head.run_id} was planned without leave to run jobs with {instead!r} (run.without_gpu); start the "
            "month again with that setting: it is planned anew, and what is done stays done"
        )
        raise SettingsError(message)


def require_same_settings(head: RunHead, models: Models, settings: Settings, instead: Instead | None = None) -> None:
    """A run is made with one bundle and one set of settings throughout, or with what its plan allows instead.

    Raises:
        SettingsError: this machine has others than the run was planned with.
    """
    require_leave(head, instead)
    here = fingerprint_of(settings, models, CallHints())
    wanted = head.settings_fingerprint if instead is None else head.alternatives[instead]
    if here != wanted:
        planned = f"{head.compute_type} and" if instead is None else f"leave to use {instead!r}, with"
        message = (
            f"run {head.run_id} was planned with bundle {head.bundle!r} {head.bundle_digest[:12]}, {planned} "
            f"settings {wanted}; this machine has {models.bundle.name!r} {models.bundle.digest[:12]}, "
            f"{models.device.compute_type or 'no compute type'} and settings {here}: give it the same"
        )
        raise SettingsError(message)
