"""Certificates hold each other, and `callscribe verify` holds the data set against them."""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import TRANSCRIBED_AT, call_ref, outcome, planned_call, provenance, transcript, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from test_runs import head
from typer.testing import CliRunner

from flows.cli import app
from tasks.certificates import HEAD_KEY, append, certificate_key, certify, outputs_key, read_chain
from tasks.dataset import DataSet, tombstone_key
from tasks.errors import CertificateBroken, NotAsCertified
from tasks.rows import CallRows, rows_of, transcript_digest
from tasks.runs import RunHead, new_run_id, write_head, write_job
from tasks.schemas import CALLS, UTTERANCES, Row
from tasks.shards import object_key, shard_name, shard_of
from tasks.storage import Storage, open_storage
from tasks.tables import columns_of, from_parquet, table_of, to_parquet
from tasks.verify import Verification, verify

MONTH = "2026-10"
SHARDS = 2
RUNS = [new_run_id(TRANSCRIBED_AT + timedelta(days=day)) for day in range(4)]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty data set."""
    return open_storage(tmp_path.as_uri())


def _rows(call_id: str, run_id: str, text: str = "so it is") -> CallRows:
    heard = transcript([utterance(text), utterance("yes", 5, index=1)])
    return rows_of(outcome(call_ref(call_id), transcript=heard), provenance(run_id=run_id))


def _run(storage: Storage, run_id: str, call_ids: list[str], *, ends: bool = True) -> RunHead:
    """A run that transcribes some calls."""
    data = DataSet(storage)
    data.fix_shards(MONTH, SHARDS)
    work = sorted((planned_call(one, shard=shard_of(one, SHARDS)) for one in call_ids), key=lambda one: one.shard)
    planned = replace(head(), run_id=run_id, shards=SHARDS, jobs=1, calls=len(work), listed_objects=len(work))
    write_job(storage, run_id, 1, work)
    write_head(storage, planned)
    for one in work:
        data.commit(MONTH, one.shard, SHARDS, [_rows(one.call.call_id, run_id)])
    if ends:
        summary, _ = certify(data, planned, 1.0)
        assert summary.accounted
    return planned


def _verify(storage: Storage) -> Verification:
    return verify(DataSet(storage), MONTH)


def _kinds(storage: Storage) -> list[str]:
    return sorted(finding.kind for finding in _verify(storage).findings)


CALL_IDS = [f"call-{number}" for number in range(8)]


def test_a_data_set_as_it_was_certified(storage: Storage) -> None:
    """Run after run: calls of the first that the second did again are the second's."""
    _run(storage, RUNS[0], CALL_IDS)
    _run(storage, RUNS[1], CALL_IDS[:3])
    result = _verify(storage)
    assert ([], 2, 8, [MONTH]) == (result.findings, result.certificates, result.calls, result.months)


def test_nothing_was_ever_certified(storage: Storage) -> None:
    """An empty data set is as it must be."""
    assert Verification() == verify(DataSet(storage))


def test_a_run_that_may_be_gone_on_with(storage: Storage) -> None:
    """It was certified when it stopped; what it has done since is no finding."""
    planned = _run(storage, RUNS[0], CALL_IDS[:5], ends=False)
    certify(DataSet(storage), planned, 1.0, final=False)
    _run(storage, RUNS[0], CALL_IDS[:5], ends=False)
    DataSet(storage).commit(MONTH, shard_of("new", SHARDS), SHARDS, [_rows("new", RUNS[0])])
    assert [] == _verify(storage).findings


@pytest.mark.parametrize("lost", [HEAD_KEY, f"_control/layouts/month={MONTH}.json"])
def test_what_everything_is_found_by_is_gone(storage: Storage, lost: str) -> None:
    """An emptied data set is not one of which nothing was ever certified."""
    _run(storage, RUNS[0], CALL_IDS)
    storage.delete(lost)
    if lost == HEAD_KEY:
        with pytest.raises(CertificateBroken, match="is missing, which says how many"):
            _verify(storage)
    else:
        assert ["missing"] == _kinds(storage)


