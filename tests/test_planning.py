"""What of a month is work: the table of decisions, and what follows from it run after run."""

from dataclasses import replace
from typing import Any

import pytest
from builders import SHA256, TRANSCRIBED_AT, call_ref, failure, outcome, provenance, transcript
from hypothesis import given
from hypothesis import strategies as st

from tasks.dataset import merge_changes
from tasks.errors import TerminalError, TransientError
from tasks.planning import KNOWN_COLUMNS, Plan, decide, plan_calls
from tasks.records import CallHints, CallRef, PlannedCall
from tasks.rows import rows_of
from tasks.schemas import CALLS, Row
from tasks.shards import shard_of

MAX_ATTEMPTS = 3
SHARDS = 7
CALL = call_ref(etag="now")
TRANSIENT = sorted(TransientError.codes())
TERMINAL = sorted(error.code for error in TerminalError.__subclasses__())

WANTED = "f1"


def wanted(_hints: CallHints) -> str:
    """The fingerprint that every call would have now."""
    return WANTED


_codes = st.sampled_from([None, *TRANSIENT, *TERMINAL])


def _row(**changes: Any) -> Row:  # noqa: ANN401  # values of a row
    """What `decide` knows of a good call at the ETag that is listed now."""
    plain = dict.fromkeys(KNOWN_COLUMNS) | {
        "call_id": CALL.call_id,
        "audio_etag": "now",
        "audio_sha256": SHA256,
        "outcome": "transcribed",
        "attempt": 1,
        "fingerprint": "f1",
    }
    return plain | changes


def _failed(code: str, attempt: int, etag: str = "now") -> Row:
    return _row(outcome="failed", error_code=code, attempt=attempt, audio_etag=etag, audio_sha256=None)


def _last_attempt(code: str, attempt: int, etag: str = "now", audio_etag: str = "now") -> Row:
    """A good row over which a later try failed."""
    return _row(audio_etag=audio_etag) | {
        "last_attempt_etag": etag,
        "last_attempt_error_code": code,
        "last_attempt": attempt,
    }


def test_known_columns_are_columns() -> None:
    """What planning asks of a row is there to be read."""
    assert [] == [name for name in KNOWN_COLUMNS if name not in CALLS.names]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, "new"),
        (_row(), None),
        (_row(outcome="no_speech"), None),
        (_row(fingerprint="of another model"), None),
        (_row(audio_etag="before"), "changed"),
        (_row(outcome="no_speech", audio_etag="before"), "changed"),
        *[(_failed(code, 1), "retry") for code in TRANSIENT],
        (_failed("scratch_full", MAX_ATTEMPTS + 1), "retry"),
        (_last_attempt("scratch_full", MAX_ATTEMPTS), "retry"),
        *[(_failed(code, 1), None) for code in TERMINAL],
        *[(_failed(code, 1, "before"), "changed") for code in TERMINAL],
        (_failed("storage_unavailable", MAX_ATTEMPTS - 1), "retry"),
        (_failed("storage_unavailable", MAX_ATTEMPTS), None),
        (_failed("storage_unavailable", MAX_ATTEMPTS + 1), None),
        (_failed("storage_unavailable", MAX_ATTEMPTS, "before"), "changed"),
        (_last_attempt("processing_error", 1), "retry"),
        (_last_attempt("processing_error", MAX_ATTEMPTS), None),
        (_last_attempt("undecodable_audio", 1), None),
        (_last_attempt("undecodable_audio", 1, audio_etag="before"), None),
        (_last_attempt("processing_error", MAX_ATTEMPTS, "before"), "changed"),
        (_last_attempt("undecodable_audio", 1, "before", audio_etag="before"), "changed"),
        (_last_attempt("processing_error", 1) | {"text_removed_at": TRANSCRIBED_AT}, None),
        (_last_attempt("scratch_full", 1) | {"text_removed_at": TRANSCRIBED_AT}, None),
        (_last_attempt("processing_error", 1, "before") | {"text_removed_at": TRANSCRIBED_AT}, "changed"),
    ],
)
def test_decide(row: Row | None, expected: str | None) -> None:
    """New, changed and passing failures under the limit are work; everything else stands."""
    assert expected == decide(CALL, row, MAX_ATTEMPTS)


def _only_work(plan: Plan) -> PlannedCall:
    assert 1 == len(plan.work)
    return plan.work[0]


