"""Jobs that are run on the CPU, or with the fallback recogniser, where their run was planned for a GPU.

Planning touches no device, so that a plan for cuda is made here as anywhere. The models are stand-ins, but in two tests
that do a job as it is: with the starter models on the CPU, and with a real HTTP server that plays the endpoint.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import soundfile
from fake_endpoint import KEY, MODEL, SPOKEN, FakeEndpoint, error, fake_endpoint
from small_month import MONTH, SmallMonth, assert_certified, fill, without_prefect
from sounds import ARCHIVE
from stand_ins import BUNDLE, StandInRecognizer, build_bundle, stand_in_models, tone, wav
from test_runs import _summary

from flows.check import run_checks
from flows.job import JobToDo, do_job
from tasks.certificates import certify
from tasks.certified_runs import read_runs
from tasks.dataset import DataSet
from tasks.errors import FallbackRefused, SettingsError
from tasks.instead import Instead, settings_instead
from tasks.job_record import JobRecord
from tasks.models import Models
from tasks.plan_run import plan_run
from tasks.query import run_query
from tasks.quote import quote_run
from tasks.reconcile import summary_rows
from tasks.records import CallHints
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead, read_head, read_job
from tasks.schemas import Row
from tasks.settings import Settings, load_settings
from tasks.storage import Storage, open_storage
from tasks.verify import verify

ELSEWHERE = {"url": "https://speech.example.com/v1", "model": "listener", "allowed_hosts": ["speech.example.com"]}
MARK = "openai:speech.example.com/listener"
FIRST_WORD = SPOKEN.split(",")[0]


@dataclass(frozen=True)
class Place:
    """An archive, a data set and bundles in a folder; runs are planned for cuda."""

    folder: Path

    def overrides(self, **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings of the plan."""
        plain: dict[str, dict[str, Any]] = {
            "models": {"bundle": BUNDLE, "folder": str(self.folder / "models"), "device": "cuda"},
            "transcripts": {"monthly_hours": 1.0, "hours_per_shard": 1.0},
            "run": {"checkpoint_every_s": 1e-9, "job_hours": 100.0},
        }
        return {group: plain.get(group, {}) | more.get(group, {}) for group in plain | more}

    def settings(self, **more: dict[str, Any]) -> Settings:
        """The same, read."""
        return load_settings(overrides=self.overrides(**more))

    @property
    def storage(self) -> Storage:
        """Of the data set."""
        return open_storage((self.folder / "transcripts").as_uri())

    @property
    def archive(self) -> Storage:
        """The calls."""
        return open_storage((self.folder / "archive").as_uri())

    def plan(self, settings: Settings) -> RunHead:
        """A run over the month."""
        return plan_run(DataSet(self.storage), self.archive, MONTH, settings, fingerprints_of(settings))

    def rows(self) -> list[Row]:
        """Of `calls`."""
        return sorted(DataSet(self.storage).read_calls(MONTH), key=lambda row: str(row["call_id"]))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Three tones, and the stand-in bundle."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    found = Place(tmp_path)
    for number in range(3):
        found.archive.put(f"2026/10/05/call-{number}.wav", wav(tone(300 + 10 * number)))
    return found


def _settings(place: Place, way: str) -> Settings:
    return place.settings(run={"without_gpu": way}, fallback=ELSEWHERE)


def _models(place: Place, compute_type: str, recognizer: StandInRecognizer | None = None) -> Models:
    """Stand-ins that say that they compute so."""
    models = stand_in_models(place.folder / "models", recognizer)
    return replace(models, device=replace(models.device, compute_type=compute_type))


COMPUTE_TYPES = {None: "float16", "cpu": "int8", "fallback": ""}


def _run(
    place: Place,
    head: RunHead,
    settings: Settings,
    instead: Instead | None,
    recognizer: StandInRecognizer | None = None,
) -> dict[str, int]:
    models = _models(place, COMPUTE_TYPES[instead], recognizer)
    used = settings_instead(settings, instead)
    return run_job(DataSet(place.storage), head, 1, models, used, lambda _: None, instead=instead)


