"""Do names and terms that are given beforehand help, and are they heard where nobody says them?

Recordings with entity files are heard without hot words, each with its own (its persons, organisations and products),
and each with those of all of them, as the setting `recognizer.hot_words` would have it. Recordings of another folder,
in which nobody speaks of these, are heard without and with the terms of the first.

    python -m evaluation.benchmarks.hot_words WITH_TERMS WITHOUT --write evaluation/benchmarks/hot_words.md
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from evaluation.benchmarks.calibrate import Recording, find_recordings
from evaluation.benchmarks.one_speaker import load
from evaluation.entities import EntityScore, entity_score
from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.normalise import NORMALISER, normalised_words
from evaluation.rates import EntityCounts, ErrorCounts
from evaluation.references import ReferenceEntity, collect_references
from evaluation.report import percent
from evaluation.wer import count_errors
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.settings import Settings, load_settings

TERM_TYPES: Final = frozenset({"person", "name", "organisation", "organization", "company", "product"})
"""Types of entities that a vocabulary holds; numbers, dates and money are not known beforehand."""
Entities = tuple[ReferenceEntity, ...]
Terms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What recordings scored; `spoken` counts terms in transcripts, `invented` those beyond the reference's."""

    words: ErrorCounts = field(default_factory=ErrorCounts.zero)
    entities: EntityScore = field(default_factory=EntityScore.zero)
    spoken: int = 0
    invented: int = 0

    def __add__(self, other: Heard) -> Heard:
        """Add count by count."""
        return Heard(
            self.words + other.words,
            self.entities + other.entities,
            self.spoken + other.spoken,
            self.invented + other.invented,
        )

    def found(self, *, terms: bool) -> EntityCounts:
        """The entities of the types that a vocabulary holds, or all others."""
        own = (counts for kind, counts in self.entities.by_type.items() if (kind in TERM_TYPES) == terms)
        return sum(own, EntityCounts.zero())


def terms_of(entities: Iterable[ReferenceEntity]) -> Terms:
    """The names and terms among entities, each once, in order."""
    return tuple(dict.fromkeys(entity.text for entity in entities if entity.type in TERM_TYPES))


def occurrences(terms: Sequence[str], texts: Iterable[str]) -> Counter[str]:
    """How often terms stand in texts as whole words, in any case; a word counts once, for the longest term it is of."""
    longest_first = sorted({term.lower() for term in terms}, key=lambda term: (-len(term), term))
    if not longest_first:
        return Counter()
    any_term = "|".join(r"\s+".join(map(re.escape, term.split())) for term in longest_first)
    pattern = re.compile(rf"(?<!\w)(?:{any_term})(?!\w)")
    return Counter(" ".join(found.split()) for text in texts for found in pattern.findall(text.lower()))


def score(
    recordings: Sequence[Recording],
    hot_words: Mapping[str, Terms],
    references: Mapping[str, Entities],
    terms: Terms,
    models: Models,
    settings: Settings,
) -> Heard:
    """Hear recordings with the hot words of their calls; `references` are their entities, `terms` what is counted."""
    total = Heard()
    calls = [
        replace(call, hints=replace(call.hints, hot_words=hot_words.get(recording.call, ())))
        for call, recording in zip(
            local_calls([one.path for one in recordings], None, settings), recordings, strict=True
        )
    ]
    for recording, found in zip(recordings, transcribe_files(calls, models, settings), strict=True):
        if found.call["outcome"] == "failed":  # all of its words count as deleted
            typer.echo(f"{recording.path.name}: {found.call['error']}", err=True)
        language = found.call["language"] or "en"
        said = in_order(HypothesisUtterance.from_row(row) for row in found.utterances)
        total += judge(recording.texts, references.get(recording.call, ()), said, terms, language)
    return total


def judge(
    texts: Sequence[str],
    entities: Entities,
    said: Sequence[HypothesisUtterance],
    terms: Terms,
    language: str = "en",
) -> Heard:
    """Compare what was recognised, in order, with the texts and entities of one call."""
    heard = [one.text for one in said]
    spoken = occurrences(terms, heard)
    return Heard(
        count_errors(normalised_words(texts, language), normalised_words(heard, language)),
        entity_score(entities, said, language),
        spoken.total(),
        (spoken - occurrences(terms, texts)).total(),
    )


def found_of(counts: EntityCounts) -> str:
    """Found of all, and as a rate."""
    return f"{counts.correct} of {counts.reference} | {percent(counts.accuracy)}"


def markdown(with_terms: Mapping[str, Heard], without: Mapping[str, Heard]) -> list[str]:
    """A table of the recordings that hold the terms, and one of those that do not."""
    lines = [
        "| recordings with the terms | names found | % | other entities found | % | WER % | del | ins |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in with_terms.items():
        lines.append(
            f"| {name} | {found_of(one.found(terms=True))} | {found_of(one.found(terms=False))} "
            f"| {percent(one.words.rate)} | {one.words.deletions} | {one.words.insertions} |"
        )
    lines += [
        "",
        "| recordings without the terms | terms in the transcripts | invented | WER % | del | ins |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in without.items():
        lines.append(
            f"| {name} | {one.spoken} | {one.invented} | {percent(one.words.rate)} | {one.words.deletions} "
            f"| {one.words.insertions} |"
        )
    return lines


def main(
    with_terms: Annotated[Path, typer.Argument(help="Recordings with references and entity files.", exists=True)],
    without: Annotated[Path, typer.Argument(help="Recordings with references, of other matters.", exists=True)],
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
) -> None:
    """Measure what hot words find, and what they invent."""
    files = sorted(with_terms.rglob("*.entities.json"))
    references = collect_references((path.name, path.read_text(encoding="utf-8-sig")) for path in files)
    entities = {call: reference.entities or () for call, reference in references.items()}
    own, other = [one for one in find_recordings([with_terms]) if one.call in entities], find_recordings([without])
    if not own or not other:
        raise typer.BadParameter("a folder holds no recording with references")
    union = terms_of(entity for one in own for entity in entities[one.call])
    settings = load_settings()
    models = load(settings)
    ways: dict[str, dict[str, Terms]] = {
        "no hot words": {},
        "the call's own": {one.call: terms_of(entities[one.call]) for one in own},
        f"those of all calls ({len(union)})": {one.call: union for one in [*own, *other]},
    }
    found = {name: score(own, way, entities, union, models, settings) for name, way in ways.items()}
    no_way, _, all_calls = ways
    elsewhere = {name: score(other, ways[name], {}, union, models, settings) for name in (no_way, all_calls)}
    words = [next(iter(heard.values())).words.reference_words for heard in (found, elsewhere)]
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(own)} recordings of {with_terms.name} ({words[0]} words), {len(other)} of "
        f"{without.name} ({words[1]} words), language detected; bundle {models.bundle.name}, "
        f"{models.device.compute_type}; {models.device.name}, {usable_cores()} cores, Python "
        f"{platform.python_version()}. {NORMALISER}. Names are persons, organisations and products. Invented: a term "
        "stands in a transcript more often than in the reference of that recording."
    )
    text = "\n".join([*markdown(found, elsewhere), "", note]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
