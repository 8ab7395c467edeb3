"""Erase calls everywhere, with a certificate: the `erase` flow, and what the command line does without Prefect.

Call_ids are no parameters of the flow: Prefect keeps parameters, and would keep what was to be erased. They lie in an
object of the data set, one to a line, which is removed when they are erased.
"""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.job import Overrides, open_transcripts
from flows.observe import discreet
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.errors import CallHeld, ObjectVanished, SettingsError
from tasks.logs import configure_logs
from tasks.settings import load_settings
from tasks.storage import open_storage


@flow(
    name="erase",
    description="Erase the calls that an object of the data set lists: from the tables, from what runs keep, and from "
    "the archive where that is asked for. A certificate says what was removed, and what was not.",
    validate_parameters=True,
    log_prints=False,
)
def erase(
    request: str,
    reason: str,
    month: str | None = None,
    audio: bool = False,  # noqa: FBT001, FBT002  # Prefect calls flows by name
    transcripts: str | None = None,
    archive: str | None = None,
    overrides: Overrides | None = None,
) -> int:
    """Erase the calls that an object of the data set lists.

    Args:
        request: key of that object, such as `_control/erasures/2026-11-26.txt`: a call_id on each line.
        reason: why; the certificate keeps it. Name no person in it.
        month: `YYYY-MM`, where the calls are in this month only.
        audio: whether their recordings are removed from the archive too.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        archive: URI of the archive; the setting `archive.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        number of the certificate.

    Raises:
        CallHeld: a legal hold is on one of the calls; nothing was erased.
        SettingsError: the object is not there, or a call is not.
    """
    settings = load_settings(overrides=overrides)
    configure_logs(settings.logs)
    place = transcripts or settings.transcripts.uri
    source = archive or settings.archive.uri
    if not place or (audio and not source):
        message = f"{'archive' if place else 'transcripts'}.uri is not set"
        raise SettingsError(message)
    storage = open_transcripts(place, settings)
    try:
        lines = storage.get(request).data.decode().splitlines()
    except ObjectVanished as error:
        message = f"there is no {storage.object_uri(request)}: write the call_ids there, one to a line"
        raise SettingsError(message) from error
    call_ids = [stripped for line in lines if (stripped := line.strip())]
    archived = open_storage(source, settings.storage.options()) if audio and source else None
    try:
        with discreet():
            erasure = erase_calls(DataSet(storage), call_ids, reason, settings.archive, month, archived)
    except (CallHeld, SettingsError) as error:
        # Their messages name calls, and Prefect would keep them.
        message = f"nothing was erased ({type(error).__name__}): `callscribe erase --calls` with the same list says why"
        raise type(error)(message) from None
    storage.delete(request)
    get_run_logger().info(
        "%s calls erased, %s objects rewritten, %s recordings removed; certificate %s",
        erasure.calls, len(erasure.rewritten), len(erasure.audio), erasure.certificate,
    )  # fmt: skip
    return erasure.certificate
