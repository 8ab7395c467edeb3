"""`callscribe compare` and `callscribe gate`, as they are typed: over a made-up set with transcripts that are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_sets import SPOKEN, keep, made_up_set, transcripts
from stand_ins import BUNDLE, build_bundle
from typer.testing import CliRunner

from evaluation.evaluation_set import EvaluationSet
from flows.cli import app
from flows.docs import ROOT
from tasks.errors import CallscribeError, GateFailed, SettingsError
from tasks.gates import history, require_gate
from tasks.models import Models
from tasks.settings import Settings, load_settings
from tasks.storage import open_storage

GATE = """\
[[threshold]]
measure = "wer"
max = 0.25
[[no_slice_worse]]
measure = "wer"
points = 2
"""
VARIANTS = """\
[variants.default]
[variants.beam-1]
recognizer.beam_size = 1
"""
Say = Callable[..., str]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a stand-in bundle, a settings file, an empty data set, a gate and variants."""
    build_bundle(tmp_path / "models")
    (tmp_path / "data").mkdir()
    (tmp_path / "callscribe.toml").write_text(
        f'[models]\nbundle = "{BUNDLE}"\nfolder = "{tmp_path}/models"\n'
        f'[transcripts]\nuri = "{(tmp_path / "data").as_uri()}"\n'
    )
    (tmp_path / "gate.toml").write_text(GATE)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return tmp_path


@pytest.fixture
def known(world: Path) -> EvaluationSet:
    """Ten calls, transcribed with a beam of 5 and, worse, of 1: no model is needed."""
    known = made_up_set(world / "bank", calls=10)
    keep(known, _settings(world), transcripts(known, [2] * 10, 1.0))
    keep(known, _settings(world, beam_size=1), transcripts(known, [6] * 10, 0.5))
    return known


@pytest.fixture
def say(world: Path) -> Say:
    """Type a command; what it prints, or the error that it ends with."""

    def typed(command: str, *arguments: str, folder: str = "bank") -> str:
        line = [command, str(world / folder), *arguments, "--config", str(world / "callscribe.toml")]
        result = CliRunner().invoke(app, line)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert 0 == result.exit_code
        assert SPOKEN not in result.output
        return " ".join(result.output.split())

    return typed


def _settings(world: Path, **recognizer: object) -> Settings:
    return load_settings(world / "callscribe.toml", {"recognizer": recognizer})


@pytest.mark.usefixtures("known")
def test_variants_are_compared(world: Path, say: Say) -> None:
    """Differences, what is significant, what each takes and costs, and which to take; the same as JSON."""
    arguments = ("--variants", str(world / "variants.toml"), "--cost-per-hour", "2")
    said = say("compare", *arguments, "--json", str(world / "compared.json"))
    for part in ("+20.00 *", "360.0", "10.0", "0.2000", "a stand-in, int8", "Take default: no other is shown"):
        assert part in said
    content = json.loads((world / "compared.json").read_text())
    beam = content["variants"]["beam-1"]
    assert ("default", "default", 10) == (content["baseline"], content["take"], content["calls"])
    assert ({"recognizer": {"beam_size": 1}}, 180.0, 0.1) == (
        beam["settings"], beam["seconds_per_audio_hour"], beam["price_per_audio_hour"]
    )  # fmt: skip
    assert (0.2, True) == (beam["measures"]["wer"]["difference"], beam["measures"]["wer"]["significant"])
    assert ({"stand-in": "d" * 64}, ["a stand-in"]) == (beam["bundles"], beam["devices"])
    assert "call-1" not in (world / "compared.json").read_text()
    with pytest.raises(SettingsError, match="there is no measure 'were' for --by"):
        say("compare", *arguments, "--by", "were")


@pytest.mark.usefixtures("known")
def test_a_gate_is_passed_and_accepted(world: Path, say: Say) -> None:
    """Nothing is kept without --accept; then runs have something to show, and the next is held against it."""
    gate = ("--gate", str(world / "gate.toml"))
    data = open_storage((world / "data").as_uri())
    assert "nothing is kept without --accept" in say("gate", *gate)
    assert [] == list(history(data, "bank"))
    said = say("gate", *gate, "--accept", "--by", "Ada", "--notes", "first", "--json", str(world / "verdict.json"))
    assert "holds WER at most 25.0 %: it is 10.0 %, in 10 calls" in said
    assert "passed, and accepted as number 1" in said
    (kept,) = history(data, "bank")
    assert (("Ada", "first", True), {"a stand-in": 10}) == ((kept.accepted_by, kept.notes, kept.passed), kept.devices)
    assert json.loads((world / "verdict.json").read_text())["number"] == 1
    stored = b"".join(data.get(info.key).data for info in data.list("_control/gates/"))
    assert SPOKEN.encode() not in stored
    assert b"call-1" not in stored
    required = load_settings(world / "callscribe.toml", {"gate": {"required": True, "set": "bank"}})
    assert "bank" == require_gate(data, required)["planned"]["set"]
    assert "the worst changed by 0.00 points (run 1 on bank" in say("gate", *gate, "--accept")
    assert [2, 1] == [one.number for one in history(data, "bank")]


