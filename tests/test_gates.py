"""What was accepted by a gate: its history in the data set, and what a run has to show before it begins."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.errors import GateRequired, SettingsError
from tasks.gates import Verdict, counts_key, history, keep_verdict, parse_verdict, require_gate, shown, verdict_key
from tasks.records import CallHints
from tasks.run_models import Fingerprints
from tasks.setting_groups import GateSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage

MODELS = Fingerprints("large", "d1" * 32, "float16", CallHints(), lambda _hints: "f1" * 8, any_type="a1" * 8)
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def verdict(**changes: object) -> Verdict:
    """One that the models above can show."""
    plain = Verdict(
        set="bank",
        set_digest="5e" * 32,
        passed=True,
        bundle="large",
        bundle_digest=MODELS.bundle_digest,
        fingerprint=MODELS.plain,
        fingerprint_any_type=MODELS.any_type,
        compute_type="float16",
        accepted_at="2026-11-20T12:00:00+00:00",
        rules=({"rule": "WER at most 10 %", "passed": True, "reason": "it is 9 %"},),
    )
    return replace(plain, **changes)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A data set."""
    return open_storage(tmp_path.as_uri())


def test_a_verdict_as_json() -> None:
    """It is read as it was written; what a later version adds is passed over, and what is none is refused."""
    data = verdict(number=3, notes="why").to_json()
    assert verdict(number=3, notes="why") == parse_verdict(data.encode(), "here")
    later = json.loads(data) | {"added": 1}
    assert verdict(number=3, notes="why") == parse_verdict(json.dumps(later).encode(), "here")
    for broken in (b"", b"[]", b"{}"):
        with pytest.raises(SettingsError, match="here is no verdict"):
            parse_verdict(broken, "here")


def test_a_history_is_never_written_over(storage: Storage) -> None:
    """Each verdict has the next number, its counts beside it; the last one comes first."""
    first = keep_verdict(storage, verdict(), b"one")
    # A process that died before it moved the head.
    storage.put(verdict_key("bank", 2), verdict(number=2).to_json().encode())
    third = keep_verdict(storage, verdict(notes="third"), b"three")
    assert (1, 3) == (first.number, third.number)
    assert [3, 2, 1] == [one.number for one in history(storage, "bank")]
    assert b"three" == storage.get(counts_key(third)).data
    assert 3 == json.loads(storage.get("_control/gates/bank/head.json").data)["number"]
    assert [] == list(history(storage, "other"))


def test_a_number_that_another_writer_takes(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both verdicts stand, and both have their counts."""
    first = keep_verdict(storage, verdict(), b"alike")
    monkeypatch.setattr("tasks.gates._numbers", lambda *_: [])  # as it was listed before the other one wrote
    second = keep_verdict(storage, verdict(notes="later"), b"alike")
    monkeypatch.undo()
    assert (1, 2) == (first.number, second.number)
    assert [verdict_key("bank", 1), verdict_key("bank", 2)] == [
        verdict_key("bank", one.number) for one in reversed(list(history(storage, "bank")))
    ]
    assert {b"alike"} == {storage.get(counts_key(one)).data for one in (first, second)}


def test_a_history_that_was_altered(storage: Storage) -> None:
    """The last verdict is what the head says, or the history is refused."""
    keep_verdict(storage, verdict(), b"")
    storage.put(verdict_key("bank", 1), verdict(number=1, passed=True, notes="mine").to_json().encode())
    with pytest.raises(SettingsError, match="it was altered"):
        list(history(storage, "bank"))
    storage.delete(verdict_key("bank", 1))
    with pytest.raises(SettingsError, match="is missing, which the history of bank names"):
        list(history(storage, "bank"))


@pytest.mark.parametrize(
    ("found", "gate", "lacks"),
    [
        ([], {}, "none was ever accepted"),
        ([verdict(bundle_digest="0" * 64)], {}, "only other bundles were accepted"),
        ([verdict(fingerprint="0", fingerprint_any_type="0")], {}, "only accepted under other settings"),
        ([verdict(fingerprint="0", compute_type="int8")], {}, "only accepted in int8 (gate.any_compute_type"),
        ([verdict(passed=False)], {}, "none was ever accepted"),
        ([verdict()], {"set": "other"}, "none was passed on the set other"),
        ([verdict()], {"max_age_days": 6}, "is of 2026-11-20, older than 6 days"),
    ],
)
def test_nothing_to_show(found: list[Verdict], gate: dict[str, object], lacks: str) -> None:
    """The message says what is missing, and which command makes it."""
    with pytest.raises(GateRequired) as caught:
        shown(found, GateSettings.model_validate(gate), MODELS, now=NOW)
    assert lacks in caught.value.message
    assert f"callscribe gate {gate.get('set', 'SET')} --gate gate.toml --accept" in caught.value.message
    assert 14 == caught.value.exit_code


@pytest.mark.parametrize(
    ("found", "gate"),
    [
        (verdict(), {}),
        (verdict(), {"set": "bank", "max_age_days": 7}),
        (verdict(fingerprint="0", compute_type="int8"), {"any_compute_type": True}),
    ],
)
def test_something_to_show(found: Verdict, gate: dict[str, object]) -> None:
    """The last that counts."""
    older = replace(found, accepted_at="2026-11-19T12:00:00+00:00")
    assert found == shown([found, older], GateSettings.model_validate(gate), MODELS, now=NOW)


def test_what_a_run_shows(storage: Storage) -> None:
    """Nothing unless a gate is required; else where the verdict lies, and its digest."""
    assert {} == require_gate(storage, load_settings(), MODELS)
    required = load_settings(overrides={"gate": {"required": True}})
    with pytest.raises(GateRequired, match="none was ever accepted"):
        require_gate(storage, required, MODELS)
    keep_verdict(storage, verdict(), b"")
    keep_verdict(storage, verdict(set="a set", bundle_digest="0"), b"")
    found = require_gate(storage, required, MODELS)
    assert {"planned": "_control/gates/bank/00000001.json"} == {way: one["key"] for way, one in found.items()}
    assert {64} == {len(one["sha256"]) for one in found.values()}
