"""The pinned text normaliser: Whisper's own, as packaged in whisper-normalizer.

Two texts are compared only after both went through the same normaliser, and a rate means nothing without its name:
`NORMALISER` goes into every report. English goes through `EnglishTextNormalizer` (contractions, British spelling,
fillers such as "uh", numbers in words to digits), every other language through `BasicTextNormalizer` (case,
punctuation, brackets). Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022),
appendix C.

Upstream is left alone, so that figures compare with other people's. What that means in practice:

- Digits said one by one become one word, digits written in groups stay groups: "four four seven one nine zero two
  five" gives "44719025" and "4471-9025" gives "4471 9025", two word errors for a perfect transcript. The same with
  times: "three thirty" gives "330", "3:30" gives "3 30". `evaluation.entities` compares values and is not fooled.
- A lone 1 is spelled out wherever it stands, so that "$1.50" gives "one.50" and "one dollar and fifty cents" too.
- A number that goes on in the next utterance ("seven zero zero", "two three") stays in two words, as each utterance is
  normalised alone (`normalised_words` says why).
- It is not idempotent in English: "1 1" gives "one one", which gives "11". Normalise once, the raw text.
- A text that begins with "and a half" loses these words.

The English normaliser tries some seventy patterns on each text. Most words become the same wherever they stand: a text
is cut at those (`_pieces`), and what a piece becomes is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import groupby
from typing import Final

from tasks.languages import UNSPACED_LANGUAGES

NORMALISER: Final = f"whisper-normalizer {version('whisper-normalizer')} (English; Basic for other languages)"
"""Which normaliser made the counts, with its version."""

_FILLERS: Final = frozenset({"hmm", "mm", "mhm", "mmm", "uh", "um"})
# What, besides number words, hangs on the word before it ("5 th", "he'd been", "it's gotta"), or goes away in between.
_LEANS: Final = _FILLERS | {"st", "nd", "rd", "th", "s", "been", "gone", "done", "got", "gotta"}
_PLAIN: Final = re.compile(r"([a-z]+)[,.?!]?")
# Brackets, which may close anywhere; signs, dots and apostrophes that look at what is beside them, or that do when a
# filler between is gone; "and a half"; characters that stand for several.
_FILLER: Final = "|".join(sorted(_FILLERS))
_WHOLE: Final = re.compile(rf"[<\[(%$]|\s'|\b(?:{_FILLER})'|\.(?:\.|{_FILLER})|half|[^\x00-\x7f]")


def normalise(text: str, language: str | None = "en") -> str:
    """Bring a raw text to the form in which it is compared.

    Args:
        text: what was said or recognised, raw: the English normaliser must not be applied twice.
        language: ISO 639-1 code, with or without a region (`en`, `en-GB`, `de`). None leaves the words as they are, for
            texts that are normalised already and for comparisons with tools that do not normalise.

    Returns:
        Lower-case words with one space between them; empty when nothing is left.
    """
    return " ".join(normal_words(text, language))


@lru_cache(maxsize=65_536)  # every measure normalises the same texts
def normal_words(text: str, language: str | None = "en") -> tuple[str, ...]:
    """The words of a raw text as `normalise` gives it."""
    if language is None:
        return tuple(text.split())
    code = language.lower().partition("-")[0]
    pieces = _pieces(text.lower()) if code == "en" else (text,)
    return tuple(word for piece in pieces for word in _normalised(piece, code))


def normalised_words(texts: Iterable[str], language: str | None = "en") -> list[str]:
    """Normalise utterance by utterance and string the words together.

    Each text alone, as meeteval does: joined first, a number that the customer says and the agent repeats would become
    one word of twice the length, and a stray "(" would swallow everything up to a ")" minutes later. So a set has the
    same reference words whether speakers are looked at or not.

    Args:
        texts: raw texts in the order in which they were said.
        language: as for `normalise`.

    Returns:
        The words of all texts.
    """
    return [word for text in texts for word in normal_words(text, language)]


def _pieces(text: str) -> Iterator[str]:
    """Cut an English text in lower case where it makes no difference: around every word that stands alone."""
    words = text.split()
    if _WHOLE.search(text) or " ".join(words) != text.strip():
        yield text
        return
    for alone, run in groupby(words, key=_stands_alone):
        if alone:
            yield from run
        else:
            yield " ".join(run)


@lru_cache(maxsize=65_536)
def _stands_alone(word: str) -> bool:
    """Whether a word becomes the same wherever it stands, and keeps what is before it from what is behind it."""
    plain = _PLAIN.fullmatch(word)
    return plain is not None and plain[1] not in _LEANS and plain[1] not in _number_words()


@lru_cache(maxsize=65_536)
def _normalised(text: str, language: str) -> tuple[str, ...]:
    """The words that upstream makes of a text."""
    # Upstream lowers first and takes Unicode's compatible characters then, some of which are capitals (U+03D2).
    return tuple(_normaliser(language)(text).lower().split())


@cache
def _number_words() -> frozenset[str]:
    """The words that upstream may make a number of with their neighbours."""
    from whisper_normalizer.english import EnglishNumberNormalizer

    return frozenset(EnglishNumberNormalizer().words)


@cache
def _normaliser(language: str) -> Callable[[str], str]:
    """Make the upstream normaliser of a language; once, as the English one reads a word list from disk."""
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    normaliser: Callable[[str], str]
    if language == "en":
        normaliser = EnglishTextNormalizer()
    else:
        # Every character of these counts as a word, as in the Whisper paper.
        normaliser = BasicTextNormalizer(split_letters=language in UNSPACED_LANGUAGES)
    return normaliser