def test_a_run_that_has_not_ended(storage: Storage) -> None:
    """Its rows are counted, and are no finding."""
    _run(storage, RUNS[0], CALL_IDS[:5])
    _run(storage, RUNS[1], CALL_IDS[4:], ends=False)
    result = _verify(storage)
    assert ([], 4, 4) == (result.findings, result.calls, result.not_certified)


def test_a_certificate_is_beside_the_plan_and_in_the_chain(storage: Storage) -> None:
    """Both say the same; a run that is certified twice has two links, of which the last counts."""
    planned = _run(storage, RUNS[0], CALL_IDS)
    certify(DataSet(storage), planned, 2.0)
    first, second = read_chain(storage)
    beside = json.loads(storage.get(f"_runs/{RUNS[0]}/certificate.json").data)
    assert beside == second.content
    assert (1, 2, "run", RUNS[0]) == (first.number, second.number, second.kind, second.subject)
    assert (8, True) == (beside["result"]["outcomes"]["transcribed"], beside["result"]["accounted"])
    assert [] == _kinds(storage)


def _edit(storage: Storage, table: str, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
    """Change the rows of a shard behind everybody's back."""
    shard = shard_of("call-0", SHARDS)
    key = object_key("calls" if table == "calls" else "utterances", MONTH, shard, SHARDS)
    schema = CALLS if table == "calls" else UTTERANCES
    rows = change(from_parquet(storage.get(key).data, schema).to_pylist())
    storage.put(key, to_parquet(table_of(rows, schema)))


def _swapped_outcome(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row | ({"outcome": "no_speech"} if row["call_id"] == "call-0" else {}) for row in rows]


def _without_a_call(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row for row in rows if row["call_id"] != "call-0"]


def _another_word(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [row | ({"text": "so it was"} if row["call_id"] == "call-0" else {}) for row in rows]


def _twice(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return rows + [row for row in rows if row["call_id"] == "call-0"]


def _invented(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    shard = shard_of("call-0", SHARDS)
    name = next(f"new-{number}" for number in range(99) if shard_of(f"new-{number}", SHARDS) == shard)
    made = _rows(name, RUNS[0])
    return [*rows, made.call | {"transcript_sha256": transcript_digest(made.call)}]


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("calls", _swapped_outcome, ["altered"]),
        ("calls", _without_a_call, ["missing"]),
        ("utterances", _another_word, ["altered"]),
        ("utterances", _without_a_call, ["altered"]),
        ("calls", _twice, ["duplicate", "duplicate"]),
        ("calls", _invented, ["unknown"]),
    ],
)
def test_what_was_changed_is_found(
    storage: Storage,
    table: str,
    change: Callable[[list[dict[str, object]]], list[dict[str, object]]],
    expected: list[str],
) -> None:
    """Whatever was done to the tables behind the back of the certificates."""
    _run(storage, RUNS[0], CALL_IDS)
    _edit(storage, table, change)
    assert expected == _kinds(storage)


def test_a_row_of_another_call_with_its_digest(storage: Storage) -> None:
    """A transcript that was written whole by other means is not the one that was certified."""
    _run(storage, RUNS[0], CALL_IDS)
    shard = shard_of("call-0", SHARDS)
    DataSet(storage).commit(MONTH, shard, SHARDS, [_rows("call-0", RUNS[0], "something else")])
    assert ["altered"] == _kinds(storage)


def test_an_object_that_cannot_be_read(storage: Storage) -> None:
    """It is named."""
    _run(storage, RUNS[0], CALL_IDS)
    key = object_key("utterances", MONTH, 0, SHARDS)
    storage.put(key, storage.get(key).data[:-50])
    (finding,) = _verify(storage).findings
    assert ("unreadable", f"{MONTH}/{shard_name(0, SHARDS)}") == (finding.kind, finding.where)
    assert storage.object_uri(key) in finding.text


def test_a_call_that_was_erased(storage: Storage) -> None:
    """It is expected no more; and must not be there."""
    _run(storage, RUNS[0], CALL_IDS)
    shard = shard_of("call-0", SHARDS)
    storage.put(tombstone_key(MONTH, shard, SHARDS), json.dumps({"call_ids": ["call-0"]}).encode())
    assert ["erased", "erased"] == _kinds(storage)  # it is there, and nobody certified that it is erased
    append(storage, "erasure", "e1", {"erased": {MONTH: ["call-0"]}})
    assert ["erased"] == _kinds(storage)
    _edit(storage, "calls", _without_a_call)
    result = _verify(storage)
    assert ([], 2) == (result.findings, result.leftovers)


def test_outputs_that_were_altered(storage: Storage) -> None:
    """The certificate names their digest."""
    _run(storage, RUNS[0], CALL_IDS)
    name = shard_name(shard_of("call-0", SHARDS), SHARDS)
    (certificate,) = read_chain(storage)
    key = outputs_key(RUNS[0], name, certificate.content["outputs"][name])
    storage.put(key, storage.get(key).data[:-64])
    findings = _verify(storage).findings
    assert {"altered", "unknown"} == {finding.kind for finding in findings}
    assert storage.object_uri(key) in {finding.where for finding in findings}


def test_rows_from_before_there_were_digests(storage: Storage) -> None:
    """They are counted by themselves."""
    _run(storage, RUNS[0], [])
    shard = shard_of("call-0", SHARDS)
    made = _rows("call-0", RUNS[0])
    DataSet(storage).commit(MONTH, shard, SHARDS, [CallRows(made.call | {"transcript_sha256": None}, made.spoken)])
    assert ([], 1) == (_verify(storage).findings, _verify(storage).not_attested)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda storage: storage.delete(certificate_key(2)), "certificate 2 of 3 is missing"),
        (lambda storage: storage.put(certificate_key(1), b'{"a": '), "certificate 1 is damaged"),
        (lambda storage: _rewrite(storage, 2), "certificate 2 is not the one that certificate 3 followed"),
        (lambda storage: _rewrite(storage, 3), "certificate 3 is not the one that was written last"),
    ],
)
def test_a_chain_that_does_not_hold(storage: Storage, damage: Callable[[Storage], None], message: str) -> None:
    """No certificate can be taken out or altered without the next one telling."""
    for number in range(3):
        append(storage, "run", f"run-{number}", {"n": number})
    assert [1, 2, 3] == [link.number for link in read_chain(storage)]
    damage(storage)
    with pytest.raises(CertificateBroken, match=message):
        list(read_chain(storage))


