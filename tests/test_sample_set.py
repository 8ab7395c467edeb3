"""`callscribe sample`: from a data set to a folder for transcribers, and back."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import call_ref, failure, outcome, provenance, quality, transcript, utterance
from typer.testing import CliRunner

from evaluation.cases import Case, parse_cases
from evaluation.formats import parse_stm
from evaluation.sample_copies import draft
from evaluation.sample_export import Sample, SampleRequest
from evaluation.sample_places import draw_to_folder, draw_to_storage
from evaluation.sample_status import examine, load_status
from flows.cli import app
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.errors import SettingsError, UsageError
from tasks.legs import sha256_of_legs
from tasks.records import CallRef, Leg, Outcome
from tasks.retention import retain
from tasks.rows import rows_of
from tasks.runs import new_run_id
from tasks.samples import audio_paths, cases_without, erase_from_samples, file_stem, sample_prefix
from tasks.setting_groups import ArchiveSettings, RetentionSettings
from tasks.shards import shard_of
from tasks.storage import Storage, open_storage

MONTH = "2026-10"
SHARDS = 3
RUN = new_run_id(datetime(2026, 11, 1, 2, tzinfo=UTC))
# A word that is nowhere else: where it turns up after an erasure, something was left.
SPOKEN = "xylotheque"
PLACE = f"samples/{MONTH}-quality/"


def _sound(call_id: str) -> bytes:
    return f"the sound of {call_id}".encode()


def _heard(archive: Storage, call_id: str, language: str | None, queue: str, **changes: object) -> Outcome:
    key = f"2026/10/05/{call_id}.wav"
    archive.put(key, _sound(call_id))
    call = call_ref(call_id, key=key, uri=archive.object_uri(key), attributes={"queue": queue})
    said = [utterance(f"{SPOKEN} {call_id}", 1.0, speaker="agent"), utterance("yes", 2.0, speaker="a b", channel=1)]
    heard = transcript(said, quality=quality(confidence=0.7), language=language) if language else transcript([])
    plain = outcome(call, transcript=heard, audio_sha256=hashlib.sha256(_sound(call_id)).hexdigest())
    return replace(plain, **changes)


def _in_legs(archive: Storage) -> Outcome:
    """A call in two files."""
    keys = [f"2026/10/05/legs-{side}.ulaw" for side in ("in", "out")]
    for key in keys:
        archive.put(key, _sound(key))
    digests = tuple(hashlib.sha256(_sound(key)).hexdigest() for key in keys)
    legs = tuple(Leg(key, archive.object_uri(key), "e", 9) for key in keys)
    plain = _heard(archive, "legs", "de", "sales")
    archive.delete("2026/10/05/legs.wav")
    call: CallRef = replace(plain.call, key=keys[0], uri=legs[0].uri, legs=legs)
    return replace(plain, call=call, audio_sha256=sha256_of_legs(digests), leg_sha256=digests)


@pytest.fixture
def archive(tmp_path: Path) -> Storage:
    """An empty archive."""
    (tmp_path / "archive").mkdir()
    return open_storage((tmp_path / "archive").as_uri())


@pytest.fixture
def data(tmp_path: Path, archive: Storage) -> DataSet:
    """Eleven German calls, six English ones, two in which nobody speaks, and two that failed."""
    (tmp_path / "transcripts").mkdir()
    data = DataSet(open_storage((tmp_path / "transcripts").as_uri()))
    data.fix_shards(MONTH, SHARDS)
    found = [_heard(archive, f"de-{number}", "de", "sales") for number in range(10)]
    found += [_heard(archive, f"en-{number}", "en", "help") for number in range(6)]
    found += [_heard(archive, f"silent-{number}", None, "help") for number in range(2)]
    found += [outcome(f"failed-{number}", failure=failure()) for number in range(2)]
    found.append(_in_legs(archive))
    for one in found:
        data.commit(MONTH, shard_of(one.call.call_id, SHARDS), SHARDS, [rows_of(one, provenance(run_id=RUN))])
    return data


def _request(n: int = 10, **changes: object) -> SampleRequest:
    return replace(SampleRequest(month=MONTH, n=n, by=("language",), seed="1"), **changes)


def _draw(data: DataSet, archive: Storage, n: int = 10, **changes: object) -> Sample:
    return draw_to_storage(data, archive, _request(n, **changes), "quality")[0]


def _cases(storage: Storage) -> dict[str, Case]:
    return {case.call_id: case for _, case in parse_cases(storage.get(f"{PLACE}cases.jsonl").data.decode())}


def _calls(cases: dict[str, Case]) -> dict[str | None, float]:
    """For how many calls the cases of each stratum stand."""
    return {
        name: round(sum(case.weight for case in cases.values() if case.stratum == name), 6)
        for name in {case.stratum for case in cases.values()}
    }


STRATA = {"language: de": 11.0, "language: en": 6.0, "language: none": 2.0}


# ---------------------------------------------------------------------------------------------------------- drawing


def test_what_a_sample_holds(data: DataSet, archive: Storage) -> None:
    """Every call that can be drawn, here: recordings as they are in the archive, drafts, cases that stand for all."""
    sample = _draw(data, archive, 19)
    storage, cases = data.storage, _cases(data.storage)
    assert ((2, 0, 0), {}) == (
        (sample.population.failed, sample.not_covered, sample.population.unnamable),
        sample.replaced,
    )
    assert (19, STRATA) == (len(cases), _calls(cases))
    for call_id, case in cases.items():
        assert (f"references/{call_id}.stm",) == case.references
        if call_id == "legs":
            continue
        assert (f"audio/{call_id}.wav",) == case.audio
        assert _sound(call_id) == storage.get(PLACE + case.audio[0]).data
    assert ("audio/legs/0.ulaw", "audio/legs/1.ulaw") == cases["legs"].audio
    assert _sound("2026/10/05/legs-out.ulaw") == storage.get(f"{PLACE}audio/legs/1.ulaw").data
    assert ("de", "de", "en") == tuple(cases[one].language for one in ("silent-0", "legs", "en-3"))
    lines = parse_stm(storage.get(f"{PLACE}drafts/en-3.stm").data.decode())
    assert [("agent", 1, f"{SPOKEN} en-3"), ("a_b", 2, "yes")] == [
        (one.speaker, one.channel, one.text) for one in lines
    ]
    assert () == parse_stm(storage.get(f"{PLACE}drafts/silent-0.stm").data.decode())
    assert ["README.txt"] == [info.key.rpartition("/")[2] for info in storage.list(f"{PLACE}references/")]
    assert "19 calls of 2026-10" in storage.get(f"{PLACE}README.md").data.decode()
    told = json.loads(storage.get(f"{PLACE}sample.json").data)
    assert (19, 2, 3, ["language"]) == (told["drawn"], told["failed"], told["strata"], told["by"])


def test_a_smaller_sample(data: DataSet, archive: Storage) -> None:
    """Two calls of each stratum at least; the same again in another place; others by another seed; no drafts."""
    _draw(data, archive)
    cases = _cases(data.storage)
    assert (10, STRATA) == (len(cases), _calls(cases))
    assert STRATA.keys() == {case.stratum for case in list(cases.values())[:3]}  # whoever stops early has all of them
    again, other = (
        draw_to_storage(data, archive, _request(10, seed=seed, drafts=False), name)[0]
        for seed, name in (("1", "again"), ("2", "other"))
    )
    assert sorted(cases) == sorted(case.call_id for case in again.cases)
    assert sorted(cases) != sorted(case.call_id for case in other.cases)
    assert [] == list(data.storage.list(f"samples/{MONTH}-again/drafts/"))
    assert "Copy `drafts/" not in data.storage.get(f"samples/{MONTH}-again/README.md").data.decode()


def test_strata_by_attributes(data: DataSet, archive: Storage) -> None:
    """Any attribute will do; one that no call has is a mistake."""
    sample = _draw(data, archive, 10, by=("queue",))
    assert {"queue: help": 8, "queue: sales": 11} == {one.name: one.calls for one in sample.strata}
    with pytest.raises(SettingsError, match=r"no call of 2026-10 in .* has an attribute 'langauge'"):
        draw_to_storage(data, archive, _request(by=("queue", "langauge")), "other")


def test_recordings_that_cannot_be_had(data: DataSet, archive: Storage) -> None:
    """The next ones of their strata take their places; a stratum without any is not covered, and said to be so."""
    first = draw_to_storage(data, archive, _request(), "first")[0]
    german, english = (
        next(case.call_id for case in first.cases if case.call_id.startswith(language)) for language in ("de", "en")
    )
    archive.delete(f"2026/10/05/{german}.wav")
    archive.put(f"2026/10/05/{english}.wav", b"another sound")
    for number in range(2):
        archive.delete(f"2026/10/05/silent-{number}.wav")
    sample = _draw(data, archive)
    assert {german, english, "silent-0", "silent-1"} <= sample.replaced.keys()
    assert "not the one that was transcribed" in sample.replaced[english]
    cases = _cases(data.storage)
    assert not sample.replaced.keys() & cases.keys()
    assert (8, {"language: de": 11.0, "language: en": 6.0}) == (len(cases), _calls(cases))
    assert 2 == sample.not_covered == json.loads(data.storage.get(f"{PLACE}sample.json").data)["not_covered"]


def test_what_cannot_be_drawn(data: DataSet, archive: Storage, tmp_path: Path) -> None:
    """A month that is not there, more calls than there are, an archive that is another one, a name that is taken."""
    with pytest.raises(SettingsError, match=r"nothing of 2025-01 was ever planned in .*; it has months: 2026-10"):
        _draw(data, archive, month="2025-01")
    with pytest.raises(SettingsError, match=r"has 19 calls that can be drawn \(2 failed\), fewer than the 20"):
        _draw(data, archive, 20)
    with pytest.raises(SettingsError, match="a sample is named by"):
        draw_to_storage(data, archive, _request(), "../calls")
    (tmp_path / "other").mkdir()
    with pytest.raises(SettingsError, match=r"its recording lies outside of .*: is .*other their archive\?"):
        _draw(data, open_storage((tmp_path / "other").as_uri()))
    assert [] == list(data.storage.list("samples/"))
    _draw(data, archive)
    with pytest.raises(SettingsError, match=r"there is a sample .*2026-10-quality already"):
        _draw(data, archive)


def test_a_draw_that_was_cut_off(data: DataSet, archive: Storage) -> None:
    """Is drawn anew; what it left of calls that are not drawn now is removed."""
    data.storage.put(f"{PLACE}audio/de-77.wav", b"of another seed")
    sample = _draw(data, archive)
    audio = {info.key.removeprefix(PLACE) for info in data.storage.list(f"{PLACE}audio/")}
    assert {path for case in sample.cases for path in case.audio} == audio


def test_into_a_folder(data: DataSet, archive: Storage, tmp_path: Path) -> None:
    """The same files, and nothing hidden; only into an empty one."""
    folder = tmp_path / "to-transcribe" / "october"
    sample = draw_to_folder(data, archive, _request(), folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {path for case in sample.cases for path in case.audio} < names
    assert {"README.md", "sample.json", "cases.jsonl", "references/README.txt"} < names
    assert not [name for name in names if name.rpartition("/")[2].startswith(".")]
    with pytest.raises(UsageError, match="is not an empty folder"):
        draw_to_folder(data, archive, _request(), folder)


def test_what_files_are_called() -> None:
    """Whatever a call_id is, in a name that any store can hold; no two calls share one."""
    long = "x" * 300
    stems = {file_stem(one) for one in ("a", "a/b", "a%2Fb", ".callscribe.x", "..", long, f"{long}y", "ü")}
    assert 8 == len(stems)
    assert all("/" not in stem and len(stem) <= 120 and not stem.startswith(".") for stem in stems)
    assert ("audio/a.b.wav",) == audio_paths("a.b", ["2026/a.b.wav"])
    assert ("audio/a/0.wav", "audio/a/1.audio") == audio_paths("a", ["x.wav", "y"])
    assert "samples/2026-10-x/" == sample_prefix(MONTH, "x")


# ---------------------------------------------------------------------------------------------------------- erasure


def _holding(storage: Storage, text: str) -> list[str]:
    return [
        info.key for info in storage.list("samples/") if text.encode() in storage.get(info.key).data or text in info.key
    ]


def test_an_erased_call_is_in_no_sample(data: DataSet, archive: Storage) -> None:
    """Recording, draft, reference and case go, in each sample; the others of its stratum stand for its calls."""
    storage = data.storage
    _draw(data, archive, 19)
    draw_to_storage(data, archive, _request(19, seed="2"), "second")
    for name in ("de-1.stm", "de-1.stm.bak", "de-1.entities.json", "de-10.stm", "de-2.stm"):
        storage.put(f"{PLACE}references/{name}", b"said")
    result = erase_calls(data, ["de-1", "legs", "silent-0"], "request", ArchiveSettings())
    assert [f"{PLACE}references/de-10.stm"] == _holding(storage, "de-1")
    assert [] == _holding(storage, "legs") == _holding(storage, "silent-0")
    assert f"{PLACE}references/de-2.stm" in _holding(storage, "de-2")
    assert {storage.object_uri(f"{PLACE}{name}") for name in ("audio/de-1.wav", "cases.jsonl")} < set(result.rewritten)
    cases = _cases(storage)
    assert (16, STRATA) == (len(cases), _calls(cases))
    assert 11 / 9 == pytest.approx(cases["de-2"].weight)
    assert [] == erase_from_samples(storage, MONTH, {"de-1"})


def test_an_erased_call_is_not_drawn(data: DataSet, archive: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that was erased before, nor one whose erasure begins while recordings are copied."""
    erase_calls(data, ["silent-1"], "request", ArchiveSettings())
    assert 18 == _draw(data, archive, 18).population.calls
    assert "silent-1" not in _cases(data.storage)
    read: Callable[..., object] = archive.get

    def erase_meanwhile(key: str) -> object:
        if "de-3" in key:
            erase_calls(data, ["de-3"], "request", ArchiveSettings())
        return read(key)

    monkeypatch.setattr(archive, "get", erase_meanwhile)
    sample, _ = draw_to_storage(data, archive, _request(18), "meanwhile")
    assert "de-3" not in {case.call_id for case in sample.cases}
    assert [] == _holding(data.storage, "de-3")


