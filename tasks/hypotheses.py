"""Pure: what was recognised in one chunk, what is suspicious about it, and which of two ways to hear it is better.

Whisper writes fluent text whatever it hears. What gives it away is not in the text alone: it repeats itself, it is
unsure, it speaks faster than people do, it says nothing where a voice is heard or something where none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.languages import UNSPACED_LANGUAGES
from tasks.records import Region, Word

# Whisper's own bounds (Radford et al., 2022, section 4.5): text that compresses better repeats itself, and tokens that
# are less likely in the mean are a guess.
REPETITIVE_COMPRESSION_RATIO = 2.4
LEAST_LOGPROB = -1.0
# The same run of up to so many words, so many times in a row, is a loop; people say "no no no".
LOOP_WORDS = 4
LOOP_TIMES = 4
# So many words follow themselves where a chunk is said twice; people seldom say them so.
TWICE_WORDS = 4
# Nobody speaks so many words in a second of voice, over so many words.
MOST_WORDS_PER_S = 7.0
FAST_WORDS = 6
# Over so many seconds of speech, so few words a second are no more than a part of it: the decoder stopped early.
SPARSE_S = 8.0
FEWEST_WORDS_PER_S = 0.7
# A stretch of voice this long, in seconds, and this far from every word, was not heard.
MISSED_S = 1.5
COVER_MARGIN_S = 0.3
# A word that is this far from every voice, in seconds, has none under it; so many make a chunk suspicious.
SUPPORT_MARGIN_S = 0.3
UNSUPPORTED_WORDS = 2

# Whisper's own bound (ibidem), and what makes text unlikely together with it. Of telephone calls in noise of 8 dB, no
# chunk came near to both; of sounds without speech, most did.
NO_SPEECH_PROB = 0.6
UNLIKELY_LOGPROB = -0.7
LONG_VOICE_S = 5.0
# Less voice than this, in seconds, says nothing.
LEAST_VOICE_S = 0.1

FAULTS = ("repetitive", "unsure", "too_fast", "sparse", "missed_speech", "unsupported")
"""What can be suspicious about a chunk, as flags of utterances name it."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What was recognised in a chunk.

    `faults` are those of `FAULTS` that it shows; `missed_s` the seconds of voice without words.
    """

    words: tuple[Word, ...]
    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    faults: tuple[str, ...] = ()
    missed_s: float = 0.0

    @property
    def suspicious(self) -> bool:
        """Whether it is worth another try."""
        return bool(self.faults)


def find_faults(
    words: Sequence[Word],
    avg_logprob: float,
    compression_ratio: float,
    voices: Sequence[Region],
    duration_s: float = 0.0,
    language: str = "en",
) -> tuple[tuple[str, ...], float]:
    """What is suspicious about a chunk's words.

    Args:
        words: with times in the call, in order.
        avg_logprob: mean log-probability of the tokens.
        compression_ratio: of the text.
        voices: where the detector hears a voice within the chunk, without padding; ordered and disjoint.
        duration_s: seconds of speech regions, padding and short pauses included; 0 where that is not known.
        language: ISO 639-1; where it is written without spaces, words are characters, whose number says nothing.

    Returns:
        faults, and the seconds of voice that no word covers.
    """
    missed = [gap for gap in uncovered(voices, words, COVER_MARGIN_S) if gap.duration_s >= MISSED_S]
    missed_s = sum(gap.duration_s for gap in missed)
    spaced = language not in UNSPACED_LANGUAGES
    found = {
        "repetitive": compression_ratio > REPETITIVE_COMPRESSION_RATIO
        or (spaced and loops([word.text for word in words])),
        "unsure": bool(words) and avg_logprob < LEAST_LOGPROB,
        "too_fast": spaced and _too_fast(words, voices),
        "sparse": spaced and duration_s >= SPARSE_S and len(words) < FEWEST_WORDS_PER_S * duration_s,
        "missed_speech": bool(missed),
        "unsupported": len(unsupported(words, voices)) >= UNSUPPORTED_WORDS,
    }
    return tuple(name for name in FAULTS if found[name]), missed_s


def better(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether `other` is to be preferred to `one`, which came first and wins where nothing speaks against it.

    In this order: no loop; less voice without words, in steps of `MISSED_S`; fewer faults; likelier tokens.
    """
    return _badness(other) < _badness(one)


