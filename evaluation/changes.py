"""What another transcript of the same call changed: words, speakers, values, confidence and the measures of its row.

Neither of the two is a reference: this says how far they are apart, and where, and not which is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.normalise import normalise
from evaluation.speakers import best_assignment
from evaluation.streams import READERS, Stream
from evaluation.values import read
from evaluation.word_alignment import aligned

Row = Mapping[str, Any]

MOST_PASSAGES: Final = 20
"""Passages of a call that are kept."""

_OF_THE_ROW: Final = (
    "transcript_id", "outcome", "error_code", "bundle", "fingerprint", "language", "speakers", "confidence", "review",
    "uncovered_speech_s", "unsupported_words", "overlap_s", "interruptions", "longest_silence_s", "words_per_minute",
)  # fmt: skip

VALUES: Final = ("amount", "date", "time")
"""Of which kinds a change names what was lost and added: plain numbers are in too many words."""


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """What changed in some calls, added up.

    Attributes:
        calls: that were done anew.
        changed: of them, with other words or speakers.
        words: in their old transcripts, normalised.
        replaced: words that are others now; `lost` are gone, `added` are new.
        moved: words that were kept and are given to another speaker.
        values_lost: amounts, dates and times that are gone; `values_added` are new.
        recovered: calls that had failed and have not now.
        failed: calls that had a transcript and failed now: the old one stands.
        not_compared: shards of which what was kept cannot be read.
        more_review: calls that are now to be looked at by a person, and were not; `less_review` the other way round.
    """

    calls: int = 0
    changed: int = 0
    words: int = 0
    replaced: int = 0
    lost: int = 0
    added: int = 0
    moved: int = 0
    values_lost: int = 0
    values_added: int = 0
    recovered: int = 0
    failed: int = 0
    not_compared: int = 0
    more_review: int = 0
    less_review: int = 0

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        """Add count by count."""
        return ChangeCounts(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    @property
    def word_changes(self) -> float | None:
        """Replaced, lost and added words for each old one; None without old ones."""
        return (self.replaced + self.lost + self.added) / self.words if self.words else None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two transcripts: the row of `calls`, and its rows of `utterances`."""

    row: Row
    utterances: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    """A normalised word, who said it, and when its utterance began."""

    text: str
    speaker: str
    start: float = field(compare=False)


@dataclass
class _Words:
    """How the words of two transcripts lie against each other."""

    kept: int = 0
    replaced: int = 0
    lost: int = 0
    added: int = 0
    moved: int = 0
    passages: list[dict[str, Any]] = field(default_factory=list)


def compare(before: Side, after: Side, run_id: str) -> tuple[dict[str, Any], ChangeCounts]:
    """Compare two transcripts of a call.

    Args:
        before: what stood.
        after: what stands now; where the new try failed, the same transcript.
        run_id: the backfill.

    Returns:
        a row of the table `changes` (`tasks.schemas.CHANGES`), and what it adds to the counts.
    """
    languages = [str(side.row["language"] or "en") for side in (before, after)]
    tokens = [_tokens(side.utterances, language) for side, language in zip((before, after), languages, strict=True)]
    words = _aligned(*tokens)
    same = not (words.replaced or words.lost or words.added)
    values = [Counter[str]() if same else _values(tokens[n], languages[n]) for n in (0, 1)]
    lost, added = (sorted((values[n] - values[1 - n]).elements()) for n in (0, 1))
    row: dict[str, Any] = {"call_id": after.row["call_id"], "run_id": run_id}
    for name in _OF_THE_ROW:
        row[f"{name}_before"], row[f"{name}_after"] = before.row[name], after.row[name]
    row |= {
        "run_id_of_row_before": before.row["run_id"],
        "run_id_of_row_after": after.row["run_id"],
        "words_before": len(tokens[0]),
        "words_after": len(tokens[1]),
        "words_kept": words.kept,
        "words_replaced": words.replaced,
        "words_lost": words.lost,
        "words_added": words.added,
        "word_changes": (words.replaced + words.lost + words.added) / len(tokens[0]) if tokens[0] else None,
        "passages": words.passages,
        "words_moved": words.moved,
        "values_lost": lost,
        "values_added": added,
    }
    return row, _counts(row, after.row, run_id, words, same=same)


