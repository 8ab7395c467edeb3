"""Second chances: what is suspicious is decoded in other ways, and the better result stands.

Whisper's own remedy, to sample at rising temperatures, is not among the ways: what is drawn would depend on what else
is in the batch, and on luck. Every way here is deterministic:

- **held to time**: the same sound, decoded with timestamps, which keep the decoder moving through the window;
- **without repeats**, where the text runs in a loop: no five tokens are said twice;
- **in halves**: parted at the pause that is nearest to the speech that was missed, or to the middle, each half heard
  in a window of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tasks.heard import CHUNKS_AT_A_TIME, HeardChunk, Steps
from tasks.hypotheses import COVER_MARGIN_S, Hypothesis, better, find_faults, uncovered
from tasks.languages import UNSPACED_LANGUAGES
from tasks.whisper import Decoding

NO_REPEAT_TOKENS = 5


def give_second_chances(recognizer: Steps, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
    """Decode the suspicious chunks of a load in other ways, all at once; each keeps the best hypothesis.

    A way that fails is no way; the chunk keeps what it had.
    """
    doubted = [heard for heard in load if heard.error is None and heard.hypothesis and heard.hypothesis.suspicious]
    most = CHUNKS_AT_A_TIME // 2  # each may be encoded in halves
    for start in range(0, len(doubted), most):
        ways = [(heard, way) for heard in doubted[start : start + most] for way in _ways(heard, recognizer.decoding())]
        parts = [part for _, way in ways for part in way]
        recognizer.encode([part for part in parts if part.encoded is None], pool)
        recognizer.decode(parts)
        for heard, way in ways:
            heard.retried = True
            found = _joined(heard, way)
            if found is not None and heard.hypothesis is not None and better(heard.hypothesis, found):
                heard.hypothesis, heard.improved = found, True


def _ways(heard: HeardChunk, plain: Decoding) -> list[Sequence[HeardChunk]]:
    """The ways to hear a chunk again, each as the parts that it is then heard in."""
    faults = heard.hypothesis.faults if heard.hypothesis else ()
    ways: list[Sequence[HeardChunk]] = [[heard.again(replace(plain, timestamps=True))]]
    if "repetitive" in faults:
        ways.append([heard.again(replace(plain, no_repeat_ngram_size=NO_REPEAT_TOKENS))])
    halves = _halves(heard)
    return [*ways, halves] if halves else ways


def _halves(heard: HeardChunk) -> list[HeardChunk]:
    words = heard.hypothesis.words if heard.hypothesis else ()
    missed = uncovered(heard.voices, words, COVER_MARGIN_S)
    longest = max(missed, key=lambda gap: gap.duration_s, default=None)
    near = None
    if longest is not None and heard.hypothesis and "missed_speech" in heard.hypothesis.faults:
        near = longest.start
    try:
        halves = heard.chunk.halves(heard.source.track, near)
    except OSError:  # its sound cannot be read any more
        return []
    # In whole windows: what shorter ones garble, nobody looks for any more.
    return [heard.part(half, heard.language, whole=True) for half in halves] if len(halves) > 1 else []


def _joined(heard: HeardChunk, parts: Sequence[HeardChunk]) -> Hypothesis | None:
    """Parts as one hypothesis of the whole; None where one of them failed."""
    found = [part.hypothesis for part in parts if part.error is None and part.hypothesis is not None]
    if len(found) < len(parts):
        return None
    if len(found) == 1:
        return found[0]
    words = tuple(word for one in found for word in one.words)
    weights = [max(len(one.words), 1) for one in found]
    avg_logprob = sum(one.avg_logprob * weight for one, weight in zip(found, weights, strict=True)) / sum(weights)
    compression_ratio = max(one.compression_ratio for one in found)
    faults, missed_s = find_faults(
        words, avg_logprob, compression_ratio, heard.voices, heard.duration_s, heard.language
    )
    return Hypothesis(
        words=words,
        text=("" if heard.language in UNSPACED_LANGUAGES else " ").join(one.text for one in found if one.text),
        language=heard.language,
        avg_logprob=avg_logprob,
        no_speech_prob=max(one.no_speech_prob for one in found),
        compression_ratio=compression_ratio,
        faults=faults,
        missed_s=missed_s,
    )
