"""What a run would do, said before it does it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from job_worker import settings_of
from stand_ins import build_bundle, stand_in_models, tone, wav
from typer.testing import CliRunner

from flows.cli import app
from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.plan_run import plan_run
from tasks.quote import Quote, quote_rows, quote_run
from tasks.reconcile import summary_rows
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.setting_groups import RunSettings
from tasks.storage import Storage, open_storage

MONTH = "2026-10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of three calls, and an empty data set."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    archive = _open(tmp_path, "archive")
    for number in range(3):
        archive.put(f"2026/10/05/call-{number}.wav", wav(tone(300 + number, 1.0)))
    return tmp_path


def _open(folder: Path, name: str) -> Storage:
    return open_storage((folder / name).as_uri())


def _quote(folder: Path) -> Quote:
    settings = settings_of(folder)
    data = DataSet(_open(folder, "transcripts"))
    return quote_run(data, _open(folder, "archive"), MONTH, settings, fingerprints_of(settings))


def test_a_quote_is_what_the_run_then_does(folder: Path) -> None:
    """And it writes nothing."""
    quote = _quote(folder)
    assert [] == list(_open(folder, "transcripts").list())
    settings, data = settings_of(folder), DataSet(_open(folder, "transcripts"))
    head = plan_run(data, _open(folder, "archive"), MONTH, settings, fingerprints_of(settings))
    assert (head.calls, head.jobs, head.shards, head.reasons) == (quote.calls, quote.jobs, quote.shards, quote.reasons)
    assert head.estimated_hours == pytest.approx(quote.hours, abs=1e-4)
    assert (3, 0, {"new": 3}, 50.0, 0) == (
        quote.objects, quote.standing, quote.reasons, quote.rtfx, quote.measured_runs
    )  # fmt: skip


def test_speed_is_measured_on_earlier_runs(folder: Path) -> None:
    """Of the same models; then there is nothing to do."""
    settings, data = settings_of(folder), DataSet(_open(folder, "transcripts"))
    head = plan_run(data, _open(folder, "archive"), MONTH, settings, fingerprints_of(settings))
    began = time.monotonic() - 5.0  # models were loaded before
    run_job(data, head, 1, stand_in_models(folder / "models"), settings, lambda _: None, began=began)
    summary, _ = certify(data, head, 0.5)
    assert summary.worker_s > 5.0
    quote = _quote(folder)
    assert (0, 3, 1) == (quote.calls, quote.standing, quote.measured_runs)
    assert pytest.approx(3.0 / summary.worker_s) == quote.rtfx
    rows = dict(summary_rows(summary))
    expected = f"{summary.worker_s / 60:,.1f} min (quoted: {head.quoted_worker_hours * 60:,.1f} min)"
    assert expected == rows["worker time"]
    long = dict(summary_rows(replace(summary, worker_s=9000.0, quoted_worker_s=7200.0)))
    assert "2.50 h (quoted: 2.00 h)" == long["worker time"]


def test_actual_cost_beside_the_quote(folder: Path) -> None:
    """Where an hour of a worker has a price."""
    settings, data = (
        settings_of(folder, worker_hour_price=3600.0, currency="EUR"),
        DataSet(_open(folder, "transcripts")),
    )
    head = plan_run(data, _open(folder, "archive"), MONTH, settings, fingerprints_of(settings))
    run_job(data, head, 1, stand_in_models(folder / "models"), settings, lambda _: None)
    summary, _ = certify(data, head, 0.5)
    quoted = head.quoted_worker_hours * 3600
    expected = f"{summary.worker_s:,.2f} EUR (quoted: {quoted:,.2f})"
    assert expected == dict(summary_rows(summary))["cost at 3600 EUR an hour"]


def test_a_quote_for_people() -> None:
    """Hours, the time that some workers need (a job is done by one), and the price where there is one."""
    quote = Quote(MONTH, 1200, 1000, 100.0, 10, 4, 200, {"new": 990, "retry": 10}, 50.0, 3)
    priced = RunSettings(worker_hour_price=2.5, currency="EUR", budget_money=4.0)
    rows = dict(quote_rows(quote, 4, priced))
    assert "50.0" == rows["RTFx, measured on 3 earlier runs"]
    assert ("2.00 h", "0.50 h") == (rows["hours of one worker"], rows["finished by 4 workers after"])
    assert "5.00 EUR" == rows["cost at 2.5 EUR an hour"]
    assert "1.60 h, NOT enough: it would stop before its end" == rows["budget of worker hours"]
    assert "144.00 USD" == rows["Amazon Transcribe, batch, list price of 2026-11-26"]
    plain = RunSettings(list_prices=(), budget_worker_hours=2.0)
    assert "0.20 h" == dict(quote_rows(quote, 99, plain))["finished by 99 workers after"]
    assert "2.00 h, enough" == dict(quote_rows(quote, 4, plain))["budget of worker hours"]
    assert not any("cost" in name or "list price" in name for name, _ in quote_rows(quote, 4, plain))


def test_on_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much there is to do."""
    monkeypatch.setenv("CALLSCRIBE_MODELS__FOLDER", str(folder / "models"))
    places = [option for name in ("archive", "transcripts") for option in (f"--{name}", (folder / name).as_uri())]
    result = CliRunner().invoke(app, ["plan", "--month", MONTH, "--bundle", "stand-in", *places])
    assert 0 == result.exit_code, result.output
    assert "calls to transcribe" in result.output
    assert "assumed (run.assumed_rtfx)" in result.output
