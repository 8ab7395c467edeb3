"""The log: what a line holds, whoever writes it, and what none holds."""

import json
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from prefect.context import FlowRunContext
from small_month import MONTH, SmallMonth, bundles, recognizer
from stand_ins import SPOKEN, StandInDiarizer, StandInRecognizer, stand_in_models, tone, wav

from flows.archive import archive_run
from flows.observe import UnexpectedError, discreet
from tasks.errors import SettingsError, UndecodableAudio
from tasks.logs import OUR_PACKAGES, configure_logs, told, work, working_on
from tasks.records import Diarization
from tasks.setting_groups import LogSettings
from tasks.storage import open_storage
from tasks.tracks import Track

if TYPE_CHECKING:
    from tasks.diarize import Diarizer

__all__ = ["bundles", "recognizer"]

# An attribute value that is nowhere else: where it turns up, it leaked.
AGENT = "agent-7291-quillfeather"
LIBRARY = logging.getLogger("some_library.engine")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Put the process's log back."""
    root = logging.getLogger()
    names = ("", *OUR_PACKAGES)
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


def test_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """It says when, how bad, who, what, and what was being worked on; and the numbers that it brings along."""
    configure_logs(LogSettings(format="json"))
    with working_on("run-1", 7), working_on(call_id="c-17", stage="load"):
        logging.getLogger("tasks.any").info("%d words\nlost", 3, extra={"outcome": "failed", "text": SPOKEN})
    (line,) = _lines(capsys)
    assert line.pop("time").endswith("+00:00")
    assert {
        "level": "INFO",
        "logger": "tasks.any",
        "message": "3 words\nlost",
        "run": "run-1",
        "job": "0007",
        "call_id": "c-17",
        "stage": "load",
        "outcome": "failed",
    } == line


def test_a_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for people; only warnings, unless more is asked for."""
    configure_logs(LogSettings())
    with working_on("run-1", call_id="c-17"):
        logging.getLogger("tasks.any").info("nobody reads this")
        LIBRARY.warning("careful")
    assert "WARNING some_library.engine: careful [run=run-1 call_id=c-17]\n" == capsys.readouterr().err[9:]


def test_threads_know_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    """A thread that anybody starts says which job it works for, and a call is said in its own thread alone."""
    configure_logs(LogSettings(format="json"))
    with working_on("run-1", 7), ThreadPoolExecutor(1) as pool, working_on(call_id="c-17"):
        pool.submit(LIBRARY.warning, "careful").result()
    assert [("run-1", "0007", None)] == [(line["run"], line["job"], line.get("call_id")) for line in _lines(capsys)]
    assert "" == work().run


def test_configured_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line comes once, in the format that was asked for last."""
    for settings in (LogSettings(format="json"), LogSettings(), LogSettings(format="json", level="ERROR")):
        configure_logs(settings)
    LIBRARY.warning("careful")
    LIBRARY.error("broken")
    assert ["broken"] == [line["message"] for line in _lines(capsys)]


