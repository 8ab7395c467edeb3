"""The words of a hypothesis laid out for searching: put together, timed, as numbers, as values and as plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from evaluation.hypotheses import HypothesisUtterance, Spoken, in_order
from evaluation.moments import BEGINNINGS, dates, times, years
from evaluation.normalise import normal_words
from evaluation.quantities import numbers
from evaluation.spoken import ZEROS, Atom, atoms, first_letters
from evaluation.values import SYMBOLS, Reader, Reading, amounts, read

READERS: Final[Mapping[str, Reader]] = {
    "amount": amounts,
    "date": dates,
    "time": times,
    "number": numbers,
    "year": years,
}
"""How the values of a kind of entity (`evaluation.entity_classes.kind_of`) are read."""

# Words with which a value of any kind may begin.
_BEGINNINGS: Final = BEGINNINGS | ZEROS | SYMBOLS | {"a"}
_CONTINUES: Final = re.compile(r"[-.,:/'\u2019]\w")


class Heard(NamedTuple):
    """A word of the hypothesis with the time of it, or of its utterance."""

    text: str
    start: float
    end: float
    utterance: int


@dataclass(frozen=True)
class Stream:
    """Words of the hypothesis in the order in which they are searched; `words` holds (index, text)."""

    words: tuple[tuple[int, str], ...]
    language: str
    _read: dict[str, list[Reading]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def atoms(self) -> list[Atom]:
        """For numbers of every kind."""
        return atoms(self.words)

    @cached_property
    def beginnings(self) -> dict[str, list[int]]:
        """For codes: the atoms at which one may begin, by its first digit or letter."""
        found: dict[str, list[int]] = {}
        for at in range(len(self.atoms)):
            for first in first_letters(self.atoms, at):
                found.setdefault(first, []).append(at)
        return found

    @cached_property
    def tokens(self) -> list[tuple[str, int]]:
        """For names: normalised words, with the index of the word they come from."""
        return [(token, index) for index, text in self.words for token in _tokens(text, self.language)]

    @cached_property
    def _starts(self) -> list[int]:
        """The atoms at which any value may begin."""
        return [at for at, atom in enumerate(self.atoms) if atom.text in _BEGINNINGS or atom.text[0].isdecimal()]

    def readings(self, kind: str) -> list[Reading]:
        """For amounts, dates, times, numbers and years: all values of a kind, a key of `READERS`."""
        if kind not in self._read:
            self._read[kind] = read(self.atoms, READERS[kind], self._starts)
        return self._read[kind]


def listen(utterances: Iterable[HypothesisUtterance], language: str) -> tuple[list[Heard], list[Stream]]:
    """Lay the words of a call out.

    Args:
        utterances: the hypothesis, in any order.
        language: of the normaliser.

    Returns:
        The words in order of their utterances, and what is searched: the words of each speaker, then all of them;
        streams name words by their index.
    """
    heard: list[Heard] = []
    by_speaker: dict[str, list[tuple[int, str]]] = {}
    for number, utterance in enumerate(in_order(utterances)):
        for word in _words(utterance, number):
            by_speaker.setdefault(utterance.speaker, []).append((len(heard), word.text))
            heard.append(word)
    everything = [(index, word.text) for index, word in enumerate(heard)]
    streams = [_stream(tuple(words), language) for words in by_speaker.values()]
    return heard, (streams if len(streams) == 1 else [*streams, _stream(tuple(everything), language)])


@lru_cache(maxsize=16)  # several measures search the same call
def _stream(words: tuple[tuple[int, str], ...], language: str) -> Stream:
    """Lay out words once."""
    return Stream(words, language)


def listen_to_lines(lines: Iterable[Spoken], language: str) -> tuple[list[Heard], list[Stream]]:
    """Lay what was said out as `listen` does; the times of a line that ends where it starts are not known.

    Args:
        lines: of the reference, in any order.
        language: of the normaliser.
    """
    return listen(map(_as_heard, lines), language)


def _as_heard(line: Spoken) -> HypothesisUtterance:
    """Look at a line of the reference as if it had been recognised."""
    end = getattr(line, "end", line.start)
    start = line.start if end > line.start else float("-inf")
    return HypothesisUtterance(line.speaker, start, end if end > line.start else float("inf"), line.text)


def _words(utterance: HypothesisUtterance, number: int) -> list[Heard]:
    """Take the words of an utterance; pieces of one ("$89", ".95") that Whisper times apart are put together again."""
    words: list[Heard] = []
    for text, start, end in [(word.text, word.start, word.end) for word in utterance.words] or [
        (text, utterance.start, utterance.end) for text in utterance.text.split()
    ]:
        if words and _CONTINUES.match(text) and words[-1].text[-1:].isalnum():
            words[-1] = words[-1]._replace(text=words[-1].text + text, end=end)
        else:
            words.append(Heard(text, start, end, number))
    return words


def word_runs(tokens: Sequence[tuple[str, int]], wanted: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Find words in order: first token and the index behind the last, of each place."""
    for first in range(len(tokens) - len(wanted) + 1 if wanted else 0):
        if tokens[first][0] == wanted[0] and all(tokens[first + ahead][0] == word for ahead, word in enumerate(wanted)):
            yield first, first + len(wanted)


def letter_runs(tokens: Sequence[tuple[str, int]], letters: str) -> Iterator[tuple[int, int]]:
    """Find words that spell the same letters in a row, wherever one ends and the next begins."""
    for first in range(len(tokens) if letters else 0):
        if not letters.startswith(tokens[first][0]):
            continue
        said, end = "", first
        while end < len(tokens) and len(said) < len(letters) and letters.startswith(said):
            said, end = said + tokens[end][0], end + 1
        if said == letters:
            yield first, end


def tokens_of(text: str, language: str) -> list[str]:
    """Normalise a text word by word, as the hypothesis is."""
    return [token for word in text.split() for token in _tokens(word, language)]


@lru_cache(maxsize=65_536)
def _tokens(word: str, language: str) -> tuple[str, ...]:
    """Normalise one word, its parts alone, so that numbers do not run into their neighbours; "&" is said "and"."""
    parts = word.replace("&", " and ").replace("-", " ").split()
    return tuple(token for part in parts for token in normal_words(part, language))