@pytest.mark.usefixtures("known")
def test_a_gate_is_not_passed(world: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 13, with the rules that fail; nothing is kept, and the JSON says why."""
    gate = ("--gate", str(world / "gate.toml"))
    say("gate", *gate, "--accept")
    monkeypatch.setenv("CALLSCRIBE_RECOGNIZER__BEAM_SIZE", "1")
    with pytest.raises(GateFailed) as caught:
        say("gate", *gate, "--accept", "--json", str(world / "verdict.json"))
    assert 13 == caught.value.exit_code
    assert "2 of 2 rules" in caught.value.message
    assert "WER at most 25.0 %: it is 30.0 %, in 10 calls; nothing is accepted" in caught.value.message
    content = json.loads((world / "verdict.json").read_text())
    assert [False, False] == [one["passed"] for one in content["rules"]]
    assert "worse than run 1 on bank" in content["rules"][1]["reason"]
    assert 1 == len(list(history(open_storage((world / "data").as_uri()), "bank")))


def test_a_set_that_has_changed(world: Path, known: EvaluationSet, say: Say) -> None:
    """It cannot be held against what was accepted before; --anew begins again."""
    gate = ("--gate", str(world / "gate.toml"))
    say("gate", *gate, "--accept")
    lines = known.storage.get("cases.jsonl").data.splitlines(keepends=True)
    known.storage.put("cases.jsonl", b"".join(lines[1:]))
    with pytest.raises(SettingsError, match=r"had other cases or references .* --anew"):
        say("gate", *gate)
    assert "accepted as number 2" in say("gate", *gate, "--accept", "--anew")
    assert "9 calls with stand-in" in say("gate", *gate)


@pytest.mark.usefixtures("known")
def test_what_is_wrong_is_said(world: Path, say: Say) -> None:
    """A data set that nobody named, a file that is not there."""
    gate = ("--gate", str(world / "gate.toml"))
    (world / "callscribe.toml").write_text(f'[models]\nbundle = "{BUNDLE}"\nfolder = "{world}/models"\n')
    with pytest.raises(SettingsError, match="--accept keeps the verdict in the data set"):
        say("gate", *gate, "--accept")
    with pytest.raises(SettingsError, match="compares with the run that was accepted last"):
        say("gate", *gate)
    assert "passed" in say("gate", *gate, "--anew")
    with pytest.raises(CallscribeError, match=r"nothing\.toml cannot be read"):
        say("gate", "--gate", str(world / "nothing.toml"))


@pytest.mark.long
def test_the_starter_bundle_under_two_settings(tmp_path: Path, models: Models) -> None:
    """Two short calls of the demo with a beam of 5 and of 1; models are loaded once, and not at all the second time."""
    folder = tmp_path / "demo"
    (folder / "references").mkdir(parents=True)
    cases = []
    demo = ROOT / "evaluation" / "sets" / "demo"
    for call_id in ("demo-0001", "demo-0002"):
        audio = next((demo / "archive").rglob(f"{call_id}.*"))
        (folder / audio.name).write_bytes(audio.read_bytes())
        reference = next(demo.rglob(f"{call_id}.stm"))
        (folder / "references" / reference.name).write_bytes(reference.read_bytes())
        cases.append({"call_id": call_id, "audio": audio.name, "references": f"references/{reference.name}"})
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (tmp_path / "variants.toml").write_text(VARIANTS)
    (tmp_path / "callscribe.toml").write_text(
        f'[models]\nbundle = "{models.bundle.name}"\nfolder = "{models.bundle.folder.parent}"\n'
    )
    line = ["compare", str(folder), "--variants", str(tmp_path / "variants.toml")]
    line += ["--config", str(tmp_path / "callscribe.toml"), "--json", str(tmp_path / "compared.json")]
    first = CliRunner().invoke(app, line)
    assert 0 == first.exit_code, first.output
    assert 4 == len(list((folder / "transcripts").rglob("*.json")))
    content = json.loads((tmp_path / "compared.json").read_text())
    for variant in content["variants"].values():
        assert 0.5 > variant["measures"]["wer"]["value"]
        assert 0 < variant["seconds_per_audio_hour"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.models.load_models", None)
        again = CliRunner().invoke(app, line)
    assert 0 == again.exit_code, again.output
    assert content == json.loads((tmp_path / "compared.json").read_text())
