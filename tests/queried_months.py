"""A small data set for queries: two months of calls with phrases, languages, failures, reviews; runs, an erasure."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from builders import call_metrics, call_ref, call_signals, failure, outcome, provenance, quality, transcript, utterance
from test_runs import head

from tasks.certificates import append, certify
from tasks.dataset import DataSet
from tasks.records import CallRef, Outcome, PlannedCall, Utterance
from tasks.rows import rows_of
from tasks.runs import write_head, write_job
from tasks.shards import shard_of
from tasks.storage import Storage

SHARDS = 2
SEPTEMBER_RUN = "20261001T020000000Z-aaaaaa"
OCTOBER_RUN = "20261101T020000000Z-bbbbbb"
# The call that was recognised elsewhere.
INSTEAD = {"copied": {"recognizer": "openai:speech.example.com/listener", "instead": "fallback", "compute_type": ""}}
NOTICE = "Thank you for calling, this call is being recorded."


def _said(*lines: tuple[str, str], language: str = "en", translation: str | None = None) -> list[Utterance]:
    """What agent and customer said, five seconds apart."""
    return [
        utterance(
            text,
            5.0 * place,
            speaker=speaker,
            channel=int(speaker == "customer"),
            language=language,
            translation=translation if speaker == "customer" else None,
        )
        for place, (speaker, text) in enumerate(lines)
    ]


def _call(call_id: str, hour: int = 9, agent_id: str = "7", month: str = "2026-10") -> CallRef:
    year, number = map(int, month.split("-"))
    started_at = datetime(year, number, 5, hour, 30, tzinfo=UTC)
    return call_ref(call_id, month=month, started_at=started_at, attributes={"agent_id": agent_id, "queue": "sales"})


def _digest(call_id: str) -> str:
    return call_id.encode().hex().ljust(64, "0")


def _transcribed(call: CallRef, spoken: list[Utterance], **changes: object) -> Outcome:
    """A transcribed call; `agent_s` and `customer_s` are who talked how long, `silence_s` the longest silence."""
    talk = {"agent": changes.pop("agent_s", 60.0), "customer": changes.pop("customer_s", 40.0)}
    metrics = call_metrics(
        talk_s=talk,
        interruptions_by={"agent": changes.pop("interruptions", 0), "customer": 0},
        reaction_s={"agent": 1.5},
        longest_silence_s=changes.pop("silence_s", 2.0),
    )
    heard = transcript(
        spoken,
        metrics=metrics,
        quality=quality(speech_s=100.0, review_reasons=changes.pop("reasons", ())),
        languages=changes.pop("languages", {"en": 1.0}),
    )
    plain = outcome(call, transcript=heard, duration_s=120.0, audio_sha256=_digest(call.call_id))
    return replace(plain, **changes)


def october() -> list[Outcome]:
    """The calls of October."""
    cancels = _said(
        ("agent", NOTICE),
        ("customer", "Hello. I want to CANCEL, my contract!"),
        ("agent", "Of course. There is no risk in that, no risk at all."),
        ("customer", "Or I go to the ombudsman."),
        ("agent", "I see."),
    )
    pauses = _said(
        ("agent", "Hello, how can I help?"),
        ("customer", "I would like to cancel my"),
        ("agent", "Yes?"),
        ("customer", "contract, and the number is 4111 1111 1111 1111."),
    )
    turkish = _said(
        ("agent", NOTICE), ("customer", "Fatura hatali."), language="tr", translation="My invoice is wrong."
    )
    copy = _transcribed(_call("copied", 14, "8"), _said(("agent", NOTICE), ("customer", "My invoice is wrong.")))
    return [
        _transcribed(_call("cancels"), cancels, interruptions=4, agent_s=75.0, customer_s=25.0),
        _transcribed(_call("pauses", 10), pauses, silence_s=45.0, reasons=("low_confidence", "uncovered_speech")),
        _transcribed(
            _call("turkish", 10, "8"), turkish, languages={"tr": 0.75, "de": 0.25}, reasons=("low_confidence",)
        ),
        replace(copy, audio_sha256=_digest("cancels")),
        outcome(_call("silent", 11), transcript=transcript([]), signals=call_signals()),
        outcome(_call("damaged", 12), failure=failure("undecodable_audio", "it does not decode", transient=False)),
        outcome(_call("refused", 12), failure=failure("object_refused", "the store refuses")),
        outcome(_call("refused-too", 12), failure=failure("object_refused", "the store refuses")),
    ]


def september() -> list[Outcome]:
    """The calls of September."""
    spoken = _said(("agent", NOTICE), ("customer", "I have a question about my invoices."))
    return [
        _transcribed(_call("earlier", month="2026-09"), spoken),
        _transcribed(_call("other", month="2026-09"), _said(("agent", "Hello."), ("customer", "Goodbye."))),
    ]


def fill(storage: Storage) -> None:
    """Write it: two runs, of which the second was stopped and gone on with, an erasure, and something unknown."""
    data = DataSet(storage)
    data.prove_safe()
    _run(data, SEPTEMBER_RUN, "2026-09", september(), walls_s=(1800.0,))
    _run(data, OCTOBER_RUN, "2026-10", october(), walls_s=(900.0, 1800.0), price=4.0)
    erasure = {"reason": "request 1", "erased": {"2026-10": ["gone", "gone-too"]}, "audio": []}
    append(storage, "erasure", "erasure-20261105T100000Z", erasure | {"written_at": "2026-11-05T10:00:00+00:00"})
    append(storage, "prophecy", "p-1", {"run": "none", "result": [1], "written_at": "tomorrow"})


def _run(
    data: DataSet,
    run_id: str,
    month: str,
    outcomes: list[Outcome],
    walls_s: tuple[float, ...],
    price: float | None = None,
) -> None:
    shards = data.fix_shards(month, SHARDS)
    work = sorted(
        (PlannedCall(one.call, shard_of(one.call.call_id, shards), 1) for one in outcomes), key=lambda one: one.shard
    )
    planned = head(
        run_id=run_id, month=month, shards=shards, jobs=1, calls=len(work), listed_objects=len(work),
        estimated_hours=0.25, reasons={"new": len(work)}, quoted_worker_hours=0.4, worker_hour_price=price,
    )  # fmt: skip
    write_job(data.storage, run_id, 1, work)
    write_head(data.storage, planned)
    for one in outcomes:
        made = provenance(run_id=run_id, **INSTEAD.get(one.call.call_id, {}))
        data.commit(month, shard_of(one.call.call_id, shards), shards, [rows_of(one, made)])
    for number, wall_s in enumerate(walls_s, start=1):
        attempt = {"at": "2026-11-02T03:00:00+00:00", "orderly": True, "process": "p", "spent_s": wall_s}
        data.storage.put(f"_runs/{run_id}/attempts/job-0001-{number}.json", json.dumps(attempt).encode())
        certify(data, planned, wall_s, final=number == len(walls_s), adopted=number > 1)
