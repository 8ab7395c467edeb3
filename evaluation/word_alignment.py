"""Which words stand against which: jiwer's alignment, made once for all measures that ask. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jiwer import AlignmentChunk


def aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[AlignmentChunk, ...]:
    """Align words.

    Of several alignments with the fewest errors jiwer's is taken: the number of errors is certain, their split into
    kinds may differ from that of other tools.

    Args:
        reference: words, none empty or with white space in it.
        hypothesis: the same.

    Returns:
        Stretches in order that are `equal`, `substitute`, `delete` or `insert`. Empty sides are aligned here: jiwer
        counts the words of a hypothesis as the rate of an empty reference.
    """
    import jiwer

    if reference and hypothesis:
        return _aligned(" ".join(reference), " ".join(hypothesis))
    kind = "insert" if hypothesis else "delete"
    both = (0, len(reference), 0, len(hypothesis))
    return (jiwer.AlignmentChunk(kind, *both),) if reference or hypothesis else ()


@lru_cache(maxsize=16)  # WER, WDER and confidence ask for the same
def _aligned(reference: str, hypothesis: str) -> tuple[AlignmentChunk, ...]:
    """Align words with one space between them."""
    import jiwer

    return tuple(jiwer.process_words(reference, hypothesis).alignments[0])
