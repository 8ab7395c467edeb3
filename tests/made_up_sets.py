"""Evaluation sets that nobody spoke, with transcripts that no model made: for tests of what is done with scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.evaluation_set import EvaluationSet, load_set
from evaluation.score import CallScore
from evaluation.scoring import score_evaluation_set
from evaluation.set_transcripts import CaseTranscript, _call, _key
from tasks.run_models import fingerprints_of
from tasks.settings import Settings
from tasks.storage import open_storage

WORDS = 20
# A word that is nowhere else: where it turns up, it leaked.
SPOKEN = "quillfeather"


def said(call: int) -> list[str]:
    """The words of a call, all of them different."""
    return [SPOKEN, *(f"word{chr(97 + call % 26)}{chr(97 + at)}" for at in range(WORDS - 1))]


def made_up_set(folder: Path, calls: int = 8) -> EvaluationSet:
    """Calls of twenty words, every other one tagged as noisy; each with a recording of a few bytes."""
    folder.mkdir(exist_ok=True)
    cases = []
    for call in range(calls):
        name = f"call-{call}"
        (folder / f"{name}.wav").write_bytes(f"the sound of {name}".encode())
        (folder / f"{name}.stm").write_text(f"{name} 1 A 0 10 {' '.join(said(call))}\n")
        tags = ["noisy"] if call % 2 else ["clean"]
        cases.append({"call_id": name, "audio": f"{name}.wav", "references": f"{name}.stm", "tags": tags})
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    return load_set(open_storage(folder.as_uri()))


def transcripts(
    known: EvaluationSet, wrong: Sequence[int] | Mapping[int, int], work_s: float = 1.0, **changes: object
) -> dict[str, CaseTranscript]:
    """Transcripts with so many words left out of each call, each of which took so long."""
    missing = dict(enumerate(wrong)) if isinstance(wrong, Sequence) else wrong
    found = {}
    for number, one in enumerate(known.cases):
        call_id = one.case.call_id
        words = said(number)[: WORDS - missing.get(number, 0)]
        row: dict[str, object] = {
            "call_id": call_id,
            "outcome": "transcribed",
            "duration_s": 10.0,
            "recognize_s": work_s,
        }
        row |= {"device": "a stand-in", "compute_type": "int8", "bundle": "stand-in", "bundle_digest": "d" * 64}
        spoken = {"call_id": call_id, "speaker": "A", "start": 0.0, "end": 10.0, "text": " ".join(words)}
        found[call_id] = CaseTranscript(row | changes, (spoken,))
    return found


def scores(known: EvaluationSet, wrong: Sequence[int] | Mapping[int, int], work_s: float = 1.0) -> list[CallScore]:
    """The scores of such transcripts."""
    return list(score_evaluation_set(known, transcripts(known, wrong, work_s)).score.calls)


def keep(known: EvaluationSet, settings: Settings, made: Mapping[str, CaseTranscript]) -> None:
    """Put transcripts where those are kept that these settings make, so that no model is needed."""
    of = fingerprints_of(settings).of
    listed = {info.key: info for info in known.storage.list()}
    for one in known.cases:
        call = _call(one.case, listed, known.storage, settings)
        content = made[one.case.call_id]
        body = json.dumps({"call": content.call, "utterances": content.utterances})
        known.storage.put(_key(call, known.storage, of(call.hints)), body.encode())
