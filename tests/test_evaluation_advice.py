"""Advice: what is weak beyond chance, the worst first, and only actions that there are."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from made_up_sets import made_up_set, scores, transcripts
from typer.main import get_command

from evaluation.advice import RULES, Advice, advice_lines, advise
from evaluation.evaluation_set import EvaluationSet
from evaluation.figures import figures_of, slices_of_set
from evaluation.measures import ALWAYS
from evaluation.score import CallScore
from evaluation.scoring import score_evaluation_set
from flows.cli import app
from flows.docs import ROOT
from tasks.manifest import ManifestRow
from tasks.schemas import column_rows
from tasks.settings import setting_rows

QUOTED = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of eight calls."""
    return made_up_set(tmp_path_factory.mktemp("sets") / "made-up")


def advised(calls: list[CallScore]) -> tuple[Advice, ...]:
    """The advice on some scores."""
    return advise(calls, figures_of(calls), slices_of_set(calls))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_whatever_is_advised_exists(rule: object) -> None:
    """Settings, columns of `calls` and of manifests, commands, modules, documents."""
    action = str(rule.action)  # type: ignore[attr-defined]
    settings = {name for name, _, _ in setting_rows()}
    columns = {f"calls.{name}" for name, _, _ in column_rows("calls")}
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for quoted in QUOTED.findall(action):
        if quoted.startswith("callscribe "):
            assert quoted.split()[1] in commands, quoted
        elif quoted.startswith("python -m "):
            assert find_spec(quoted.split()[2]), quoted
        elif "." in quoted:
            assert quoted in settings | columns, quoted
        else:
            assert quoted in ManifestRow.model_fields, quoted
    for document in re.findall(r"docs/[\w-]+\.md", action):
        assert (ROOT / document).is_file()


def test_rules_are_about_measures_that_there_are() -> None:
    """Every key is a measure, of all calls or of a class of entities; names are told apart, and in the table."""
    keys = {measure.key for measure in ALWAYS} | {"speaker_gap"}
    assert [] == [key for rule in RULES for key in rule.keys if key not in keys and "entity_recall." not in key]
    assert len(RULES) == len({rule.name for rule in RULES})
    text = (ROOT / "evaluation" / "advice.py").read_text(encoding="utf-8").split('"""')[1]
    assert [] == [rule.name for rule in RULES if not re.search(rf"^{rule.name} ", text, re.MULTILINE)]


def test_nothing_is_weak(known: EvaluationSet) -> None:
    """One line says so; a hard call among good ones is chance."""
    assert () == advised(scores(known, [1] * 8, 0.1))
    assert ["No weak spot is beyond chance"] == [line[:29] for line in advice_lines(())]
    assert [] == [one.rule for one in advised(scores(known, {0: 20}, 0.1)) if one.rule == "wer"]


def test_too_few_calls_say_nothing(known: EvaluationSet) -> None:
    """Without an interval there is no advice."""
    assert () == advised(scores(known, [15] * 8, 5.0)[:2])


def test_what_is_weak(known: EvaluationSet) -> None:
    """Words that are missing, a language and a slow machine, the worst first; each says what, where and how sure."""
    made = transcripts(known, [16 if call % 2 else 12 for call in range(8)], 5.0)
    calls = [
        replace(call, facts=replace(call.facts, snr_db=12.0 if number % 2 else 40.0))
        for number, call in enumerate(score_evaluation_set(known, made).score.calls)
    ]
    found = advised(calls)
    assert {"wer", "speed", "deletions_in_noise"} == {one.rule for one in found}
    assert sorted(-one.weight for one in found) == [-one.weight for one in found]
    noise = next(one for one in found if one.rule == "deletions_in_noise")
    assert ("snr: 10 to 20 dB", 4) == (noise.where, noise.calls)
    assert noise.says == (
        "deletions in snr: 10 to 20 dB is 80.0 % (at least 80.0 %, of 4 calls; at most 10.0 % is well)."
    )
    assert "audio.denoise" in noise.action
    assert [f"{number}. " for number in (1, 2, 3)] == [line[:3] for line in advice_lines(found)]
    assert {"rule", "measure", "where", "says", "action", "weight"} <= found[0].to_json().keys()


def test_calls_without_a_transcript(known: EvaluationSet, tmp_path: Path) -> None:
    """They are the first that is said."""
    made = transcripts(known, [0] * 8, 0.1)
    failed = {call_id: replace(one, call={**one.call, "outcome": "failed"}) for call_id, one in made.items()}
    report = score_evaluation_set(known, made | dict(list(failed.items())[:6]))
    assert "untranscribed" == report.advice[0].rule
    assert '"advice": [' in report.to_json()
    assert tmp_path.is_dir()
