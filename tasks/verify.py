"""Hold a data set against its certificates: what stands must be what was certified, and nothing may be missing.

The certificates of a month's runs are replayed in order: each says, by digest, which transcripts it left. What then is
expected is compared with what stands, shard by shard; and the digest of every transcript is computed anew from its
utterances. Rows of a run that has not ended yet are counted, and not held against anything.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.certificates import RECORD_BYTES, Certificate, output_record, outputs_key, read_chain
from tasks.dataset import DataSet
from tasks.errors import ObjectVanished, StorageRefused
from tasks.retention_begun import begun_retentions
from tasks.retention_rules import KIND as RETENTION
from tasks.retention_rules import text_was_due
from tasks.rows import transcript_digest
from tasks.schemas import Row
from tasks.shards import shard_name, shard_of
from tasks.tables import columns_of, runs_of

_HALF = RECORD_BYTES // 2
_CALL_COLUMNS = (
    "call_id",
    "transcript_id",
    "outcome",
    "error_code",
    "run_id",
    "transcript_sha256",
    "started_at",
    "text_removed_at",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    `kind` is `unreadable`, `altered`, `missing`, `unknown`, `duplicate`, `misplaced`, `erased` or `text_gone`, which is
    for a retention to explain and not to be mended; `where` names the object or the call. `shard` and
    `call_id` say the same where it is in a shard, and is of one call.
    """

    kind: str
    where: str
    text: str
    shard: int | None = None
    call_id: str | None = None


@dataclass
class Verification:
    """What was looked at, and what was found.

    Attributes:
        certificates: links of the chain.
        runs: runs over these months that are certified as done.
        months: that were looked at.
        calls: rows whose transcript is as it was certified.
        not_certified: rows of runs that have not ended.
        not_attested: rows that were written before transcripts had digests.
        text_removed: of the rows that are as they were certified, those whose text a retention removed.
        leftovers: utterances that no call names: a writer died after them, and the next one removes them.
        findings: what is wrong.
    """

    certificates: int = 0
    runs: int = 0
    months: list[str] = field(default_factory=list)
    calls: int = 0
    not_certified: int = 0
    not_attested: int = 0
    text_removed: int = 0
    leftovers: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify(data: DataSet, month: str | None = None, say: Callable[[str], None] = lambda _: None) -> Verification:
    """Hold a data set, or one month of it, against its certificates.

    Args:
        data: the data set.
        month: `YYYY-MM`; all that were ever certified when left out.
        say: told what is being looked at.

    Raises:
        CertificateBroken: the chain of certificates itself does not hold.
        StorageUnavailable: the store does not answer.
    """
    result = Verification()
    last: dict[str, Certificate] = {}
    erasures: dict[str, set[str]] = {}
    retentions: list[Mapping[str, object]] = []
    for certificate in read_chain(data.storage):
        result.certificates += 1
        if certificate.kind == "run":
            last[certificate.subject] = certificate
        elif certificate.kind == RETENTION:
            retentions += [certificate.content, *certificate.content.get("cut_off", ())]
        elif certificate.kind == "erasure":
            for one, call_ids in certificate.content["erased"].items():
                erasures.setdefault(one, set()).update(call_ids)
    begun = begun_retentions(data.storage)
    by_month: dict[str, list[Certificate]] = {}
    # Of the transcripts of a call that of the run which was planned last stands, whichever was certified last.
    for certificate in sorted(last.values(), key=lambda one: one.subject):
        by_month.setdefault(certificate.content["run"]["month"], []).append(certificate)
    result.months = [month] if month else sorted(by_month)
    for one in result.months:
        runs = by_month.get(one, [])
        ended = frozenset(run.subject for run in runs if run.content["final"])
        result.runs += len(ended)
        past = _Past(one, runs, ended, frozenset(erasures.get(one, ())), retentions, begun)
        shards = data.shards(one) or 0
        if not shards and past.runs:
            text = "its shard count is missing, without which nothing of the month is found"
            result.findings.append(Finding("missing", one, text))
        for shard in range(shards):
            say(f"{one}, shard {shard + 1} of {shards}")
            _verify_shard(data, one, shard, shards, past, result)
    return result


@dataclass(frozen=True, slots=True)
class _Past:
    """What was certified of a month: its runs, in order, those that are over, and what was erased; all retentions.

    `begun` are retentions that no certificate tells of yet: they say what may be half done, and explain nothing.
    """

    month: str
    runs: list[Certificate]
    ended: frozenset[str]
    erased: frozenset[str]
    retentions: Sequence[Mapping[str, object]]
    begun: Sequence[Mapping[str, object]]


