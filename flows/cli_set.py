"""What the commands over an evaluation set share: to open it, and to transcribe it under some settings, watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from flows import evaluating
from flows.cli_common import errors
from flows.evaluating import LoadedModels
from flows.progress import CallDone, Nobody, watched_by

if TYPE_CHECKING:
    from rich.status import Status

    from evaluation.evaluation_set import EvaluationSet
    from evaluation.set_transcripts import CaseTranscript
    from tasks.settings import Settings

__all__ = ["LoadedModels", "on_terminal", "opened_set", "transcribed"]


class _OnTerminal(Nobody):
    """Shows what is being done in a line that goes away; notes and failed calls stay."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def stage(self, text: str) -> None:
        """Say what is being done now."""
        self._status.update(escape(text))

    def note(self, text: str) -> None:
        """Say something that stays to be read."""
        errors.print(escape(text))

    def done(self, call: CallDone) -> None:
        """Say what failed, and why."""
        if call.kind == "failed":
            errors.print(f"[red]failed[/] {escape(call.call_id)}: {escape(call.error)}")


@contextmanager
def on_terminal() -> Iterator[None]:
    """Show on stderr what is done with a set inside the block."""
    with errors.status("reading") as status, watched_by(_OnTerminal(status)):
        yield


def opened_set(place: str, settings: Settings) -> EvaluationSet:
    """Read a set from a folder, or from where a URI says; says what of a sample is not there yet."""
    with on_terminal():
        return evaluating.opened_set(place, settings)


def transcribed(
    known: EvaluationSet, settings: Settings, loaded: LoadedModels | None = None
) -> dict[str, CaseTranscript]:
    """The transcripts of a set, by call_id; says what failed and where they are kept."""
    with on_terminal():
        return evaluating.transcribed(known, settings, loaded)
