"""The score of a call and of a set: WER, cpWER, WDER and entity accuracy, as counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.entities import EntityScore, entity_score
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import AttributionCounts, ErrorCounts
from evaluation.references import Reference
from evaluation.speakers import SpeakerErrors, attribution_counts, speaker_errors
from evaluation.wer import word_errors

__all__ = ["CallScore", "HypothesisUtterance", "SetScore", "score_call", "score_set"]


@dataclass(frozen=True, slots=True)
class CallScore:
    """How one call compares with its reference.

    `speakers.counts` is cpWER, `attribution` WDER. Without an STM reference all word counts are zero and their rates
    None; without an entity file the entities are. `transcribed` is False when there was nothing to compare with the
    reference.
    """

    call_id: str
    words: ErrorCounts
    speakers: SpeakerErrors
    attribution: AttributionCounts
    entities: EntityScore
    transcribed: bool = True


@dataclass(frozen=True, slots=True)
class SetScore:
    """How the calls of a set compare with their references, ordered by call_id.

    `unreferenced` names calls that have a hypothesis and no reference: they are not scored.
    """

    calls: tuple[CallScore, ...]
    unreferenced: tuple[str, ...] = ()

    @property
    def words(self) -> ErrorCounts:
        """Word errors of all calls."""
        return sum((call.words for call in self.calls), ErrorCounts.zero())

    @property
    def speakers(self) -> ErrorCounts:
        """Word errors of all calls that count a wrong speaker (cpWER)."""
        return sum((call.speakers.counts for call in self.calls), ErrorCounts.zero())

    @property
    def attribution(self) -> AttributionCounts:
        """Recognised words of all calls that are given to the wrong speaker (WDER)."""
        return sum((call.attribution for call in self.calls), AttributionCounts.zero())

    @property
    def entities(self) -> EntityScore:
        """Entities of all calls."""
        return sum((call.entities for call in self.calls), EntityScore.zero())

    @property
    def untranscribed(self) -> tuple[str, ...]:
        """Calls that have a reference and no hypothesis."""
        return tuple(call.call_id for call in self.calls if not call.transcribed)


def score_call(
    reference: Reference, hypothesis: Iterable[HypothesisUtterance] | None, language: str = "en"
) -> CallScore:
    """Compare one call with its reference.

    Args:
        reference: what was said.
        hypothesis: what was recognised; None when the call has no transcript, which counts as nothing recognised.
        language: of the normaliser.

    Returns:
        All counts of the call.
    """
    utterances = tuple(hypothesis or ())
    lines = reference.lines
    speakers = SpeakerErrors.zero() if lines is None else speaker_errors(lines, utterances, language)
    return CallScore(
        reference.call_id,
        words=ErrorCounts.zero() if lines is None else word_errors(lines, utterances, language),
        speakers=speakers,
        attribution=attribution_counts(lines or (), utterances, speakers.assignment, language),
        entities=entity_score(reference.entities or (), utterances, language),
        transcribed=hypothesis is not None,
    )


def score_set(
    references: Mapping[str, Reference],
    hypotheses: Mapping[str, Sequence[HypothesisUtterance]],
    language: str = "en",
    languages: Mapping[str, str] | None = None,
) -> SetScore:
    """Compare a set of calls with their references.

    A call that has a reference and no hypothesis counts with all its words deleted: leaving failed calls out would make
    a set look better the more of it fails. A hypothesis without a reference is named and not scored.

    Args:
        references: call_id → what was said.
        hypotheses: call_id → what was recognised; an empty sequence where nothing was.
        language: of the normaliser, for all calls that `languages` does not name.
        languages: call_id → language.

    Returns:
        The scores, ordered by call_id.
    """
    spoken = languages or {}
    return SetScore(
        calls=tuple(
            score_call(reference, hypotheses.get(call_id), spoken.get(call_id, language))
            for call_id, reference in sorted(references.items())
        ),
        unreferenced=tuple(sorted(hypotheses.keys() - references.keys())),
    )
