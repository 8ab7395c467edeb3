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

from tasks.attribute import UNSPACED_LANGUAGES
from tasks.heard import CHUNKS_AT_A_TIME, HeardChunk, Steps
from tasks.hypotheses import COVER_MARGIN_S, Hypothesis, better, find_faults, uncovered
from tasks.whisper import Decoding

NO_REPEAT_TOKENS = 5


def give_second_chances(recognizer: Steps, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
    """Decode the suspicious chunks of a load in other ways; each keeps the best hypothesis.

    A way that fails is no way; the chunk keeps what it had.
    """
    doubted = [heard for heard in load if heard.error is None and heard.hypothesis and heard.hypothesis.suspicious]
    if not doubted:
        return
    plain = recognizer.decoding()
    ways = [
        _again(recognizer, doubted, replace(plain, timestamps=True)),
        _again(recognizer, _loops(doubted), replace(plain, no_repeat_ngram_size=NO_REPEAT_TOKENS)),
        _in_halves(recognizer, doubted, pool),
    ]
    for heard in doubted:
        heard.retried = True
        for way in ways:
            found = way.get(heard)
            if found is not None and heard.hypothesis is not None and better(heard.hypothesis, found):
                heard.hypothesis, heard.improved = found, True


def _loops(doubted: Sequence[HeardChunk]) -> list[HeardChunk]:
    return [heard for heard in doubted if heard.hypothesis and "repetitive" in heard.hypothesis.faults]


def _again(recognizer: Steps, doubted: Sequence[HeardChunk], decoding: Decoding) -> dict[HeardChunk, Hypothesis | None]:
    """The same chunks, decoded in another way."""
    copies = {heard: heard.part(heard.chunk, heard.language) for heard in doubted}
    for heard, copy in copies.items():
        copy.encoded = heard.encoded
    recognizer.decode(list(copies.values()), decoding)
    return {heard: copy.hypothesis for heard, copy in copies.items()}


def _in_halves(
    recognizer: Steps, doubted: Sequence[HeardChunk], pool: ThreadPoolExecutor
) -> dict[HeardChunk, Hypothesis | None]:
    """Each chunk in two, as one hypothesis."""
    found: dict[HeardChunk, Hypothesis | None] = {}
    for start in range(0, len(doubted), CHUNKS_AT_A_TIME // 2):
        parted = {heard: _halves(heard) for heard in doubted[start : start + CHUNKS_AT_A_TIME // 2]}
        halves = [half for pair in parted.values() for half in pair]
        recognizer.encode(halves, pool)
        recognizer.decode(halves, recognizer.decoding())
        found |= {heard: _joined(heard, pair) for heard, pair in parted.items()}
        for half in halves:
            half.encoded = None
    return found


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
    return [heard.part(half, heard.language) for half in halves] if len(halves) > 1 else []


def _joined(heard: HeardChunk, halves: Sequence[HeardChunk]) -> Hypothesis | None:
    """Halves as one hypothesis of the whole; None where one of them failed, or there are none."""
    found = [half.hypothesis for half in halves if half.error is None and half.hypothesis is not None]
    if not halves or len(found) < len(halves):
        return None
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
