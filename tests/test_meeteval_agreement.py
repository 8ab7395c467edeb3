"""cpWER, tcpWER and ORC-WER against what meeteval computed (tests/data/meeteval, tests/make_meeteval_values.py)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from evaluation.hypotheses import HypothesisUtterance
from evaluation.orc import stream_errors
from evaluation.rates import ErrorCounts
from evaluation.references import StmLine, parse_stm
from evaluation.speakers import SpeakerErrors, speaker_errors
from evaluation.timed import timed_speaker_errors

FOLDER: Final = Path(__file__).parent / "data" / "meeteval"
VALUES: Final = json.loads((FOLDER / "values.json").read_text())

Call = tuple[list[StmLine], list[HypothesisUtterance], Mapping[str, Any]]


def calls() -> dict[str, Call]:
    """Every session of the files and every made-up call, with its values."""
    found = {}
    for pair in VALUES["files"]:
        sides = [parse_stm((FOLDER / pair[side]).read_text()) for side in ("reference", "hypothesis")]
        for session, values in pair["sessions"].items():
            lines = [[line for line in side if line.call_id == session] for side in sides]
            found[f"{pair['reference']} {session}"] = call(*lines, values)
    for number, values in enumerate(VALUES["calls"]):
        found[f"made up {number}"] = call(*map(parse_stm, (values["reference"], values["hypothesis"])), values)
    return found


def call(reference: Iterable[StmLine], hypothesis: Iterable[StmLine], values: Mapping[str, Any]) -> Call:
    """What is compared."""
    return list(reference), [HypothesisUtterance.from_stm(line) for line in hypothesis], values


CALLS: Final = calls()


def counts(values: Mapping[str, Any]) -> ErrorCounts:
    """The counts of meeteval as ours."""
    return ErrorCounts(values["length"], values["substitutions"], values["deletions"], values["insertions"])


def pairs(values: Mapping[str, Any]) -> tuple[tuple[str | None, ...], ...]:
    """Who is whom."""
    return tuple(map(tuple, values["assignment"]))


@pytest.mark.parametrize("name", CALLS)
def test_tcpwer_is_that_of_meeteval(name: str) -> None:
    """The same counts, kind by kind, and the same speakers, with every collar."""
    reference, hypothesis, values = CALLS[name]
    for collar, expected in values["tcpwer"].items():
        found = timed_speaker_errors(reference, hypothesis, language=None, collar_s=float(collar))
        assert SpeakerErrors(counts(expected), pairs(expected)) == found
        assert (expected["missed"], expected["extra"]) == (found.missed_speakers, found.extra_speakers)


@pytest.mark.parametrize("name", CALLS)
def test_cpwer_is_that_of_meeteval(name: str) -> None:
    """The same errors, reference words and speakers; jiwer may count other kinds of errors."""
    reference, hypothesis, values = CALLS[name]
    expected, found = values["cpwer"], speaker_errors(reference, hypothesis, language=None)
    assert (expected["errors"], expected["length"]) == (found.counts.errors, found.counts.reference_words)
    assert pairs(expected) == found.assignment


@pytest.mark.parametrize("name", CALLS)
def test_orc_wer_is_that_of_meeteval(name: str) -> None:
    """The same errors and reference words; jiwer may count other kinds of errors."""
    reference, hypothesis, values = CALLS[name]
    expected, found = values["orcwer"], stream_errors(reference, hypothesis, language=None)
    assert found is not None
    assert (expected["errors"], expected["length"]) == (found.counts.errors, found.counts.reference_words)