def _rewrite(storage: Storage, number: int) -> None:
    link = json.loads(storage.get(certificate_key(number)).data)
    storage.put(certificate_key(number), json.dumps(link | {"subject": "another"}).encode())


def test_a_writer_that_died_before_it_moved_the_head(storage: Storage) -> None:
    """The next one moves it, and its own certificate follows."""
    append(storage, "run", "one", {})
    before = storage.get(HEAD_KEY).data
    append(storage, "run", "two", {})
    storage.put(HEAD_KEY, before)
    assert 3 == append(storage, "run", "three", {})
    assert ["one", "two", "three"] == [link.subject for link in read_chain(storage)]


def test_many_write_certificates_at_once(storage: Storage) -> None:
    """Each has a number of its own, and the chain holds."""
    threads = [
        threading.Thread(target=lambda name=name: [append(storage, "run", f"{name}-{n}", {}) for n in range(5)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = list(read_chain(storage))
    assert list(range(1, 21)) == [link.number for link in chain]
    assert {f"{name}-{n}" for name in "abcd" for n in range(5)} == {link.subject for link in chain}


_times = st.floats(0, 1e5) | st.integers(0, 1000)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1).filter(str.strip), _times), max_size=4))
def test_a_digest_outlives_parquet(said: list[tuple[str, float]]) -> None:
    """What is read back has the digest of what was written, whatever was said, and whole numbers included."""
    heard = [replace(utterance("w"), text=text, start=start, index=index) for index, (text, start) in enumerate(said)]
    made = rows_of(outcome(call_ref(), transcript=transcript(heard)), provenance())
    calls = from_parquet(to_parquet(table_of([made.call], CALLS)), CALLS).to_pylist()
    spoken = from_parquet(to_parquet(made.spoken), UTTERANCES)
    assert made.call["transcript_sha256"] == transcript_digest(calls[0], columns_of(spoken))
    assert made.call["transcript_sha256"] == _plain_digest(calls[0], spoken.to_pylist())


