"""Transcribe local recordings: the same pipeline, without S3 and without a Prefect server."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.errors import ObjectVanished, SettingsError
from tasks.fingerprint import fingerprint, recognizer_mark
from tasks.models import Models
from tasks.pipeline import Fetch, process
from tasks.records import CallHints, CallRef, CopiedAudio, PlannedCall, Provenance
from tasks.rows import CallRows, rows_of
from tasks.settings import Settings


def local_calls(files: Sequence[Path], call_id: str | None, settings: Settings) -> list[CallRef]:
    """Recordings as calls; a call_id is the file's stem unless it is given.

    Raises:
        SettingsError: a file does not exist, two of them have the same name, or one call_id is given for many.
    """
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        message = f"no such file: {', '.join(missing)}"
        raise SettingsError(message)
    if call_id is not None and len(files) > 1:
        message = f"--call-id names one call, and {len(files)} files were given"
        raise SettingsError(message)
    twice = sorted(name for name, count in Counter(file.name for file in files).items() if count > 1)
    if twice:
        message = f"several inputs are called {', '.join(twice)}, and outputs are named after them; run them apart"
        raise SettingsError(message)
    hints = settings.archive.hints()
    return [_call(file, call_id or file.stem, hints) for file in files]


def transcribe_files(
    calls: Sequence[CallRef], models: Models, settings: Settings, fetch: Fetch | None = None
) -> Iterator[CallRows]:
    """Transcribe calls that no data set holds, in order; yields the rows of each as soon as it is done.

    Args:
        calls: what `local_calls` made, or others with a way to fetch them.
        models: loaded models.
        settings: how to process.
        fetch: how their bytes are had; when None, `key` is the path of a local file.
    """
    work = [PlannedCall(call, shard=0, attempt=1) for call in calls]
    for outcome in process(work, fetch or _copy, models, settings):
        if isinstance(outcome, CopiedAudio):  # pragma: no cover  # nothing is known of local files
            continue
        hints = outcome.call.hints
        provenance = Provenance(
            run_id="local",
            job=0,
            bundle=models.bundle.name,
            bundle_digest=models.bundle.digest,
            device=models.device.name,
            driver_version=models.device.driver,
            compute_type=models.device.compute_type,
            fingerprint=fingerprint(
                settings,
                models.bundle.digest,
                models.device.compute_type,
                hints,
                calibration=models.recognizer.calibration.digest,
            ),
            attempt=1,
            transcribed_at=datetime.now(UTC),
            recognizer=recognizer_mark(settings),
        )
        yield rows_of(outcome, provenance)


def _call(file: Path, call_id: str, hints: CallHints) -> CallRef:
    stat = file.stat()
    etag = hashlib.sha256(f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:16]
    return CallRef(
        call_id=call_id,
        month="",
        key=str(file),
        uri=file.absolute().as_uri(),
        etag=etag,
        size_bytes=stat.st_size,
        hints=hints,
    )


def _copy(call: CallRef, path: Path) -> None:
    try:
        shutil.copyfile(call.key, path)
    except FileNotFoundError as error:
        message = f"{call.key} is gone"
        raise ObjectVanished(message) from error
