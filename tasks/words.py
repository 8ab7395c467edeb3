"""Pure: what the aligner found in a chunk, as words of the call whose times can be trusted.

The aligner (dynamic time warping over attention) has no word end before the next one begins, so that a word takes the
pause before or after it along, and it cuts numbers into pieces. Here pieces become words, words lie within one speech
region, follow each other, and leave a pause to itself, as far as the voice detector hears one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from tasks.chunks import Chunk
from tasks.languages import UNSPACED_LANGUAGES
from tasks.records import Region, Word
from tasks.whisper import Piece

# Pieces of one word are no further apart, in seconds: `$142` and `.50` are said with a breath between them. A longer
# pause parts speech into regions.
LONGEST_GAP_S = 1.0
# The aligner has words end, and the next begin, so much too early: the median over words whose times are known
# (evaluation/benchmarks/word_times.md), and over the ends of speech before pauses in real calls.
LEAD_S = 0.14
# A word that begins no later than this after a voice does, with no other word since, begins with the voice, in seconds.
ONSET_S = 0.3
# A stretch without voice this long, in seconds, is no part of a word; so much of it is left at the word's edge.
PAUSE_S = 0.25
EDGE_S = 0.05


def to_words(pieces: Sequence[Piece], chunk: Chunk, voices: Sequence[Region], language: str) -> tuple[Word, ...]:
    """Words of the call: times follow each other, lie within the chunk's regions, and pieces span no pause.

    Args:
        pieces: the aligner's, with times in the chunk.
        chunk: what was heard.
        voices: where the detector hears a voice, without padding; ordered and disjoint.
        language: ISO 639-1.
    """
    placed: list[tuple[str, Word]] = []
    for piece in pieces:
        lead_s = min(LEAD_S, chunk.duration_s - piece.end)
        start, end = chunk.in_call(piece.start + lead_s, piece.end + lead_s)
        before = placed[-1][1].end if placed else chunk.start
        start, end = within_voice(from_onset(start, before, voices), end, voices)
        start = max(start, before)
        placed.append((piece.text, Word(piece.text.strip(), start, max(start, end), piece.probability)))
    return join_pieces(placed, language)


def from_onset(start: float, before: float, voices: Sequence[Region]) -> float:
    """The start of a word that is the first after a pause: that of the voice.

    Args:
        start: of the word, in seconds, as the aligner has it.
        before: where the word before it ends.
        voices: ordered and disjoint.
    """
    index = bisect_right(voices, Region(start, start)) - 1
    if index < 0 or voices[index].end <= start:
        return start
    onset = voices[index].start
    return onset if before <= onset and start - onset <= ONSET_S else start


def within_voice(start: float, end: float, voices: Sequence[Region]) -> tuple[float, float]:
    """A word without the pauses that it spans: of what lies between them, the stretch with most voice.

    A word without any voice under it keeps its times: there is nothing to say where it should be.

    Args:
        start: of the word, in seconds.
        end: of the word, in seconds.
        voices: ordered and disjoint.
    """
    first = max(bisect_right(voices, Region(start, start)) - 1, 0)
    stretches: list[Region] = []
    for voice in voices[first:]:
        if voice.start >= end:
            break
        held = Region(max(start, voice.start), min(end, voice.end))
        if held.end <= held.start:
            continue
        if stretches and held.start - stretches[-1].end < PAUSE_S:
            stretches[-1] = Region(stretches[-1].start, held.end)
        else:
            stretches.append(held)
    if not stretches:
        return start, end
    most = max(stretches, key=lambda stretch: stretch.duration_s)
    if most.start - start >= PAUSE_S:
        start = round(most.start - EDGE_S, 3)
    if end - most.end >= PAUSE_S:
        end = round(most.end + EDGE_S, 3)
    return start, end


def join_pieces(pieces: Sequence[tuple[str, Word]], language: str) -> tuple[Word, ...]:
    """Join what the aligner cut inside a word: `$89` and `.95` are one word, `$89.95`.

    Whisper starts a word with a space; a piece without one belongs to the word before it, but for one that is said
    after a pause: two numbers that it wrote as one stay two. Languages that are written without spaces keep their
    pieces.

    Args:
        pieces: the piece as the recogniser wrote it, and the word made of it.
        language: ISO 639-1.
    """
    words: list[Word] = []
    for raw, word in pieces:
        joins = not raw.startswith(" ") and language not in UNSPACED_LANGUAGES
        if words and joins and word.start - words[-1].end <= LONGEST_GAP_S:
            before = words.pop()
            probability = min(before.probability, word.probability)
            words.append(replace(before, text=before.text + word.text, end=word.end, probability=probability))
        else:
            words.append(word)
    return tuple(words)