def _plain_digest(call: Row, utterances: Sequence[Row]) -> str:
    """The digest as its definition says, one utterance after the other."""
    digest = hashlib.sha256(json.dumps([call["transcript_id"], call["outcome"], call["error_code"]]).encode())
    floats = [field.name for field in UTTERANCES if field.type == "double"]
    for row in utterances:
        words = row["words"] or []
        values = [value for name, value in row.items() if name not in {*floats, "words"}]
        values += [[word["text"] for word in words], [word["overlap"] for word in words]]
        numbers = [row[name] for name in floats]
        numbers += [word[name] for word in words for name in ("start", "end", "probability")]
        digest.update(json.dumps(values).encode())
        digest.update(np.array(numbers, dtype="<f8").tobytes())
    return digest.hexdigest()


_words = st.fixed_dictionaries(
    {
        "text": st.none() | st.text() | st.sampled_from(['"', ', {"": 0}', '{"": 0}, ', "\\"]),
        **dict.fromkeys(("start", "end", "probability"), st.none() | st.floats()),
        "overlap": st.none() | st.booleans(),
    }
)
_texts = st.none() | st.text() | st.sampled_from(['", {"": 0}', '", {\\"": 0}, [', "]]"])
_of_kind: dict[str, st.SearchStrategy[object]] = {
    "string": _texts,
    "int32": st.none() | st.integers(-(2**31), 2**31 - 1),
    "double": st.none() | st.floats(),
    "bool": st.none() | st.booleans(),
}
_of_column = {"flags": st.none() | st.lists(_texts, max_size=2), "words": st.none() | st.lists(_words, max_size=3)}
_utterances = st.fixed_dictionaries(
    {field.name: _of_column[field.name] if field.name in _of_column else _of_kind[str(field.type)]
     for field in UTTERANCES}
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_utterances, max_size=4), st.integers(0, 4))
def test_the_digest_of_whatever_stands(rows: list[Row], first: int) -> None:
    """It is what its definition says, also of nulls and of texts that look like JSON, and of a part of a table."""
    call = {"transcript_id": "t", "outcome": "transcribed", "error_code": None}
    spoken = table_of(rows, UTTERANCES).slice(first)
    assert _plain_digest(call, spoken.to_pylist()) == transcript_digest(call, columns_of(spoken))


def test_on_the_command_line(storage: Storage) -> None:
    """It says what was looked at; and names what is wrong, with an exit code of its own."""
    _run(storage, RUNS[0], CALL_IDS)
    runner = CliRunner()
    good = runner.invoke(app, ["verify", "--transcripts", storage.uri])
    assert 0 == good.exit_code
    assert "calls as certified" in good.output
    _edit(storage, "calls", _without_a_call)
    bad = runner.invoke(app, ["verify", "--transcripts", storage.uri, "--month", MONTH])
    assert isinstance(bad.exception, NotAsCertified)
    assert f"run {RUNS[0]} certified a transcript" in " ".join(bad.output.split())