@pytest.mark.parametrize(
    ("row", "attempt", "known_sha256"),
    [
        (None, 1, None),
        (_row(audio_etag="before"), 1, SHA256),
        (_row(audio_etag="before", outcome="no_speech"), 1, SHA256),
        (_failed("processing_error", 2) | {"audio_sha256": SHA256}, 3, None),
        (_failed("processing_error", 2, "before"), 1, None),
        (_failed("scratch_full", 2), 2, None),
        (_last_attempt("storage_unavailable", 1), 2, None),
        (_last_attempt("object_changed", 2, "before", audio_etag="long ago"), 1, SHA256),
    ],
)
def test_attempt_and_known_bytes(row: Row | None, attempt: int, known_sha256: str | None) -> None:
    """Tries count anew for new bytes; only a good transcript lets its bytes be known."""
    planned = _only_work(plan_calls([CALL], [row] if row else [], SHARDS, MAX_ATTEMPTS, wanted))
    assert PlannedCall(CALL, shard_of(CALL.call_id, SHARDS), attempt, known_sha256, WANTED) == planned


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.none() | st.builds(_failed, _codes, st.integers(1, 5))),
        max_size=20,
        unique_by=lambda pair: pair[0],
    )
)
def test_every_call_is_work_or_stands(pairs: list[tuple[str, Row | None]]) -> None:
    """The plan counts every call of the inventory once, under one reason or as standing."""
    calls = [call_ref(call_id, etag="now") for call_id, _ in pairs]
    known = [row | {"call_id": call_id} for call_id, row in pairs if row is not None]
    plan = plan_calls(calls, known, SHARDS, MAX_ATTEMPTS, wanted)
    assert len(calls) == len(plan.work) + plan.standing
    assert len(plan.work) == sum(plan.reasons.values())
    assert len(plan.work) == len({planned.call.call_id for planned in plan.work})
    assert sum(1 for _, row in pairs if row is None) == plan.reasons.get("new", 0)
    assert plan.standing == plan.standing_failed


def test_standing_calls_that_failed() -> None:
    """Of the calls that need nothing, those without a transcript are told apart."""
    calls = [call_ref(call_id, etag="now") for call_id in ("good", "hopeless", "tried too often", "good once")]
    rows = [_row(), _failed("too_long", 1), _failed("object_vanished", MAX_ATTEMPTS), _last_attempt("too_long", 1)]
    known = [row | {"call_id": call.call_id} for call, row in zip(calls, rows, strict=True)]
    plan = plan_calls(calls, known, SHARDS, MAX_ATTEMPTS, wanted)
    assert (0, 4, 2) == (len(plan.work), plan.standing, plan.standing_failed)


def test_rows_of_other_calls_do_not_matter() -> None:
    """A row whose object is gone from the archive is neither work nor counted."""
    plan = plan_calls([], [_row()], SHARDS, MAX_ATTEMPTS, wanted)
    assert Plan(work=(), reasons={}, standing=0, standing_failed=0) == plan


def _run(call: CallRef, standing: dict[str, Row], number: int, code: str | None) -> tuple[dict[str, Row], bool]:
    """One run over one call that ends in a failure, or well; the rows after it, and whether there was work."""
    plan = plan_calls([call], standing.values(), SHARDS, MAX_ATTEMPTS, wanted)
    if not plan.work:
        return standing, False
    planned = _only_work(plan)
    found = outcome(planned.call, failure=failure(code)) if code else outcome(planned.call, transcript=transcript())
    rows = rows_of(found, provenance(run_id=f"run-{number:04d}", attempt=planned.attempt))
    merged, _ = merge_changes(standing, [rows], frozenset())
    return merged, True


@pytest.mark.parametrize("had_transcript", [False, True])
def test_a_passing_failure_is_tried_up_to_the_limit(*, had_transcript: bool) -> None:
    """A call that always fails is tried `max_attempts` times at the same bytes, and as often at the next ones."""
    standing: dict[str, Row] = {}
    if had_transcript:
        standing, _ = _run(replace(CALL, etag="first"), standing, 0, None)
    tries = []
    for etag in ("now", "next"):
        for number in range(1, 10):
            standing, worked = _run(replace(CALL, etag=etag), standing, number if etag == "now" else 10 + number,
                                    "processing_error")  # fmt: skip
            tries.append(worked)
    assert [True] * MAX_ATTEMPTS + [False] * 6 == tries[:9]
    assert [True] * MAX_ATTEMPTS + [False] * 6 == tries[9:]
    assert ("transcribed" if had_transcript else "failed") == standing[CALL.call_id]["outcome"]


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), _codes), min_size=1, max_size=12))
def test_runs_come_to_rest(runs: list[tuple[str, str | None]]) -> None:
    """Whatever came before: a good run over an archive that stays as it is leaves no work, and no transcript goes."""
    standing: dict[str, Row] = {}
    had_transcript = False
    for number, (etag, code) in enumerate([*runs, (runs[-1][0], None)]):
        standing, worked = _run(replace(CALL, etag=etag), standing, number, code)
        had_transcript |= worked and code is None
    _, worked = _run(replace(CALL, etag=runs[-1][0]), standing, len(runs) + 1, None)
    assert not worked
    assert had_transcript == (standing[CALL.call_id]["outcome"] != "failed")