def test_an_erasure_meets_a_draw_that_was_cut_off(data: DataSet, archive: Storage) -> None:
    """Files without cases are removed by their names."""
    _draw(data, archive, 19)
    data.storage.delete(f"{PLACE}cases.jsonl")
    erase_calls(data, ["en-1"], "request", ArchiveSettings())
    assert [] == _holding(data.storage, "en-1")
    assert _holding(data.storage, "en-2")


def test_retention_of_what_was_spoken(data: DataSet, archive: Storage) -> None:
    """A sample keeps nothing of what the tables may not keep; such a call is not drawn any more."""
    _draw(data, archive)
    later = datetime.now(UTC) + timedelta(days=400)
    retain(data, RetentionSettings(utterances_days=30), ArchiveSettings(), apply=False, now=later)
    assert _holding(data.storage, SPOKEN)
    retain(data, RetentionSettings(utterances_days=30), ArchiveSettings(), apply=True, now=later)
    assert [] == _holding(data.storage, SPOKEN) == _holding(data.storage, "the sound of")
    with pytest.raises(SettingsError, match="has 0 calls that can be drawn"):
        draw_to_storage(data, archive, _request(), "late")


def test_cases_that_somebody_has_written_into() -> None:
    """Comments and what is no JSON stay, unless they name the call; weights are kept where nothing went."""
    lines = [
        "# by hand",
        '{"call_id": "call-1", "weight": 2}',
        '{broken "call-1"}',
        '{"call_id": "call-2", "audio": ["x/2.wav"]}',
        '{"call_id": "call-3"}',
    ]
    text = "\n".join(lines)
    assert (text, frozenset()) == cases_without(text, {"call-4"})
    rest, files = cases_without(text, {"call-2"})
    assert {"x/2.wav"} == files
    comment, one, broken, three = rest.splitlines()
    assert (lines[0], lines[2]) == (comment, broken)
    assert [("call-1", 8 / 3), ("call-3", 4 / 3)] == [
        (case["call_id"], pytest.approx(case["weight"])) for case in map(json.loads, (one, three))
    ]
    assert ["# by hand", "call-2", "call-3"] == [
        json.loads(line)["call_id"] if line.startswith("{") else line
        for line in cases_without(text, {"call-1"})[0].splitlines()
    ]