def test_settings_of_the_other_ways(place: Place) -> None:
    """The CPU in int8; or the CPU, with the fallback recogniser. Nothing else changes."""
    settings = place.settings(models={"compute_type": "float16"}, fallback=ELSEWHERE)
    cpu, fallback = (settings_instead(settings, way) for way in ("cpu", "fallback"))
    assert ("cpu", "default", "whisper") == (cpu.models.device, cpu.models.compute_type, cpu.recognizer.kind)
    assert ("cpu", "default", "fallback") == (
        fallback.models.device, fallback.models.compute_type, fallback.recognizer.kind
    )  # fmt: skip
    assert settings == settings_instead(settings, None)
    back = {"models": settings.models, "recognizer": settings.recognizer}
    assert [settings] * 2 == [found.model_copy(update=back) for found in (cpu, fallback)]


@pytest.mark.parametrize("way", ["wait", "cpu", "fallback"])
def test_the_plan_says_what_is_allowed(place: Place, way: str) -> None:
    """By the fingerprint of its settings; nothing, by default."""
    head = place.plan(_settings(place, way))
    assert ([] if way == "wait" else [way]) == list(head.alternatives)
    assert ("float16", False) == (head.compute_type, head.settings_fingerprint in head.alternatives.values())
    assert head == read_head(place.storage, head.run_id)


@pytest.mark.parametrize("instead", ["cpu", "fallback"])
def test_a_job_that_is_run_instead(place: Place, instead: Instead) -> None:
    """It is done, and each of its rows says how."""
    settings = _settings(place, instead)
    head = place.plan(settings)
    assert {"transcribed": 3} == _run(place, head, settings, instead)
    mark = {"cpu": ("whisper", "int8"), "fallback": (MARK, None)}[instead]
    assert {(instead, "a stand-in", *mark)} == {
        (row["instead"], row["device"], row["recognizer"], row["compute_type"]) for row in place.rows()
    }
    hints = settings.archive.hints()
    wanted = fingerprints_of(settings_instead(settings, instead)).of(hints)
    assert {wanted} == {row["fingerprint"] for row in place.rows()}
    assert wanted != fingerprints_of(settings).of(hints)


def test_a_job_that_is_run_as_planned(place: Place) -> None:
    """Its rows say that nothing was used instead, whatever was allowed."""
    settings = _settings(place, "fallback")
    assert {"transcribed": 3} == _run(place, place.plan(settings), settings, None)
    assert {(None, "whisper", "float16")} == {
        (row["instead"], row["recognizer"], row["compute_type"]) for row in place.rows()
    }


def _do(place: Place, head: RunHead, overrides: dict[str, dict[str, Any]], instead: Instead) -> dict[str, int]:
    """Do the only job of a plan, as the flow does, without Prefect."""
    return do_job(JobToDo(place.storage.uri, head.run_id, 1, overrides, instead=instead), logging.getLogger())


@pytest.mark.parametrize(
    ("planned", "instead"), [("wait", "cpu"), ("wait", "fallback"), ("cpu", "fallback"), ("fallback", "cpu")]
)
def test_what_the_plan_does_not_allow(place: Place, planned: str, instead: Instead) -> None:
    """Is refused before anything is done, and before models are loaded."""
    settings = _settings(place, planned)
    head = place.plan(settings)
    with pytest.raises(
        SettingsError, match=rf"planned without leave to run jobs with '{instead}' \(run\.without_gpu\)"
    ):
        _run(place, head, settings, instead)
    with pytest.raises(SettingsError, match="planned without leave"):
        _do(place, head, place.overrides(fallback=ELSEWHERE), instead)
    assert [] == place.rows()


def test_never_by_accident(place: Place) -> None:
    """A job on a CPU, or with the fallback, that nobody asked to be run so is refused, also where that is allowed."""
    settings = _settings(place, "cpu")
    head = place.plan(settings)
    models = _models(place, "int8")
    with pytest.raises(SettingsError, match=r"float16 and settings .* this machine has .*int8"):
        run_job(DataSet(place.storage), head, 1, models, settings_instead(settings, "cpu"), lambda _: None)
    remote = place.settings(recognizer={"kind": "fallback"}, fallback=ELSEWHERE)
    with pytest.raises(SettingsError, match="no compute type and settings"):
        run_job(DataSet(place.storage), head, 1, _models(place, ""), remote, lambda _: None)
    assert [] == place.rows()