def _badness(found: Hypothesis) -> tuple[bool, int, int, float]:
    return "repetitive" in found.faults, int(found.missed_s // MISSED_S), len(found.faults), -found.avg_logprob


def why_no_speech(found: Hypothesis, voices: Sequence[Region]) -> str | None:
    """Why the text of a chunk was written where nobody speaks; None where somebody may.

    - `no_voice`: the detector hears less than `LEAST_VOICE_S` seconds of voice in all of it.
    - `no_speech`: the decoder itself takes it for no speech, and its text for unlikely (Whisper's own rule, with a
      stricter bound on the text).
    - `no_words`: of a long voice, more than half has no words, and those that there are, are unlikely: somebody sings,
      or something sounds like it.
    """
    voiced_s = sum(voice.duration_s for voice in voices)
    if voiced_s < LEAST_VOICE_S:
        return "no_voice"
    if found.no_speech_prob > NO_SPEECH_PROB and found.avg_logprob < UNLIKELY_LOGPROB:
        return "no_speech"
    if voiced_s > LONG_VOICE_S and found.missed_s > voiced_s / 2 and found.avg_logprob < UNLIKELY_LOGPROB:
        return "no_words"
    return None


def says_twice(texts: Sequence[str]) -> bool:
    """Whether a run of `TWICE_WORDS` words or more is followed by itself."""
    spoken = _bare(texts)
    return any(_repeats(spoken, length, 2) for length in range(TWICE_WORDS, len(spoken) // 2 + 1))


def loops(texts: Sequence[str]) -> bool:
    """Whether a run of words comes several times in a row."""
    spoken = _bare(texts)
    return any(
        _repeats(spoken, length, LOOP_TIMES if length > 1 else 2 * LOOP_TIMES) for length in range(1, LOOP_WORDS + 1)
    )


def unsupported(words: Sequence[Word], voices: Sequence[Region]) -> list[Word]:
    """Words that have no voice under them, nor near them."""
    return [
        word
        for word in words
        if not any(
            voice.start - SUPPORT_MARGIN_S < word.end and voice.end + SUPPORT_MARGIN_S > word.start for voice in voices
        )
    ]


def uncovered(regions: Sequence[Region], words: Sequence[Word], margin_s: float) -> list[Region]:
    """Parts of regions that lie farther than a margin from every word, in order.

    Args:
        regions: ordered and disjoint.
        words: in any order.
        margin_s: what lies so near to a word counts as covered by it.
    """
    covers = sorted((word.start - margin_s, word.end + margin_s) for word in words)
    found: list[Region] = []
    for region in regions:
        start = region.start
        for begin, end in covers:
            if begin >= region.end:
                break
            if end <= start:
                continue
            if begin > start:
                found.append(Region(start, begin))
            start = max(start, end)
        if start < region.end:
            found.append(Region(start, region.end))
    return found


def _repeats(spoken: Sequence[str], length: int, times: int) -> bool:
    """Whether a run of so many words comes so many times in a row."""
    same = 0
    for index in range(length, len(spoken)):
        same = same + 1 if spoken[index] == spoken[index - length] else 0
        if same >= length * (times - 1):
            return True
    return False


def _bare(texts: Sequence[str]) -> list[str]:
    """Words as they are compared: without marks, in small letters."""
    return [text.strip(".,!?").lower() for text in texts]


def _too_fast(words: Sequence[Word], voices: Sequence[Region]) -> bool:
    voiced_s = sum(voice.duration_s for voice in voices)
    return len(words) >= FAST_WORDS and len(words) > MOST_WORDS_PER_S * voiced_s