# ----------------------------------------------------------------------------------------------------- reading back


def test_how_far_it_has_come(data: DataSet, archive: Storage) -> None:
    """Which references are in, malformed, unchanged or empty, and what is missing; weights of those that are in."""
    storage = data.storage
    _draw(data, archive, 19)
    place = storage.beside(storage.object_uri(PLACE.rstrip("/")))
    assert (19, 0) == (len(load_status(place).missing), len(load_status(place).usable))
    files = {
        "de-0": "\ufeffde-0 1 agent 0 1 what was said\r\nde-0 2 customer 1 2 yes\r\n",
        "de-1": storage.get(f"{PLACE}drafts/de-1.stm").data.decode().removeprefix(";; call_id channel"),
        "de-2": "; nobody\n",
        "de-3": "de-3 1 agent 0 1 well\n\nde-3 1 agent zero 1 well\n",
        "de-4": "de-4 1 agent 0 1 well\nde-5 1 agent 0 1 well\n",
        "silent-0": "",
        "unknown": "",
    }
    files["de-1"] = storage.get(f"{PLACE}drafts/de-1.stm").data.decode().replace("\n", "\r\n")
    for name, text in files.items():
        place.put(f"references/{name}.stm", text.encode())
    place.put("references/en-0.stm", b"en-0 1 agent 0 1 caf\xe9")
    state = load_status(place)
    assert {"de-0", "de-1", "de-2", "silent-0"} == state.present
    assert (12, ("de-1",), ("de-2",)) == (len(state.missing), state.unchanged, state.silent)
    assert ("references/unknown.stm",) == state.strays
    assert [("references/de-3.stm", 3), ("references/de-4.stm", 2), ("references/en-0.stm", None)] == sorted(
        (error.source, error.line) for error in state.malformed
    )
    assert {"language: en": 6.0} == {name: round(calls, 6) for name, calls in state.uncovered.items()}
    usable = {case.call_id: case for case in state.usable}
    assert {"language: de": 11.0, "language: none": 2.0} == _calls(usable)
    assert [("language: de", 11, 3), ("language: en", 6, 0), ("language: none", 2, 1)] == [
        (name, cases, there) for name, _, cases, there in state.strata()
    ]