def test_another_endpoint_than_planned(place: Place) -> None:
    """Leave is given to one recogniser, by host and model."""
    head = place.plan(_settings(place, "fallback"))
    other = place.settings(run={"without_gpu": "fallback"}, fallback=ELSEWHERE | {"model": "another"})
    with pytest.raises(SettingsError, match="leave to use 'fallback', with settings"):
        _run(place, head, other, "fallback")


@pytest.mark.parametrize("first", ["cpu", "fallback", None])
def test_an_attempt_goes_on_with_what_another_way_has_done(place: Place, first: Instead | None) -> None:
    """Checkpoints hold rows of the same run: what they hold is not done again, whichever way it was done."""
    way = first or "cpu"
    second = None if first else way
    settings = _settings(place, way)
    head = place.plan(settings)
    finished: list[object] = []

    def done(outcome: object) -> None:
        finished.append(outcome)
        if len(finished) == 3:
            raise KeyboardInterrupt

    models = _models(place, COMPUTE_TYPES[first])
    with pytest.raises(KeyboardInterrupt):
        run_job(DataSet(place.storage), head, 1, models, settings_instead(settings, first), done, instead=first)
    assert 2 == len(JobRecord(place.storage, head.run_id, 1).saved())
    recognizer = StandInRecognizer()
    assert {"transcribed": 3} == _run(place, head, settings, cast("Instead | None", second), recognizer)
    assert 1 == recognizer.heard
    assert sorted([str(first), str(first), str(second)]) == sorted(str(row["instead"]) for row in place.rows())
    summary, _ = certify(DataSet(place.storage), head, 1.0)
    assert ({way: 1 if second else 2}, True) == (summary.instead, summary.accounted)
    assert [] == verify(DataSet(place.storage)).findings


def test_a_checkpoint_of_settings_that_are_no_longer_allowed(place: Place) -> None:
    """It counts for nothing: the endpoint is another now."""
    settings = _settings(place, "fallback")
    head = place.plan(settings)
    rows = [item for item in _interrupted(place, head, settings) if item]
    assert 2 == len(rows)
    other = place.settings(run={"without_gpu": "fallback"}, fallback=ELSEWHERE | {"model": "another"})
    recognizer = StandInRecognizer()
    assert {"transcribed": 3} == _run(place, head, other, None, recognizer)
    assert 3 == recognizer.heard


def _interrupted(place: Place, head: RunHead, settings: Settings) -> list[Any]:
    finished: list[object] = []

    def done(outcome: object) -> None:
        finished.append(outcome)
        if len(finished) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(
            DataSet(place.storage), head, 1, _models(place, ""), settings_instead(settings, "fallback"), done,
            instead="fallback",
        )  # fmt: skip
    return list(JobRecord(place.storage, head.run_id, 1).saved())


def test_heads_of_an_earlier_version(place: Place) -> None:
    """They allow nothing, and are read."""
    head = place.plan(place.settings())
    path = place.folder / "transcripts" / "_runs" / head.run_id / "plan.json"
    older = "".join(
        line
        for line in path.read_text().splitlines(keepends=True)
        if "alternatives" not in line and "fallback" not in line
    )
    path.write_text(older)
    assert head == read_head(place.storage, head.run_id)


def test_the_certificate_says_how_much(place: Place) -> None:
    """The fallback rate, for people and for queries; a backfill finds the calls, and speed is not measured by them."""
    settings = _settings(place, "fallback")
    head = place.plan(settings)
    _run(place, head, settings, "fallback")
    summary, _ = certify(DataSet(place.storage), head, 1.0)
    assert ({"fallback": 3}, 1.0, 3) == (
        summary.instead,
        summary.to_json()["fallback_rate"],
        summary.other_fingerprints,
    )
    assert ("by the fallback recogniser instead", "3 (100.0 % of the calls done)") in summary_rows(summary)
    (row,) = read_runs(place.storage)
    assert [("fallback", 3)] == row["instead"]
    quote = quote_run(DataSet(place.storage), place.archive, MONTH, settings, fingerprints_of(settings))
    assert (0, 3) == (quote.measured_runs, quote.standing)
    _, found = run_query(place.storage, "SELECT count(*) FROM calls WHERE instead = 'fallback'")
    assert [(3,)] == found


