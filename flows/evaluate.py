"""Score an evaluation set, or what a data set holds against references: the `evaluate` flow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger

from evaluation.fields import ReferenceFileError
from evaluation.html_page import page_of
from evaluation.report import Report, total_rows
from flows.artifacts import evaluated
from flows.evaluating import ToScore, scored
from flows.job import Overrides
from flows.observe import discreet
from flows.report_places import Form, places_of, write_report
from tasks.errors import BundleError, CallscribeError, DecoderUnavailable, DeviceError, SettingsError
from tasks.heartbeat import HEART
from tasks.logs import configure_logs
from tasks.settings import Settings, load_settings
from tasks.storage import open_storage

# What these say is about the machine and the models, and names no call.
_ABOUT_THE_MACHINE = (BundleError, DeviceError, DecoderUnavailable)


@flow(
    name="evaluate",
    description="Score an evaluation set, transcribed or as the data set holds its calls, or the calls that references "
    "were made of: word errors, speakers, entities. What comes of it is a table of this flow run, and a page, JSON and "
    "tables where you say.",
    validate_parameters=True,
    log_prints=False,
)
def evaluate(  # noqa: PLR0913  # the options of `callscribe evaluate`
    evaluation_set: str | None = None,
    references: str | None = None,
    *,
    hypotheses: str | None = None,
    transcripts: str | None = None,
    month: str | None = None,
    language: str = "en",
    bundle: str | None = None,
    device: str | None = None,
    html_uri: str | None = None,
    json_uri: str | None = None,
    parquet_uri: str | None = None,
    words: bool = False,
    audio: bool = True,
    overrides: Overrides | None = None,
) -> dict[str, Any]:
    """Score transcripts against references, as the command `callscribe evaluate` does.

    Args:
        evaluation_set: URI of a set (`cases.jsonl`, recordings, references), such as `s3://transcripts/sets/bank`. It
            is transcribed, and what was transcribed before is read; with `transcripts` or `month`, its calls are looked
            up in the data set.
        references: instead of a set, URI of a folder with .stm, .rttm, .ctm and .entities.json files,
            such as `s3://references/2026`.
        hypotheses: with `references`, URI of a folder with .stm files to score instead of the data set.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        month: `YYYY-MM`, only this one of the data set; needed where a call_id is in several.
        language: of the references (ISO 639-1), for the normaliser; a set names its own.
        bundle: model bundle that transcribes the set; the setting `models.bundle` when left out.
        device: `cpu`, `cuda` or `cuda:N`, for the set; the setting `models.device` when left out.
        html_uri: URI of the page to write, such as `s3://transcripts/reports/2026-11.html`.
        json_uri: URI of the JSON to write.
        parquet_uri: URI of the folder to write figures.parquet and calls.parquet into.
        words: may page and JSON hold what was said? No erasure reaches them.
        audio: with `words`, may the page hold sound of the set's recordings, 20 seconds of a call?
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        counts and rates over all calls, as `total` in the JSON of `callscribe evaluate`.

    Raises:
        SettingsError: a setting or parameter is wrong, or the references and the data set do not go together.
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read or write.
        BundleError, DeviceError: the models that are to transcribe the set do not load.
        QueryError: the data set cannot be read.
    """
    settings = load_settings(overrides=_settings_of(overrides, transcripts, bundle, device))
    configure_logs(settings.logs)
    asked = ToScore(
        evaluation_set, references, hypotheses, month, by_data_set=transcripts is not None, language=language
    )
    asked.check(settings)
    options = settings.storage.options()
    for uri in (evaluation_set, references, hypotheses):
        if uri is not None:
            open_storage(uri, options)  # what is no URI is named, which nothing is from here on
    places = places_of({"html": html_uri, "json": json_uri, "parquet": parquet_uri}, options)
    HEART.shown_in(settings.run.heartbeat_file)
    report, page = _scored(asked, settings, places, words=words, audio=audio)
    rows = total_rows(report)
    get_run_logger().info("%s: %s", report.name, ", ".join(f"{what} {number}" for what, number in rows))
    written = write_report(report, places, page, words=words)
    evaluated(report.name, rows, written)
    return report.totals()


def _settings_of(
    overrides: Overrides | None, transcripts: str | None, bundle: str | None, device: str | None
) -> dict[str, Mapping[str, Any]]:
    """The overrides, and over them the settings that have a parameter of their own; None leaves one as it is."""
    own = {"transcripts": {"uri": transcripts}, "models": {"bundle": bundle, "device": device}}
    given = {
        group: {name: value for name, value in values.items() if value is not None} for group, values in own.items()
    }
    before = overrides or {}
    return {**before, **{group: {**before.get(group, {}), **values} for group, values in given.items()}}


def _scored(
    asked: ToScore, settings: Settings, forms: Collection[Form], *, words: bool, audio: bool
) -> tuple[Report, str]:
    """The report, with its figures where it is written, and its page, empty where none is; errors name no call."""
    try:
        with discreet():
            report, known = scored(asked, settings)
            if forms:
                report = report.with_figures()
            if "html" not in forms:
                return report, ""
            heard = known if audio else None
            return report, page_of(report, datetime.now(UTC), settings, heard=heard, words=words)
    except _ABOUT_THE_MACHINE:
        raise
    except CallscribeError as error:
        # Messages name calls, and files that are named after calls, and Prefect would keep them.
        what = "set" if asked.evaluation_set else "references"
        told = f"nothing was scored ({type(error).__name__}): `callscribe evaluate` with the same {what} says why"
        kind = SettingsError if isinstance(error, ReferenceFileError) else type(error)
        raise kind(told) from None
