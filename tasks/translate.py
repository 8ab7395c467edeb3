"""Translation into English, beside the original: every utterance from its own sound.

Whisper translates what it hears. Given the sound of one utterance, what it says is aligned to that utterance by
construction, whoever else speaks before and after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from tasks.chunks import cut
from tasks.heard import ChannelSpeech, HeardChunk, Steps, loads
from tasks.records import CallHints, Region
from tasks.tracks import Track

# Sound before and after an utterance that is heard with it, in seconds: word times are no cutting edges.
MARGIN_S = 0.3
ALL = "*"


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance to translate: where it was said, in which language (ISO 639-1), and what is known of its call."""

    track: Track
    region: Region
    language: str
    hints: CallHints = field(default_factory=CallHints)


def wanted(language: str | None, languages: Collection[str]) -> bool:
    """Whether what is said in a language is translated: English never, others where they are named, or all are."""
    return language not in {None, "en"} and (ALL in languages or language in languages)


def translate(recognizer: Steps, utterances: Sequence[Spoken], longest_s: float) -> list[str | None]:
    """Translate utterances into English, in batches over all of them.

    Args:
        recognizer: its steps.
        utterances: of any calls.
        longest_s: longer ones are translated in pieces, cut at quiet moments.

    Returns:
        for every utterance, in order, its translation; None where it could not be translated.
    """
    decoding = replace(recognizer.decoding(), task="translate")
    pieces: list[list[HeardChunk]] = []
    for index, spoken in enumerate(utterances):
        start = max(0.0, spoken.region.start - MARGIN_S)
        end = min(spoken.track.duration_s, spoken.region.end + MARGIN_S)
        source = ChannelSpeech(spoken.track, (Region(start, max(start, end)),), ())
        pieces.append(
            [
                HeardChunk(
                    index, 0, source, chunk, spoken.hints, whole=True, language=spoken.language, decoding=decoding
                )
                for chunk in cut(spoken.track, source.regions, longest_s)
            ]
        )
    load = [piece for held in pieces for piece in held]
    with ThreadPoolExecutor(1, thread_name_prefix="spectrum") as pool:
        for part in loads([load]):
            recognizer.encode(part, pool)
            recognizer.write(part)
            for piece in part:
                piece.encoded = None
    return [_text(held) for held in pieces]


def _text(pieces: Sequence[HeardChunk]) -> str | None:
    texts = [piece.decoded.text.strip() for piece in pieces if piece.error is None and piece.decoded is not None]
    return " ".join(text for text in texts if text) or None if len(texts) == len(pieces) else None