def test_numbers_for_people() -> None:
    """Shares, seconds and money; nothing where everything was done as planned."""
    names = {"on the CPU instead", "by the fallback recogniser instead", "  speech that it was sent"}
    assert not names & {name for name, _ in summary_rows(_summary())}
    summary = _summary(
        outcomes={"failed": 3, "no_speech": 1, "transcribed": 9}, instead={"cpu": 1, "fallback": 4}, fallback_s=600.0,
        fallback_minute_price=0.006, currency="EUR",
    )  # fmt: skip
    assert [
        ("on the CPU instead", "1 (10.0 % of the calls done)"),
        ("by the fallback recogniser instead", "4 (40.0 % of the calls done)"),
        ("  speech that it was sent", "10.0 min, 0.06 EUR"),
    ] == [row for row in summary_rows(summary) if row[0] in names]
    assert 0.4 == summary.to_json()["fallback_rate"]
    assert _summary(outcomes={"failed": 2}).to_json()["fallback_rate"] is None


class Refusing(StandInRecognizer):
    """An endpoint that has just changed its mind."""

    def recognize(self, calls: Any) -> Any:  # noqa: ANN401  # those of the stand-in
        """Refuse."""
        del calls
        raise FallbackRefused("no")


def test_leave_that_is_given_later(tmp_path: Path) -> None:
    """A run that stopped is planned anew when it is started again with leave: the old plan gives none."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), tmp_path / "models")
    fill(open_storage(month.archive))
    with without_prefect(stand_in_models(month.bundles, Refusing())), pytest.raises(FallbackRefused):
        month.run()
    (before,) = [info.key for info in month.storage.list("_runs/") if info.key.endswith("/plan.json")]
    with without_prefect(stand_in_models(month.bundles)):
        summary = month.run(run={"without_gpu": "cpu"})
    assert summary.run_id not in before
    assert ["cpu"] == list(read_head(month.storage, summary.run_id).alternatives)
    assert {} == summary.instead
    assert_certified(month, summary)


# ------------------------------------------------------------------------------------------- a job as it is


@pytest.fixture
def real(tmp_path: Path, models: Models) -> Place:
    """The beginnings of a mono call of two people and of a stereo one, and the starter bundle."""
    archive = tmp_path / "archive" / "2026" / "10" / "05"
    archive.mkdir(parents=True)
    (tmp_path / "transcripts").mkdir()
    for call in ("05/demo-0001.wav", "06/demo-0002.wav"):
        sound, rate = soundfile.read(ARCHIVE / call, frames=15 * 8000)
        soundfile.write(archive / Path(call).name, sound, rate, subtype="PCM_16")
    (tmp_path / "models").symlink_to(models.bundle.folder.parent)
    return Place(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """An endpoint on loopback, whose key lies in the environment."""
    monkeypatch.setenv("CALLSCRIBE_FALLBACK__KEY", KEY)
    with fake_endpoint() as found:
        yield found


def _job(place: Place, overrides: dict[str, dict[str, Any]], instead: Instead) -> RunHead:
    """Plan for cuda, and do the only job as the flow does, without Prefect."""
    head = place.plan(load_settings(overrides=overrides))
    assert ("float16", 1, 2) == (head.compute_type, head.jobs, head.calls)
    counts = _do(place, head, overrides, instead)
    assert {"transcribed": 2} == counts
    return head


@pytest.mark.long
def test_a_job_with_the_fallback(real: Place, server: FakeEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Speech goes to the endpoint and nowhere else; speakers and quality are ours; the key is nowhere."""
    caplog.set_level(logging.DEBUG)
    more: dict[str, dict[str, Any]] = {
        "models": {"bundle": "starter"},
        "run": {"without_gpu": "fallback"},
        "fallback": server.values(),
    }
    head = _job(real, real.overrides(**more), "fallback")
    mono, stereo = sorted(real.rows(), key=lambda row: len(row["channel_roles"] or ()))
    assert {"fallback"} == {row["instead"] for row in (mono, stereo)}
    assert {f"openai:127.0.0.1/{MODEL}"} == {row["recognizer"] for row in (mono, stereo)}
    assert {None} == {row["compute_type"] for row in (mono, stereo)}
    assert {"SPEAKER_00", "SPEAKER_01"} >= set(mono["speakers"])
    assert ["agent", "customer"] == stereo["speakers"]
    speech_s = mono["speech_s"] + stereo["speech_s"]
    assert speech_s == pytest.approx(server.heard_s, abs=0.1)
    assert 4 == len(server.requests)  # the proof, the mono call, each channel
    for request in server.requests:
        text = f"{request.path} {request.fields} {request.file_name}"
        assert not [name for name in ("demo", "agent", "2026", head.run_id) if name in text]
    _, said = run_query(real.storage, "SELECT text, words FROM utterances")
    assert any(FIRST_WORD in text for text, _ in said)
    summary, _ = certify(DataSet(real.storage), head, 1.0)
    assert (1.0, True) == (summary.to_json()["fallback_rate"], summary.accounted)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert FIRST_WORD not in logged
    assert KEY not in logged
    kept = [info.key for info in real.storage.list()]
    assert [] == [key for key in kept if KEY.encode() in real.storage.get(key).data]


