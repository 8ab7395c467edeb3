"""Made-up calls for benchmarks of the tables: every call is another one, with words as frequent as words are.

Words are drawn by Zipf's law (the n-th word comes 1/n as often as the first), from common English words and, behind
them, from words that are put together from syllables; utterances begin with a capital and end with a full stop, and one
word in twenty has a comma. Times and probabilities have the digits that the pipeline gives them. A call is the same
whatever shard it lies in: it hangs on its number alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import product

import numpy as np

from tasks.records import CallRef, Outcome, Provenance
from tasks.rows import CallRows, rows_of
from tasks.schemas import UTTERANCES, Row
from tasks.tables import table_of

MONTH = "2026-10"
WORDS_PER_CALL = 900
CALL_S = 360.0
VOCABULARY = 30_000
# What every call begins with, what one call in fifty holds, and what very few do.
GREETING = "Thank you for calling, this call is being recorded."
COMPLAINT = "I want to cancel my contract, please."
RARE = "I will talk to the ombudsman about it."
COMPLAINS_EVERY, RARE_EVERY = 50, 5000
FREQUENT = (
    "the and i to you a it that of in is yes for on my have was be so we this your no just okay can do with not know "
    "me at but are what right if all there they one would like get will about out go up from as or when well need "
    "see because then number time him she he her now call account how thank please good sorry think day been back "
    "over said did here take some only order contract bill address name card payment month week email phone help "
    "check sure want which let could who more than two year first again new next service line change cancel"
)
CONSONANTS = "b ch d f g k l m n p r s st t tr v w"
_SYLLABLES = [first + middle for first, middle in product(CONSONANTS.split(), "aeiou")]


@lru_cache(maxsize=1)
def vocabulary() -> list[str]:
    """The words, from the most frequent to the rarest; each is there once."""
    rng = np.random.default_rng(0)
    known = dict.fromkeys(FREQUENT.split())
    while len(known) < VOCABULARY:
        known["".join(rng.choice(_SYLLABLES, rng.integers(2, 5)))] = None
    return list(known)


@lru_cache(maxsize=1)
def _forms() -> tuple[np.ndarray, np.ndarray]:
    """Every word in six forms `[word * 6 + form]` (plain, comma, full stop; the same with a capital), and how often."""
    words = vocabulary()
    ends = ("", ",", ".")
    forms = [f"{shape}{end}" for word in words for shape in (word, word.capitalize()) for end in ends]
    frequency = 1 / np.arange(1, len(words) + 1)
    return np.array(forms, dtype=object), np.cumsum(frequency / frequency.sum())


def made_up_words(rng: np.random.Generator, count: int, starts: np.ndarray, ends: np.ndarray) -> list[str]:
    """Words of a call, as they are written.

    Args:
        rng: what draws them.
        count: how many.
        starts: index of the first word of each utterance.
        ends: index of the last word of each utterance.
    """
    forms, cumulative = _forms()
    form = (rng.random(count) < 0.05).astype(int)
    form[ends] = 2
    form[starts] += 3
    return list(forms[np.searchsorted(cumulative, rng.random(count)) * 6 + form])


def call_id_of(number: int) -> str:
    """The call_id of a made-up call: it says nothing of when the call was."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def made_up_call(number: int, template: CallRows) -> CallRows:
    """The rows of one call.

    Args:
        number: which call.
        template: rows of some call; what is not made up is taken from its row of `calls`.
    """
    rng = np.random.default_rng(number)
    call_id = call_id_of(number)
    transcript_id = hashlib.sha256(call_id.encode()).hexdigest()[:32]
    sha256 = hashlib.sha256(transcript_id.encode()).hexdigest()
    utterances = list(_utterances(rng, number, call_id, transcript_id))
    row: Row = template.call | {
        "call_id": call_id,
        "transcript_id": transcript_id,
        "audio_uri": f"s3://archive/{MONTH.replace('-', '/')}/{call_id}.wav",
        "audio_etag": sha256[:32],
        "audio_sha256": sha256,
        "audio_bytes": int(rng.integers(2_000_000, 4_000_000)),
        # Calls come in working hours.
        "started_at": datetime(2026, 10, 1 + number % 31, 8, tzinfo=UTC)
        + timedelta(seconds=int(rng.integers(0, 36_000))),
        "duration_s": CALL_S,
        "loudness_lufs": float(rng.normal(-27, 3)),
        "noise_floor_db": float(rng.normal(-60, 5)),
        "snr_db": float(rng.normal(28, 6)),
        "confidence": float(rng.beta(20, 2)),
        "talk_s": [
            ("agent", round(float(rng.uniform(80, 200)), 3)),
            ("customer", round(float(rng.uniform(80, 200)), 3)),
        ],
        "longest_silence_s": round(float(rng.gamma(2, 3)), 3),
        "words": sum(len(one["words"]) for one in utterances),
        "transcript_sha256": hashlib.sha256(sha256.encode()).hexdigest(),
    }
    return CallRows(row, table_of(utterances, UTTERANCES))