def _counts(row: Row, after: Row, run_id: str, words: _Words, *, same: bool) -> ChangeCounts:
    reviewed = bool(row["review_before"]), bool(row["review_after"])
    was, now = row["outcome_before"] == "failed", row["outcome_after"] == "failed"
    return ChangeCounts(
        calls=1,
        changed=int(not same or words.moved > 0),
        words=row["words_before"],
        replaced=words.replaced,
        lost=words.lost,
        added=words.added,
        moved=words.moved,
        values_lost=len(row["values_lost"]),
        values_added=len(row["values_added"]),
        recovered=int(was and not now),
        failed=int(not was and after["last_attempt_run_id"] == run_id),
        more_review=int(reviewed == (False, True)),
        less_review=int(reviewed == (True, False)),
    )


def _tokens(utterances: Iterable[Row], language: str) -> list[_Token]:
    """The words of a transcript, normalised utterance by utterance, in order of time."""
    return [
        _Token(text, one.speaker, one.start)
        for one in in_order([HypothesisUtterance.from_row(row) for row in utterances])
        for text in normalise(one.text, language).split()
    ]


def _aligned(before: Sequence[_Token], after: Sequence[_Token]) -> _Words:
    words = _Words()
    if before == after:
        words.kept = len(before)
        return words
    if not before or not after:
        words.lost, words.added = len(before), len(after)
        words.passages = list(_passages([(before, after)]))
        return words
    changed: list[tuple[Sequence[_Token], Sequence[_Token]]] = []
    kept: list[tuple[_Token, _Token]] = []
    for chunk in aligned([one.text for one in before], [one.text for one in after]):
        old = before[chunk.ref_start_idx : chunk.ref_end_idx]
        new = after[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            kept += zip(old, new, strict=True)
            continue
        changed.append((old, new))
        both = min(len(old), len(new))
        words.replaced += both
        words.lost += len(old) - both
        words.added += len(new) - both
    words.kept = len(kept)
    words.moved = _moved(kept)
    words.passages = list(_passages(changed[:MOST_PASSAGES]))
    return words


def _moved(kept: Sequence[tuple[_Token, _Token]]) -> int:
    """Words whose speaker is another, when speakers are paired so that the fewest are."""
    if all(old.speaker == new.speaker for old, new in kept):
        return 0
    said: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for number, pair in enumerate(kept):
        for side, token in zip(said, pair, strict=True):
            side.setdefault(token.speaker, []).append(str(number))
    partners = dict(best_assignment(*said).assignment)
    return sum(partners.get(old.speaker) != new.speaker for old, new in kept)


def _passages(changed: Iterable[tuple[Sequence[_Token], Sequence[_Token]]]) -> Iterator[dict[str, Any]]:
    for old, new in changed:
        if old or new:
            texts = [" ".join(one.text for one in side) for side in (old, new)]
            yield {"start": (new or old)[0].start, "before": texts[0], "after": texts[1]}


def _values(tokens: Iterable[_Token], language: str) -> Counter[str]:
    """Amounts and numbers, dates and times that a transcript says, by value."""
    stream = Stream(tuple(enumerate(token.text for token in tokens)), language)
    return Counter(
        f"{kind}: {min(map(str, reading.values))}" for kind in VALUES for reading in read(stream.atoms, READERS[kind])
    )


def change_rows(counts: ChangeCounts) -> list[tuple[str, str]]:
    """What a backfill changed, as lines for people: numbers only, never a word that was spoken."""
    share = f"{counts.word_changes:.1%}" if counts.word_changes is not None else "no words before"
    return [
        ("calls done anew", f"{counts.calls:,}"),
        ("  with other words or speakers", f"{counts.changed:,}"),
        ("words before", f"{counts.words:,}"),
        ("  replaced, lost, added", f"{counts.replaced:,}, {counts.lost:,}, {counts.added:,} ({share})"),
        ("  given to another speaker", f"{counts.moved:,}"),
        ("amounts, dates and times lost, added", f"{counts.values_lost:,}, {counts.values_added:,}"),
        ("had failed, and have not now", f"{counts.recovered:,}"),
        ("failed now; the old transcript stands", f"{counts.failed:,}"),
        ("to be looked at by a person: now, no more", f"{counts.more_review:,}, {counts.less_review:,}"),
        *([("shards of which nothing can be compared", f"{counts.not_compared:,}")] if counts.not_compared else []),
    ]
