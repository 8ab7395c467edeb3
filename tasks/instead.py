"""What a job may be run with instead, where no GPU is to be had: only what the plan of its run allows."""

from __future__ import annotations

from typing import Literal

from tasks.settings import Settings

Instead = Literal["cpu", "fallback"]


def settings_instead(settings: Settings, instead: Instead | None) -> Settings:
    """Settings of a job that is run on the CPU, in int8, or there with the fallback recogniser; None: as they are."""
    if instead is None:
        return settings
    changes: dict[str, object] = {
        "models": settings.models.model_copy(update={"device": "cpu", "compute_type": "default"})
    }
    if instead == "fallback":
        changes["recognizer"] = settings.recognizer.model_copy(update={"kind": "fallback"})
    return settings.model_copy(update=changes)


def allowed_instead(settings: Settings) -> tuple[Instead, ...]:
    """What a run under these settings allows."""
    return () if settings.run.without_gpu == "wait" else (settings.run.without_gpu,)
