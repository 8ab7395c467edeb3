"""Word and character error rate: the least substitutions, deletions and insertions that turn one text into another.

The words of all speakers stand in order of the start of what they belong to, so that WER does not look at speakers.
Where people talk at the same time that order is arbitrary and WER counts it as errors; `evaluation.speakers` does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from evaluation.hypotheses import Spoken, in_order
from evaluation.normalise import normalised_words
from evaluation.rates import ErrorCounts
from evaluation.value_words import value_words
from evaluation.word_alignment import aligned


def word_errors(reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str = "en") -> ErrorCounts:
    """Count the word errors of one call.

    Args:
        reference: what was said, raw text, in any order.
        hypothesis: what was recognised, raw text, in any order.
        language: of the normaliser.

    Returns:
        Counts over normalised words; a call without reference words has only insertions.
    """
    return count_errors(
        normalised_words((line.text for line in in_order(reference)), language),
        normalised_words((utterance.text for utterance in in_order(hypothesis)), language),
    )


def value_word_errors(reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str = "en") -> ErrorCounts:
    """Count the word errors of one call with numbers as values: a number is one word, however it is written.

    Args:
        reference: what was said, raw text, in any order.
        hypothesis: what was recognised, raw text, in any order.
        language: of the normaliser.

    Returns:
        Counts over the words of `evaluation.value_words`.
    """
    return count_errors(
        value_words((line.text for line in in_order(reference)), language),
        value_words((utterance.text for utterance in in_order(hypothesis)), language),
    )


def raw_word_errors(reference: Iterable[Spoken], hypothesis: Iterable[Spoken]) -> ErrorCounts:
    """Count the word errors of one call as it is written: case, punctuation and spelling of numbers count.

    Args:
        reference: what was said, in any order.
        hypothesis: what was recognised, in any order.

    Returns:
        Counts over what stands between white space.
    """
    return count_errors(
        [word for line in in_order(reference) for word in line.text.split()],
        [word for utterance in in_order(hypothesis) for word in utterance.text.split()],
    )


def character_errors(reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str = "en") -> ErrorCounts:
    """Count the character errors of one call; the space between two words is a character.

    Args:
        reference: what was said, raw text, in any order.
        hypothesis: what was recognised, raw text, in any order.
        language: of the normaliser.

    Returns:
        Counts over the characters of the normalised words; `reference_words` are characters.
    """
    said = " ".join(normalised_words((line.text for line in in_order(reference)), language))
    heard = " ".join(normalised_words((utterance.text for utterance in in_order(hypothesis)), language))
    if not said or not heard:
        return ErrorCounts(len(said), deletions=len(said), insertions=len(heard))
    from rapidfuzz.distance import Levenshtein

    characters: Counter[str] = Counter()
    for edit in Levenshtein.opcodes(said, heard):
        characters[edit.tag] += max(edit.src_end - edit.src_start, edit.dest_end - edit.dest_start)
    return ErrorCounts(len(said), characters["replace"], characters["delete"], characters["insert"])


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Align words and count.

    Args:
        reference: normalised words, none empty or with white space in it.
        hypothesis: the same.

    Returns:
        The counts of `evaluation.word_alignment`.
    """
    words: Counter[str] = Counter()
    for chunk in aligned(reference, hypothesis):
        words[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return ErrorCounts(len(reference), words["substitute"], words["delete"], words["insert"])