def test_libraries_write_warnings_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library says of its work below that stays out, although somebody has set its level."""
    monkeypatch.setattr(LIBRARY, "level", logging.DEBUG)
    configure_logs(LogSettings(format="json", level="DEBUG"))
    LIBRARY.info("heard %r", SPOKEN)
    LIBRARY.warning("careful", extra={"text": SPOKEN, "outcome": SPOKEN})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("soon gone", stacklevel=1)
    lines = _lines(capsys)
    assert ["some_library.engine", "py.warnings"] == [line["logger"] for line in lines]
    assert SPOKEN not in json.dumps(lines)


def _broken(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause) as error:
            message = f"cannot convert {SPOKEN!r}"
            raise ValueError(message) from error
    except ValueError as error:
        return error


@pytest.mark.parametrize("format_", ["json", "text"])
def test_an_exception_quotes_nothing(format_: Literal["json", "text"], capsys: pytest.CaptureFixture[str]) -> None:
    """There are the types and the places, and the message of an error about what is around the calls."""
    configure_logs(LogSettings(format=format_))
    for cause in (UndecodableAudio(f"{AGENT}/c-17.wav is no sound"), SettingsError("the endpoint is wrong")):
        logging.getLogger("tasks.any").error("broken", exc_info=_broken(cause))
    said = capsys.readouterr().err
    assert SPOKEN not in said
    assert AGENT not in said
    assert 2 == said.count("ValueError")
    assert f"{Path(__file__).name}:" in said
    assert "caused by SettingsError: the endpoint is wrong" in said


def test_a_cause_that_is_hidden_is_not_told() -> None:
    """`from None` holds."""
    error = _broken(KeyError(SPOKEN))
    assert ["ValueError", "caused by KeyError"] == [line for line in told(error).splitlines() if line[0] != " "]
    error.__cause__, error.__suppress_context__ = None, True
    assert ["ValueError"] == [line for line in told(error).splitlines() if line[0] != " "]


def test_what_a_flow_raises_quotes_nothing() -> None:
    """Prefect keeps what flows raise: what nobody foresaw has its type and place alone, all else is let through."""

    @discreet()
    def raises(error: Exception) -> None:
        raise error

    with pytest.raises(ValueError, match=SPOKEN):
        raises(_broken(KeyError(SPOKEN)))  # in no flow run: nobody keeps it
    with (
        FlowRunContext.model_construct(),
        pytest.raises(UnexpectedError, match=r"ValueError at .*test_logs.py:\d+ in _broken") as caught,
    ):
        raises(_broken(KeyError(SPOKEN)))
    assert SPOKEN not in str(caught.value)
    assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)
    with FlowRunContext.model_construct(), pytest.raises(SettingsError):
        raises(SettingsError("the endpoint is wrong"))


class WarningDiarizer(StandInDiarizer):
    """Writes lines as libraries do."""

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """Warn, and tell what nobody should."""
        LIBRARY.warning("one speaker is little")
        LIBRARY.info("%s", SPOKEN)
        return super().diarize(track, speakers, fewest)


def test_a_month_in_json(
    recognizer: StandInRecognizer,
    bundles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every line of a run says what was worked on, also a library's; none holds a word or an attribute value."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    archive = open_storage(month.archive)
    for call_id, content in {"good": wav(tone()), "bad": b"RIFF\x24\x00\x00\x00WAVE", "none": b""}.items():
        archive.put(f"2026/10/05/{AGENT}/{call_id}.wav", content)
    models = replace(stand_in_models(bundles, recognizer), diarizer=cast("Diarizer", WarningDiarizer()))
    monkeypatch.setattr("flows.job.loaded_models", lambda _settings: models)
    monkeypatch.setattr(LIBRARY, "level", logging.DEBUG)
    overrides = month.overrides(
        archive={"key_template": "{year}/{month}/{day}/{agent_id}/{call_id}.{ext}"}, logs={"format": "json"}
    )
    summary = archive_run.fn(MONTH, month.archive, month.transcripts, overrides)
    assert {"transcribed": 1, "failed": 2} == summary.outcomes
    err = capsys.readouterr().err
    assert SPOKEN not in err
    assert AGENT not in err
    lines = [json.loads(line) for line in err.splitlines()]
    assert {summary.run_id} == {line["run"] for line in lines}
    done = [line for line in lines if line["message"] == "call done"]
    assert {
        ("good", "transcribed", None),
        ("bad", "failed", "undecodable_audio"),
        ("none", "failed", "empty_object"),
    } == {(line["call_id"], line["outcome"], line.get("error_code")) for line in done}
    assert {"0001"} == {line["job"] for line in done}
    (warned,) = [line for line in lines if line["logger"] == LIBRARY.name]
    assert ("good", "diarize", "0001") == (warned["call_id"], warned["stage"], warned["job"])
    assert ["the run begins", "the job begins"] == [line["message"] for line in lines if "begins" in line["message"]]
