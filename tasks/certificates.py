"""Certificates: what was done to a data set, one after the other, each holding the digest of the one before.

`_certificates/00000001.json` is the first; the chain is as long as `_control/certificates.json` says, which also has
the digest of the last. A number is taken by writing its object where there is none, so that two writers never both have
it; the head follows. A certificate of a run names the digest of its outputs: for each shard, of an object that holds
the digest of every call_id and of every transcript that the run wrote and that stood when it ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from tasks.conditional import find, put_surely
from tasks.dataset import DataSet
from tasks.errors import CertificateBroken, ObjectVanished, PreconditionFailed
from tasks.job_record import worker_seconds
from tasks.pace import slow_jobs
from tasks.reconcile import RunSummary, reconcile
from tasks.runs import RunHead, read_jobs
from tasks.schemas import Row
from tasks.shards import shard_name
from tasks.storage import Storage

HEAD_KEY = "_control/certificates.json"
# A digest of a call_id and one of its transcript.
RECORD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Certificate:
    """One link of the chain: its number, what kind of thing was done (`run`), which one, and what it says of it."""

    number: int
    kind: str
    subject: str
    content: Mapping[str, Any]


def certify(
    data: DataSet,
    head: RunHead,
    wall_s: float,
    *,
    final: bool = True,
    adopted: bool = False,
    changes: Mapping[str, int] | None = None,
) -> tuple[RunSummary, str]:
    """Hold the plan of a run against the data set, and write what it did: beside the plan, and into the chain.

    Args:
        data: the data set.
        head: the run's plan.
        wall_s: how long the run took, as far as this process saw it.
        final: whether the run is over; it may else be gone on with, and is certified again.
        adopted: whether another process began it, so that `wall_s` is not all of its time.
        changes: of a backfill, what it changed.

    Returns:
        what it did, and the URI of the certificate beside the plan.
    """
    storage = data.storage
    outputs: dict[str, str] = {}

    def attest(shard: int, rows: list[Row]) -> None:
        records = sorted(output_record(row) for row in rows if row["transcript_sha256"])
        if records:
            name = shard_name(shard, head.shards)
            content = b"".join(records)
            outputs[name] = hashlib.sha256(content).hexdigest()
            storage.put(outputs_key(head.run_id, name, outputs[name]), content)

    worker_s = worker_seconds(storage, head.run_id)
    summary = reconcile(
        data, head, read_jobs(storage, head), wall_s, attest, worker_s, len(slow_jobs(storage, head.run_id))
    )
    content = {
        "run": asdict(head),
        "result": summary.to_json(),
        "outputs": outputs,
        "final": final,
        "adopted": adopted,
        **({"changes": dict(changes)} if changes is not None else {}),
        "versions": package_versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    append(storage, "run", head.run_id, content)
    key = _key_beside_plan(head.run_id)
    storage.put(key, _json(content))  # only now: `was_ended` relies on it
    return summary, storage.object_uri(key)


def was_ended(storage: Storage, run_id: str) -> bool:
    """Whether a run was certified as over, also where its process died before it could say so of its month."""
    found = find(storage, _key_beside_plan(run_id))
    return found is not None and bool(json.loads(found.data)["final"])


def append(storage: Storage, kind: str, subject: str, content: Mapping[str, Any]) -> int:
    """Add a certificate to the chain, whoever else does so; returns its number."""
    while True:
        number, digest, etag = _head(storage)
        link = {"number": number + 1, "previous_sha256": digest, "kind": kind, "subject": subject, "content": content}
        body = _json(link)
        if _put_new(storage, certificate_key(number + 1), body):
            _move_head(storage, number + 1, body, etag)
            return number + 1
        # Another writer has the number, and may have died before it moved the head.
        _move_head(storage, number + 1, storage.get(certificate_key(number + 1)).data, etag)


def read_chain(storage: Storage) -> Iterator[Certificate]:
    """Every certificate in order.

    Raises:
        CertificateBroken: one is missing, or is not the one that the next one or the head names.
    """
    length, last, _ = _head(storage)
    if not length and next(storage.list("_certificates/"), None) is not None:
        message = f"{storage.object_uri(HEAD_KEY)} is missing, which says how many certificates there are"
        raise CertificateBroken(message)
    digest = ""
    for number in range(1, length + 1):
        try:
            body = storage.get(certificate_key(number)).data
            link = json.loads(body)
        except ObjectVanished as error:
            message = f"certificate {number} of {length} is missing: {storage.object_uri(certificate_key(number))}"
            raise CertificateBroken(message) from error
        except ValueError as error:
            message = f"certificate {number} is damaged: {storage.object_uri(certificate_key(number))}"
            raise CertificateBroken(message) from error
        if link["previous_sha256"] != digest:
            message = f"certificate {number - 1} is not the one that certificate {number} followed: it was altered"
            raise CertificateBroken(message)
        digest = hashlib.sha256(body).hexdigest()
        yield Certificate(number, link["kind"], link["subject"], link["content"])
    if digest != last:
        message = f"certificate {length} is not the one that was written last: it was altered"
        raise CertificateBroken(message)


def chain_length(storage: Storage) -> int:
    """How many certificates there are."""
    return _head(storage)[0]


def output_record(row: Row) -> bytes:
    """What the outputs of a run say of a row: the digest of its call_id, and that of its transcript."""
    return hashlib.sha256(row["call_id"].encode()).digest() + bytes.fromhex(row["transcript_sha256"])


def outputs_key(run_id: str, shard: str, digest: str) -> str:
    """Key of the outputs of a run in a shard, by their digest: another certificate has others beside them."""
    return f"_runs/{run_id}/outputs/{shard}-{digest[:16]}.sha256"


def certificate_key(number: int) -> str:
    """Key of a certificate."""
    return f"_certificates/{number:08d}.json"


def _key_beside_plan(run_id: str) -> str:
    return f"_runs/{run_id}/certificate.json"


def package_versions() -> dict[str, str]:
    """The versions that a certificate and `callscribe check` name."""
    packages = ("callscribe", "prefect", "faster-whisper", "ctranslate2", "pyannote.audio", "torch", "pyarrow")
    return {name: version(name) for name in packages}


def _head(storage: Storage) -> tuple[int, str, str | None]:
    """How long the chain is, the digest of its last certificate, and the ETag of the head; None where there is none."""
    try:
        stored = storage.get(HEAD_KEY)
    except ObjectVanished:
        return 0, "", None
    content = json.loads(stored.data)
    return content["number"], content["sha256"], stored.info.etag


def _put_new(storage: Storage, key: str, body: bytes) -> bool:
    """Whether the object is ours."""
    try:
        put_surely(storage, key, body, None)
    except PreconditionFailed:
        return False
    return True


def _move_head(storage: Storage, number: int, body: bytes, etag: str | None) -> None:
    content = _json({"number": number, "sha256": hashlib.sha256(body).hexdigest()})
    while True:
        try:
            put_surely(storage, HEAD_KEY, content, etag)
        except PreconditionFailed:
            standing, _, etag = _head(storage)
            if standing < number:
                continue  # the store had told us a wrong ETag
        return  # or another writer has moved it on


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