def test_cases_that_were_added_by_hand() -> None:
    """Several references of a case, one that needs none, and files that hold several calls."""
    cases = [
        Case(call_id="a", references=("references/a.stm", "references/a.rttm")),
        Case(call_id="b", references=("references/b.stm",), reference_id="other"),
        Case(call_id="c", speech=False),
        Case(call_id="d"),
    ]
    files = {
        "references/a.stm": b"a 1 x 0 1 hi\n",
        "references/b.stm": b"other 1 x 0 1 hi\n",
        "drafts/b.stm": b"b 1 x",
    }
    state = examine(cases, files)
    assert ({"b", "c"}, ("a", "d"), ()) == (set(state.present), state.missing, state.malformed)
    bad = examine(cases, files | {"references/a.rttm": b"SPEAKER a 1\n"})
    assert ["references/a.rttm"] == [error.source for error in bad.malformed]


def test_what_is_no_sample(tmp_path: Path) -> None:
    """It is said."""
    with pytest.raises(SettingsError, match=r"holds no cases\.jsonl: it is no sample"):
        load_status(open_storage(tmp_path.as_uri()))


def test_drafts_are_read_back() -> None:
    """Whatever was said, and by whom."""
    rows = [{"call_id": "a", "channel": 0, "speaker": "an agent", "start": 0.5, "end": 1.0, "text": "a\nb  c"}]
    (line,) = parse_stm(draft(rows))
    assert ("a", 1, "an_agent", 0.5, 1.0, "a b c") == (
        line.call_id, line.channel, line.speaker, line.start, line.end, line.text
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- the command line


def _command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_on_the_command_line(data: DataSet, archive: Storage, tmp_path: Path) -> None:
    """It says what was drawn, what is outside of the estimate, and what to do next; status says how far that is."""
    archive.delete("2026/10/05/silent-0.wav")
    places = ("--archive", archive.uri, "--transcripts", data.storage.uri)
    code, said = _command("sample", "--month", MONTH, "--n", "10", "--by", "language", *places)
    assert 0 == code
    assert "9 of 19 calls of 2026-10 were drawn" in said
    assert "outside of the estimate: 2 calls that failed" in said
    assert "not to be had silent-0" in said
    place = f"{data.storage.uri}/samples/2026-10-quality"
    assert f"callscribe sample status {place}" in said
    code, said = _command("sample", "status", place)
    assert (0, True) == (code, "references │ 0 of 9" in said)
    case = next(iter(_cases(data.storage)))
    data.storage.put(f"{PLACE}references/{case}.stm", b"nonsense\n")
    with pytest.raises(UsageError, match="1 references are malformed"):
        _command("sample", "status", place)
    folder = tmp_path / "out"
    _, said = _command("sample", "--month", MONTH, "--n", "10", "--out", str(folder), "--no-drafts", *places)
    assert "does not reach" in said
    assert not (folder / "drafts").exists()
    assert "references │ 0 of 9" in _command("sample", "status", str(folder))[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which month"),
        (("--month", "October"), "month must be YYYY-MM"),
        (("--month", MONTH), "archive.uri is not set"),
        (("--month", MONTH, "--by", "snr,snr"), "name each once"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Each has a sentence."""
    with pytest.raises(SettingsError, match=message):
        _command("sample", *arguments, "--transcripts", tmp_path.as_uri())