def template_rows() -> CallRows:
    """Rows of some transcribed call, by the product's own code, to make others of."""
    call = CallRef("template", MONTH, "", "", "", 0)
    return rows_of(_outcome(call), _PROVENANCE)


_PROVENANCE = Provenance(
    run_id="20261101T020000000Z-abcdef",
    job=1,
    bundle="made-up",
    bundle_digest="b0" * 32,
    device="a made-up device",
    compute_type="int8_float16",
    fingerprint="f1" * 8,
    attempt=1,
    transcribed_at=datetime(2026, 11, 1, 2, tzinfo=UTC),
)


def _outcome(call: CallRef) -> Outcome:
    from evaluation.benchmarks.month import made_up_outcomes

    return replace(made_up_outcomes()[0], call=call, audio_sha256="5e" * 32)


def _utterances(rng: np.random.Generator, number: int, call_id: str, transcript_id: str) -> Iterator[Row]:
    lengths = np.minimum(rng.geometric(1 / 12, WORDS_PER_CALL // 6), 60)
    # Where something certain is said, there is room for it.
    lengths[1:5] = np.maximum(lengths[1:5], 10)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), WORDS_PER_CALL)]
    stops = np.cumsum(lengths)
    count = int(stops[-1])
    starts = stops - lengths
    texts = made_up_words(rng, count, starts, stops - 1)
    # The recogniser's times are multiples of 20 ms, after the start of a chunk that is anywhere.
    spoken_s = rng.integers(4, 26, count) * 0.02
    pauses_s = np.where(rng.random(count) < 0.2, rng.integers(1, 20, count) * 0.02, 0.0)
    pauses_s[starts] += rng.integers(5, 1500, len(starts)) / 1000
    word_ends = np.cumsum(spoken_s + pauses_s)
    begins = np.round(word_ends - spoken_s, 3).tolist()
    finishes = np.round(word_ends, 3).tolist()
    # A calibrated probability is at most 0.99, and many words have that.
    probabilities = np.minimum(rng.beta(12, 1.2, count), 0.99)
    probabilities[rng.random(count) < 0.4] = 0.99
    probabilities = probabilities.round(4)
    overlaps = (rng.random(count) < 0.03).tolist()
    chances = probabilities.tolist()
    logprobs = rng.uniform(-0.6, -0.05, 1 + len(lengths) // 4)
    said = {1: GREETING}
    if number % COMPLAINS_EVERY == 0:
        said[2] = COMPLAINT
    if number % RARE_EVERY == 0:
        said[4] = RARE
    confidences = (np.add.reduceat(probabilities, starts) / lengths).tolist()
    spoken = zip(starts.tolist(), stops.tolist(), confidences, strict=True)
    for index, (start, stop, confidence) in enumerate(spoken):
        held = said[index].split() if index in said else texts[start:stop]
        words = [
            {"text": text, "start": begin, "end": finish, "probability": chance, "overlap": overlap}
            for text, begin, finish, chance, overlap in zip(
                held, begins[start:stop], finishes[start:stop], chances[start:stop], overlaps[start:stop], strict=False
            )
        ]
        held = held[: len(words)]
        logprob = float(logprobs[index // 4])
        yield {
            "call_id": call_id,
            "transcript_id": transcript_id,
            "index": index,
            "speaker": ("agent", "customer")[index % 2],
            "channel": index % 2,
            "start": words[0]["start"],
            "end": words[-1]["end"],
            "text": " ".join(held),
            "translation": None,
            "language": "en",
            "confidence": confidence,
            "avg_logprob": logprob,
            "no_speech_prob": logprob**2 / 10,
            "compression_ratio": 1.3 - logprob / 7,
            "overlap": any(overlaps[start:stop]),
            "flags": ["unsure"] if logprob < -0.58 else [],
            "words": words,
        }
