"""Words for comparison in which a number, however it is grouped or spelled, is one word. Pure.

Whisper's normaliser leaves "4471-9025" as two words and makes one of "four four seven one nine zero two five": two
errors in a transcript without any. Here, after it:

- digits that follow each other are one word: "4471 9025" and "44719025", "3 30" and "330";
- a lone "one" is "1", "first" to "third" are as "1st" to "3rd", and an ordinal is its number: "October 19th", "October
  19";
- single letters that follow each other are one word, and letters and digits are words apart: "i n v 23891" and
  "inv23891" are "inv 23891", "p m" and "pm" alike.

What is joined is joined on both sides in the same way, so that a wrong digit costs one word, as a wrong word does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

from evaluation.normalise import normal_words

_ORDINAL: Final = re.compile(r"(\d+)(?:st|nd|rd|th)")
_SAME: Final = {"one": "1", "first": "1", "second": "2", "third": "3"}
# A word of its own, and no letter of an identifier.
_ALONE: Final = frozenset({"a", "i"})
# Zeros in front of a second group of digits would be taken away.
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[-:](?=\d)")
_PARTS: Final = re.compile(r"[a-z]+|\d+")
_MIXED: Final = re.compile(r"(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]+")


def value_words(texts: Iterable[str], language: str = "en") -> list[str]:
    """Normalise utterance by utterance, numbers as values, and string the words together.

    Args:
        texts: raw texts in the order in which they were said.
        language: of the normaliser; letters and number words are joined in English alone, digits in any language.

    >>> value_words(["invoice four four seven one nine zero two five", "Invoice 4471-9025!"])
    ['invoice', '44719025', 'invoice', '44719025']
    >>> value_words(["I N V two three eight nine one", "INV-23891 on October 19th at 3:30 p.m."])
    ['inv', '23891', 'inv', '23891', 'on', 'october', '19', 'at', '330', 'pm']
    """
    english = language.partition("-")[0] == "en"
    return [word for text in texts for word in _words(_BETWEEN_DIGITS.sub("", text), language, english=english)]


def _words(text: str, language: str, *, english: bool) -> Iterator[str]:
    words = [part for word in normal_words(text, language) for part in (_plain(word) if english else [word])]
    for kind, run in groupby(enumerate(words), key=lambda one: _kind(words, one[0], english=english)):
        found = [word for _, word in run]
        yield from ["".join(found)] if kind else found


@lru_cache(maxsize=65_536)
def _plain(word: str) -> Sequence[str]:
    """A word without what makes an ordinal of it, and an identifier as letters and digits apart."""
    if found := _ORDINAL.fullmatch(word):
        return [found[1]]
    return _PARTS.findall(word) if _MIXED.fullmatch(word) else [_SAME.get(word, word)]


def _kind(words: Sequence[str], at: int, *, english: bool) -> str:
    """What a word is joined with: other digits, other letters, or nothing."""
    word = words[at]
    if word.isdecimal():
        return "digits"
    if not english or len(word) > 1 or not word.isalpha():
        return ""
    if word in _ALONE:
        beside = [words[other] for other in (at - 1, at + 1) if 0 <= other < len(words)]
        return "letters" if any(len(one) == 1 and one.isalpha() and one not in _ALONE for one in beside) else ""
    return "letters"