def _verify_shard(data: DataSet, month: str, shard: int, shards: int, past: _Past, result: Verification) -> None:
    name = shard_name(shard, shards)
    where = f"{month}/{name}"
    expected = _expected(data, name, past.runs, result)
    erased = data.erased(month, shard, shards)
    for call_id in erased:
        expected.pop(_call_key(call_id), None)
    for call_id in sorted(erased - past.erased):
        text = "a tombstone keeps the call away, and no certificate says so: if an erasure was cut off, do it again"
        result.findings.append(Finding("erased", f"{where}, call {call_id}", text))
    for call_id in sorted(past.erased - erased):
        if shard_of(call_id, shards) == shard:
            text = "the call was erased, and nothing keeps it from returning: its tombstone is gone"
            result.findings.append(Finding("erased", f"{where}, call {call_id}", text, shard, call_id))
    try:
        rows = data.read_shard(month, shard, shards, _CALL_COLUMNS)
        digests = _transcript_digests(data, month, shard, shards, rows, result)
    except StorageRefused as error:
        result.findings.append(Finding("unreadable", where, error.message, shard))
        return
    counts = Counter(row["call_id"] for row in rows)
    for row in rows:
        problem = _problem(row, counts, erased, shard, shards) or _difference(row, digests, expected, past, result)
        if problem is not None:
            kind, text = problem
            result.findings.append(Finding(kind, f"{where}, call {row['call_id']}", text, shard, row["call_id"]))
        expected.pop(_call_key(row["call_id"]), None)
    for _, run_id in expected.values():
        text = f"run {run_id} certified a transcript that is no longer there"
        result.findings.append(Finding("missing", where, text, shard))


def _problem(
    row: Row, counts: Mapping[str, int], erased: frozenset[str], shard: int, shards: int
) -> tuple[str, str] | None:
    """What is wrong with a row whatever was certified."""
    if counts[row["call_id"]] > 1:
        return "duplicate", f"the call has {counts[row['call_id']]} rows"
    if row["call_id"] in erased:
        return "erased", "the call was erased, and has a row"
    if shard_of(row["call_id"], shards) != shard:
        return "misplaced", "the call belongs to another shard"
    return None


def _difference(
    row: Row,
    digests: Mapping[str, str],
    expected: Mapping[bytes, tuple[bytes, str]],
    past: _Past,
    result: Verification,
) -> tuple[str, str] | None:
    """What is wrong with a row by what was certified; else it is counted."""
    known = expected.get(_call_key(row["call_id"]))
    if row["transcript_sha256"] is None:
        result.not_attested += known is None
        return ("altered", "its digest was taken away") if known else None
    if problem := _text_difference(row, digests, past):
        return problem
    if known is not None and known == (output_record(row)[_HALF:], row["run_id"]):
        result.calls += 1
        result.text_removed += row["text_removed_at"] is not None
        return None
    if row["run_id"] not in past.ended:
        result.not_certified += 1
        return None
    if known is None:
        return "unknown", f"its row says that run {row['run_id']} wrote it, which has not certified it"
    return "altered", f"it is not the transcript that run {known[1]} certified"


def _text_difference(row: Row, digests: Mapping[str, str], past: _Past) -> tuple[str, str] | None:
    """What is wrong with the utterances of a row."""
    again = "wait for a retention that is under way, and do one that was cut off again (`callscribe retain`)"
    if row["text_removed_at"] is not None:
        if text_was_due(row, past.month, past.retentions):
            return None
        return "text_gone", f"its text is gone, and no certified retention explains it: {again}"
    digest = digests[row["transcript_id"]]
    if digest == row["transcript_sha256"]:
        return None
    # A retention removes the utterances of a shard before its rows say so.
    if digest == transcript_digest(row) and text_was_due(row, past.month, past.begun):
        return "text_gone", f"its text is gone, as a retention has begun to remove it: {again}"
    return "altered", "its utterances are not those that were written with it"


def _expected(
    data: DataSet, name: str, runs: list[Certificate], result: Verification
) -> dict[bytes, tuple[bytes, str]]:
    """By the digest of its call_id, the digest of each transcript that must stand in a shard, and whose it is."""
    expected: dict[bytes, tuple[bytes, str]] = {}
    for run in runs:
        digest = run.content["outputs"].get(name)
        if digest is None:
            continue
        key = outputs_key(run.subject, name, digest)
        try:
            content = data.storage.get(key).data
        except ObjectVanished:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            text = f"it is missing, or not what certificate {run.number} names"
            result.findings.append(Finding("altered", data.storage.object_uri(key), text))
            continue
        for start in range(0, len(content), RECORD_BYTES):
            record = content[start : start + RECORD_BYTES]
            expected[record[:_HALF]] = record[_HALF:], run.subject
    return expected


def _transcript_digests(
    data: DataSet, month: str, shard: int, shards: int, rows: list[Row], result: Verification
) -> dict[str, str]:
    """By transcript_id, the digest of each transcript that a call names, from what its utterances hold now."""
    named = {row["transcript_id"]: row for row in rows}
    digests = {identity: transcript_digest(row) for identity, row in named.items()}
    for identity, spoken in runs_of(data.read_table(month, shard, shards, "utterances"), "transcript_id"):
        if identity in named:
            digests[identity] = transcript_digest(named[identity], columns_of(spoken))
        else:
            result.leftovers += len(spoken)
    return digests


def _call_key(call_id: str) -> bytes:
    return hashlib.sha256(call_id.encode()).digest()


def verification_rows(result: Verification) -> Iterator[tuple[str, str]]:
    """What was looked at, as lines for people."""
    yield "certificates", f"{result.certificates:,}"
    yield "months", ", ".join(result.months) or "none"
    yield "calls as certified", f"{result.calls:,}"
    if result.not_certified:
        yield "of runs that have not ended", f"{result.not_certified:,}"
    if result.not_attested:
        yield "written before there were digests", f"{result.not_attested:,}"
    if result.text_removed:
        yield "of them without text, because of their age", f"{result.text_removed:,}"
    if result.leftovers:
        yield "utterances left over by a writer that died", f"{result.leftovers:,}"
    yield "findings", f"{len(result.findings):,}"
