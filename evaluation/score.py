"""The score of a call and of a set as counts: words, characters, speakers, entities, silence, word probabilities."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Final

from evaluation.confidence import scored_utterances
from evaluation.diarization import (
    FORGIVING,
    STRICT,
    DiarizationCounts,
    SpeakerCounts,
    TimedSpeech,
    diarization_counts,
    speaker_counts,
    spoken_turns,
)
from evaluation.entities import EntityScore, entity_score
from evaluation.entity_alignment import (
    ClassErrors,
    class_errors,
    document_pieces,
    document_words,
    located_pieces,
    located_words,
)
from evaluation.entity_classes import class_of
from evaluation.formats import StmLine
from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.normalise import normalised_words
from evaluation.orc import stream_errors
from evaluation.rates import AttributionCounts, ErrorCounts
from evaluation.references import Reference
from evaluation.silence import SilenceCounts, silence_counts
from evaluation.slices import CallFacts
from evaluation.speakers import SpeakerErrors, attribution_counts, speaker_errors
from evaluation.spurious import known_terms
from evaluation.timed import timed_speaker_errors
from evaluation.trust import TrustCounts
from evaluation.wer import character_errors, raw_word_errors, value_word_errors, word_errors
from evaluation.word_times import TimingCounts, timing_counts
from tasks.attribute import UNKNOWN_SPEAKER

CALLS_AT_A_TIME: Final = 50
"""What a process of several scores before it hands in its results; fewer calls are scored in one process."""

__all__ = ["CallScore", "HypothesisUtterance", "SetScore", "score_call", "score_set"]


@dataclass(frozen=True, slots=True)
class CallScore:
    """How one call compares with its reference.

    `words` and `characters` are normalised, `values` are words with numbers as values, `raw` words as they are written.
    `speakers.counts` is cpWER, `timed` tcpWER, `attribution` WDER, `streams` ORC-WER, None where it was not asked for
    or takes too long. `turns` is DER, scored up to the boundaries, and `turns_forgiving` without what is near to one.
    `entity_words` are word errors inside of entities. `silence` needs times and the length of the recording, `trust`
    word probabilities, `timing` a reference with the times of words. What the reference or the hypothesis does not have
    is counted as zero, so that its rates are None. `transcribed` is False when there was nothing to compare with the
    reference.
    """

    call_id: str
    words: ErrorCounts
    speakers: SpeakerErrors
    attribution: AttributionCounts
    entities: EntityScore
    transcribed: bool = True
    entity_words: ClassErrors = field(default_factory=ClassErrors.zero)
    values: ErrorCounts = field(default_factory=ErrorCounts.zero)
    raw: ErrorCounts = field(default_factory=ErrorCounts.zero)
    timed: ErrorCounts = field(default_factory=ErrorCounts.zero)
    streams: ErrorCounts | None = None
    turns: DiarizationCounts = field(default_factory=DiarizationCounts.zero)
    turns_forgiving: DiarizationCounts = field(default_factory=DiarizationCounts.zero)
    speaker_count: SpeakerCounts = field(default_factory=SpeakerCounts.zero)
    characters: ErrorCounts = field(default_factory=ErrorCounts.zero)
    silence: SilenceCounts = field(default_factory=SilenceCounts.zero)
    trust: TrustCounts = field(default_factory=TrustCounts.zero)
    timing: TimingCounts = field(default_factory=TimingCounts.zero)
    facts: CallFacts = field(default_factory=CallFacts)


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
    reference: Reference,
    hypothesis: Iterable[HypothesisUtterance] | None,
    language: str = "en",
    facts: CallFacts | None = None,
    *,
    terms: Mapping[str, Iterable[str]] | None = None,
    classes: Collection[str] | None = None,
    streams: bool = False,
) -> CallScore:
    """Compare one call with its reference.

    Args:
        reference: what was said.
        hypothesis: what was recognised; None when the call has no transcript, which counts as nothing recognised.
        language: of the normaliser.
        facts: what else is known of the call.
        terms: names that the set knows, by class (`evaluation.spurious.known_terms`): heard where nobody said them,
            they are spurious.
        classes: of the entities of the set; others are not held against the hypothesis.
        streams: whether ORC-WER is computed, which takes about as long as all other measures together.

    Returns:
        All counts of the call.
    """
    utterances = tuple(hypothesis or ())
    known = facts or CallFacts()
    lines = reference.lines
    speakers = SpeakerErrors.zero() if lines is None else speaker_errors(lines, utterances, language)
    said = lines_said(reference)
    by_stream = stream_errors(lines, utterances, language) if streams and lines is not None else None
    spoken = None if lines is None and reference.turns is None else _turns(reference)
    heard = [turn for turn in spoken_turns(utterances) if turn.speaker != UNKNOWN_SPEAKER]
    regions = None if reference.regions is None else [(one.start, one.end) for one in reference.regions]
    return CallScore(
        reference.call_id,
        words=ErrorCounts.zero() if said is None else word_errors(said, utterances, language),
        speakers=speakers,
        attribution=attribution_counts(lines or (), utterances, speakers.assignment, language),
        entities=EntityScore.zero()
        if reference.entities is None
        else entity_score(reference.entities, utterances, language, classes=classes, lines=said, terms=terms),
        entity_words=_entity_words(reference, utterances, language),
        transcribed=hypothesis is not None,
        values=ErrorCounts.zero() if said is None else value_word_errors(said, utterances, language),
        raw=ErrorCounts.zero() if said is None else raw_word_errors(said, utterances),
        characters=ErrorCounts.zero() if said is None else character_errors(said, utterances, language),
        timed=ErrorCounts.zero() if lines is None else timed_speaker_errors(lines, utterances, language).counts,
        streams=by_stream.counts if by_stream else None,
        turns=DiarizationCounts.zero() if spoken is None else diarization_counts(spoken, heard, STRICT, regions),
        turns_forgiving=DiarizationCounts.zero()
        if spoken is None
        else diarization_counts(spoken, heard, FORGIVING, regions),
        speaker_count=SpeakerCounts.zero() if spoken is None else speaker_counts(spoken, heard),
        silence=SilenceCounts.zero()
        if lines is None or known.duration_s is None
        else silence_counts(lines, reference.turns, utterances, known.duration_s, language),
        trust=TrustCounts.zero() if said is None else _trust(said, utterances, language),
        timing=timing_counts(reference.words or (), utterances, language),
        facts=known,
    )


def lines_said(reference: Reference) -> tuple[StmLine, ...] | None:
    """What was said, for measures that look at words alone; None where that is not known."""
    text = reference.text
    if text is None and reference.words is not None:
        text = " ".join(word.text for word in sorted(reference.words, key=lambda word: (word.start, word.end)))
    if reference.lines is None and text is not None:
        return (StmLine(reference.call_id, 1, "", 0.0, 0.0, text),)
    return reference.lines


def _turns(reference: Reference) -> Sequence[TimedSpeech]:
    """When who speaks: as turns say, else as lines do."""
    return spoken_turns(reference.lines or ()) if reference.turns is None else reference.turns


def _entity_words(reference: Reference, utterances: Sequence[HypothesisUtterance], language: str) -> ClassErrors:
    """Word errors inside of entities, with the places that the reference has of them, or where they are found in it."""
    if reference.document is not None:
        return class_errors(document_pieces(reference.document), document_words(utterances))
    if reference.lines is None or not reference.entities:
        return ClassErrors.zero()
    pieces, _ = located_pieces(reference.lines, reference.entities, language)
    return class_errors(pieces, located_words(utterances, language))


def _trust(said: Sequence[StmLine], utterances: Iterable[HypothesisUtterance], language: str) -> TrustCounts:
    """Right and wrong words by their probability; utterances without word times have none."""
    timed = [one for one in in_order(utterances) if one.words]
    reference = normalised_words((line.text for line in in_order(said)), language)
    words = scored_utterances(reference, [one.words for one in timed], language)
    return TrustCounts.of((one.end - one.start, pairs) for one, pairs in zip(timed, words, strict=True))


def score_set(
    references: Mapping[str, Reference],
    hypotheses: Mapping[str, Sequence[HypothesisUtterance]],
    language: str = "en",
    languages: Mapping[str, str] | None = None,
    facts: Mapping[str, CallFacts] | None = None,
    *,
    streams: bool = False,
    processes: int = 1,
) -> SetScore:
    """Compare a set of calls with their references.

    A call that has a reference and no hypothesis counts with all its words deleted: leaving failed calls out would make
    a set look better the more of it fails. A hypothesis without a reference is named and not scored.

    Args:
        references: call_id → what was said.
        hypotheses: call_id → what was recognised; an empty sequence where nothing was.
        language: of the normaliser, for all calls that `languages` does not name.
        languages: call_id → language.
        facts: call_id → what else is known of the call.
        streams: whether ORC-WER is computed.
        processes: how many score at a time; the result is the same.

    Returns:
        The scores, ordered by call_id.
    """
    spoken, known = languages or {}, facts or {}
    entities = [entity for reference in references.values() for entity in reference.entities or ()]
    terms, classes = known_terms(entities), frozenset(class_of(entity.type) for entity in entities)
    work = [
        (reference, hypotheses.get(call_id), spoken.get(call_id, language), known.get(call_id))
        for call_id, reference in sorted(references.items())
    ]
    scored = partial(_scored, terms=terms, classes=classes, streams=streams)
    if processes > 1 and len(work) > CALLS_AT_A_TIME:
        # Not forked: whoever calls may have threads.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            calls = tuple(pool.map(scored, work, chunksize=CALLS_AT_A_TIME))
    else:
        calls = tuple(map(scored, work))
    return SetScore(calls, unreferenced=tuple(sorted(hypotheses.keys() - references.keys())))


def _scored(
    work: tuple[Reference, Sequence[HypothesisUtterance] | None, str, CallFacts | None],
    *,
    terms: Mapping[str, Iterable[str]],
    classes: Collection[str],
    streams: bool,
) -> CallScore:
    reference, hypothesis, language, facts = work
    return score_call(reference, hypothesis, language, facts, terms=terms, classes=classes, streams=streams)
