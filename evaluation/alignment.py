"""Reference and hypothesis of a call word by word: the alignment that WER counted, shown in the words as written. Pure.

WER is counted over normalised words (`evaluation.wer`), and people read raw ones: "$135" stands for "one hundred and
thirty five dollars", and "uh" for nothing. So the normalised words are aligned as WER aligns them, each is led back to
the raw words that it comes from, and what shares a raw word becomes one cell. The counts of the cells add up to those
of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Final, Literal, TypeAlias

from evaluation.confidence import Token, word_tokens
from evaluation.hypotheses import Spoken, in_order
from evaluation.normalise import normalise
from evaluation.rates import ErrorCounts
from evaluation.word_alignment import aligned

Kind: TypeAlias = Literal["equal", "substitute", "delete", "insert", "uncounted"]

LONG: Final = 80
"""Words of a text above which cuts between words are not tried one by one, which takes their square."""

_Step: TypeAlias = tuple[int | None, int | None]
_Span: TypeAlias = range


@dataclass(frozen=True, slots=True)
class RawWord:
    """A word as written: `line` is the number of its line or utterance, in order of time; `index` its place there."""

    text: str
    line: int
    index: int


@dataclass(frozen=True, slots=True)
class Cell:
    """Words that stand against each other, and how many normalised words of them are right and wrong."""

    reference: tuple[RawWord, ...]
    hypothesis: tuple[RawWord, ...]
    counts: ErrorCounts

    @property
    def kind(self) -> Kind:
        """What is wrong; `uncounted` where the normaliser leaves nothing, as of "uh"."""
        counts = self.counts
        if not counts.reference_words and not counts.insertions:
            return "uncounted"
        if not counts.errors:
            return "equal"
        if not self.hypothesis:
            return "delete"
        return "substitute" if self.reference else "insert"


def align(reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str = "en") -> tuple[Cell, ...]:
    """Align the words of one call.

    Args:
        reference: what was said, raw text, in any order.
        hypothesis: what was recognised, raw text, in any order.
        language: of the normaliser.

    Returns:
        Cells in order; every raw word of both sides is in one of them.
    """
    said, heard = _Side.of(reference, language), _Side.of(hypothesis, language)
    steps = list(_steps(said.tokens, heard.tokens))
    return tuple(_cells(said, heard, steps))


@dataclass(frozen=True, slots=True)
class _Side:
    """All raw words, the normalised ones, and of each of these the raw words that it comes from."""

    words: tuple[RawWord, ...]
    tokens: tuple[str, ...]
    owners: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, spoken: Iterable[Spoken], language: str) -> _Side:
        words: list[RawWord] = []
        found: list[Token] = []
        for line, one in enumerate(in_order(spoken)):
            texts = one.text.split()
            first = len(words)
            found += [
                (token, tuple(first + at for at in owners)) for token, owners in _tokens(one.text, texts, language)
            ]
            words += [RawWord(text, line, index) for index, text in enumerate(texts)]
        return cls(tuple(words), tuple(token for token, _ in found), tuple(owners for _, owners in found))

    def span(self, tokens: Iterable[int]) -> _Span:
        """The raw words of tokens, with what is uncounted between them."""
        owners = [at for token in tokens for at in self.owners[token]]
        return range(min(owners), max(owners) + 1) if owners else range(0)


def _tokens(text: str, words: Sequence[str], language: str) -> list[Token]:
    """The tokens that WER counts of a text, each with the words that it comes from."""
    whole = normalise(text, language).split()
    if len(words) <= LONG:
        found = word_tokens(words, language)
        if [token for token, _ in found] == whole:
            return found
    return list(_by_difference(words, whole, language))


def _by_difference(words: Sequence[str], whole: Sequence[str], language: str) -> Iterator[Token]:
    """Tokens and their words, where those of the text differ from those of its words alone."""
    alone: list[Token] = [
        (token, (at,)) for at, word in enumerate(words) for token in normalise(word, language).split()
    ]
    last: tuple[int, ...] = (0,)
    for chunk in aligned([token for token, _ in alone], whole):
        own = alone[chunk.ref_start_idx : chunk.ref_end_idx]
        if chunk.type == "equal":
            yield from own
        else:
            owners = tuple(dict.fromkeys(at for _, one in own for at in one)) or last
            yield from ((token, owners) for token in whole[chunk.hyp_start_idx : chunk.hyp_end_idx])
        last = own[-1][1] if own else last


def _steps(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[_Step]:
    """Which token stands against which; None for none."""
    for chunk in aligned(reference, hypothesis):
        yield from zip_longest(
            range(chunk.ref_start_idx, chunk.ref_end_idx), range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        )


def _cells(said: _Side, heard: _Side, steps: Sequence[_Step]) -> Iterator[Cell]:
    """Steps that share a raw word as one cell, and the uncounted words in between."""
    group_of = _groups(said, heard, steps)
    seen, listened = 0, 0
    for _, run in groupby(range(len(steps)), key=group_of.__getitem__):
        own = [steps[at] for at in run]
        left = said.span(token for token, _ in own if token is not None)
        right = heard.span(token for _, token in own if token is not None)
        # Words before the next counted one of their side; without one here, they are left for later.
        upto, until = (left.start if left else seen), (right.start if right else listened)
        yield from _uncounted(said.words[seen:upto], heard.words[listened:until])
        seen, listened = max(seen, left.stop), max(listened, right.stop)
        yield Cell(
            tuple(said.words[at] for at in left),
            tuple(heard.words[at] for at in right),
            sum((_counts(said, heard, step) for step in own), ErrorCounts.zero()),
        )
    yield from _uncounted(said.words[seen:], heard.words[listened:])


def _groups(said: _Side, heard: _Side, steps: Sequence[_Step]) -> list[int]:
    """The number of the cell of each step: from the first to the last step of a raw word, all are in one."""
    joined = [False] * len(steps)  # with the step before
    for side, place in ((said, 0), (heard, 1)):
        first: dict[int, int] = {}
        for at, step in enumerate(steps):
            token = step[place]
            for owner in () if token is None else side.owners[token]:
                start = first.setdefault(owner, at)
                joined[start + 1 : at + 1] = [True] * (at - start)
    groups, number = [], -1
    for together in joined:
        number += not together
        groups.append(number)
    return groups


def _counts(said: _Side, heard: _Side, step: _Step) -> ErrorCounts:
    reference, hypothesis = step
    if reference is None:
        return ErrorCounts(0, insertions=1)
    if hypothesis is None:
        return ErrorCounts(1, deletions=1)
    return ErrorCounts(1, substitutions=said.tokens[reference] != heard.tokens[hypothesis])


def _uncounted(reference: Sequence[RawWord], hypothesis: Sequence[RawWord]) -> Iterator[Cell]:
    for one, other in zip_longest(reference, hypothesis):
        yield Cell((one,) if one else (), (other,) if other else (), ErrorCounts.zero())