@pytest.mark.long
def test_a_job_on_the_cpu(real: Place, models: Models) -> None:
    """By the bundle's own models, in int8, which its rows say."""
    more: dict[str, dict[str, Any]] = {"models": {"bundle": "starter"}, "run": {"without_gpu": "cpu"}}
    head = _job(real, real.overrides(**more), "cpu")
    assert {("cpu", "whisper", "int8", models.device.name)} == {
        (row["instead"], row["recognizer"], row["compute_type"], row["device"]) for row in real.rows()
    }
    cpu = load_settings(overrides=real.overrides(models={"bundle": "starter", "device": "cpu"}))
    wanted = fingerprints_of(cpu)
    assert {wanted.plain} == {row["fingerprint"] for row in real.rows()}
    assert head.alternatives == {"cpu": wanted.of(CallHints())}


def test_an_endpoint_that_refuses_stops_the_job(real: Place, server: FakeEndpoint) -> None:
    """Before it takes work: no call is failed, and no sound of a call is sent."""
    server.always = lambda _: error(401, f"wrong key {KEY}")
    more = {"models": {"bundle": "starter"}, "run": {"without_gpu": "fallback"}, "fallback": server.values()}
    overrides = real.overrides(**more)
    head = real.plan(load_settings(overrides=overrides))
    with pytest.raises(FallbackRefused, match="refuses") as refused:
        _do(real, head, overrides, "fallback")
    assert KEY not in str(refused.value)
    assert (0.0, [], 2) == (server.heard_s, real.rows(), len(read_job(real.storage, head.run_id, 1)))


def test_check(real: Place, server: FakeEndpoint) -> None:
    """`callscribe check` proves the endpoint where it may be used, and says nothing of it where it may not."""
    more = {"models": {"bundle": "starter", "device": "cpu"}, "fallback": server.values()}
    found = {one.name: one for one in run_checks(real.settings(**more))}
    assert "fallback" not in found
    allowed = real.settings(run={"without_gpu": "fallback"}, **more)
    (one,) = [result for result in run_checks(allowed) if result.name == "fallback"]
    assert (f"openai:127.0.0.1/{MODEL} has transcribed two seconds of silence", None) == (one.text, one.error)
    server.always = lambda _: error(404, "no such model")
    (one,) = [result for result in run_checks(allowed) if result.name == "fallback"]
    assert isinstance(one.error, FallbackRefused)
    assert "404 Not Found: no such model" in one.text


def test_an_endpoint_that_refuses_later_keeps_what_is_done(place: Place) -> None:
    """A job that stops has committed what it finished; the rest is not failed."""
    settings = _settings(place, "fallback")
    head = place.plan(settings)

    with pytest.raises(FallbackRefused):
        _run(place, head, settings, "fallback", Refusing())
    assert [] == place.rows()
    assert {"transcribed": 3} == _run(place, head, settings, "fallback")
